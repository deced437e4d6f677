package attestd

import (
	"bytes"
	"iter"
	"slices"

	"github.com/attestd/attestd/internal/claims"
)

// Claims are what verified evidence says. They exist only as the result of a verifier's Verify that
// returned no error: the fields are unexported, [NewClaims] demands a seal that only the packages
// below verifiers/ can get, and there is no way to read Claims back from JSON. Whoever wants to
// appraise old evidence verifies it again.
//
// Claims are immutable and safe for concurrent use.
type Claims struct {
	sealed bool
	values ClaimValues
	index  factIndex
}

// ClaimValues are the parts that a verifier hands to [NewClaims].
type ClaimValues struct {
	Format Format
	// Summary names product and version for people, as in "Milan, report v2".
	Summary string
	// Product is the name under which a policy states floors, as in "Milan"; empty where a format
	// has no products.
	Product string
	// EvidenceDigest is the SHA-256 of the evidence as received.
	EvidenceDigest [32]byte
	// Facts in the order in which they are shown. Names are unique.
	Facts []Fact
	// Registers are the measurements that reference values are compared with.
	Registers []Register
	// Handles name the hardware; an absent or masked one is left out, never zero.
	Handles []Handle
	// Checks are the checks of the verification, all passed or not applicable.
	Checks []Check
	// Freshness says what was shown about freshness.
	Freshness Freshness
	// KeySPKI is the DER SubjectPublicKeyInfo that the evidence is bound to; empty for none.
	KeySPKI []byte
	// InsecureRoots says that the chain ends in a root that was loaded by hand.
	InsecureRoots bool
	// Devices are the parts of composed evidence, and Edges what ties them together; none for evidence
	// of one device.
	Devices []Device
	Edges   []Edge
	// Events yields the events of replayed logs, in order; nil for none. It must give the same events
	// each time and alias nothing of the input.
	Events iter.Seq[Event]
}

// Register is one measurement register or launch digest.
type Register struct {
	// Name as the format has it: "PCR0", "MEASUREMENT".
	Name string
	// Algorithm of the digest: "SHA384".
	Algorithm string
	Digest    []byte
}

// HandleKind says what a handle names; see the constants.
type HandleKind string

// Kinds of handles. Identity comes from the instance, never from the host: a host is shared.
const (
	HandleInstance HandleKind = "instance"
	HandleBoot     HandleKind = "boot"
	HandleHost     HandleKind = "host"
	HandleDevice   HandleKind = "device"
)

// Handle is a name that hardware gave. All-zero and masked values are not handles.
type Handle struct {
	Kind  HandleKind `json:"kind"`
	Value string     `json:"value"`
}

// Freshness says what a verification showed about the age of evidence.
type Freshness uint8

// What can be shown about freshness.
const (
	// FreshnessNotShown is the zero value.
	FreshnessNotShown Freshness = iota
	// FreshnessNonce means that the freshness field equals the nonce the caller gave.
	FreshnessNonce
	// FreshnessBinding means that it holds the digest of our challenge's [Binding].
	FreshnessBinding
)

var freshnessNames = [...]string{"not-shown", "nonce", "binding"}

// String returns "not-shown", "nonce" or "binding".
func (f Freshness) String() string { return nameOf(freshnessNames[:], int(f)) }

// MarshalText implements [encoding.TextMarshaler].
func (f Freshness) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; unknown names are errors.
func (f *Freshness) UnmarshalText(text []byte) error {
	index, err := indexOf(freshnessNames[:], "freshness", text)
	*f = Freshness(index) //nolint:gosec // index of an array of three
	return err
}

// NewClaims seals values. Only packages below verifiers/ can call it: the seal's package is internal
// and a test refuses its import anywhere else. A seal that was not granted gives nil, which every
// reader of Claims refuses. The caller gives values away and must not touch their slices again.
func NewClaims(seal claims.Seal, values ClaimValues) *Claims {
	if !seal.Granted() {
		return nil
	}
	out := &Claims{sealed: true, values: values}
	if !out.index.fill(values.Facts) {
		return nil
	}
	for _, check := range values.Checks {
		if check.Result != ResultPass && check.Result != ResultNotApplicable {
			return nil
		}
	}
	if !wellComposed(values.Devices, values.Edges) {
		return nil
	}
	return out
}

// Proven reports whether c came out of a verification; nil and zero Claims did not.
func (c *Claims) Proven() bool { return c != nil && c.sealed }

// Format returns the evidence's format.
func (c *Claims) Format() Format { return c.values.Format }

// Summary names product and version for people.
func (c *Claims) Summary() string { return c.values.Summary }

// Product returns the name under which a policy states floors; empty where there are none.
func (c *Claims) Product() string { return c.values.Product }

// EvidenceDigest returns the SHA-256 of the evidence as received.
func (c *Claims) EvidenceDigest() [32]byte { return c.values.EvidenceDigest }

// Freshness says what was shown about freshness.
func (c *Claims) Freshness() Freshness { return c.values.Freshness }

// KeySPKI returns a copy of the bound key in DER; empty for none.
func (c *Claims) KeySPKI() []byte { return bytes.Clone(c.values.KeySPKI) }

// InsecureRoots reports whether the chain ends in a root that was loaded by hand.
func (c *Claims) InsecureRoots() bool { return c.values.InsecureRoots }

// Fact returns the value of the named fact, and whether the claims have it.
func (c *Claims) Fact(name string) (Value, bool) {
	if at, _ := c.index.find(c.values.Facts, name); at >= 0 {
		return c.values.Facts[at].Value, true
	}
	return Value{}, false
}

// Facts yields every fact in the order in which people are shown them.
func (c *Claims) Facts() iter.Seq[Fact] { return slices.Values(c.values.Facts) }

// Registers yields every measurement register. Digests must not be written to.
func (c *Claims) Registers() iter.Seq[Register] { return slices.Values(c.values.Registers) }

// Handles yields the names that the hardware gave.
func (c *Claims) Handles() iter.Seq[Handle] { return slices.Values(c.values.Handles) }

// Devices yields the parts of composed evidence; none for evidence of one device.
func (c *Claims) Devices() iter.Seq[Device] { return slices.Values(c.values.Devices) }

// Edges yields what ties the devices together.
func (c *Claims) Edges() iter.Seq[Edge] { return slices.Values(c.values.Edges) }

// Events yields the events of the logs that were replayed, in their order; none where the evidence
// brought no log. They are decoded anew on every call.
func (c *Claims) Events() iter.Seq[Event] {
	if c.values.Events == nil {
		return func(func(Event) bool) {}
	}
	return c.values.Events
}

// Checks returns a copy of the verification's checks.
func (c *Claims) Checks() []Check { return slices.Clone(c.values.Checks) }

// MarshalJSON writes the facts as one object in their order. There is no way back.
func (c *Claims) MarshalJSON() ([]byte, error) {
	if !c.Proven() {
		return []byte("null"), nil
	}
	out := append(make([]byte, 0, 64*len(c.values.Facts)+2), '{')
	for i, fact := range c.values.Facts {
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		if out, err = appendText(out, fact.Name); err != nil {
			return nil, err
		}
		if out, err = fact.Value.appendJSON(append(out, ':')); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}
