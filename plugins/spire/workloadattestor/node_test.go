package workloadattestor_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/workloadattestor"
)

// heard is a node that was enlisted by an authority, and what it is told.
type heard struct {
	*authority
	*movable
	node *workloadattestor.Node
}

func newHeard(t testing.TB) *heard {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	h := &heard{authority: &authority{snapshot: key}, movable: &movable{}}
	h.node = workloadattestor.NewNode(h.clock())
	h.node.Enlist(wire.Enlist{AgentID: agentID, SnapshotKey: key.Public().(ed25519.PublicKey)})
	return h
}

// say tells the node a snapshot that was issued now, over a connection that began now.
func (h *heard) say(differs func(*wire.Snapshot)) error {
	now := h.clock().Wall()
	snapshot := good(now)
	differs(&snapshot)
	return h.node.Accept(h.sign(snapshot), h.clock().Steady(), now)
}

func (h *heard) gives() bool {
	_, reason := h.node.Why(10*time.Second, hashA)
	return reason == ""
}

func TestOnlyASnapshotOfThisNodeThatAttestdSignedIsTaken(t *testing.T) {
	rows := []struct {
		name    string
		change  func(*heard, *wire.Signed)
		differs func(*wire.Snapshot)
		want    string
	}{
		{"without a signature", func(_ *heard, s *wire.Signed) { s.Signature = nil }, nil, "no signature"},
		{"signed by another key", func(h *heard, s *wire.Signed) {
			_, key, _ := ed25519.GenerateKey(rand.Reader)
			s.Signature = ed25519.Sign(key, append([]byte("attestd snapshot v1\n"), s.Payload...))
		}, nil, "not by the key"},
		{"signed as something else", func(h *heard, s *wire.Signed) {
			s.Signature = ed25519.Sign(h.snapshot, s.Payload)
		}, nil, "not by the key"},
		{"changed on the way", func(_ *heard, s *wire.Signed) {
			s.Payload = bytes.Replace(s.Payload, []byte(`"acme"`), []byte(`"evil"`), 1)
		}, nil, "not by the key"},
		{"of another agent", nil, func(s *wire.Snapshot) { s.AgentID = otherID }, "is about"},
		{"of no agent", nil, func(s *wire.Snapshot) { s.AgentID = "" }, "is about"},
		{"with an unknown key", func(h *heard, s *wire.Signed) {
			*s = h.signRaw(strings.Replace(string(s.Payload), "{", `{"admit":true,`, 1))
		}, nil, "admit"},
		{"with a key twice", func(h *heard, s *wire.Signed) {
			*s = h.signRaw(strings.Replace(string(s.Payload), "{", `{"admitted":false,`, 1))
		}, nil, "admitted"},
		{"with a risk that is text", func(h *heard, s *wire.Signed) { // neg: 148
			*s = h.signRaw(strings.Replace(string(s.Payload), `"risk_score":10`, `"risk_score":"10"`, 1))
		}, nil, "risk"},
		{"with a risk of -1", func(h *heard, s *wire.Signed) { // neg: 148
			*s = h.signRaw(strings.Replace(string(s.Payload), `"risk_score":10`, `"risk_score":-1`, 1))
		}, nil, "risk"},
		{"that is no document", func(h *heard, s *wire.Signed) { *s = h.signRaw("admitted") }, nil, "json"}, // neg: 195
		{"without a time", nil, func(s *wire.Snapshot) { s.IssuedAt, s.ExpiresAt = time.Time{}, time.Time{} }, "no time"},
		{"that ended before it was issued", nil, func(s *wire.Snapshot) { s.ExpiresAt = s.IssuedAt.Add(-1) }, "no time"},
		{"issued long ago", nil, func(s *wire.Snapshot) {
			s.IssuedAt, s.ExpiresAt = s.IssuedAt.Add(-2*time.Minute), s.ExpiresAt.Add(-2*time.Minute)
		}, "clocks"},
		{"issued far in the future", nil, func(s *wire.Snapshot) {
			s.IssuedAt, s.ExpiresAt = s.IssuedAt.Add(2*time.Minute), s.ExpiresAt.Add(2*time.Minute)
		}, "clocks"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			h := newHeard(t)
			now := h.clock().Wall()
			snapshot := good(now)
			if row.differs != nil {
				row.differs(&snapshot)
			}
			signed := h.sign(snapshot)
			if row.change != nil {
				row.change(h, &signed)
			}
			err := h.node.Accept(signed, h.clock().Steady(), now)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want an error with %q", err, row.want)
			}
			if h.gives() {
				t.Error("selectors follow from it")
			}
			must(t, h.say(func(s *wire.Snapshot) { s.IssuedAt = s.IssuedAt.Add(time.Millisecond) }))
			if !h.gives() {
				t.Error("a good one is not taken any more")
			}
		})
	}
	if issuance.SnapshotLabel != "attestd snapshot v1\n" {
		t.Error("attestd signs snapshots as something else")
	}
}

