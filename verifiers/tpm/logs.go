package tpm

import (
	"fmt"
	"iter"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/eventlog"
	"github.com/attestd/attestd/verifiers/eventlog/ima"
)

// imaPCR is the PCR that IMA extends (CONFIG_IMA_MEASURE_PCR_IDX, 10 unless a kernel was built
// otherwise).
const imaPCR = 10

// checkEventLog replays the boot log. Nothing of a log is believed before it led to the quoted PCRs.
func (s *session) checkEventLog() *fault {
	if s.evidence.EventLog == nil {
		s.trail.NotApplicable(checkEventLog, "no boot log came along")
		return nil
	}
	if bad := s.oneBank(checkEventLog, bootPCRs); bad != nil {
		return bad
	}
	boot, bad := eventlog.ReplayBoot(s.evidence.EventLog, s.registers(bootPCRs))
	if bad != nil {
		return refuseAs(checkEventLog, bad.Class, bad.Got, bad.Want)
	}
	if !shows(boot.Events()) {
		return refuse(checkEventLog, "a log of which no event is in a quoted PCR",
			"a log that leads to quoted PCRs")
	}
	s.boot = &boot
	s.trail.Pass(checkEventLog, "leads to the quoted PCRs", "leads to the quoted PCRs")
	return nil
}

// shows reports whether there is an event. A log whose registers were not quoted proves nothing, and a
// register without events agrees with every log.
func shows(events iter.Seq[attestd.Event]) bool {
	for range events {
		return true
	}
	return false
}

// bootPCRs are those in which firmware and boot loader measure (PFP, section 3.3.4).
const bootPCRs = 1<<16 - 1

// oneBank refuses a log of PCRs that were quoted in several banks. Digests of one event in two banks
// need not be of the same data, and a firmware that leaves an enabled bank alone leaves it to whoever
// is root (CVE-2021-42299): beside the genuine bank, the log would be replayed in his.
func (s *session) oneBank(check attestd.CheckID, pcrs uint32) *fault {
	banks := 0
	for _, bank := range s.quote.attest.PCRs.Banks() {
		if bank.PCRs&pcrs != 0 {
			banks++
		}
	}
	if banks > 1 {
		return refuse(check, fmt.Sprintf("a log beside its PCRs in %d banks", banks),
			"its PCRs in one bank")
	}
	return nil
}

// registers returns the values of the quoted bank that has one of the wanted PCRs; see oneBank.
func (s *session) registers(wanted uint32) eventlog.Registers {
	for _, bank := range s.quote.attest.PCRs.Banks() {
		if bank.PCRs&wanted == 0 {
			continue
		}
		out := eventlog.Registers{Bank: eventlog.Bank(bank.Bank)}
		for _, values := range s.evidence.PCRs {
			if values.Algorithm != bank.Bank {
				continue
			}
			for _, pcr := range values.PCRs {
				out.Values[pcr.Index] = pcr.Value
			}
		}
		return out
	}
	return eventlog.Registers{Bank: eventlog.SHA256}
}

// checkIMALog replays the part of IMA's log that came along, from where the last replay of this boot
// ended.
func (s *session) checkIMALog() *fault {
	if s.evidence.IMA == nil {
		s.trail.NotApplicable(checkIMALog, "no IMA log came along")
		return nil
	}
	from, bad := s.imaState()
	if bad != nil {
		return bad
	}
	if bad := s.oneBank(checkIMALog, 1<<imaPCR); bad != nil {
		return bad
	}
	registers := s.registers(1 << imaPCR)
	if registers.Values[imaPCR] == nil {
		return refuse(checkIMALog, "a log without a quoted PCR10", "a quote over PCR10")
	}
	log, fail := ima.Replay(s.evidence.IMA.Log, from, registers.Bank.String(), &registers.Values)
	if fail != nil {
		return refuseAs(checkIMALog, fail.Class, fmt.Sprintf("entry %d: %s", fail.Event, fail.Got),
			fail.Want)
	}
	s.ima = &log
	s.trail.Pass(checkIMALog, "leads to the quoted PCR10", "leads to the quoted PCR10")
	return nil
}

// imaState returns where the log goes on. A state is good for the boot in which it was made: a reset
// or a restart sets PCR 10 to zero, and then the log begins anew.
func (s *session) imaState() (attestd.IMAState, *fault) {
	offset, last := s.evidence.IMA.Offset, s.input.Anchors.LastSeen
	if offset == 0 {
		return attestd.IMAState{}, nil
	}
	known := last != nil && last.IMA != nil && last.ResetCount == s.quote.attest.ResetCount &&
		last.RestartCount == s.quote.attest.RestartCount
	switch {
	case !known:
		return attestd.IMAState{}, refuseAs(checkIMALog, attestd.ClassStale,
			fmt.Sprintf("a log from byte %d on", offset), "the whole log: this boot is not known")
	case last.IMA.Offset != offset:
		return attestd.IMAState{}, refuseAs(checkIMALog, attestd.ClassStale,
			fmt.Sprintf("a log from byte %d on", offset),
			fmt.Sprintf("a log from byte 0 or %d on", last.IMA.Offset))
	}
	return *last.IMA, nil
}

// events yields the events of both logs; nil where there is none.
func (s *session) events() iter.Seq[attestd.Event] {
	boot, kernel := s.boot, s.ima
	if boot == nil && kernel == nil {
		return nil
	}
	return func(yield func(attestd.Event) bool) {
		if boot != nil {
			for event := range boot.Events() {
				if !yield(event) {
					return
				}
			}
		}
		if kernel != nil {
			for event := range kernel.Events() {
				if !yield(event) {
					return
				}
			}
		}
	}
}
