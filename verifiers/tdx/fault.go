package tdx

import (
	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// fault says which check failed and why, before it becomes an error with the trail behind it.
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

// end records the failed check and returns the error that ends the verification.
func (f *fault) end(t *trail.Trail) error {
	class := f.class
	if class == "" {
		class = table.Class(f.check)
	}
	return t.RejectAs(f.check, class, f.got, f.want, f.err)
}