func (a *authority) signRaw(payload string) wire.Signed {
	message := append([]byte("attestd snapshot v1\n"), payload...)
	return wire.Signed{Payload: []byte(payload), Signature: ed25519.Sign(a.snapshot, message)}
}

// TestSelectorsFollowFromAWholeAdmissionAlone: what is missing in a document reads as the worst.
func TestSelectorsFollowFromAWholeAdmissionAlone(t *testing.T) {
	rows := map[string]func(*wire.Snapshot){
		"not admitted":               func(s *wire.Snapshot) { s.Admitted = false },
		"admitted, and suspect":      func(s *wire.Snapshot) { s.State = attestd.StateSuspect },
		"admitted, and quarantined":  func(s *wire.Snapshot) { s.State = attestd.StateQuarantined },
		"admitted, and revoked":      func(s *wire.Snapshot) { s.State = attestd.StateRevoked },
		"admitted, without a state":  func(s *wire.Snapshot) { s.State = attestd.StateUnknown },
		"admitted, and tier high":    func(s *wire.Snapshot) { s.Tier = attestd.TierHigh },
		"admitted, without a tier":   func(s *wire.Snapshot) { s.Tier = attestd.TierUnknown },
		"admitted, without a score":  func(s *wire.Snapshot) { s.Risk = attestd.RiskScore{} }, // neg: 148
		"admitted, at a score of 70": func(s *wire.Snapshot) { s.Risk = attestd.Risk(70) },
		"admitted, without a tenant": func(s *wire.Snapshot) { s.Tenant = "" },
	}
	for name, differs := range rows {
		t.Run(name, func(t *testing.T) {
			h := newHeard(t)
			must(t, h.say(differs))
			if given, reason := h.node.Why(10*time.Second, hashA); reason == "" || len(given) != 0 {
				t.Errorf("got %q", given)
			}
		})
	}
	h := newHeard(t)
	if h.gives() {
		t.Error("selectors before anything was said")
	}
	must(t, h.say(func(s *wire.Snapshot) {
		s.Tenant, s.Workloads = "acme\ntier:low", map[string]string{hashA: "a:b"} // neg: 199
	}))
	given, reason := h.node.Why(10*time.Second, hashA)
	want := []string{"admitted:yes", "state:trusted", "tier:low", "tenant:acme%0Atier%3Alow",
		"sha256:" + hashA, "workload:a%3Ab"}
	if reason != "" || !slices.Equal(given, want) {
		t.Errorf("got %q, %q, want %q", given, reason, want)
	}
	// A digest that could not be taken has no name, whatever the names are.
	must(t, h.say(func(s *wire.Snapshot) { s.Workloads = map[string]string{"": "everything"} }))
	if given, _ := h.node.Why(10*time.Second, ""); len(given) != 4 {
		t.Errorf("without a digest: got %q", given)
	}
}

func TestAnOlderSnapshotIsNeverTakenAgain(t *testing.T) {
	h := newHeard(t)
	old := h.sign(good(h.clock().Wall()))
	asked, now := h.clock().Steady(), h.clock().Wall()
	must(t, h.node.Accept(old, asked, now))
	h.pass(time.Second)
	must(t, h.say(func(s *wire.Snapshot) { s.Admitted = false }))
	for name, signed := range map[string]wire.Signed{
		"the one from before the quarantine": old,
		"one of the same time as the last":   h.sign(good(h.clock().Wall().Add(-time.Second))),
	} {
		if err := h.node.Accept(signed, h.clock().Steady(), h.clock().Wall()); err == nil ||
			!strings.Contains(err.Error(), "not after the one before") {
			t.Errorf("%s: got %v", name, err)
		}
		if h.gives() {
			t.Errorf("%s admits the node again", name)
		}
	}
	// A new enlistment of the same node starts nothing anew.
	h.node.Enlist(wire.Enlist{AgentID: agentID, SnapshotKey: h.snapshot.Public().(ed25519.PublicKey)})
	if err := h.node.Accept(old, h.clock().Steady(), h.clock().Wall()); err == nil || h.gives() {
		t.Errorf("after a new enlistment: got %v", err)
	}
}

