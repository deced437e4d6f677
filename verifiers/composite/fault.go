package composite

import (
	"errors"
	"fmt"
	"slices"

	"github.com/attestd/attestd"
)

// fault says which check of the composition failed and why.
type fault struct {
	check     attestd.CheckID
	got, want string
	err       error
}

func refuse(check attestd.CheckID, got, want string) *fault {
	return &fault{check: check, got: got, want: want}
}

// because adds the cause underneath.
func (f *fault) because(err error) *fault {
	f.err = err
	return f
}

// end records the failed check behind all that ran before and returns the error that ends the
// verification.
func (s *session) end(f *fault) error {
	rejected := s.trail.Reject(f.check, f.got, f.want, f.err)
	rejected.Checks = append(s.ran, rejected.Checks...)
	return rejected
}

// refusedBy turns what a device's verifier answered into the answer on the whole.
func (s *session) refusedBy(path string, err error) error {
	var rejected *attestd.EvidenceError
	var undecided *attestd.UndecidedError
	var caller *attestd.CallerError
	switch {
	case errors.As(err, &rejected):
		whole := *rejected
		whole.Checks = append(s.ran, under(path, rejected.Checks)...)
		return &whole
	case errors.As(err, &undecided):
		whole := *undecided
		whole.Checks = append(s.ran, under(path, undecided.Checks)...)
		return &whole
	case errors.As(err, &caller):
		return &attestd.CallerError{
			Class: caller.Class, Hint: caller.Hint, Err: fmt.Errorf("device %s: %w", path, caller),
		}
	default:
		return fmt.Errorf("device %s: %w", path, err)
	}
}

// under returns the checks as those of a device.
func under(path string, checks []attestd.Check) []attestd.Check {
	out := slices.Clone(checks)
	for i := range out {
		out[i].Device = path
	}
	return out
}
