package issuance

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
)

// facts are what a node's latest accepted evidence showed beside what the registry keeps. The zero
// facts say nothing.
type facts struct {
	grade wire.Grade
	// residency of the attestation key, as in "activated"; empty where the format has none.
	residency string
	// measurement is the name of the reference value that matched; empty for none.
	measurement string
	// devices are the parts of composed evidence, as in "cpu.sev-snp_vtpm.tpm"; empty where the evidence
	// was of one device. Of several, edge is the grade of the weakest tie between them.
	devices string
	edge    attestd.Grade
	// at is when that evidence was judged, in seconds of 1970.
	at int64
}

// of returns the facts as far as they are about the evidence that the registry goes by: a machine may
// have given newer, and not through SPIRE. How it holds its agent's key is as it was, until the agent
// has another.
func (f facts) of(evidence time.Time) facts {
	if evidence.Unix() > f.at {
		f.measurement, f.residency, f.devices, f.edge = "", "", "", attestd.GradeNone
	}
	return f
}

// alike reports whether a statement says the same of both.
func (f facts) alike(other facts) bool {
	return f.grade == other.grade && f.measurement == other.measurement && f.edge == other.edge &&
		f.devices == other.devices
}

// deviceSeparator stands in no path and in no format.
const deviceSeparator = "_"

// measurementCheck is the check whose pass names a reference value.
const measurementCheck attestd.CheckID = "measurement/known"

// factsOf reads the facts from a verdict. key is the SHA-256 of the SubjectPublicKeyInfo that the
// evidence bound, zero for none; nothing else of the request is in them.
func factsOf(given attestd.Appraisal, key [sha256.Size]byte) facts {
	out := facts{grade: wire.GradeNone, at: given.At.Unix()}
	if given.Verdict != attestd.VerdictAccepted {
		return out
	}
	var shown struct {
		Residency *string `json:"ak_residency"`
		Certified *string `json:"certified_key"`
	}
	// Where keys are is what the machine's TPM says, whether its evidence stood alone or not.
	claims := []byte(given.Claims)
	weakest, composed := given.WeakestEdge()
	if composed {
		out.edge = weakest
		for i, device := range given.Devices {
			if i > 0 {
				out.devices += deviceSeparator
			}
			out.devices += device.Path + "." + string(device.Format)
		}
		// A TPM that nothing ties to the rest says nothing of the machine's key.
		if claims, _ = given.PartOf(attestd.FormatTPM); weakest < attestd.GradeSimultaneous {
			claims = nil
		}
	}
	if len(claims) == 0 || json.Unmarshal(claims, &shown) != nil {
		shown.Residency, shown.Certified = nil, nil
	}
	if key != [sha256.Size]byte{} {
		out.grade = wire.GradeBound
		if shown.Certified != nil {
			certified, err := hex.DecodeString(*shown.Certified)
			if err == nil && bytes.Equal(certified, key[:]) {
				out.grade = wire.GradeResident
			}
		}
	}
	if shown.Residency != nil {
		out.residency = *shown.Residency
	}
	out.measurement = measurementOf(given.Checks)
	return out
}

// measurementOf names what runs. Of several devices each is measured and gives a name, in the order of
// the devices, and the whole has all of them. Where one runs what is not known there is no name.
func measurementOf(checks []attestd.Check) string {
	var names []string
	for _, check := range checks {
		if check.ID != measurementCheck || check.Result == attestd.ResultNotApplicable {
			continue
		}
		if check.Result != attestd.ResultPass {
			return ""
		}
		name, _, _ := strings.Cut(check.Got, " / ")
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, "_")
}

// worse returns the lower of two grades.
func worse(a, b wire.Grade) wire.Grade {
	for _, grade := range []wire.Grade{wire.GradeNone, wire.GradeBound} {
		if rank(a) == rank(grade) || rank(b) == rank(grade) {
			return grade
		}
	}
	return wire.GradeResident
}

func rank(grade wire.Grade) int {
	switch grade {
	case wire.GradeResident:
		return 2
	case wire.GradeBound:
		return 1
	default:
		return 0
	}
}
