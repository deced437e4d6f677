package issuance

import (
	"context"

	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// Office answers for attestd what SPIRE may issue. It is safe for concurrent use; it starts nothing
// and holds nothing open.
type Office struct {
	config Config
}

// Rejected says that evidence was judged and not accepted. The appraisal has the reasons.
type Rejected struct {
	AppraisalID string
}

// Error names the appraisal, and no reason: whoever may read those asks for it.
func (e *Rejected) Error() string { return "evidence was rejected: appraisal " + e.AppraisalID }

// New returns an office.
//
// Errors: a [*attestd.CallerError] of class CONFIG that names every field that will not do.
func New(config Config) (*Office, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	return &Office{config: config}, nil
}

var errNotReady = &live.Refused{}

// Begin asks for a challenge for a node. source is where the request came from, for the limits.
func (o *Office) Begin(
	ctx context.Context, ask wire.NodeBegin, source string,
) (wire.NodeChallenge, error) {
	return wire.NodeChallenge{}, errNotReady
}

// Finish judges a node's evidence.
//
// Errors: a [*Rejected], a [*attestd.CallerError] or an [*attestd.UndecidedError].
func (o *Office) Finish(
	ctx context.Context, ask wire.NodeFinish, source string,
) (wire.NodeVerdict, error) {
	return wire.NodeVerdict{}, errNotReady
}

// Grant says whether a credential may be issued now, and counts it where it may.
func (o *Office) Grant(ctx context.Context, ask wire.GrantRequest) (wire.Granted, error) {
	return wire.Granted{}, errNotReady
}

// SetMap takes in what SPIRE has, whole.
func (o *Office) SetMap(whole wire.Map) error { return errNotReady }

// Orders returns what must hold in SPIRE, and a channel that is closed when that may have changed.
func (o *Office) Orders() (wire.Orders, <-chan struct{}) {
	return wire.Orders{}, o.config.Index.Changed()
}

// Snapshot returns what holds for a node, signed.
func (o *Office) Snapshot(id subject.ID) (wire.Signed, error) { return wire.Signed{}, errNotReady }

// Changed returns a channel that is closed when what a snapshot says may have changed.
func (o *Office) Changed() <-chan struct{} { return o.config.Index.Changed() }

// Nodes returns the agents that SPIRE can issue the id to, and whether the map knows the id.
func (o *Office) Nodes(id string) ([]subject.ID, bool) { return nil, false }

// Allow reports whether the agent's calls may pass SPIRE's gate.
func (o *Office) Allow(callerID string) bool { return false }

// Ticket lets one credential in a path that is attested only be issued.
func (o *Office) Ticket(
	node subject.ID, id string, keySHA256 []byte, audience []string, claims map[string]any,
) error {
	return errNotReady
}
