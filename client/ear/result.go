package ear

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// Options say what is expected. Whatever is left out is an error, never "any": those fields that can be
// waived have one that says so.
type Options struct {
	// Now is the time to read as of.
	Now time.Time
	// Leeway is by how much the issuer's clock may differ, at most a minute; 0 for none.
	Leeway time.Duration
	// Audience that results must be for. Without one NoAudience must be set, and results that are for
	// somebody are refused.
	Audience   string
	NoAudience bool
	// Nonce that results must show. Without one AnyNonce must be set: then only iat says how old a
	// result is.
	Nonce    []byte
	AnyNonce bool
	// Issuer that results must name, where it is given.
	Issuer string
}

// maxLeeway bounds the difference of clocks.
const maxLeeway = time.Minute

func (o Options) check() error {
	switch {
	case o.Now.IsZero():
		return refused(attestd.ClassConfig, "reading a result needs the time")
	case o.Leeway < 0 || o.Leeway > maxLeeway:
		return refused(attestd.ClassConfig, "leeway of %s, want 0 to %s", o.Leeway, maxLeeway)
	case (o.Audience == "") != o.NoAudience:
		return refused(attestd.ClassConfig, "reading a result needs either its audience or NoAudience")
	case (len(o.Nonce) == 0) != o.AnyNonce:
		return refused(attestd.ClassConfig, "reading a result needs either its nonce or AnyNonce")
	}
	return nil
}

// Status is an appraisal in one word. The zero Status is None, which affirms nothing.
type Status uint8

// Statuses (draft-ietf-rats-ear-03, section 3.2).
const (
	None Status = iota
	Affirming
	Warning
	Contraindicated
)

var statusNames = []string{"none", "affirming", "warning", "contraindicated"}

// String returns the status as results have it.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return "contraindicated"
}

// MarshalText implements [encoding.TextMarshaler].
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; unknown words are errors.
func (s *Status) UnmarshalText(text []byte) error {
	at := slices.Index(statusNames, string(text))
	if at < 0 {
		return fmt.Errorf("status %q", attestd.Excerpt(string(text), 40))
	}
	*s = Status(at) //nolint:gosec // four of them
	return nil
}

// Result is a verified result. Its members are what the issuer said.
type Result struct {
	// Profile is the value of eat_profile.
	Profile string `json:"profile"`
	// Status is the worst of all submods; none where one of them is, and nothing is worse.
	Status    Status    `json:"status"`
	ID        string    `json:"id,omitempty"`
	Issuer    string    `json:"issuer,omitempty"`
	Audience  string    `json:"audience,omitempty"`
	IssuedAt  time.Time `json:"issued_at"`
	ExpiresAt time.Time `json:"expires_at"`
	// Nonce in its text, as the token has it.
	Nonce    string   `json:"nonce,omitempty"`
	Verifier Verifier `json:"verifier"`
	// Submods are the parts of the machine, by name; at least one.
	Submods []Submod `json:"submods"`
}

// Verifier names who appraised (draft-ietf-rats-ar4si, section 2.2.2).
type Verifier struct {
	Developer string `json:"developer"`
	Build     string `json:"build"`
}

// Submod is the appraisal of one part.
type Submod struct {
	Name   string              `json:"name"`
	Status Status              `json:"status"`
	Trust  attestd.TrustVector `json:"trust_vector"`
	// Policies that it was appraised by.
	Policies []string `json:"policies,omitempty"`
	// KeySPKI is the DER SubjectPublicKeyInfo of a key that the evidence binds; empty for none.
	KeySPKI []byte `json:"key_spki,omitempty"`
	// Own is what attestd says beside the EAR; nil where the issuer is another.
	Own *Own `json:"attestd,omitempty"`
}

