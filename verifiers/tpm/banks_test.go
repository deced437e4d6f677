package tpm_test

import (
	"testing"

	reference "github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
)

// anotherBank adds PCRs of the SHA-384 bank to what the machine has.
func anotherBank(s *scene, values map[uint8][]byte) {
	s.machine.PCRs = append(s.machine.PCRs,
		forge.TPMBank{Algorithm: reference.TPMAlgSHA384, Values: values})
}

// TestABankThatTheFirmwareLeftAloneSaysNothing: a firmware that extends SHA-256 alone leaves the
// PCRs of an enabled SHA-384 bank at zero, and whoever is root then extends them with what a good
// boot would have measured (CVE-2021-42299). The genuine bank beside it, in which the log is not
// replayed, must not make that look like the machine's boot.
//
// neg: 61
func TestABankThatTheFirmwareLeftAloneSaysNothing(t *testing.T) {
	v := newVerifier(t)
	options := forge.BootOptions{SecureBoot: true, CommandLine: "quiet"}
	forged := map[uint8][]byte{}
	for index, value := range forge.NewBoot(options).Registers(forge.LogSHA384) {
		if value != nil {
			forged[uint8(index)] = value
		}
	}
	for name, genuine := range map[string]map[uint8][]byte{
		"all of the genuine bank": nil,
		"one PCR of it":           {4: make([]byte, 32)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, "ECDSA P-256", "ECC EK")
			s.boots(forge.BootOptions{CommandLine: "init=/bin/sh"})
			if genuine != nil {
				s.machine.PCRs[0].Values = genuine
			}
			anotherBank(s, forged)
			s.parts = func(e *tpmevidence.Evidence) { e.EventLog = forge.NewBoot(options).Log() }
			refused(t, v, s.build(), "tpm/event-log", attestd.ClassMeasurement)
		})
	}
}

// TestAPCRCountsWhereEveryBankHasIt: with one PCR of the bank that the operator knows and the rest
// of another, every PCR would be there and the one that shows the attacker in no comparison.
//
// neg: 61
func TestAPCRCountsWhereEveryBankHasIt(t *testing.T) {
	v := newVerifier(t)
	s := newScene(t, "ECDSA P-256", "ECC EK")
	value := make([]byte, 48)
	anotherBank(s, map[uint8][]byte{0: value, 7: value, 10: value})
	if got := fact(t, good(t, v, s.build()), "pcrs"); got != "129" { // PCR 0 and 7
		t.Errorf("PCRs %s", got)
	}
	s.machine.PCRs = s.machine.PCRs[:1]
	// A bank that is selected without a PCR says nothing, and takes nothing away.
	s.edit = func(_ *reference.TPMSAttest, q *reference.TPMSQuoteInfo) {
		q.PCRSelect.PCRSelections = append(q.PCRSelect.PCRSelections,
			reference.TPMSPCRSelection{Hash: reference.TPMAlgSHA384, PCRSelect: make([]byte, 3)})
	}
	if got := fact(t, good(t, v, s.build()), "pcrs"); got != "255" {
		t.Errorf("PCRs beside an empty bank: %s", got)
	}
}

func TestALogIsReplayedInTheBankThatHasItsPCRs(t *testing.T) {
	v := newVerifier(t)
	s := newScene(t, "ECDSA P-256", "ECC EK")
	boot := s.boots(forge.BootOptions{SecureBoot: true})
	anotherBank(s, map[uint8][]byte{23: make([]byte, 48)})
	if got := fact(t, good(t, v, s.build()), "boot_bank"); got != "SHA256" {
		t.Errorf("bank %s", got)
	}
	s.machine.PCRs[0].Values = map[uint8][]byte{23: make([]byte, 32)}
	s.machine.PCRs[1].Values = map[uint8][]byte{7: boot.Registers(forge.LogSHA384)[7]}
	if got := fact(t, good(t, v, s.build()), "boot_bank"); got != "SHA384" {
		t.Errorf("bank %s where it alone has PCRs of a boot", got)
	}
}

func TestAnIMALogIsRefusedBesideTwoBanksOfItsPCR(t *testing.T) {
	s := newScene(t, "ECDSA P-256", "ECC EK")
	kernel(s, 3).send(s, 0)
	v := newVerifier(t)
	good(t, v, s.build())
	anotherBank(s, map[uint8][]byte{10: make([]byte, 48)})
	refused(t, v, s.build(), "tpm/ima-log", attestd.ClassMeasurement)
}
