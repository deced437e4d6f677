package composite

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestd/attestd"
)

// role is what a device is to a machine.
type role struct {
	// path is the device's, and formats are those whose evidence can stand there.
	path    string
	formats []attestd.Format
	// what names it for people.
	what string
}

// roles are the devices of a machine, in the order of their paths. Every one must be there once. A
// verifier for GPUs adds a role here; until then a path such as "gpu0" is answered as unsupported.
var roles = []role{
	{path: pathCPU, formats: []attestd.Format{attestd.FormatSEVSNP, attestd.FormatTDX}, what: "processor"},
	{path: pathTPM, formats: []attestd.Format{attestd.FormatTPM, attestd.FormatNitroTPM}, what: "TPM"},
}

// Paths of devices.
const (
	pathCPU = "cpu"
	pathTPM = "vtpm"
)

func roleOf(path string) (role, bool) {
	at := slices.IndexFunc(roles, func(r role) bool { return r.path == path })
	if at < 0 {
		return role{}, false
	}
	return roles[at], true
}

// takes reports whether some role takes evidence of the format.
func takes(format attestd.Format) bool {
	return slices.ContainsFunc(roles, func(r role) bool { return slices.Contains(r.formats, format) })
}

// wantedFormats lists a role's formats for people.
func (r role) wantedFormats() string {
	names := make([]string, len(r.formats))
	for i, format := range r.formats {
		names[i] = string(format)
	}
	return strings.Join(names, " or ")
}

// wantedDevices says which devices make up a machine.
func wantedDevices() string {
	var out []string
	for _, r := range roles {
		out = append(out, fmt.Sprintf("%s (%s)", r.path, r.wantedFormats()))
	}
	return strings.Join(out, " and ")
}

// combinations lists every pair of formats, as the fact "combination" has them.
func combinations() []string {
	var out []string
	for _, cpu := range roles[0].formats {
		for _, tpm := range roles[1].formats {
			out = append(out, string(cpu)+"+"+string(tpm))
		}
	}
	return out
}
