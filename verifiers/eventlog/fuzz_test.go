package eventlog_test

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/eventlog"
)

// FuzzEventLog looks for a log that panics, is written to, leads to other registers than a replay
// by Walk, or is believed against registers that it does not lead to.
func FuzzEventLog(f *testing.F) {
	for _, options := range []forge.BootOptions{
		{}, {SecureBoot: true, Locality: 3}, {Unified: true, Algorithms: []uint16{forge.LogSHA256}},
	} {
		f.Add(forge.NewBoot(options).Log())
	}
	f.Fuzz(func(t *testing.T, log []byte) {
		before := bytes.Clone(log)
		eventlog.WalkLegacy(log, func(eventlog.Entry) bool { return true })
		quoted, fault := eventlog.Replay(log, eventlog.SHA256)
		walked := walkRegisters(log, "SHA256", "PCR", 24)
		if fault != nil {
			if quoted.Values[0] != nil || fault.Class == "" || fault.Got == "" {
				t.Fatalf("registers beside a fault, or a fault that says nothing: %+v", fault)
			}
			return
		}
		for pcr, value := range walked {
			// Walk knows nothing of localities and of dynamic launches.
			if pcr != 0 && (pcr < 17 || pcr > 22) && !bytes.Equal(value, quoted.Values[pcr]) {
				t.Fatalf("PCR%d is %x, by Walk %x", pcr, quoted.Values[pcr], value)
			}
		}
		boot, fault := eventlog.ReplayBoot(log, quoted)
		if fault == nil {
			wantWithinLog(t, log, boot)
		}
		for pcr := range 8 {
			kept := quoted.Values[pcr]
			other := bytes.Clone(kept)
			other[31] ^= 1
			quoted.Values[pcr] = other
			if _, fault := eventlog.ReplayBoot(log, quoted); fault == nil {
				t.Fatalf("replayed against another PCR%d", pcr)
			}
			quoted.Values[pcr] = kept
		}
		if !bytes.Equal(before, log) {
			t.Fatal("the log was written to")
		}
	})
}

// FuzzCCEL is FuzzEventLog for logs of confidential machines.
func FuzzCCEL(f *testing.F) {
	for _, options := range []forge.BootOptions{{}, {SecureBoot: true, Unified: true}} {
		boot, _ := confidential(f, options)
		f.Add(boot.Log())
		f.Add(append(boot.Log(), 0xff, 0xff, 0xff, 0xff, 0xff))
	}
	f.Fuzz(func(t *testing.T, log []byte) {
		before := bytes.Clone(log)
		walked := walkRegisters(log, "SHA384", "RTMR", 4)
		if walked == nil {
			if _, fault := eventlog.ReplayCCEL(log, eventlog.RTMRs{}); fault == nil {
				t.Fatal("replayed, and Walk refuses it")
			}
			return
		}
		quoted := eventlog.RTMRs(walked)
		boot, fault := eventlog.ReplayCCEL(log, quoted)
		if fault == nil {
			wantWithinLog(t, log, boot)
		}
		quoted[0] = bytes.Repeat([]byte{1}, 48)
		if _, fault := eventlog.ReplayCCEL(log, quoted); fault == nil {
			t.Fatal("replayed against another RTMR0")
		}
		if !bytes.Equal(before, log) {
			t.Fatal("the log was written to")
		}
	})
}

// walkRegisters replays a log by what Walk shows of it; nil where Walk refuses it.
func walkRegisters(log []byte, bank, prefix string, count int) [][]byte {
	walk, size, algorithm := eventlog.Walk, 32, eventlog.SHA256
	if prefix == "RTMR" {
		walk, size, algorithm = eventlog.WalkCCEL, 48, eventlog.SHA384
	}
	out := make([][]byte, count)
	for index := range out {
		out[index] = make([]byte, size)
	}
	if fault := walk(log, func(e eventlog.Entry) bool {
		if e.Type == "EV_NO_ACTION" {
			return true
		}
		register, err := strconv.Atoi(strings.TrimPrefix(e.Register, prefix))
		for _, one := range e.Digests {
			if err == nil && one.Algorithm == bank {
				out[register] = algorithm.Sum(nil, append(out[register], one.Value...))
			}
		}
		return true
	}); fault != nil {
		return nil
	}
	return out
}

// wantWithinLog wants every digest of an event to be one of the log's, and what is said to be
// sound.
func wantWithinLog(t *testing.T, log []byte, boot eventlog.Boot) {
	t.Helper()
	count := 0
	for event := range boot.Events() {
		count++
		if !bytes.Contains(log, event.Digest) || event.Role == "" || event.Register == "" {
			t.Fatalf("%+v", event)
		}
		if strings.ContainsAny(event.What, "\x00\x1b\n") {
			t.Fatalf("control characters: %q", event.What)
		}
		for _, one := range event.Entries {
			if len(one) < 20 || len(one) > 64 {
				t.Fatalf("an entry of %d bytes", len(one))
			}
		}
	}
	if count > boot.Count {
		t.Fatalf("%d events of %d", count, boot.Count)
	}
}

// FuzzSignatureList looks for signature lists that panic or whose entries are not all of their
// bytes.
func FuzzSignatureList(f *testing.F) {
	sum := bytes.Repeat([]byte{7}, 32)
	f.Add([]byte(nil))
	f.Add(forge.EFIHashList(sum, sum))
	machine := forge.NewBoot(forge.BootOptions{DB: [][]byte{sum}})
	f.Add(machine.Step("db").Data[32+4:])
	f.Add(forge.EFISignatureList([16]byte{1}, 0, make([]byte, 20)))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		entries, fault := eventlog.ParseSignatures(data)
		if fault != nil && (entries != nil || fault.Class == "" || fault.Got == "") {
			t.Fatalf("entries beside a fault, or a fault that says nothing: %+v", fault)
		}
		size := 0
		for _, one := range entries {
			size += 16 + len(one.Data)
			if len(one.Data) == 0 || !bytes.Contains(data, one.Data) || !bytes.Contains(data, one.Owner[:]) {
				t.Fatalf("an entry that is not in the variable: %+v", one)
			}
			if got := len(one.Digest()); got < 20 || got > 64 {
				t.Fatalf("a digest of %d bytes", got)
			}
		}
		if size > len(data) {
			t.Fatalf("%d bytes of entries in %d", size, len(data))
		}
		if !bytes.Equal(before, data) {
			t.Fatal("the variable was written to")
		}
	})
}