// Own are attestd's own claims. Those that it adds later are passed over.
type Own struct {
	// Appraisal is the SHA-256 of the appraisal's id in hex: results of one verdict have it in common,
	// and whoever has the verdict finds it. The id itself is never in a result.
	Appraisal string            `json:"appraisal_sha256,omitempty"`
	Format    attestd.Format    `json:"format"`
	Verdict   attestd.Verdict   `json:"verdict"`
	RiskScore attestd.RiskScore `json:"risk_score"`
	Tier      attestd.Tier      `json:"tier"`
	Freshness attestd.Freshness `json:"freshness"`
	// Nonce is "verifier-chosen" or "client-chosen"; empty without one.
	Nonce string `json:"nonce,omitempty"`
	// EvidenceAt is when the evidence was judged, in seconds since 1970.
	EvidenceAt int64             `json:"evidence_at"`
	Failing    []attestd.CheckID `json:"checks_failing"`
	Subject    string            `json:"subject,omitempty"`
	Tenant     string            `json:"tenant,omitempty"`
	State      attestd.State     `json:"state,omitempty"`
	Policy     attestd.PolicyRef `json:"policy"`
	// Device is the path of the device that the part is about; empty for the whole of a machine. Edges,
	// of the whole of composed evidence alone, say by what its devices are known to be in one machine,
	// without words; WeakestEdge is what that comes to, nil where the evidence was of one device.
	Device      string         `json:"device,omitempty"`
	Edges       []attestd.Edge `json:"edges,omitempty"`
	WeakestEdge *attestd.Grade `json:"weakest_edge,omitempty"`
}

// Verify reads a token. It is strict about everything that a decision rests on, and passes over claims
// that it does not know, as draft-ietf-rats-ear-03 (section 3) asks of receivers.
//
// Errors: a [*attestd.CallerError] of class UNAUTHENTICATED where the token is not to be believed, of
// class MALFORMED or TOO_LARGE where it is none, of class CONFIG where options do not say what is
// expected; an [*UnknownKeyError], which is one of class UNAUTHENTICATED, where its key is not in the
// set. There is no Result with an error.
func Verify(token string, keys *KeySet, options Options) (*Result, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	if keys == nil || keys.Len() == 0 {
		return nil, refused(attestd.ClassConfig, "there is no key to verify results with")
	}
	payload, err := open(token, keys)
	if err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := decode(payload, maxToken, &members); err != nil {
		return nil, refused(attestd.ClassUnauthenticated, "token: %w", err)
	}
	read := &reader{members: members}
	result := &Result{}
	read.text("eat_profile", true, &result.Profile)
	named, known := profiles[result.Profile]
	if read.err == nil && !known {
		return nil, refused(attestd.ClassUnauthenticated, "token: eat_profile is %q",
			attestd.Excerpt(result.Profile, 60))
	}
	read.named = named
	read.times(result, options)
	read.audience(result, options)
	read.identity(result, options)
	read.submods(result)
	if read.err != nil {
		return nil, refused(attestd.ClassUnauthenticated, "token: %w", read.err)
	}
	return result, nil
}

// names are the members of a profile.
type names struct {
	status, vector, policy, verifier, attestation string
	severalPolicies, topStatus                    bool
}

// profiles, by eat_profile: draft-ietf-rats-ear-00 as project Veraison deployed it, and draft -03.
var profiles = map[string]names{
	"tag:github.com,2023:veraison/ear": {
		status: "ear.status", vector: "ear.trustworthiness-vector", policy: "ear.appraisal-policy-id",
		verifier: "ear.verifier-id", attestation: "ear.veraison.key-attestation",
	},
	"tag:ietf.org,2026:rats/ear#03": {
		status: "ear_status", vector: "ear_trustworthiness_vector", policy: "ear_appraisal_policy_ids",
		verifier: "ear_verifier_id", attestation: "ear_veraison_key_attestation",
		severalPolicies: true, topStatus: true,
	},
}

// reader reads members and keeps the first problem.
type reader struct {
	members map[string]json.RawMessage
	named   names
	err     error
}

// member decodes one into a value; one that is missing is a problem where it must be there.
func (r *reader) member(name string, must bool, into any) bool {
	if r.err != nil {
		return false
	}
	raw, there := r.members[name]
	if !there {
		if must {
			r.err = fmt.Errorf("%s is missing", name)
		}
		return false
	}
	if err := decode(raw, maxToken, into); err != nil {
		r.err = fmt.Errorf("%s: %w", name, err)
		return false
	}
	return true
}

