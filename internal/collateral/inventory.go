package collateral

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// HeldMachine is the certificate of a machine that is held.
type HeldMachine struct {
	Machine Machine `json:"machine"`
	// CSP is the cloud provider's id in a VLEK.
	CSP   string    `json:"csp,omitempty"`
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	// Problem says why it is of no use.
	Problem string `json:"problem,omitempty"`
	File    string `json:"file"`
}

// Machines verifies the certificates of all machines that are held and lists them. It takes about a third
// of a millisecond for each.
//
// Errors: where the folder cannot be read.
func (s *Store) Machines() ([]HeldMachine, error) {
	found := []HeldMachine{}
	err := s.eachMachine(func(path string, _ []byte, one *endorsed, err error) {
		held := HeldMachine{}
		if relative, outside := filepath.Rel(s.folder, path); outside == nil {
			held.File = attestd.Excerpt(relative, 120)
		}
		if one != nil {
			held.Machine, held.CSP = one.machine, one.csp
			held.From, held.Until = one.certificate.NotBefore.UTC(), one.certificate.NotAfter.UTC()
		}
		if err != nil {
			held.Problem = attestd.Excerpt(err.Error(), 160)
		}
		found = append(found, held)
	})
	slices.SortFunc(found, func(a, b HeldMachine) int {
		return strings.Compare(a.Machine.Line+string(a.Machine.Kind)+a.Machine.Chip+a.File,
			b.Machine.Line+string(b.Machine.Kind)+b.Machine.Chip+b.File)
	})
	return found, err
}
