package spiretest_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/spiretest/asked"
	"github.com/attestd/attestd/testvectors/forge"
)

// kills is how often each kind of part is killed in each of its tests; ATTESTD_KILLS says another
// number for long runs.
func kills(t *testing.T) int { return fromEnvironment(t, "ATTESTD_KILLS", 20) }

// victim is what a round kills: attestd, or the child of a plugin's supervisor.
type victim struct {
	name string
	kill func(t *testing.T, s siege, round int) (what string)
}

func attestdItself(t *testing.T, s siege, _ int) string {
	t.Helper()
	s.good.house.daemon.kill()
	s.good.house.daemon.run(t)
	return "attestd"
}

// aChild kills one of the plugins after the other.
func aChild(plugins ...string) func(*testing.T, siege, int) string {
	return func(t *testing.T, s siege, round int) string {
		t.Helper()
		command, parent := plugins[round%len(plugins)], s.good.agent.process
		if command == "composer" || command == "nodeattestor-server" {
			parent = s.good.house.spire.process
		}
		killChild(t, parent, command)
		return command
	}
}

// siege is a node that evidence speaks for, two that must never have an identity, and a maker of
// simulated ones.
type siege struct {
	good, held, stranger *node
	ca                   *forge.TPMCA
}

func besiege(t *testing.T) siege {
	t.Helper()
	s := siege{}
	var err error
	if s.ca, err = forge.NewTPMCA(forge.TPMCAConfig{}); err != nil {
		t.Fatal(err)
	}
	one, err := simulate(s.ca)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root.pem")
	rootFile(t, s.ca, root)
	h := arrange(t, houseConfig{profile: fast})
	h.extend(t, root, forgedValues(t, filepath.Dir(root), root, one))
	h.start(t)
	s.good = h.ownedNode(t, "first", "memory")
	s.held = h.ownedNode(t, "second", "memory")
	s.stranger = h.node(t, newMachine(t, "third", goldenBoot()), "memory")
	s.stranger.workload = s.stranger.agent.workload(t, workloadProgram.file(t))
	h.spire.cached(t)
	s.good.start(t)
	s.held.start(t)
	s.held.quarantined(t)
	return s
}

// assault has both of the others try, and wants them to have nothing.
func (s siege) assault(t *testing.T) {
	t.Helper()
	for _, n := range []*node{s.held, s.stranger} {
		n.agent.run(t)
		answer := n.workload.ask(t, asked.Question{
			Do: asked.JWT, Audience: "siege", Persist: true, Within: 500 * time.Millisecond,
		})
		if answer.OK {
			t.Fatalf("%s has a JWT-SVID: %v", n.path, answer.Claims)
		}
		n.agent.stop(t)
	}
}

// end wants what is held to be held, and the good node to be as it was: neither SPIRE's server nor its
// agent was started again.
func (s siege) end(t *testing.T) {
	t.Helper()
	s.assault(t)
	h := s.good.house
	if agent := h.spire.spireAgentOf(t, s.stranger.id); agent != nil {
		t.Errorf("SPIRE has an agent that nobody owns: %v", agent)
	}
	h.wantWhy(t, s.held.id, "quarantined")
	if claims := s.good.workload.awaitJWT(t, "at the end").Claims; claims["attested"] != true {
		t.Errorf("at the end a JWT-SVID says %v", claims)
	}
	if !h.spire.running() || !s.good.agent.running() {
		t.Error("SPIRE's server or agent has ended")
	}
}

// TestPartsAreKilledWhileTheyIssue: the SPIRE server and an agent that has its SVID go on without being
// started again, and nobody gets what evidence does not speak for.
//
// neg: 191
func TestPartsAreKilledWhileTheyIssue(t *testing.T) {
	s := besiege(t)
	for _, victim := range []victim{
		{"attestd", attestdItself},
		{"plugins", aChild("composer", "keymanager", "workloadattestor", "nodeattestor-server",
			"nodeattestor-agent")},
	} {
		s.killWhileIssuing(t, victim)
	}
	s.end(t)
}

// killWhileIssuing kills while the good node fetches, and wants it to fetch again soon.
func (s siege) killWhileIssuing(t *testing.T, victim victim) {
	t.Helper()
	var back []time.Duration
	worst := map[string]time.Duration{}
	for round := range kills(t) {
		answered, err := s.good.workload.send(asked.Question{
			Do: asked.JWT, Audience: fmt.Sprint("kill ", round), Within: 10 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(20 * time.Millisecond)) //nolint:gosec // where a kill falls is no secret
		began := time.Now()
		what := victim.kill(t, s, round)
		if answer := <-answered; answer.OK && answer.Claims["attested"] != true {
			t.Fatalf("round %d: a JWT-SVID says %v", round, answer.Claims)
		}
		got := s.good.workload.ask(t, asked.Question{
			Do: asked.JWT, Audience: fmt.Sprint("back ", round), Persist: true, Within: startLimit,
		})
		if !got.OK || got.Claims["attested"] != true {
			t.Fatalf("round %d: no JWT-SVID after the kill: %s, %v", round, got.Error, got.Claims)
		}
		back = append(back, got.At.Sub(began))
		worst[what] = max(worst[what], got.At.Sub(began))
		if round%5 == 4 {
			s.assault(t)
		}
	}
	slices.Sort(back)
	t.Logf("%s, %d kills; the next JWT-SVID after %s in the middle, at most %v", victim.name,
		len(back), back[len(back)/2], worst)
}

// TestPartsAreKilledWhileNodesAttest: what was refused because a part was away is asked again, and is
// given then.
//
// neg: 191
func TestPartsAreKilledWhileNodesAttest(t *testing.T) {
	s := besiege(t)
	roots := x509.NewCertPool()
	document, err := s.good.house.spire.bundle(t.Context())
	if err != nil || !roots.AppendCertsFromPEM(document) {
		t.Fatalf("the trust bundle: %v", err)
	}
	for _, victim := range []victim{
		{"attestd", attestdItself},
		{"plugins of the server", aChild("composer", "nodeattestor-server")},
	} {
		s.killWhileAttesting(t, victim, roots)
	}
	s.end(t)
}

// killWhileAttesting kills while two nodes attest, one of which nobody owns.
func (s siege) killWhileAttesting(t *testing.T, victim victim, roots *x509.CertPool) {
	t.Helper()
	h := s.good.house
	fleet := simulatedFleet(t, s.ca, kills(t))
	h.delivered(t, fleet)
	unowned := simulatedFleet(t, s.ca, 1)[0]
	tries := 0
	for round, one := range fleet {
		done, never := make(chan error, 1), make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), startLimit)
		go func() {
			count, err := one.attested(ctx, h.spire, roots)
			tries += count
			done <- err
		}()
		go func() { never <- unowned.attestOnce(ctx, h.spire, roots) }()
		time.Sleep(rand.N(30 * time.Millisecond)) //nolint:gosec // where a kill falls is no secret
		victim.kill(t, s, round)
		err, other := <-done, <-never
		cancel()
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if other == nil {
			t.Fatalf("round %d: SPIRE has certified an agent that nobody owns", round)
		}
		if round%5 == 4 {
			s.assault(t)
		}
	}
	t.Logf("%s, %d kills, %d tries of as many nodes", victim.name, len(fleet), tries)
	if tries == len(fleet) {
		t.Errorf("no kill of %s met an attestation", victim.name)
	}
}
