package e2e_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/testvectors/forge"
)

// TestAMachineEnrolsAndIsAccepted: keys are shown, a credential is answered, the quote answers the
// challenge, the boot is the golden one, and the key lives in the TPM. The next time the key is known
// and no credential is made.
func TestAMachineEnrolsAndIsAccepted(t *testing.T) {
	s := laboratory(t)
	m := newMachine(t, made.first, "accepted", goldenBoot())
	facts := wantAccepted(t, m.attest(t, s, tenant(0)))
	for name, want := range map[string]any{
		"ak_residency": "activated", "ek_trust": "chain", "ek_certificate": "valid",
		"protection": "insecure", "key_grade": "resident", "clock_order": "first", "clock_safe": true,
		"boot_log": "replayed", "secure_boot": true, "exit_boot_services": true, "ima": "absent",
	} {
		wantFact(t, facts, name, want)
	}
	asked := s.ask(t, tenant(0), m.identity(t))
	if !asked.activated || asked.credential != nil {
		t.Errorf("the second challenge: activated %v, credential %v", asked.activated, asked.credential)
	}
	facts = wantAccepted(t, asked.judge(t, m.collect(t, asked, nil, nil), nil, nil))
	wantFact(t, facts, "clock_order", "forward")
	wantFact(t, facts, "key_grade", "none")
}

// TestProductionDoesNotKnowTheSoftwareTPMsRoot asks a server that was not told of it.
//
// neg: 87
func TestProductionDoesNotKnowTheSoftwareTPMsRoot(t *testing.T) {
	s := serve(t, serverConfig{references: [][]byte{goldenValues(t)}})
	m := newMachine(t, made.first, "production", goldenBoot())
	verdict := m.attest(t, s, tenant(0))
	wantRejected(t, verdict, "tpm/ek-chain")
	wantClass(t, verdict, attestd.ClassChain)
}

// TestAnotherCommandLineIsNamed boots another command line, with a log that says so.
func TestAnotherCommandLineIsNamed(t *testing.T) {
	s := laboratory(t)
	m := newMachine(t, made.first, "other-line", otherLine())
	verdict := m.attest(t, s, tenant(0))
	wantRejected(t, verdict, "measurement/known")
	if text := reasonText(verdict, "measurement/known"); !strings.Contains(text, "PCR8") {
		t.Errorf("the verdict does not name the event: %s", text)
	}
	m.reboot(t, goldenBoot())
	wantAccepted(t, m.attest(t, s, tenant(0)))
}

// TestWhatTheLogDoesNotSayIsRefused: a PCR was extended and the log has no entry for it, a log is of
// another boot, and a log has an entry too many.
func TestWhatTheLogDoesNotSayIsRefused(t *testing.T) {
	s := laboratory(t)
	m := newMachine(t, made.first, "unsaid", goldenBoot())
	wantAccepted(t, m.attest(t, s, tenant(0)))

	write(t, m.bootLog(), otherLine().Log())
	wantRejected(t, m.attest(t, s, tenant(0)), "tpm/event-log")

	longer := goldenBoot()
	longer.InsertAfter("grub", forge.BootStep{
		Name: "more", PCR: 4, Type: 0x80000003, Measured: []byte("more"), Data: make([]byte, 32),
	})
	write(t, m.bootLog(), longer.Log())
	wantRejected(t, m.attest(t, s, tenant(0)), "tpm/event-log")

	write(t, m.bootLog(), goldenBoot().Log())
	wantAccepted(t, m.attest(t, s, tenant(0)))
	m.extend(t, forge.Extension{PCR: 4, Digests: map[uint16][]byte{
		forge.LogSHA256: bytes.Repeat([]byte{1}, 32),
	}})
	wantRejected(t, m.attest(t, s, tenant(0)), "tpm/event-log")
}

