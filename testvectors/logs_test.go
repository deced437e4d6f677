package testvectors_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/verifiers/eventlog"
	"github.com/attestd/attestd/verifiers/eventlog/ima"
)

// TestEventLogs reads every published log. A log whose registers were published with it must lead to
// them, and to no others.
func TestEventLogs(t *testing.T) {
	logs := corpus(t).Logs
	counts := map[string]int{}
	events := 0
	for _, log := range logs {
		t.Run(log.Name, func(t *testing.T) {
			got, err := walkLog(log)
			switch {
			case log.Expect == "refused" && len(log.Registers) == 0 && err == nil:
				t.Fatalf("%d events were read, want a refusal", got)
			case log.Expect == "refused" && len(log.Registers) > 0:
				if err := replayLog(log, log.Registers); err == nil {
					t.Fatal("replayed, want a refusal")
				}
			case log.Expect != "refused" && err != nil:
				t.Fatal(err)
			case log.Expect != "refused" && got != log.Events:
				t.Errorf("%d events, want %d", got, log.Events)
			}
			if log.Expect == "replayed" {
				replays(t, log)
			}
			if log.Kind == "boot-sha1" {
				neverReplays(t, log)
			}
			counts[log.Expect]++
			events += got
		})
	}
	t.Logf("event logs: %d of %d as they must be: %d replayed, %d parsed (published without registers), "+
		"%d refused; %d events", counts["replayed"]+counts["parsed"]+counts["refused"], len(logs),
		counts["replayed"], counts["parsed"], counts["refused"], events)
}

// replays wants the log to lead to its registers, and not to registers of which one has one bit
// changed.
//
// neg: 64, 65
func replays(t *testing.T, log testvectors.Log) {
	t.Helper()
	if err := replayLog(log, log.Registers); err != nil {
		t.Error(err)
	}
	for changed := range log.Registers {
		registers := map[string][]byte{}
		for name, value := range log.Registers {
			value = append([]byte(nil), value...)
			if name == changed {
				value[len(value)-1] ^= 1
			}
			registers[name] = value
		}
		if err := replayLog(log, registers); err == nil {
			t.Errorf("with another %s the log was accepted", changed)
		}
	}
}

// neverReplays wants a log of SHA-1 digests to be refused wherever something follows from it.
//
// neg: 64, 70
func neverReplays(t *testing.T, log testvectors.Log) {
	t.Helper()
	if fault := eventlog.Walk(log.Data, func(eventlog.Entry) bool { return true }); fault == nil ||
		fault.Class != attestd.ClassMalformed {
		t.Errorf("read as a crypto-agile log: %v", fault)
	}
	for _, bank := range []eventlog.Bank{eventlog.SHA256, eventlog.SHA384, eventlog.SHA512} {
		if _, fault := eventlog.ReplayBoot(log.Data, eventlog.Registers{Bank: bank}); fault == nil ||
			fault.Class != attestd.ClassMalformed {
			t.Errorf("replayed in %s: %v", bank, fault)
		}
	}
}

func walkLog(log testvectors.Log) (events int, err error) {
	var fault error
	count := func(eventlog.Entry) bool { events++; return true }
	switch log.Kind {
	case "boot":
		if f := eventlog.Walk(log.Data, count); f != nil {
			fault = f
		}
	case "boot-sha1":
		if f := eventlog.WalkLegacy(log.Data, count); f != nil {
			fault = f
		}
	case "ccel":
		if f := eventlog.WalkCCEL(log.Data, count); f != nil {
			fault = f
		}
	case "ima-ascii":
		list, f := ima.FromASCII(log.Data)
		if f == nil {
			f = ima.Walk(list, func(ima.Entry) bool { events++; return true })
		}
		if f != nil {
			fault = f
		}
	default:
		fault = fmt.Errorf("no reader for logs of kind %q", log.Kind)
	}
	return events, fault
}

func replayLog(log testvectors.Log, registers map[string][]byte) error {
	var fault *eventlog.Fault
	if log.Kind == "ccel" {
		var quoted eventlog.RTMRs
		for name, value := range registers {
			quoted[index(name, "RTMR")] = value
		}
		_, fault = eventlog.ReplayCCEL(log.Data, quoted)
	} else {
		quoted := eventlog.Registers{Bank: map[string]eventlog.Bank{
			"sha256": eventlog.SHA256, "sha384": eventlog.SHA384,
		}[log.Bank]}
		for name, value := range registers {
			quoted.Values[index(name, "PCR")] = value
		}
		var boot eventlog.Boot
		if boot, fault = eventlog.ReplayBoot(log.Data, quoted); fault == nil {
			return eventsAreOfQuotedRegisters(boot, registers)
		}
	}
	if fault != nil {
		return fault
	}
	return nil
}

// eventsAreOfQuotedRegisters wants nothing to be told of registers that nobody vouched for.
func eventsAreOfQuotedRegisters(boot eventlog.Boot, registers map[string][]byte) error {
	for event := range boot.Events() {
		if registers[event.Register] == nil {
			return fmt.Errorf("event %d of %s, which was not quoted, is told", event.Index, event.Register)
		}
		if event.Role == attestd.RoleCommandLine && event.Text == "" {
			return fmt.Errorf("event %d: a command line without its text", event.Index)
		}
	}
	return nil
}

func index(name, prefix string) int {
	number, err := strconv.Atoi(strings.TrimPrefix(name, prefix))
	if err != nil {
		panic(err)
	}
	return number
}
