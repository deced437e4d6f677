package eventlog

import (
	"bytes"
	"fmt"

	"github.com/attestd/attestd"
)

// Registers are register values of one bank that a quote vouches for.
type Registers struct {
	Bank Bank
	// Values by PCR; nil for one that was not quoted. Values have the bank's size.
	Values [registerCount][]byte
}

// RTMRs are the four runtime measurement registers of a TD report (SHA-384), nil for one that
// nothing vouches for.
type RTMRs [4][]byte

// Replay returns the values that the bank's registers have after the log's events, for a TPM that
// was started as the log says. Registers without events have their initial value. Nothing vouches
// for the result: it says what a quote would have to show.
//
// It makes one pass and allocates nothing per event.
func Replay(log []byte, bank Bank) (Registers, *Fault) {
	if bank.Size() == 0 {
		return Registers{}, unknownBank(bank)
	}
	state := replay{bank: bank, layout: layoutPCR}
	if fault := state.run(log); fault != nil {
		return Registers{}, fault
	}
	out, room := Registers{Bank: bank}, make([]byte, 0, registerCount*bank.Size())
	for register := range out.Values {
		from := len(room)
		room = append(room, state.values[register][:bank.Size()]...)
		out.Values[register] = room[from:len(room):len(room)]
	}
	return out, nil
}

func unknownBank(bank Bank) *Fault {
	return &Fault{
		Class: attestd.ClassUnsupported, Event: -1, Got: bank.String(), Want: "SHA256, SHA384 or SHA512",
	}
}

// replay is the state of registers while a log's events are extended into them.
type replay struct {
	bank   Bank
	layout layout
	// quoted values by register index as the log has it; nil for none.
	quoted [registerCount][]byte
	values [registerCount]digest
	// counts of events by register.
	counts [registerCount]int
	// agreed is the number of events after which the register last had the quoted value, -1 for never;
	// surplus is the index of the event that came then.
	agreed, surplus [registerCount]int
	total           int
	located         bool
}

// run extends every event of the log.
func (s *replay) run(log []byte) *Fault {
	var events reader
	if fault := events.open(log, s.layout, s.bank); fault != nil {
		return fault
	}
	s.start(0)
	size := s.bank.Size()
	for e := (raw{}); ; {
		more, fault := events.next(&e)
		if fault != nil || !more {
			s.total = events.count
			return fault
		}
		if e.kind == evNoAction {
			if fault := s.startup(&e); fault != nil {
				return fault
			}
			continue
		}
		register := e.register
		value := &s.values[register]
		value.extend(s.bank, e.digest)
		s.counts[register]++
		if quoted := s.quoted[register]; quoted != nil {
			if s.agreed[register] == s.counts[register]-1 {
				s.surplus[register] = e.index
			}
			if bytes.Equal(value[:size], quoted) {
				s.agreed[register] = s.counts[register]
			}
		}
	}
}

// start sets the registers to what they hold after TPM2_Startup: zeros, and ones for those of a
// dynamic launch (PC Client Platform TPM Profile 1.06 section 4.6, table "PCR initial values").
func (s *replay) start(locality byte) {
	size := s.bank.Size()
	for register := range s.values {
		s.values[register] = digest{}
		if register >= 17 && register <= 22 && s.layout == layoutPCR {
			for index := range s.values[register][:size] {
				s.values[register][index] = 0xff
			}
		}
	}
	s.values[0][size-1] = locality
	for register := range s.agreed {
		s.agreed[register] = -1
		if bytes.Equal(s.values[register][:size], s.quoted[register]) {
			s.agreed[register] = 0
		}
	}
}

var startupLocality = []byte("StartupLocality\x00")

// startup reads a StartupLocality event (PFP 1.06 section 10.4.5.3): PCR 0 starts with the locality
// of TPM2_Startup, 0 or 3, or with 4 where an H-CRTM sequence measured before it.
func (s *replay) startup(e *raw) *Fault {
	if s.layout != layoutPCR || !bytes.HasPrefix(e.data, startupLocality) {
		return nil
	}
	locality := byte(0xff)
	if len(e.data) == len(startupLocality)+1 {
		locality = e.data[len(startupLocality)]
	}
	if e.register != 0 || locality != 0 && locality != 3 && locality != 4 {
		return malformed(e.index, "locality 0, 3 or 4 for PCR0",
			"event %d is a StartupLocality of %s with %s", e.index, s.layout.name(e.register),
			hexName("0x", uint32(locality), 2))
	}
	if s.located || s.counts[0] > 0 {
		return malformed(e.index, "one StartupLocality before the first event of PCR0",
			"event %d is a StartupLocality after %d events of PCR0", e.index, s.counts[0])
	}
	s.located = true
	s.values[0] = digest{}
	s.values[0][s.bank.Size()-1] = locality
	s.agreed[0] = -1
	if bytes.Equal(s.values[0][:s.bank.Size()], s.quoted[0]) {
		s.agreed[0] = 0
	}
	return nil
}

// matches reports whether the register has the quoted value.
func (s *replay) matches(register int) bool {
	return bytes.Equal(s.values[register][:s.bank.Size()], s.quoted[register])
}

// compare refuses a log whose events do not lead to the quoted values, and returns the registers of
// which they do, and those that hold something of which the log says nothing: an operating system
// extends registers above 7 without adding to this log, and then a register without any event is no
// contradiction. A register with some events of its own is one: nobody could tell a late extension
// from a dropped event.
func (s *replay) compare() (matched, unaccounted uint32, fault *Fault) {
	for register := range s.quoted {
		switch {
		case s.quoted[register] == nil:
		case s.matches(register):
			matched |= 1 << register
		case s.counts[register] == 0 && s.outside(register):
			unaccounted |= 1 << register
		case fault == nil:
			fault = s.mismatch(register)
		}
	}
	return matched, unaccounted, fault
}

// outside reports whether the register is one that firmware need not extend.
func (s *replay) outside(register int) bool {
	if s.layout == layoutRTMR {
		return register >= 3
	}
	return register >= 8
}

func (s *replay) mismatch(register int) *Fault {
	size := s.bank.Size()
	name := s.layout.name(uint32(register)) //nolint:gosec // below 24
	got := fmt.Sprintf("%s is %x.. after its %d events",
		name, s.values[register][:8], s.counts[register])
	event := -1
	switch agreed := s.agreed[register]; {
	case agreed >= 0:
		event = s.surplus[register]
		got += fmt.Sprintf(" and had the quoted value after %d of them: event %d is the first too many",
			agreed, event)
	case s.counts[register] == 0:
		got += ": events are missing"
	default:
		got += " and never had the quoted value: an event is missing, changed or out of its order"
	}
	return &Fault{
		Class: attestd.ClassMeasurement, Event: event, Register: name, Got: got,
		Want: fmt.Sprintf("%x.. as quoted (%s)", s.quoted[register][:min(8, size)], s.bank),
	}
}

// quote takes over the quoted values, each of the bank's size.
func (s *replay) quote(register int, value []byte) *Fault {
	if value == nil {
		return nil
	}
	if len(value) != s.bank.Size() {
		return malformed(-1, fmt.Sprintf("%d", s.bank.Size()), "%s quoted with %d bytes",
			s.layout.name(uint32(register)), len(value)) //nolint:gosec // below 24
	}
	s.quoted[register] = value
	return nil
}
