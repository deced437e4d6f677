package main

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-attestation/attest"
	"github.com/google/go-eventlog/extract"
	"github.com/google/go-eventlog/register"
	"github.com/google/go-eventlog/tcg"

	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/eventlog"
)

// benchLog is the published log that is measured: 45 KB with 116 events and registers of its own.
const benchLog = "logs/go-tpm-tools-ubuntu-2404-amd-sevsnp"

// maxLogAllocations is how often a replay allocates, whatever the log's length: the result.
const maxLogAllocations = 1

// eventlogFigures compares with go-eventlog and go-attestation. Both sides parse a real log, replay
// it and compare all 24 registers; with facts, both decode the Secure Boot policy and grub's
// commands.
func eventlogFigures(opts options) ([]Figure, error) {
	corpus, err := testvectors.Load(testvectors.FromEnvironment())
	if err != nil {
		return nil, err
	}
	place := slices.IndexFunc(corpus.Logs, func(l testvectors.Log) bool { return l.Name == benchLog })
	if place < 0 {
		return nil, fmt.Errorf("no log %s: %s", benchLog, corpus.Report())
	}
	log := corpus.Logs[place].Data
	quoted, fault := eventlog.Replay(log, eventlog.SHA256)
	if fault != nil {
		return nil, fault
	}
	peer := peerRegisters(quoted)
	medians, err := alternate(opts.rounds*4,
		func(int) error { return replayed(log, quoted) },
		func(int) error {
			_, err := tcg.ParseAndReplay(log, peer, tcg.ParseOpts{})
			return err
		},
		func(int) error { return peerAttestation(log, quoted) },
		func(int) error {
			if _, fault := eventlog.ReplayBoot(log, quoted); fault != nil {
				return fault
			}
			return nil
		},
		func(int) error { return peerFacts(log, peer) })
	if err != nil {
		return nil, err
	}
	spent, err := alternateCPU(7, 1000,
		func(int) error { return replayed(log, quoted) },
		func(int) error {
			_, err := tcg.ParseAndReplay(log, peer, tcg.ParseOpts{})
			return err
		})
	if err != nil {
		return nil, err
	}
	perEvent, err := allocationsPerEvent()
	if err != nil {
		return nil, err
	}
	growth, micros, err := logGrowth(opts)
	if err != nil {
		return nil, err
	}
	return []Figure{
		atLeast("event log, 45 KB: replay, against go-eventlog, processor time with garbage collection",
			spent[1]/spent[0], "x less", 8, 5),
		atLeast("event log, 45 KB: replay, against go-eventlog", medians[1]/medians[0], "x faster", 8, 5),
		atLeast("event log, 45 KB: replay, against go-attestation",
			medians[2]/medians[0], "x faster", 8, 5),
		atLeast("event log, 45 KB: replay and facts, against go-eventlog's",
			medians[4]/medians[3], "x faster", 6, 5),
		atMost("event log, 45 KB: replay, time", medians[0], "us", 25, 5),
		atMost("event log, 45 KB: replay and facts, time", medians[3], "us", 100, 5),
		atMost("event log: allocations of a replay", testing.AllocsPerRun(50, func() {
			_, _ = eventlog.Replay(log, eventlog.SHA256)
		}), "per log", maxLogAllocations, 1),
		atMost("event log: allocations, replay", perEvent, "per event", 0, 1),
		atMost("event log: time per event, 10^5 against 10^3 events", growth, "x its time", 1.25, 2),
		atMost("event log, 10^5 events: replay, time", micros/1000, "ms", 30, 5),
	}, nil
}

// replayed is a replay of the whole log and the comparison of its registers.
func replayed(log []byte, quoted eventlog.Registers) error {
	got, fault := eventlog.Replay(log, quoted.Bank)
	if fault != nil {
		return fault
	}
	for pcr := range got.Values {
		if !bytes.Equal(got.Values[pcr], quoted.Values[pcr]) {
			return fmt.Errorf("PCR%d differs", pcr)
		}
	}
	return nil
}

func peerRegisters(quoted eventlog.Registers) []register.MR {
	var out []register.MR
	for pcr, value := range quoted.Values {
		out = append(out, register.PCR{Index: pcr, Digest: value, DigestAlg: crypto.SHA256})
	}
	return out
}

// peerFacts is go-eventlog with what it says about the firmware, Secure Boot and grub.
func peerFacts(log []byte, registers []register.MR) error {
	events, err := tcg.ParseAndReplay(log, registers, tcg.ParseOpts{})
	if err != nil {
		return err
	}
	_, err = extract.FirmwareLogState(events, crypto.SHA256, extract.TPMRegisterConfig,
		extract.Opts{Loader: extract.GRUB})
	return err
}

// peerAttestation is go-attestation's replay.
func peerAttestation(log []byte, quoted eventlog.Registers) error {
	parsed, err := attest.ParseEventLog(log)
	if err != nil {
		return err
	}
	var pcrs []attest.PCR
	for pcr, value := range quoted.Values {
		pcrs = append(pcrs, attest.PCR{Index: pcr, Digest: value, DigestAlg: crypto.SHA256})
	}
	_, err = parsed.Verify(pcrs)
	return err
}

// longLog returns the log of a machine that measured count files.
func longLog(count int) []byte {
	boot := forge.NewBoot(forge.BootOptions{Algorithms: []uint16{forge.LogSHA256}})
	steps := make([]forge.BootStep, 0, count+len(boot.Steps))
	for index := range count - len(boot.Steps) {
		name := append([]byte("/boot/file"), strconv.Itoa(index)...)
		steps = append(steps, forge.BootStep{PCR: 9, Type: 0x0d, Measured: name, Data: name})
	}
	boot.Steps = append(steps, boot.Steps...)
	return boot.Log()
}

// allocationsPerEvent compares logs of 10^3 and 10^4 events.
func allocationsPerEvent() (float64, error) {
	counts := make([]float64, 0, 2)
	for _, events := range []int{1_000, 10_000} {
		log := longLog(events)
		var failed error
		counts = append(counts, testing.AllocsPerRun(20, func() {
			if _, fault := eventlog.Replay(log, eventlog.SHA256); fault != nil {
				failed = fault
			}
		}))
		if failed != nil {
			return 0, failed
		}
	}
	return (counts[1] - counts[0]) / 9_000, nil
}

// logGrowth returns the time per event of 10^5 events in times of that of 10^3, and the time of
// 10^5. The short log is replayed a hundred times a round, so that both sides do as much.
func logGrowth(opts options) (ratio, micros float64, err error) {
	short, long := longLog(1_000), longLog(100_000)
	once := func(log []byte) error {
		if _, fault := eventlog.Replay(log, eventlog.SHA256); fault != nil {
			return errors.New(fault.Error())
		}
		return nil
	}
	medians, err := alternate(max(opts.rounds/8, 5),
		func(int) error {
			for range 100 {
				if err := once(short); err != nil {
					return err
				}
			}
			return nil
		},
		func(int) error { return once(long) })
	if err != nil {
		return 0, 0, err
	}
	return medians[1] / medians[0], medians[1], nil
}
