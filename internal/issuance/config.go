package issuance

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/plugins/spire/svidext"
)

// Index has the states of all subjects. Package live has the one there is.
type Index interface {
	Check(id subject.ID, now time.Time) live.Standing
	Sequence() uint64
	GrantOn(id subject.ID, nodes []subject.ID, now time.Time, decide live.Decide) error
	Group(ids []subject.ID, now time.Time) *live.Group
	Look(group *live.Group, now time.Time, each func(int, live.Standing)) (seq uint64, err error)
	GrantAmong(id subject.ID, group *live.Group, member int, since func() uint64, now time.Time,
		decide live.DecideAmong) error
	Has(group *live.Group, id subject.ID) bool
	Holds() (ids []subject.ID, version uint64)
	HoldsVersion() uint64
	Changed() <-chan struct{}
	Announce()
	Since() time.Time
}

// Verifier issues challenges and judges what answers them. Package service has the one there is.
type Verifier interface {
	Challenge(ctx context.Context, wish service.Wish) (challenge.Reply, error)
	Verify(ctx context.Context, submission service.Submission) (attestd.Appraisal, error)
}

// NodeCA certifies the keys of nodes for their way to attestd. Package nodeca has the one there is.
type NodeCA interface {
	Issue(spki []byte, id string, notAfter time.Time) (chain [][]byte, err error)
}

// What is done where no node that SPIRE can issue an id to was attested by attestd.
const (
	// Observe issues, and says in every credential that nothing was attested.
	Observe = "observe"
	// Deny refuses.
	Deny = "deny"
)

// What is done about nodes whose evidence binds no key.
const (
	// Refuse takes none.
	Refuse = "refuse"
	// Ratchet takes a node without one until the first time that it bound one.
	Ratchet = "ratchet"
)

// Lifetimes are the longest that each kind of credential lives. Every field is required.
type Lifetimes struct {
	// Agent is SPIRE's agent_ttl, X509 its default_x509_svid_ttl.
	Agent, X509 time.Duration
	// MaxX509 is the longest that an entry may ask for: beyond it nothing is issued.
	MaxX509 time.Duration
	// JWT is the longest for each tier: low, medium, and unknown for what was not attested.
	JWT map[attestd.Tier]time.Duration
	// Grace is how long after a node's evidence was due a JWT-SVID may end.
	Grace time.Duration
	// Snapshot is how long a node may believe what it was told, Map how long attestd believes what SPIRE
	// had.
	Snapshot, Map time.Duration
}

// Config is what an [Office] is made of. Fields without another word are required.
type Config struct {
	TrustDomain string
	Index       Index
	Verifier    Verifier
	// Keys is the JWK set that challenges are signed by.
	Keys json.RawMessage
	// Now is the store's clock.
	Now       func() time.Time
	Lifetimes Lifetimes
	// Unattested is Observe or Deny, Unbound Refuse or Ratchet.
	Unattested, Unbound string
	// AttestedOnly are prefixes of paths, as in "/enclave/", whose ids are issued for evidence alone;
	// may be empty.
	AttestedOnly []string
	// Bound says whether the evidence of a node ever bound a key, as far as the store knows.
	Bound func(ctx context.Context, id subject.ID) (bool, error)
	// Audiences get claims about risk; "*" for every one, and for X.509-SVIDs, which have none.
	Audiences []string
	// ExtensionOID names the extension of X.509-SVIDs.
	ExtensionOID string
	// SnapshotKey signs what nodes and composers go by for a while.
	SnapshotKey ed25519.PrivateKey
	// Degraded is nil where a composer that does not reach attestd issues nothing.
	Degraded *Degraded
	NodeCA   NodeCA
	// Workloads are the names of a tenant's executables by SHA-256, and the revision of that list.
	Workloads func(tenant string) (names map[string]string, revision string)
	// Addresses are where nodes reach attestd, and ServerCA is what its certificate there chains to, in
	// DER; none of both where they do not.
	Addresses []string
	ServerCA  []byte
	// Refresh asks the controller for the entries of ids that the map does not have.
	Refresh func(ctx context.Context, ids []string) (wire.Map, error)
	Notes   service.Notes
	Logger  *slog.Logger
}

var prefixForm = regexp.MustCompile(`^/(?:[A-Za-z0-9._-]+/)+$`)

func (c *Config) check() error {
	var problems []error
	want := func(fine bool, format string, args ...any) {
		if !fine {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	_, err := subject.ParseID("spiffe://" + c.TrustDomain + "/x")
	want(err == nil && !strings.Contains(c.TrustDomain, "/"), "trust domain %q is none",
		attestd.Excerpt(c.TrustDomain, 80))
	want(c.Index != nil && c.Verifier != nil && c.NodeCA != nil,
		"index, verifier and node CA are required")
	want(json.Valid(c.Keys), "the keys that sign challenges are required")
	want(c.Now != nil && c.Bound != nil && c.Workloads != nil && c.Refresh != nil,
		"a clock, and where to ask for bound keys, workloads and entries, are required")
	want(c.Notes != nil && c.Logger != nil, "notes and a logger are required")
	want(c.Unattested == Observe || c.Unattested == Deny, "unattested is %q, want %s or %s",
		attestd.Excerpt(c.Unattested, 20), Observe, Deny)
	want(c.Unbound == Refuse || c.Unbound == Ratchet, "unbound is %q, want %s or %s",
		attestd.Excerpt(c.Unbound, 20), Refuse, Ratchet)
	for _, prefix := range c.AttestedOnly {
		want(prefixForm.MatchString(prefix), "attested-only path %q, want one as in /enclave/",
			attestd.Excerpt(prefix, 80))
	}
	for _, audience := range c.Audiences {
		want(audience != "", "an empty audience: name one, or \"*\" for every one")
	}
	_, err = svidext.ParseOID(c.ExtensionOID)
	want(err == nil, "the extension's OID: %v", err)
	want((len(c.Addresses) == 0) == (len(c.ServerCA) == 0), "addresses for nodes and the CA of the "+
		"certificate there go together")
	want(len(c.SnapshotKey) == ed25519.PrivateKeySize, "a snapshot key of %d bytes is required",
		ed25519.PrivateKeySize)
	want(c.Degraded == nil || c.Degraded.Handed != nil,
		"what composers were handed must be noted somewhere")
	problems = append(problems, c.Lifetimes.check())
	if err := errors.Join(problems...); err != nil {
		return &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "see docs/config.md, section spire", Err: err,
		}
	}
	return nil
}

func (l Lifetimes) check() error {
	var problems []error
	want := func(name string, got time.Duration, most time.Duration) {
		if got < time.Second || got > most {
			problems = append(problems, fmt.Errorf("lifetime %s is %s, want 1s to %s", name, got, most))
		}
	}
	const day = 24 * time.Hour
	want("agent", l.Agent, day)
	want("x509", l.X509, day)
	want("max-x509", l.MaxX509, day)
	want("snapshot", l.Snapshot, time.Minute)
	want("map", l.Map, time.Hour)
	for _, tier := range []attestd.Tier{attestd.TierLow, attestd.TierMedium, attestd.TierUnknown} {
		want("jwt of tier "+tier.String(), l.JWT[tier], time.Hour)
	}
	if l.Grace < 0 || l.Grace > time.Hour {
		problems = append(problems, fmt.Errorf("grace is %s, want 0s to 1h", l.Grace))
	}
	if l.X509 > l.MaxX509 {
		problems = append(problems, fmt.Errorf("x509 is %s, beyond max-x509 of %s", l.X509, l.MaxX509))
	}
	return errors.Join(problems...)
}