func (r *reader) text(name string, must bool, into *string) bool { return r.member(name, must, into) }

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// times demands that the result is in force. Times are whole seconds (RFC 9711, section 4.3.1).
func (r *reader) times(result *Result, options Options) {
	var issued, ends, begins int64
	r.member("iat", true, &issued)
	r.member("exp", true, &ends)
	now, leeway := options.Now.Unix(), int64(options.Leeway/time.Second)
	if r.member("nbf", false, &begins) && begins > now+leeway {
		r.fail("it is not in force yet")
	}
	const far = 1 << 40 // beyond any time, and far from where sums overflow
	switch {
	case r.err != nil:
	case issued <= 0 || issued > far || ends <= 0 || ends > far:
		r.fail("iat or exp is no time")
	case issued > now+leeway:
		r.fail("it was issued in the future")
	case ends <= issued:
		r.fail("it ended before it was issued")
	case ends <= now-leeway:
		r.fail("it ended %d seconds ago", now-ends)
	}
	result.IssuedAt, result.ExpiresAt = time.Unix(issued, 0).UTC(), time.Unix(ends, 0).UTC()
}

// audience demands that the result is for the reader, and for nobody beside it (RFC 8725, section 3.9).
func (r *reader) audience(result *Result, options Options) {
	raw, there := r.members["aud"]
	if !there {
		if !options.NoAudience {
			r.fail("it is for nobody in particular, want aud %q", attestd.Excerpt(options.Audience, 80))
		}
		return
	}
	one := ""
	if raw[0] == '[' {
		var list []string
		r.member("aud", true, &list)
		if len(list) != 1 {
			r.fail("it is for %d audiences, want one", len(list))
			return
		}
		one = list[0]
	} else {
		r.text("aud", true, &one)
	}
	if options.NoAudience || one != options.Audience {
		r.fail("it is for %q", attestd.Excerpt(one, 80))
	}
	result.Audience = one
}

func (r *reader) identity(result *Result, options Options) {
	r.text("jti", false, &result.ID)
	r.text("iss", false, &result.Issuer)
	if options.Issuer != "" && result.Issuer != options.Issuer {
		r.fail("it is by %q", attestd.Excerpt(result.Issuer, 80))
	}
	r.text("eat_nonce", false, &result.Nonce)
	if !options.AnyNonce {
		shown, err := decodeBase64(result.Nonce)
		if err != nil || !bytes.Equal(shown, options.Nonce) {
			r.fail("it does not show the nonce that it was asked with")
		}
	}
	var verifier map[string]json.RawMessage
	if !r.member(r.named.verifier, true, &verifier) {
		return
	}
	inner := &reader{members: verifier}
	inner.text("developer", true, &result.Verifier.Developer)
	inner.text("build", true, &result.Verifier.Build)
	if inner.err != nil {
		r.fail("%s: %w", r.named.verifier, inner.err)
	}
}

func (r *reader) submods(result *Result) {
	var parts map[string]map[string]json.RawMessage
	if !r.member("submods", true, &parts) {
		return
	}
	if len(parts) == 0 {
		r.fail("submods has no part")
		return
	}
	undecided := false
	for name, members := range parts {
		inner := &reader{members: members, named: r.named}
		part := inner.submod(name)
		if inner.err != nil {
			r.fail("submod %q: %w", attestd.Excerpt(name, 40), inner.err)
			return
		}
		result.Submods = append(result.Submods, part)
		undecided = undecided || part.Status == None
		result.Status = max(result.Status, part.Status)
	}
	slices.SortFunc(result.Submods, func(a, b Submod) int { return strings.Compare(a.Name, b.Name) })
	if undecided && result.Status != Contraindicated {
		result.Status = None
	}
	if !r.named.topStatus {
		return
	}
	var whole Status
	if r.member(r.named.status, false, &whole) && whole != result.Status {
		r.fail("%s is %s, and its parts are %s", r.named.status, whole, result.Status)
	}
}

