package issuance

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"hash/maphash"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// SnapshotLabel begins what is signed, so that a signature over a snapshot is one over nothing else.
const SnapshotLabel = "attestd snapshot v1\n"

// Changed returns a channel that is closed when what a snapshot says may have changed. Ask for it
// before the snapshots.
func (o *Office) Changed() <-chan struct{} { return o.config.Index.Changed() }

// Snapshot returns what holds for a node, signed, with the names of its tenant's workloads. A node that
// is not admitted gets one too: it says so, and nothing more.
//
// Errors: an [*attestd.UndecidedError] before the index is loaded; a [*attestd.CallerError] for what is
// no agent of attestd's.
func (o *Office) Snapshot(id subject.ID) (wire.Signed, error) { return o.SnapshotSince(id, "") }

// SnapshotSince is Snapshot without the names, for a node that has those of the revision already.
//
// Errors: as those of [Office.Snapshot].
func (o *Office) SnapshotSince(id subject.ID, revision string) (wire.Signed, error) {
	said, err := o.snapshot(id)
	if err != nil {
		return wire.Signed{}, err
	}
	if revision != "" && said.WorkloadsRevision == revision {
		said.Workloads = nil
	}
	said.IssuedAt = o.config.Now().UTC()
	said.ExpiresAt = said.IssuedAt.Add(o.config.Lifetimes.Snapshot)
	payload, err := json.Marshal(said)
	if err != nil {
		return wire.Signed{}, fmt.Errorf("snapshot: %w", err)
	}
	signed := append([]byte(SnapshotLabel), payload...)
	return wire.Signed{
		Payload: payload, Signature: ed25519.Sign(o.config.SnapshotKey, signed),
	}, nil
}

func (o *Office) snapshot(id subject.ID) (wire.Snapshot, error) {
	who, err := o.parse(string(id))
	if err != nil {
		return wire.Snapshot{}, err
	}
	if !who.ours() {
		return wire.Snapshot{}, malformed("see docs/workloads.md", "%s is no agent of attestd's",
			attestd.Excerpt(string(id), 200))
	}
	if o.config.Index.Since().IsZero() {
		return wire.Snapshot{}, undecided("spire/snapshot", "an index that is not loaded", nil)
	}
	standing := o.config.Index.Check(who.id, o.config.Now())
	said := wire.Snapshot{
		AgentID: string(who.id), State: standing.State, Tier: standing.Tier, Risk: standing.Risk,
		Epoch: standing.Epoch, Tenant: standing.Tenant, Admitted: standing.Grants(),
	}
	if said.Admitted {
		said.Workloads, said.WorkloadsRevision = o.config.Workloads(standing.Tenant)
	}
	return said, nil
}

// versionSeed is one for the life of the process: versions mean nothing beyond it.
var versionSeed = maphash.MakeSeed()

// Version returns a number that stays the same while a snapshot of the node would say the same, save
// its times: whoever is told of every change need not sign a snapshot for each node.
func (o *Office) Version(id subject.ID) uint64 {
	said, err := o.snapshot(id)
	if err != nil {
		return 0
	}
	return maphash.Comparable(versionSeed, struct {
		state    attestd.State
		tier     attestd.Tier
		risk     int
		epoch    uint64
		admitted bool
		tenant   string
		revision string
	}{said.State, said.Tier, said.Risk.Int(), said.Epoch, said.Admitted, said.Tenant,
		said.WorkloadsRevision})
}
