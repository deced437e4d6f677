package azurevtpm

import (
	"errors"
	"fmt"
	"slices"

	"github.com/attestd/attestd"
)

// fault says which check of the composition failed and why.
type fault struct {
	check     attestd.CheckID
	class     attestd.Class // empty: the class of the check's table row
	got, want string
	err       error
}

func refuse(check attestd.CheckID, got, want string) *fault {
	return &fault{check: check, got: got, want: want}
}

func refuseAs(check attestd.CheckID, class attestd.Class, got, want string) *fault {
	return &fault{check: check, class: class, got: got, want: want}
}

// because adds the cause underneath.
func (f *fault) because(err error) *fault {
	f.err = err
	return f
}

// end records the failed check behind all that ran before and returns the error that ends the
// verification.
func (s *session) end(f *fault) error {
	class := f.class
	if class == "" {
		class = table.Class(f.check)
	}
	s.settle()
	rejected := s.trail.RejectAs(f.check, class, f.got, f.want, f.err)
	rejected.Checks = slices.Concat(s.ran, rejected.Checks)
	return rejected
}

// refusedBy turns what a device's verifier answered into the answer on the whole.
func (s *session) refusedBy(path string, err error) error {
	s.settle()
	var rejected *attestd.EvidenceError
	var undecided *attestd.UndecidedError
	var caller *attestd.CallerError
	switch {
	case errors.As(err, &rejected):
		whole := *rejected
		whole.Checks = slices.Concat(s.ran, under(path, rejected.Checks))
		return &whole
	case errors.As(err, &undecided):
		whole := *undecided
		whole.Checks = slices.Concat(s.ran, under(path, undecided.Checks))
		return &whole
	case errors.As(err, &caller):
		return &attestd.CallerError{
			Class: caller.Class, Hint: caller.Hint, Err: fmt.Errorf("device %s: %w", path, caller.Err),
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