// TestWhatIsHeldUpOnItsWayIsOld: somebody on the way to attestd cannot read or change what is said, but
// can hold it up, a little more each time, so that no gap is ever longer than the bound.
func TestWhatIsHeldUpOnItsWayIsOld(t *testing.T) {
	h := newHeard(t)
	clock := h.clock()
	asked, now := clock.Steady(), clock.Wall()
	snapshot := good(now)
	delay := time.Duration(0)
	given := true
	for range 10 {
		h.pass(5 * time.Second)
		delay += 3 * time.Second // issued two seconds after the last, and three seconds more under way
		snapshot.IssuedAt = clock.Wall().Add(-delay)
		snapshot.ExpiresAt = snapshot.IssuedAt.Add(10 * time.Second)
		must(t, h.node.Accept(h.sign(snapshot), asked, now))
		if given = h.gives(); given && delay > 10*time.Second {
			t.Fatalf("selectors by a snapshot that was under way for %s", delay)
		}
	}
	if given {
		t.Fatal("the delay made no difference")
	}
	// A clock of attestd's that jumps ahead makes nothing younger than its arrival.
	h = newHeard(t)
	ahead := good(h.clock().Wall().Add(30 * time.Second))
	must(t, h.node.Accept(h.sign(ahead), h.clock().Steady(), h.clock().Wall()))
	h.steady.Add(int64(10 * time.Second))
	if h.gives() {
		t.Error("a snapshot from the future outlives the bound")
	}
}

func TestASnapshotEndsByItsOwnTimeOrByTheBound(t *testing.T) {
	h := newHeard(t)
	must(t, h.say(func(s *wire.Snapshot) { s.ExpiresAt = s.IssuedAt.Add(4 * time.Second) }))
	h.steady.Add(int64(3900 * time.Millisecond))
	if !h.gives() {
		t.Error("nothing is given before it ends")
	}
	h.steady.Add(int64(200 * time.Millisecond))
	if h.gives() {
		t.Error("selectors after it ended")
	}
}

func TestNamesAreKeptForTheirRevision(t *testing.T) {
	h := newHeard(t)
	has := func(want bool) {
		t.Helper()
		given, _ := h.node.Why(10*time.Second, hashA)
		if slices.Contains(given, "workload:api") != want {
			t.Errorf("got %q, want a name: %t", given, want)
		}
		h.pass(time.Millisecond)
	}
	names := func(revision string, of map[string]string) func(*wire.Snapshot) {
		return func(s *wire.Snapshot) { s.WorkloadsRevision, s.Workloads = revision, of }
	}
	must(t, h.say(names("r1", map[string]string{hashA: "api"})))
	has(true)
	must(t, h.say(names("r1", nil)))
	has(true)
	must(t, h.say(names("r2", nil))) // names that did not come yet: the old ones hold no longer
	has(false)
	must(t, h.say(func(s *wire.Snapshot) { s.Admitted, s.WorkloadsRevision = false, "" }))
	has(false)
	must(t, h.say(names("r1", nil)))
	has(true)
	must(t, h.say(names("r3", map[string]string{hashB: "api", strings.ToUpper("ab") + hashA[2:]: "api"})))
	has(false)
}

// FuzzAccept: whatever attestd's key signs, selectors follow only from an admission that says it whole.
func FuzzAccept(f *testing.F) {
	h := newHeard(f)
	now := h.clock().Wall()
	payload, err := json.Marshal(good(now))
	must(f, err)
	f.Add(payload)
	f.Add([]byte(`{"admitted":true}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		h := newHeard(t)
		err := h.node.Accept(h.signRaw(string(payload)), h.clock().Steady(), now)
		given, reason := h.node.Why(10*time.Second, hashA)
		if (reason == "") != (len(given) > 0) || err != nil && len(given) > 0 {
			t.Fatalf("%v, %q, %q", err, reason, given)
		}
		for _, one := range given {
			if strings.Count(one, ":") != 1 || strings.ContainsAny(one, "\n ") {
				t.Fatalf("a selector reads as another: %q", one)
			}
		}
		if len(given) > 0 && !bytes.Contains(payload, []byte("true")) {
			t.Fatalf("admitted by %q", payload)
		}
	})
}
