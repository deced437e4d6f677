package compute

import (
	"fmt"

	"github.com/attestd/attestd"
)

// Fault says why a file or a description of a machine has no prediction.
type Fault struct {
	// Class is MALFORMED, TOO_LARGE, UNSUPPORTED, SIGNATURE, or CONFIG for what the caller said of
	// the machine.
	Class attestd.Class
	// Got and Want are for people. Text of a file in them went through [attestd.Excerpt].
	Got, Want string
}

// Error says what was seen and wanted.
func (f *Fault) Error() string { return "got " + f.Got + ", want " + f.Want }

// Malformed makes the fault of a file that is not encoded as its format demands.
func Malformed(want, got string, args ...any) *Fault {
	return &Fault{Class: attestd.ClassMalformed, Got: fmt.Sprintf(got, args...), Want: want}
}

// Unsupported makes the fault of a file of a kind that is not known here.
func Unsupported(want, got string, args ...any) *Fault {
	return &Fault{Class: attestd.ClassUnsupported, Got: fmt.Sprintf(got, args...), Want: want}
}

// Misdescribed makes the fault of a description that fits no machine.
func Misdescribed(want, got string, args ...any) *Fault {
	return &Fault{Class: attestd.ClassConfig, Got: fmt.Sprintf(got, args...), Want: want}
}

// Oversized makes the fault of a file beyond its limit.
func Oversized(size, limit int) *Fault {
	return &Fault{Class: attestd.ClassTooLarge, Got: fmt.Sprintf("%d bytes", size),
		Want: fmt.Sprintf("%d bytes at most", limit)}
}
