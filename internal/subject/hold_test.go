package subject_test

import (
	"errors"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// TestAccompliceCannotTakeOverAHold: a second quarantine makes nobody forget who laid the first, and
// whoever joins cannot release either.
func TestAccompliceCannotTakeOverAHold(t *testing.T) {
	m := newMachine(t)
	m.draw("unknown -accepted-> trusted -quarantine-> quarantined")
	m.lay(attestd.StateQuarantined, "carl")
	m.draw("quarantined -reborn-> quarantined")
	for _, name := range []string{"anna", "ANNA", "carl"} {
		var caller *attestd.CallerError
		if err := m.lift(name, ""); !errors.As(err, &caller) || caller.Class != attestd.ClassForbidden {
			t.Errorf("%s releases: %v", name, err)
		}
	}
	if err := m.lift("ben", ""); err != nil {
		t.Error(err)
	}
}

// TestPersonsGroundsTakeThePlaceOfAutomaticOnes and the bar stays as strong as it was.
func TestPersonsGroundsTakeThePlaceOfAutomaticOnes(t *testing.T) {
	m := newMachine(t)
	m.draw("unknown -accepted-> trusted")
	m.carryOut(subject.Lay(attestd.StateQuarantined, m.keys(), "blue", m.subjects(), nil, subject.Act{
		By: subject.SourceSelf, Automatic: true, Code: subject.CodeClone, At: m.now,
	}))
	if m.lay(attestd.StateQuarantined, "anna"); m.bars[0].Automatic || m.bars[0].Code != subject.CodeOperator {
		t.Errorf("bar %+v", m.bars[0])
	}
	m.lay(attestd.StateRevoked, "anna")
	m.lay(attestd.StateQuarantined, "ben")
	for _, bar := range m.bars {
		if bar.State != attestd.StateRevoked {
			t.Errorf("%s became %s", bar.Key, bar.State)
		}
	}
}

// TestReleaseLeavesOtherHolds: what another bar holds stays held.
func TestReleaseLeavesOtherHolds(t *testing.T) {
	m := newMachine(t)
	m.draw("unknown -accepted-> trusted")
	m.row.Host = "chip"
	m.lay(attestd.StateQuarantined, "anna")
	m.bars = append(m.bars, subject.Bar{
		Key: subject.Key{Kind: "host", Value: "chip"}, State: attestd.StateQuarantined, Tenant: "*", By: "carl",
	})
	if err := m.lift("ben", "CHG-1"); err != nil {
		t.Fatal(err)
	}
	if len(m.bars) != 1 || m.state() != attestd.StateQuarantined {
		t.Errorf("%d bars, %s; want that of the host, and quarantined", len(m.bars), m.state())
	}
}

// TestHostBarsAreOfAllTenants and of no single boot.
func TestHostBarsAreOfAllTenants(t *testing.T) {
	m := newMachine(t)
	m.draw("unknown -accepted-> trusted")
	key := subject.Key{Kind: "host", Value: "chip"}
	m.carryOut(subject.Lay(attestd.StateQuarantined, []subject.Key{key}, "blue", m.subjects(), nil,
		subject.Act{By: "anna", At: m.now}))
	if bar := m.bars[0]; bar.Tenant != subject.Shared || bar.Boot != "" || bar.Subject != "" {
		t.Errorf("bar %+v", bar)
	}
}

// TestRevokedHardwareIsNotReleased: also where no subject is known that says so.
func TestRevokedHardwareIsNotReleased(t *testing.T) {
	key := subject.Key{Kind: "instance", Value: instance}
	bars := []subject.Bar{{Key: key, State: attestd.StateRevoked, Tenant: "*", By: "anna"}}
	_, err := subject.Lift([]subject.Key{key}, nil, bars, subject.Release{
		Act: subject.Act{By: "ben", At: start}, Reimaged: "CHG-1",
	})
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != attestd.ClassConflict {
		t.Errorf("%v", err)
	}
}
