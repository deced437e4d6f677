package spiretest_test

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spiretest/asked"
	"github.com/attestd/attestd/plugins/spire/svidext"
)

// What attestd may cost over the same SPIRE without it, in the same run. The long run judges it; others
// beside which this host does more fail beyond twice as much.
const (
	startOver  = 300 * time.Millisecond // to the first JWT-SVID, over a node that shows a token
	fetchTimes = 1.3                    // of a JWT-SVID, over SPIRE's own attestor of workloads
	costLoaded = 2
)

// TestAMeasuredNodeGetsIdentities: SVIDs follow evidence, say what attestd thinks of the node, and are
// taken by those who know SPIFFE alone.
func TestAMeasuredNodeGetsIdentities(t *testing.T) {
	h := open(t, houseConfig{profile: fast})
	for _, row := range []struct {
		tpm, keys, grade string
	}{{"first", "memory", "bound"}, {"second", "tpm", "resident"}} {
		t.Run("keys in "+row.keys, func(t *testing.T) {
			n := h.measuredNode(t, row.tpm, row.keys)
			jwt := n.workload.awaitJWT(t, "shop")
			if jwt.ID != id(n.path) {
				t.Errorf("the JWT-SVID is for %s, want %s", jwt.ID, id(n.path))
			}
			for name, want := range map[string]any{
				"attested": true, "risk_tier": "medium", "tenant": tenant, "tee": "tpm", "key_grade": row.grade,
			} {
				if got := jwt.Claims[name]; got != want {
					t.Errorf("claim %s is %v, want %v", name, got, want)
				}
			}
			subject, err := h.root.Subject(t.Context(), n.id)
			if err != nil {
				t.Fatal(err)
			}
			score, number := jwt.Claims["risk_score"].(float64)
			if !number || int(score) != subject.Risk.Int() || score < 1 || score > 69 {
				t.Errorf("risk_score is %v, and attestd says %d", jwt.Claims["risk_score"], subject.Risk.Int())
			}
			if life := jwt.Expires.Sub(jwt.At); life > time.Minute {
				t.Errorf("the JWT-SVID lives for %s", life)
			}
			said, err := n.agent.command(t, "api", "validate", "jwt", "-audience", "shop", "-svid", jwt.Token)
			if err != nil || !strings.Contains(said, "SVID is valid") {
				t.Errorf("spire-agent says of the JWT-SVID: %s, %v", said, err)
			}
			n.wantX509(t, svidext.Info{
				Attested: true, RiskShown: true, Risk: subject.Risk, Tier: attestd.TierMedium, TEE: "tpm",
				Tenant: tenant, KeyGrade: row.grade,
			})
			if agent := h.spire.spireAgentOf(t, n.id); agent.GetAttestationType() != "attestd" {
				t.Errorf("SPIRE knows the agent as %v", agent)
			}
		})
	}
}

// wantX509 wants one X509-SVID, whose extension says what attestd knows.
func (n *node) wantX509(t *testing.T, want svidext.Info) {
	t.Helper()
	svids := n.workload.awaitX509(t).SVIDs
	if len(svids) != 1 || svids[0].ID != id(n.path) {
		t.Fatalf("the X509-SVIDs are %+v", svids)
	}
	leaf, err := x509.ParseCertificate(svids[0].Certificates[0])
	if err != nil {
		t.Fatal(err)
	}
	got, found, err := svidext.Of(leaf, svidext.DefaultOID)
	if err != nil || !found {
		t.Fatalf("the extension: found %v, %v", found, err)
	}
	if got.AttestedAt.IsZero() || time.Since(got.AttestedAt) > time.Minute {
		t.Errorf("the evidence is of %s", got.AttestedAt)
	}
	want.AttestedAt, want.Status, want.Measurement = got.AttestedAt, got.Status, got.Measurement
	if got != want {
		t.Errorf("the extension says %+v, want %+v", got, want)
	}
}

// TestWhatAttestdCosts compares the time to the first JWT-SVID, and that of a fetch, with those of the
// same SPIRE without attestd in the same run.
func TestWhatAttestdCosts(t *testing.T) {
	const again, fetches = 2, 60 // three new keys of one node within a minute would be a clone's
	h := open(t, houseConfig{profile: fast})
	server := serve(t, serverConfig{profile: fast})
	var without, with []time.Duration
	var n *node
	var other *plain
	for _, like := range []string{"first", "second", "third"} {
		if n = h.ownedNode(t, like, "memory"); other != nil {
			other.agent.stop(t)
		}
		for start := range again + 1 {
			if start > 0 {
				n.agent.stop(t)
				other.agent.stop(t)
			}
			with = append(with, n.start(t))
			other = plainNode(t, server)
			without = append(without, other.start)
		}
		if like != "third" {
			n.agent.stop(t)
		}
	}
	slices.Sort(with)
	slices.Sort(without)
	over := with[len(with)/2] - without[len(with)/2]
	t.Logf("agent start to the first JWT-SVID, median of %d: %s, without attestd %s: %s over",
		len(with), with[len(with)/2], without[len(with)/2], over)
	if over > costLoaded*startOver {
		t.Errorf("the first JWT-SVID comes %s later than without attestd, want at most %s", over, startOver)
	}
	// In turns, so that what else this host does falls on both.
	var mine, theirs []time.Duration
	for range fetches / 10 {
		mine = append(mine, n.workload.fetches(t, 10)...)
		theirs = append(theirs, other.workload.fetches(t, 10)...)
	}
	slices.Sort(mine)
	slices.Sort(theirs)
	times := float64(mine[fetches/2]) / float64(theirs[fetches/2])
	t.Logf("a JWT-SVID, median of %d: %s, without attestd %s: %.2f times", fetches, mine[fetches/2],
		theirs[fetches/2], times)
	if times-1 > costLoaded*(fetchTimes-1) {
		t.Errorf("a JWT-SVID takes %.2f times as long as without attestd, want at most %.1f", times, fetchTimes)
	}
}

// TestAnotherProgramGetsNothing: the same user on the same node, and another executable.
func TestAnotherProgramGetsNothing(t *testing.T) {
	h := open(t, houseConfig{profile: fast})
	n := h.measuredNode(t, "first", "memory")
	other := n.agent.workload(t, another(t))
	answer := other.ask(t, asked.Question{Do: asked.JWT, Audience: "shop"})
	if answer.OK || answer.Code != "PermissionDenied" {
		t.Errorf("a program without a name is answered %+v", answer)
	}
}
