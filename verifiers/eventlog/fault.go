package eventlog

import (
	"fmt"

	"github.com/attestd/attestd"
)

// Fault says why a log is refused: the class of the error, what was seen and what was wanted.
// Register, event and type are named in Got.
type Fault struct {
	Class attestd.Class
	// Event is the index of the event in question, counted from 0 after the header; -1 where it is the
	// log as a whole or a register.
	Event int
	// Register in question, as in "PCR4"; empty where it is none.
	Register string
	// Got and Want, as in [attestd.Check]. Foreign text in them went through [attestd.Excerpt].
	Got, Want string
}

// Error says what was seen and wanted.
func (f *Fault) Error() string {
	if f.Want == "" {
		return f.Got
	}
	return f.Got + ", want " + f.Want
}

func malformed(event int, want, format string, args ...any) *Fault {
	return &Fault{
		Class: attestd.ClassMalformed, Event: event, Got: fmt.Sprintf(format, args...), Want: want,
	}
}

func tooLarge(event int, want, format string, args ...any) *Fault {
	return &Fault{
		Class: attestd.ClassTooLarge, Event: event, Got: fmt.Sprintf(format, args...), Want: want,
	}
}

// about returns a fault that names the event's place, register and type in front of what was seen.
func about(class attestd.Class, e *raw, layout layout, want, format string, args ...any) *Fault {
	return &Fault{
		Class: class, Event: e.index, Register: layout.name(e.register), Want: want,
		Got: fmt.Sprintf("event %d (%s %s) ", e.index, layout.name(e.register), typeName(e.kind)) +
			fmt.Sprintf(format, args...),
	}
}
