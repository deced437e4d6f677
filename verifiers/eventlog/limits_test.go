package eventlog_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/eventlog"
)

func wantGot(t *testing.T, what string, fault *eventlog.Fault, class attestd.Class, words string) {
	t.Helper()
	if fault == nil || fault.Class != class || !strings.Contains(fault.Got, words) {
		t.Errorf("%s: got %v, want %s about %q", what, fault, class, words)
	}
}

// TestLimitsOfOldLogsAreTheLogs: a log over a limit is refused before anything in it can be.
func TestLimitsOfOldLogsAreTheLogs(t *testing.T) {
	const action = 5 // EV_ACTION
	all := func(eventlog.Entry) bool { return true }
	wantGot(t, "bytes", eventlog.WalkLegacy(make([]byte, 9<<20), all), attestd.ClassTooLarge,
		"a log of 9437184 bytes")
	many := bytes.Repeat(legacyEvent(4, action, 0, ""), 1<<17)
	if fault := eventlog.WalkLegacy(many, all); fault != nil {
		t.Error(fault)
	}
	wantGot(t, "events", eventlog.WalkLegacy(append(many, legacyEvent(4, action, 0, "")...), all),
		attestd.ClassTooLarge, "a log of more than 131072 events")
}

func TestReplayNamesWhatItCannotDo(t *testing.T) {
	log := forge.NewBoot(forge.BootOptions{}).Log()
	_, fault := eventlog.Replay(log, eventlog.Bank(1))
	if fault == nil || fault.Class != attestd.ClassUnsupported {
		t.Errorf("an unknown bank: got %v", fault)
	}
	values, fault := eventlog.Replay(log[:len(log)-1], eventlog.SHA256)
	if fault == nil || values.Values[0] != nil {
		t.Errorf("a log that is cut: got %v", fault)
	}
}

func TestWhatIsCollectedIsALog(t *testing.T) {
	boot := forge.NewBoot(forge.BootOptions{})
	log := boot.Log()
	registers := eventlog.Registers{Bank: eventlog.SHA256}
	for register, value := range boot.Registers(forge.LogSHA256) {
		registers.Values[register] = value
	}
	made, fault := eventlog.ReplayBoot(log, registers)
	if fault != nil {
		t.Fatal(fault)
	}
	if fault := eventlog.CollectFrom(made, log); fault != nil {
		t.Error(fault)
	}
	if fault := eventlog.CollectFrom(made, log[:len(log)-1]); fault == nil {
		t.Error("nothing was said of a log that is cut")
	}
	wantGot(t, "no log", eventlog.CollectFrom(made, nil), attestd.ClassMalformed, "a log of 0 bytes")
}