func (r *reader) submod(name string) Submod {
	part := Submod{Name: name}
	r.member(r.named.status, true, &part.Status)
	r.member(r.named.vector, false, &part.Trust)
	// "ear_status ... MUST be no better than" the worst claim (draft-ietf-rats-ear-03, section 3.2).
	if worst := worstOf(part.Trust); part.Status != None && worst > part.Status {
		r.fail("%s is %s, and its trust vector is %s", r.named.status, part.Status, worst)
	}
	if r.named.severalPolicies {
		r.member(r.named.policy, false, &part.Policies)
	} else {
		one := ""
		if r.text(r.named.policy, false, &one) {
			part.Policies = []string{one}
		}
	}
	var attested map[string]json.RawMessage
	if r.member(r.named.attestation, false, &attested) {
		part.KeySPKI = r.key(attested)
	}
	var own map[string]json.RawMessage
	if r.member(ownName, false, &own) {
		part.Own = r.own(own)
	}
	return part
}

// key reads akpub. One that cannot be read is a problem: "no key" would mean that none is bound.
func (r *reader) key(members map[string]json.RawMessage) []byte {
	inner := &reader{members: members}
	text := ""
	inner.text("akpub", true, &text)
	spki, err := decodeBase64(text)
	if err == nil {
		_, err = x509.ParsePKIXPublicKey(spki)
	}
	if inner.err != nil || err != nil {
		r.fail("%s has no key in akpub", r.named.attestation)
		return nil
	}
	return spki
}

// ownName is the member of attestd's own claims.
const ownName = "attestd"

func (r *reader) own(members map[string]json.RawMessage) *Own {
	inner := &reader{members: members}
	own := &Own{}
	inner.text("appraisal_sha256", false, &own.Appraisal)
	inner.member("format", true, &own.Format)
	inner.member("verdict", true, &own.Verdict)
	inner.member("risk_score", true, &own.RiskScore)
	inner.member("tier", true, &own.Tier)
	inner.member("freshness", true, &own.Freshness)
	inner.text("nonce", false, &own.Nonce)
	inner.member("evidence_at", true, &own.EvidenceAt)
	inner.member("checks_failing", true, &own.Failing)
	inner.text("subject", false, &own.Subject)
	inner.text("tenant", false, &own.Tenant)
	inner.member("state", false, &own.State)
	inner.member("policy", true, &own.Policy)
	inner.text("device", false, &own.Device)
	inner.member("edges", false, &own.Edges)
	inner.member("weakest_edge", false, &own.WeakestEdge)
	if inner.err != nil {
		r.fail("%s: %w", ownName, inner.err)
	}
	return own
}

// worstOf returns what the worst claim says (draft-ietf-rats-ar4si, section 2.3.1).
func worstOf(vector attestd.TrustVector) Status {
	worst := None
	for _, claim := range []int8{
		vector.InstanceIdentity, vector.Configuration, vector.Executables, vector.FileSystem,
		vector.Hardware, vector.RuntimeOpaque, vector.StorageOpaque, vector.SourcedData,
	} {
		switch {
		case claim >= -1 && claim <= 1:
		case claim >= -32 && claim <= 31:
			worst = max(worst, Affirming)
		case claim >= -96 && claim <= 95:
			worst = max(worst, Warning)
		default:
			worst = Contraindicated
		}
	}
	return worst
}

// ErrNotAffirmed says that a result is good and does not affirm.
var ErrNotAffirmed = errors.New("the result does not affirm")

// Demand returns nil where every part of the machine is affirmed, and an error that wraps
// [ErrNotAffirmed] otherwise. It is what a reader without a policy of its own decides by.
func (r *Result) Demand() error {
	if r == nil || r.Status != Affirming {
		status := None
		if r != nil {
			status = r.Status
		}
		return fmt.Errorf("%w: its status is %s", ErrNotAffirmed, status)
	}
	return nil
}
