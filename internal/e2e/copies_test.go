package e2e_test

import (
	"fmt"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/subject"
)

// TestACopyHoldsBoth: the state of a TPM was copied, and both run. Which of them is ours nobody can
// say: attestd holds the name by itself, and with it both.
func TestACopyHoldsBoth(t *testing.T) {
	h := household(t)
	m := newMachine(t, made.first, "twin-a", goldenBoot())
	id := h.enrolled(t, m, tenant(0))
	if err := m.tpm.Stop(); err != nil {
		t.Fatal(err)
	}
	copied, err := m.tpm.Clone("twin-b")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = copied.Close() })
	if err := m.tpm.Start(); err != nil {
		t.Fatal(err)
	}
	m.boot(t, goldenBoot())
	twin := started(t, copied, goldenBoot())
	m.reboot(t, goldenBoot())
	m.trusted(t, h.server, tenant(0))
	takingTurns(t, h, m, twin)
	one := h.root.wantState(t, id, attestd.StateQuarantined)
	if len(one.Bars) == 0 || one.Bars[0].Code != subject.CodeClone || !one.Bars[0].Automatic {
		t.Errorf("it is held by %+v", one.Bars)
	}
	m.submit(t, h.server, tenant(0), "").barred(t, attestd.ClassQuarantined, "clone")
	twin.submit(t, h.server, tenant(0), "").barred(t, attestd.ClassQuarantined, "clone")
	h.ungranted(t, id, attestd.ClassQuarantined, "quarantined")

	// A release in good faith while the copy runs on: it is seen again.
	order := wire.Order{Target: id, Reason: "re-imaged", Reimaged: "OPS-212"}
	if _, err := h.root.Release(t.Context(), order); err != nil {
		t.Fatal(err)
	}
	takingTurns(t, h, m, twin)
	h.root.wantState(t, id, attestd.StateQuarantined)
}

// takingTurns has two machines of one state attest in turns. Which boot counts and which clock of the
// two is ahead is chance: one exchange may look like a machine that was restored.
func takingTurns(t *testing.T, h *house, one, other *machine) {
	t.Helper()
	for range 3 {
		other.submit(t, h.server, tenant(0), "")
		one.submit(t, h.server, tenant(0), "")
	}
}

// TestThreeKeysAMinuteAreTooMany: keys change with a boot, and no machine boots three times a minute
// and attests each time. Whoever signs with new keys so fast has no machine, or not one alone.
func TestThreeKeysAMinuteAreTooMany(t *testing.T) {
	h := household(t, "automation: {codes: [clone, key-churn]}")
	m := newMachine(t, made.first, "churn", goldenBoot())
	id := h.enrolled(t, m, tenant(0))
	for number := range 3 {
		h.root.wantState(t, id, attestd.StateTrusted)
		asked := h.ask(t, tenant(0), m.identity(t))
		key, err := m.device.Key(t.Context(), fmt.Sprintf("key-%d", number))
		if err != nil {
			t.Fatal(err)
		}
		asked.judge(t, m.collect(t, asked, key.SPKI(), key), m.activate(t, asked), key.SPKI())
	}
	one := h.root.wantState(t, id, attestd.StateQuarantined)
	if len(one.Bars) == 0 || one.Bars[0].Code != subject.CodeKeyChurn || !one.Bars[0].Automatic {
		t.Errorf("it is held by %+v", one.Bars)
	}
	m.submit(t, h.server, tenant(0), "").barred(t, attestd.ClassQuarantined, "key")
}
