package service_test

import (
	"context"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/result"
	"github.com/attestd/attestd/internal/subject"
)

// unnamed is a verdict of a session: accepted, about the machine, and of no subject.
func (g *givers) unnamed() attestd.Appraisal {
	given := g.given()
	given.Freshness = attestd.FreshnessNonce
	given.Standing = &attestd.Standing{Ownership: "none", Risk: given.Risk}
	return given
}

// machine is the subject that the instance of the verdict names.
func (g *givers) machine() subject.ID {
	id, err := subject.AgentID("example.org", attestd.FormatNitro,
		attestd.Handle{Kind: attestd.HandleInstance, Value: "i-1"})
	if err != nil {
		g.Fatal(err)
	}
	return id
}

// TestAResultThatNamesNobodyIsCountedAgainstTheMachine: the acknowledgement of a quarantine says how many
// results are in force. Those of sessions say of the same machine that it is good.
func TestAResultThatNamesNobodyIsCountedAgainstTheMachine(t *testing.T) {
	for name, known := range map[string]bool{"a machine that is known": true, "one that is not": false} {
		t.Run(name, func(t *testing.T) {
			g := newGivers(t)
			if known {
				g.publish(func(s *subject.Subject) { s.ID = g.machine() })
			}
			if _, err := g.sign(g.unnamed()); err != nil {
				t.Fatal(err)
			}
			n, until := g.index.Outstanding(g.machine(), g.now)
			if n != 1 || until.Before(g.now.Add(5*time.Minute)) {
				t.Errorf("%d grants until %s are counted", n, until)
			}
			rejected := g.unnamed()
			rejected.Verdict = attestd.VerdictRejected
			if _, err := g.sign(rejected); err != nil {
				t.Fatal(err)
			}
			if n, _ := g.index.Outstanding(g.machine(), g.now); n != 1 {
				t.Errorf("a rejection counts: %d grants", n)
			}
			g.index.Hold([]subject.Bar{barOf(g.machine().Key(), attestd.StateQuarantined)})
			token, err := g.sign(g.unnamed())
			demandRefused(t, token, err, attestd.ClassQuarantined)
		})
	}
}

func TestAResultThatNamesNobodySaysWhatIsKnownAgainstTheMachine(t *testing.T) {
	g := newGivers(t)
	g.publish(func(s *subject.Subject) {
		s.ID, s.State, s.Floor = g.machine(), attestd.StateSuspect, attestd.Risk(55)
	})
	if _, err := g.sign(g.unnamed()); err != nil {
		t.Fatal(err)
	}
	said := g.last()
	if got := result.StatusOf(said.Appraisal, said.State); got != result.Warning || said.State != attestd.StateSuspect {
		t.Errorf("status %s, state %s", got, said.State)
	}
	if said.Appraisal.Standing.Subject != "" {
		t.Errorf("it names %s", said.Appraisal.Standing.Subject)
	}
}

// TestAHoldOfTheNameAloneComesWhileTheSignerIsSlow: it lies on no handle that the verdict has.
func TestAHoldOfTheNameAloneComesWhileTheSignerIsSlow(t *testing.T) {
	g := newGivers(t)
	g.signing = func(context.Context, result.Statement) (string, error) {
		g.index.Hold([]subject.Bar{barOf(g.machine().Key(), attestd.StateQuarantined)})
		return "token", nil
	}
	token, err := g.sign(g.unnamed())
	demandRefused(t, token, err, attestd.ClassQuarantined)
}
