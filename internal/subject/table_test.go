package subject_test

import (
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// TestDrawings draws how subjects go from state to state. neg: 182
func TestDrawings(t *testing.T) {
	rows := map[string]string{
		"a life": "" +
			"unknown -accepted-> trusted -overdue-> suspect -accepted-> trusted -quarantine-> " +
			"quarantined -accepted-> quarantined -reborn-> quarantined -release-> suspect -accepted-> trusted",
		"what is not proven moves nobody": "unknown -accepted-> trusted -unproven-> trusted",
		"what could not be decided moves nobody": "" +
			"unknown -undecided-> unknown -accepted-> trusted -undecided-> trusted",
		"another tenant's policy moves nobody here": "" +
			"unknown -elsewhere-> unknown -accepted-> trusted -elsewhere-> trusted",
		"a rejection takes trust away at once": "" +
			"unknown -accepted-> trusted -rejected-> suspect -accepted-> trusted",
		"what was never accepted stays unknown": "" +
			"unknown -rejected-> unknown -rejected-> unknown -accepted-> trusted",
		"nobody's machine is not trusted": "" +
			"unknown -disowned-> unknown -accepted-> trusted -disowned-> suspect " +
			"-accepted-> trusted",
		"being late is not yet being suspect": "" +
			"unknown -accepted-> trusted -late-> trusted -accepted-> trusted",
		"a late one with a risk already is": "unknown -risky-> trusted -late-> suspect",
		"judging again takes trust away": "" +
			"unknown -accepted-> trusted -reappraised-> suspect -accepted-> trusted",
		"judging again never gives it": "" +
			"unknown -accepted-> trusted -reappraised-> suspect -forgiven-> suspect " +
			"-accepted-> trusted",
		"fresh evidence releases nobody": "" +
			"unknown -accepted-> trusted -quarantine-> quarantined -accepted-> quarantined " +
			"-release!-> quarantined",
		"a reboot that nobody saw is no rebirth": "" +
			"unknown -accepted-> trusted -quarantine-> quarantined -reboot-> quarantined " +
			"-release!-> quarantined",
		"rejected evidence shows no rebirth": "" +
			"unknown -accepted-> trusted -quarantine-> quarantined -reboot-> quarantined " +
			"-rejected-> quarantined -release!-> quarantined",
		"who quarantined does not release": "" +
			"unknown -accepted-> trusted -quarantine-> quarantined -reborn-> quarantined " +
			"-self-release!-> quarantined",
		"a ticket of a re-image stands for a rebirth, once": "" +
			"unknown -accepted-> trusted -quarantine-> quarantined -re-image-> suspect " +
			"-accepted-> trusted -quarantine-> quarantined -re-image!-> quarantined",
		"a release that is played again needs a rebirth again": "" +
			"unknown -accepted-> trusted -quarantine-> quarantined -reborn-> quarantined " +
			"-release-> suspect -accepted-> trusted -quarantine-> quarantined -release!-> quarantined",
		"a second quarantine counts from its own time": "" +
			"unknown -accepted-> trusted -quarantine-> quarantined -reborn-> quarantined " +
			"-quarantine-> quarantined -release!-> quarantined -reborn-> quarantined -release-> suspect",
		"a name can be held before it is seen": "" +
			"unknown -quarantine-> quarantined -accepted-> quarantined -release!-> " +
			"quarantined -re-image-> suspect -accepted-> trusted",
		"revoked is for ever": "" +
			"unknown -accepted-> trusted -revoke-> revoked -accepted-> revoked -reborn-> revoked " +
			"-release!-> revoked -re-image!-> revoked -quarantine-> revoked -rejected-> revoked",
		"revoking makes a quarantine final": "" +
			"unknown -accepted-> trusted -quarantine-> quarantined -revoke-> revoked " +
			"-re-image!-> revoked",
		"what is not held is not released": "" +
			"unknown -accepted-> trusted -release!-> trusted -re-image!-> trusted",
		"a copy is suspect at once": "" +
			"unknown -accepted-> trusted -reborn-> trusted -copy-> suspect -accepted-> " +
			"suspect",
	}
	for name, drawing := range rows {
		t.Run(name, func(t *testing.T) { newMachine(t).draw(drawing) })
	}
}

// TestHoldsDoNotEndByThemselves walks a hold through the moments at which something could expire: the
// deadline, the end of signals and of the ownership, a year, each exactly and one nanosecond beside.
// neg: 182
func TestHoldsDoNotEndByThemselves(t *testing.T) {
	m := newMachine(t)
	m.draw("unknown -accepted-> trusted -quarantine-> quarantined")
	laid := m.now
	for _, after := range []time.Duration{
		time.Hour, 90 * time.Minute, 24 * time.Hour, 365 * 24 * time.Hour,
	} {
		for _, beside := range []time.Duration{-1, 0, 1} {
			at := laid.Add(after + beside)
			if _, follows := subject.Late(*m.row, at, 0, rules); follows {
				t.Errorf("a deadline moves a held subject at %s", at)
			}
			if write, follows := subject.Ended(*m.row, at); follows {
				t.Errorf("ended signals move a held subject: %+v", write)
			}
			seen := m.seen()
			seen.At = at
			if got := m.observe(seen); got.Barred == nil || m.state() != attestd.StateQuarantined {
				t.Errorf("at %s: %s, want quarantined and barred", at, m.state())
			}
		}
	}
}

// TestHeldUnderEveryName: neither another name nor another spelling gets the machine past a hold.
// neg: 182
func TestHeldUnderEveryName(t *testing.T) {
	m := newMachine(t)
	m.draw("unknown -accepted-> trusted -quarantine-> quarantined")
	rows := map[string]func(*subject.Observation){
		"another name on the same instance": func(o *subject.Observation) { o.ID = "spiffe://example.org/other" },
		"the name in another case": func(o *subject.Observation) {
			o.ID, o.Instance.Value = "spiffe://example.org/SPIRE/agent/attestd/tpm/MACHINE", "ek:other"
		},
		"another format of evidence": func(o *subject.Observation) { o.Format = attestd.FormatNitroTPM },
		"another tenant's claim on it": func(o *subject.Observation) {
			o.Tenant, o.Owner.Tenant = "red", "red"
		},
		"after its row was deleted": func(*subject.Observation) { m.row = nil },
	}
	for name, change := range rows {
		t.Run(name, func(t *testing.T) {
			row := m.row
			defer func() { m.row = row }()
			seen := m.seen()
			change(&seen)
			known := subject.Known{Subject: m.row, Bars: m.bars}
			got := subject.React(known, seen, rules)
			if got.Barred == nil {
				t.Fatal("is not barred")
			}
			for _, one := range got.Write.Subjects {
				if one.Next.State == attestd.StateTrusted || one.Next.State == attestd.StateSuspect {
					t.Errorf("becomes %s", one.Next.State)
				}
			}
		})
	}
}

// TestTableIsWhole: every state and move has a row or is refused, and a refusal grants nothing.
func TestTableIsWhole(t *testing.T) {
	missing := map[string]bool{
		"unknown wavering": true, "unknown overdue": true, "unknown release": true,
		"trusted wavering": true, "trusted release": true, "suspect release": true,
		"revoked release": true,
	}
	for state := attestd.StateUnknown; state <= attestd.StateRevoked; state++ {
		for _, move := range subject.Moves() {
			to, found := subject.Next(state, move)
			name := state.String() + " " + string(move)
			if found == missing[name] {
				t.Errorf("%s: in the table %v, want %v", name, found, !missing[name])
			}
			if !found && to.Grants() {
				t.Errorf("%s: a move that is not there grants", name)
			}
			if to == attestd.StateTrusted && move != subject.MoveAccepted {
				t.Errorf("%s leads to trusted: only accepted evidence does", name)
			}
			held := subject.Barred(state)
			if held && !subject.Barred(to) && move != subject.MoveRelease && found {
				t.Errorf("%s leads out of a hold", name)
			}
		}
	}
	if len(subject.Transitions()) != 5*len(subject.Moves())-len(missing) {
		t.Errorf("%d rows", len(subject.Transitions()))
	}
}
