package eventlog_test

import (
	"bytes"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/eventlog"
)

// quote returns the machine's registers as a quote would have them: all of 0 to 15 where pcrs names
// none.
func quote(boot *forge.Boot, bank eventlog.Bank, pcrs ...int) eventlog.Registers {
	values := boot.Registers(uint16(bank))
	out := eventlog.Registers{Bank: bank}
	if len(pcrs) == 0 {
		copy(out.Values[:16], values[:16])
	}
	for _, pcr := range pcrs {
		out.Values[pcr] = values[pcr]
	}
	return out
}

// replay replays the machine's own log against its own registers.
func replay(t testing.TB, boot *forge.Boot, pcrs ...int) eventlog.Boot {
	t.Helper()
	out, fault := eventlog.ReplayBoot(boot.Log(), quote(boot, eventlog.SHA256, pcrs...))
	if fault != nil {
		t.Fatal(fault)
	}
	return out
}

// wantFault demands a fault of the class whose text has the words, and no facts beside it.
func wantFault(
	t testing.TB, boot eventlog.Boot, fault *eventlog.Fault, class attestd.Class, words string,
) {
	t.Helper()
	if fault == nil {
		t.Fatalf("replayed, want %s: %s", class, words)
	}
	if fault.Class != class || !bytes.Contains([]byte(fault.Error()), []byte(words)) {
		t.Fatalf("got %s: %s (event %d), want %s: %s", fault.Class, fault, fault.Event, class, words)
	}
	if boot.Count != 0 || boot.Matched != 0 || boot.SecureBoot.Known || len(events(boot)) != 0 {
		t.Errorf("facts beside a fault: %+v", boot)
	}
}

func events(boot eventlog.Boot) []attestd.Event {
	var out []attestd.Event
	for event := range boot.Events() {
		out = append(out, event)
	}
	return out
}

// ofRole returns the events of a role.
func ofRole(boot eventlog.Boot, role attestd.Role) []attestd.Event {
	var out []attestd.Event
	for event := range boot.Events() {
		if event.Role == role {
			out = append(out, event)
		}
	}
	return out
}

// step returns the machine's step for changing it.
func step(t testing.TB, boot *forge.Boot, name string) *forge.BootStep {
	t.Helper()
	found := boot.Step(name)
	if found == nil {
		t.Fatalf("no step %q", name)
	}
	return found
}
