package main

import (
	"bytes"
	"crypto"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"

	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/eventlog"
)

// TestSameAsGoEventlog: attestd and go-eventlog see the same events with the same digests in every
// published log, lead to the same registers, and both refuse registers of which one bit is changed.
func TestSameAsGoEventlog(t *testing.T) {
	corpus, err := testvectors.Load(testvectors.FromEnvironment())
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, log := range corpus.Logs {
		if log.Kind != "boot" && log.Kind != "ccel" || log.Expect == "refused" {
			continue
		}
		compared++
		t.Run(log.Name, func(t *testing.T) {
			if log.Kind == "ccel" {
				sameEvents(t, log.Data, eventlog.SHA384, eventlog.WalkCCEL, "RTMR")
				return
			}
			sameEvents(t, log.Data, eventlog.SHA256, eventlog.Walk, "PCR")
			sameRegisters(t, log.Data)
		})
	}
	t.Logf("%s; %d logs compared", corpus.Report(), compared)
	for _, options := range []forge.BootOptions{{}, {SecureBoot: true, Locality: 3}, {Unified: true}} {
		log := forge.NewBoot(options).Log()
		sameEvents(t, log, eventlog.SHA256, eventlog.Walk, "PCR")
		sameRegisters(t, log)
	}
}

func peerBank(bank eventlog.Bank) (register.HashAlg, crypto.Hash) {
	if bank == eventlog.SHA384 {
		return register.HashSHA384, crypto.SHA384
	}
	return register.HashSHA256, crypto.SHA256
}

type walk = func([]byte, func(eventlog.Entry) bool) *eventlog.Fault

func sameEvents(t *testing.T, log []byte, bank eventlog.Bank, walk walk, prefix string) {
	t.Helper()
	parsed, err := tcg.ParseEventLog(log, tcg.ParseOpts{AllowPadding: true})
	if err != nil {
		t.Fatal(err)
	}
	algorithm, _ := peerBank(bank)
	events := parsed.Events(algorithm)
	count := 0
	fault := walk(log, func(e eventlog.Entry) bool {
		if count == len(events) {
			t.Fatalf("go-eventlog has %d events only", count)
		}
		peer := events[count]
		count++
		index, err := strconv.Atoi(strings.TrimPrefix(e.Register, prefix))
		if prefix == "RTMR" {
			index++ // its index counts MRTD
		}
		if err != nil || index != peer.Index || !bytes.Equal(e.Data, peer.Data) {
			t.Fatalf("event %d of %s with %d bytes, theirs is of %d with %d bytes",
				e.Index, e.Register, len(e.Data), peer.Index, len(peer.Data))
		}
		for _, digest := range e.Digests {
			if digest.Algorithm == bank.String() && !bytes.Equal(digest.Value, peer.Digest) {
				t.Fatalf("event %d has %x, theirs %x", e.Index, digest.Value, peer.Digest)
			}
		}
		return true
	})
	if fault != nil || count != len(events) {
		t.Fatalf("%d events, theirs %d: %v", count, len(events), fault)
	}
}

func sameRegisters(t *testing.T, log []byte) {
	t.Helper()
	ours, fault := eventlog.Replay(log, eventlog.SHA256)
	if fault != nil {
		t.Fatal(fault)
	}
	if _, err := tcg.ParseAndReplay(log, peerRegisters(ours), tcg.ParseOpts{}); err != nil {
		t.Fatalf("go-eventlog does not come to the same registers: %v", err)
	}
	if err := peerAttestation(log, ours); err != nil {
		t.Fatalf("go-attestation does not come to the same registers: %v", err)
	}
	for pcr := range 8 {
		changed := ours
		changed.Values[pcr] = bytes.Clone(ours.Values[pcr])
		changed.Values[pcr][31] ^= 1
		_, theirs := tcg.ParseAndReplay(log, peerRegisters(changed), tcg.ParseOpts{})
		_, fault := eventlog.ReplayBoot(log, changed)
		if fault == nil {
			t.Errorf("PCR%d with a bit changed is replayed", pcr)
		}
		// Where a log has no event of a register, go-eventlog compares nothing.
		if theirs == nil && hasEvents(log, fmt.Sprintf("PCR%d", pcr)) {
			t.Errorf("go-eventlog replays PCR%d with a bit changed", pcr)
		}
	}
}

func hasEvents(log []byte, register string) bool {
	found := false
	_ = eventlog.Walk(log, func(e eventlog.Entry) bool {
		found = found || e.Register == register && e.Type != "EV_NO_ACTION"
		return true
	})
	return found
}
