package workloadattestor

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/strict"
)

// signatureContext stands before the payload of a snapshot when it is signed, so that nothing else
// that the key signs reads as one.
const signatureContext = "attestd snapshot v1\n"

// maxSkew is how far the clocks of the node and of attestd may differ. It bounds how old a snapshot can
// be that is shown to a plugin which has just started and has seen none. SPIRE itself needs clocks that
// agree better: certificates are valid from 10 s before they are made.
const maxSkew = time.Minute

var snapshotLimits = strict.JSONLimits{Bytes: 2 << 20, Depth: 4}

// Why nothing is given. Each is a sentence for people.
const (
	reasonNotEnlisted = "this node has no certificate of attestd's: it did not attest itself through " +
		"attestd's key manager, or the key manager was started anew since"
	reasonNoSnapshot  = "attestd has not said yet how this node is"
	reasonNotAdmitted = "attestd does not admit this node now"
	reasonUnclear     = "what attestd said about this node contradicts itself"
	reasonOtherNode   = "what attestd said is about another node than the one that is enlisted now"
)

// admission is one snapshot that was verified. It does not change.
type admission struct {
	snapshot wire.Snapshot
	// names are those of the snapshot's revision. They are sent once for a revision, and kept while
	// snapshots name another or none, as those of a node that is not admitted do.
	names        map[string]string
	kept         map[string]string
	keptRevision string
	// issued is when it was issued at the earliest, by the steady clock, and lifetime how long it holds.
	issued, lifetime time.Duration
	// problem is why nothing is given by it, however fresh it is; empty where selectors follow.
	problem string
}

// node is what attestd pushed about the node. The zero node knows nothing.
type node struct {
	clock clock
	// changed is told when selectors begin or cease to be given for another reason than age.
	changed func(before, after *admission)

	accepting sync.Mutex
	enlisted  atomic.Pointer[wire.Enlist]
	current   atomic.Pointer[admission]
}

// enlist says as whom the node is enlisted from now on.
func (n *node) enlist(with wire.Enlist) {
	n.accepting.Lock()
	defer n.accepting.Unlock()
	n.enlisted.Store(&with)
}

// anchor ties attestd's clock to the node's for one connection: when it asked, attestd's clock showed
// at least now when it answered.
type anchor struct {
	asked time.Duration
	now   time.Time
}

// earliest returns when something was issued at the earliest, by the steady clock: asked, and what
// passed on attestd's clock since it answered. Who holds a snapshot up on its way does not make it
// younger, as counting from its arrival would.
func (a anchor) earliest(issued time.Time, arrived time.Duration) time.Duration {
	return min(arrived, a.asked+issued.Sub(a.now))
}

// accept takes a snapshot that arrived over a connection with attestd.
//
// Errors: why it was not taken; what was known before stays, and ages.
func (n *node) accept(signed wire.Signed, from anchor) error {
	n.accepting.Lock()
	defer n.accepting.Unlock()
	arrived := n.clock.steady()
	enlisted, before := n.enlisted.Load(), n.current.Load()
	if enlisted == nil {
		return errors.New("a snapshot came before the node was enlisted")
	}
	snapshot, err := open(signed, enlisted.SnapshotKey)
	if err != nil {
		return err
	}
	if snapshot.AgentID != enlisted.AgentID || snapshot.AgentID == "" {
		return fmt.Errorf("a snapshot is about %q, want %q",
			attestd.Excerpt(snapshot.AgentID, 200), attestd.Excerpt(enlisted.AgentID, 200))
	}
	lifetime := snapshot.ExpiresAt.Sub(snapshot.IssuedAt)
	if snapshot.IssuedAt.IsZero() || lifetime <= 0 {
		return errors.New("a snapshot has no time in which it holds")
	}
	if skew := n.clock.wall().Sub(snapshot.IssuedAt).Abs(); skew > maxSkew+lifetime {
		return fmt.Errorf("a snapshot was issued %s away from this node's clock, want at most %s: "+
			"set the clocks of the node and of attestd", skew.Round(time.Second), maxSkew+lifetime)
	}
	next := &admission{snapshot: snapshot, lifetime: lifetime, problem: contradiction(snapshot)}
	if before != nil && before.snapshot.AgentID == snapshot.AgentID {
		// An older one says what was so: a node that was quarantined since would be admitted again.
		if !snapshot.IssuedAt.After(before.snapshot.IssuedAt) {
			return fmt.Errorf("a snapshot was issued at %s, not after the one before (%s)",
				snapshot.IssuedAt.Format(time.RFC3339Nano), before.snapshot.IssuedAt.Format(time.RFC3339Nano))
		}
		next.kept, next.keptRevision = before.kept, before.keptRevision
	}
	if snapshot.Workloads != nil {
		next.kept, next.keptRevision = snapshot.Workloads, snapshot.WorkloadsRevision
	}
	if next.keptRevision == snapshot.WorkloadsRevision {
		next.names = next.kept
	}
	next.issued = from.earliest(snapshot.IssuedAt, arrived)
	next.snapshot.Workloads = nil
	n.current.Store(next)
	if n.changed != nil && (before == nil || before.problem != next.problem ||
		before.snapshot.Tier != next.snapshot.Tier) {
		n.changed(before, next)
	}
	return nil
}

// open verifies the signature over the bytes that came, and only then reads them.
func open(signed wire.Signed, key []byte) (wire.Snapshot, error) {
	var snapshot wire.Snapshot
	if len(key) != ed25519.PublicKeySize || len(signed.Signature) != ed25519.SignatureSize {
		return snapshot, errors.New("a snapshot has no signature, or there is no key to verify it by")
	}
	message := make([]byte, 0, len(signatureContext)+len(signed.Payload))
	message = append(append(message, signatureContext...), signed.Payload...)
	if !ed25519.Verify(key, message, signed.Signature) {
		return snapshot, errors.New("the signature of a snapshot is not by the key that this node was " +
			"enlisted with")
	}
	if err := strict.DecodeJSON(signed.Payload, snapshotLimits, &snapshot); err != nil {
		return wire.Snapshot{}, fmt.Errorf("a snapshot: %w", err)
	}
	return snapshot, nil
}

// contradiction says why a snapshot gives nothing, and nothing where it admits the node. Admitted alone
// is not enough: a document of which a part is missing reads as the worst, and must not pass for less.
func contradiction(s wire.Snapshot) string {
	switch {
	case !s.Admitted:
		return reasonNotAdmitted
	case s.State != attestd.StateTrusted, s.Tier.Verdict() != attestd.VerdictAccepted,
		s.Risk.Tier().Verdict() != attestd.VerdictAccepted, s.Tenant == "":
		return reasonUnclear
	default:
		return ""
	}
}

// admitted returns the admission by which selectors are given now, or why none are. bound is how old
// the newest snapshot may be.
func (n *node) admitted(bound time.Duration) (*admission, string) {
	enlisted, current := n.enlisted.Load(), n.current.Load()
	switch {
	case enlisted == nil:
		return nil, reasonNotEnlisted
	case current == nil:
		return nil, reasonNoSnapshot
	case current.snapshot.AgentID != enlisted.AgentID:
		return nil, reasonOtherNode
	case current.problem != "":
		return nil, current.problem
	}
	age := current.age(n.clock.steady())
	if most := min(bound, current.lifetime); age >= most || age < 0 {
		return nil, fmt.Sprintf("attestd was last heard %s ago, want at most %s: what held then may "+
			"not hold now", age.Round(100*time.Millisecond), most)
	}
	return current, ""
}

func (a *admission) age(now time.Duration) time.Duration { return now - a.issued }
