package issuance_test

import (
	"crypto/ed25519"
	"encoding/json"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

func TestASnapshotSaysWhatHolds(t *testing.T) {
	var public ed25519.PublicKey
	w := newWorld(t, func(c *issuance.Config) {
		public, _ = c.SnapshotKey.Public().(ed25519.PublicKey)
	})
	w.publish(nil, 1)
	read := func(signed wire.Signed, err error) (out wire.Snapshot) {
		t.Helper()
		must(t, err)
		if !ed25519.Verify(public, append([]byte("attestd snapshot v1\n"), signed.Payload...), signed.Signature) {
			t.Fatal("the signature is not over label and payload")
		}
		if ed25519.Verify(public, signed.Payload, signed.Signature) {
			t.Fatal("the signature is over the payload alone")
		}
		must(t, json.Unmarshal(signed.Payload, &out))
		return out
	}
	id := node(1).ID
	got := read(w.office.Snapshot(id))
	if got.AgentID != string(id) || !got.Admitted || got.State != attestd.StateTrusted ||
		got.Tier != attestd.TierLow || got.Risk != attestd.Risk(20) || got.Tenant != "blue" ||
		got.Workloads["aa"] != "blue-web" || !got.IssuedAt.Equal(start) ||
		!got.ExpiresAt.Equal(start.Add(10*time.Second)) {
		t.Errorf("got %+v", got)
	}
	if got = read(w.office.SnapshotSince(id, "1")); got.Workloads != nil || got.WorkloadsRevision != "1" {
		t.Errorf("got %+v for a node that has the names", got)
	}
	if got = read(w.office.SnapshotSince(id, "0")); got.Workloads == nil {
		t.Error("a node with older names is given none")
	}
	version := w.office.Version(id)
	w.publish(nil, 2)
	if w.office.Version(id) != version {
		t.Error("another node's change is one of this node's")
	}
	changed := w.office.Changed()
	w.hold(id)
	if !closed(changed) || w.office.Version(id) == version {
		t.Error("nobody is told of a hold")
	}
	got = read(w.office.Snapshot(id))
	if got.Admitted || got.State != attestd.StateQuarantined || got.Workloads != nil || got.WorkloadsRevision != "" {
		t.Errorf("got %+v of a node that is held", got)
	}
	got = read(w.office.Snapshot(node(7).ID))
	if got.Admitted || got.State != attestd.StateUnknown || got.Risk.Int() != 100 {
		t.Errorf("got %+v of a node that was never seen", got)
	}
	for _, id := range []subject.ID{workload, "spiffe://example.org/spire/agent/join_token/1", ""} {
		if _, err := w.office.Snapshot(id); err == nil {
			t.Errorf("%q is no agent of attestd's, and gets a snapshot", id)
		}
	}
	empty := newWorld(t, func(c *issuance.Config) { c.Index = live.New() })
	_, err := empty.office.Snapshot(id)
	empty.undecided(err)
}

func TestTheGateLetsGoodAgentsPassAndNobodyElse(t *testing.T) {
	const foreign = "spiffe://example.org/spire/agent/join_token/7"
	for mode, passes := range map[string]bool{issuance.Observe: true, issuance.Deny: false} {
		w := newWorld(t, func(c *issuance.Config) { c.Unattested = mode })
		w.publish(nil, 1, 2)
		w.publish(func(s *subject.Subject) { s.DueAt = start }, 3)
		w.hold(node(2).ID)
		for id, want := range map[string]bool{
			string(node(1).ID): true, string(node(2).ID): false, string(node(3).ID): false,
			string(node(4).ID): false, foreign: passes, workload: false, "": false,
			"spiffe://example.org/spire/server": false, "spiffe://example.net/spire/agent/join_token/7": false,
		} {
			if got := w.office.Allow(id); got != want {
				t.Errorf("%s: %q passes: %t, want %t", mode, id, got, want)
			}
		}
		w.hold(foreign)
		if w.office.Allow(foreign) {
			t.Error("a held agent of another attestor passes")
		}
	}
	w := newWorld(t, func(c *issuance.Config) { c.Index, c.Unattested = live.New(), issuance.Observe })
	if w.office.Allow(foreign) || w.office.Allow(string(node(1).ID)) {
		t.Error("somebody passes before anything is known")
	}
}
