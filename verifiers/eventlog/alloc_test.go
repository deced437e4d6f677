package eventlog_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/eventlog"
)

// long returns a machine that measures count more files with grub.
func long(count int) *forge.Boot {
	boot := forge.NewBoot(forge.BootOptions{Algorithms: []uint16{forge.LogSHA256}})
	extra := make([]forge.BootStep, count)
	for index := range extra {
		name := fmt.Appendf(nil, "(hd0,gpt2)/file%d\x00", index)
		extra[index] = forge.BootStep{PCR: 9, Type: evIPL, Measured: name[1:], Data: name}
	}
	boot.Steps = append(extra, boot.Steps...)
	return boot
}

// TestNoAllocationPerEvent: a replay costs the same few allocations for a log of any length, and
// the facts as many as their kinds.
func TestNoAllocationPerEvent(t *testing.T) { // not parallel: it counts allocations
	counts := map[string][2]float64{}
	for place, events := range []int{100, 10_000} {
		boot := long(events)
		log, quoted := boot.Log(), quote(boot, eventlog.SHA256)
		for name, call := range map[string]func(){
			"Replay":     func() { _, _ = eventlog.Replay(log, eventlog.SHA256) },
			"ReplayBoot": func() { _, _ = eventlog.ReplayBoot(log, quoted) },
		} {
			both := counts[name]
			both[place] = testing.AllocsPerRun(10, call)
			counts[name] = both
		}
	}
	for name, both := range counts {
		t.Logf("%s: %v allocations with 100 and 10,000 events", name, both)
		if both[1] > both[0] || both[0] > 12 {
			t.Errorf("%s allocates %v with 100 and 10,000 events, want at most 12 with both", name, both)
		}
	}
}

// TestHostileLogsAreNoDearer: what could be made to cost the square of a log's length.
func TestHostileLogsAreNoDearer(t *testing.T) {
	t.Parallel()
	boot := long(20_000)
	many := make([]byte, 1<<19)
	for index := range many {
		many[index] = "/a "[index%3]
	}
	text := append([]byte("initrd "), many...)
	boot.Steps = append([]forge.BootStep{{
		PCR: 8, Type: evIPL, Measured: text, Data: append(append([]byte("grub_cmd: "), text...), 0),
	}}, boot.Steps...)
	log, quoted := boot.Log(), quote(boot, eventlog.SHA256)
	start := time.Now()
	facts, fault := eventlog.ReplayBoot(log, quoted)
	for range facts.Events() {
		continue
	}
	if spent := time.Since(start); fault != nil || spent > 5*time.Second {
		t.Errorf("%d bytes took %s: %v", len(log), spent, fault)
	}
}