// TestARebootIsANewBoot: the reset count goes up by one, the verdict is reached anew, and a key of the
// earlier boot is not the machine's any more.
//
// neg: 77
func TestARebootIsANewBoot(t *testing.T) {
	s := laboratory(t)
	m := newMachine(t, made.first, "reboot", goldenBoot())
	before := m.key(t).SPKI()
	first := wantAccepted(t, m.attest(t, s, tenant(0)))
	m.reboot(t, goldenBoot())
	verdict := m.attest(t, s, tenant(0))
	second := wantAccepted(t, verdict)
	wantFact(t, second, "reset_count", first["reset_count"].(float64)+1)
	wantFact(t, second, "clock_order", "forward")
	wantFact(t, second, "clock_safe", true)
	if bytes.Equal(before, m.key(t).SPKI()) {
		t.Error("the key of the earlier boot is still in use")
	}
	// What booted now is judged, not what was accepted before.
	m.reboot(t, otherLine())
	wantRejected(t, m.attest(t, s, tenant(0)), "measurement/known")
}

// TestAPowerCutIsSeen: the TPM says itself that its clock may have lost time. The laboratory takes that;
// a policy that does not refuses the machine.
//
// neg: 76
func TestAPowerCutIsSeen(t *testing.T) {
	m := newMachine(t, made.first, "power-cut", goldenBoot())
	m.identity(t)
	if err := m.tpm.PowerCut(); err != nil {
		t.Fatal(err)
	}
	if err := m.tpm.Start(); err != nil {
		t.Fatal(err)
	}
	m.boot(t, goldenBoot())
	wantFact(t, wantAccepted(t, m.attest(t, laboratory(t), tenant(0))), "clock_safe", false)

	builtin, err := appraisal.Builtin(appraisal.Laboratory)
	if err != nil {
		t.Fatal(err)
	}
	const rule = "clock-safe: any"
	text := string(builtin.Document())
	if !strings.Contains(text, rule) {
		t.Fatalf("the laboratory's policy has no %q", rule)
	}
	strict := filepath.Join(m.folder, "strict.yaml")
	write(t, strict, []byte(strings.Replace(text, rule, "clock-safe: {want: true, otherwise: reject}", 1)))
	s := serve(t, serverConfig{policy: strict, insecure: true, references: [][]byte{goldenValues(t)}})
	wantRejected(t, m.attest(t, s, tenant(0)), "tpm/clock-safe")
}

// TestATPMThatWentBackIsRefused restores the state that a TPM had before it was last accepted.
//
// neg: 76
func TestATPMThatWentBackIsRefused(t *testing.T) {
	s := laboratory(t)
	m := newMachine(t, made.first, "went-back", goldenBoot())
	wantAccepted(t, m.attest(t, s, tenant(0)))
	if err := m.tpm.Stop(); err != nil {
		t.Fatal(err)
	}
	past, err := m.tpm.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.tpm.Start(); err != nil {
		t.Fatal(err)
	}
	m.reboot(t, goldenBoot())
	wantAccepted(t, m.attest(t, s, tenant(0)))
	if err := m.tpm.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := m.tpm.Restore(past); err != nil {
		t.Fatal(err)
	}
	if err := m.tpm.Start(); err != nil {
		t.Fatal(err)
	}
	m.boot(t, goldenBoot())
	wantRejected(t, m.attest(t, s, tenant(0)), "tpm/clock-order")
}

// TestACloneOfATPMIsRefused runs two TPMs with one state. Whichever is behind has gone back.
func TestACloneOfATPMIsRefused(t *testing.T) {
	s := laboratory(t)
	m := newMachine(t, made.first, "original", goldenBoot())
	m.identity(t) // makes the attestation key persist
	if err := m.tpm.Stop(); err != nil {
		t.Fatal(err)
	}
	clone, err := m.tpm.Clone("copy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = clone.Close() })
	if err := m.tpm.Start(); err != nil {
		t.Fatal(err)
	}
	m.boot(t, goldenBoot())
	time.Sleep(100 * time.Millisecond) // the clock counts milliseconds of being on
	wantAccepted(t, m.attest(t, s, tenant(0)))
	wantRejected(t, started(t, clone, goldenBoot()).attest(t, s, tenant(0)), "tpm/clock-order")
	wantAccepted(t, m.attest(t, s, tenant(0)))
}
