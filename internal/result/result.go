package result

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/keys"
)

// Type is the typ of every token (RFC 9782, section 4.2: application/eat+jwt), so that none is taken
// for another kind of token.
const Type = "eat+jwt"

// MediaType of a result in the deployed profile; that of the other one has its tag.
func (p Profile) MediaType() string {
	return `application/eat+jwt; eat_profile="` + profiles[p].tag + `"`
}

// Own is the member in which attestd's own claims stand, in every profile. Readers that do not know it
// ignore it (draft-ietf-rats-ear-03, section 3).
const Own = "attestd"

// Lengths of a nonce in bytes. EAR takes texts of 8 to 88 characters (RFC 9711, section 4.1), which are
// up to 66 bytes in base64url.
const (
	MinNonce = 8
	MaxNonce = 64
)

// maxAudience bounds the name of an audience.
const maxAudience = 512

// Statement is what a result says beside the appraisal.
type Statement struct {
	// Appraisal as attestd reached it. Its claims and evidence are not in the result.
	Appraisal attestd.Appraisal
	// Profile; empty for the issuer's.
	Profile Profile
	// State of the subject when the result was granted; StateUnknown where nobody keeps it.
	State attestd.State
	// Nonce that whoever asked for the result gave, or that the evidence answered; empty for none.
	// NonceBy says who chose it: "verifier" or "client"; empty with an empty nonce alone.
	Nonce   []byte
	NonceBy string
	// KeySPKI is the DER SubjectPublicKeyInfo that the evidence binds; empty for none. It comes from
	// the verification, never from a caller.
	KeySPKI []byte
	// Audience that the result is for; empty for whoever trusts the issuer.
	Audience string
	// Until is when what the result rests on ends; zero for no such end.
	Until time.Time
}

// Who chose a nonce.
const (
	NonceByVerifier = "verifier"
	NonceByClient   = "client"
)

// Config says how results are made. Every field is required but Issuer.
type Config struct {
	Ring *keys.Ring
	// Profile where a statement names none.
	Profile Profile
	// Lifetime of a result; at most the ring's.
	Lifetime time.Duration
	// Developer and Build name the verifier (draft-ietf-rats-ar4si, section 2.2.2).
	Developer, Build string
	// Issuer is the iss of every token, as in "spiffe://example.org/attestd"; empty for none.
	Issuer string
	// Now is the store's clock.
	Now func() time.Time
}

// Issuer makes results. It is safe for concurrent use.
type Issuer struct{ config Config }

// New returns an issuer.
//
// Errors: where a field is missing or will not do.
func New(config Config) (*Issuer, error) {
	if _, err := ParseProfile(string(config.Profile)); err != nil {
		return nil, err
	}
	if config.Ring == nil || config.Now == nil || config.Developer == "" || config.Build == "" {
		return nil, errors.New("an issuer of results needs keys, a clock, and its own name and build")
	}
	if config.Lifetime < time.Second || config.Lifetime > keys.MaxLifetime {
		return nil, fmt.Errorf("results that live for %s, want 1s to %s", config.Lifetime, keys.MaxLifetime)
	}
	return &Issuer{config: config}, nil
}

// Lifetime is the longest that a result of this issuer lives.
func (i *Issuer) Lifetime() time.Duration { return i.config.Lifetime }

// Profile is that of results whose asker named none.
func (i *Issuer) Profile() Profile { return i.config.Profile }

// JWKS returns the keys that results are verified with, and for how long they may be kept.
func (i *Issuer) JWKS() (document []byte, maxAge time.Duration) { return i.config.Ring.JWKS() }

// Sign returns the statement as a token that ends after the issuer's lifetime or with what it rests on,
// whichever is first.
//
// Errors: a [*attestd.CallerError] of class MALFORMED for a nonce or an audience that will not do, of
// class UNSUPPORTED for a profile, of class STALE where what it rests on has ended; those of
// [keys.Ring.SignJWT].
func (i *Issuer) Sign(ctx context.Context, said Statement) (string, error) {
	if said.Profile == "" {
		said.Profile = i.config.Profile
	}
	if err := said.check(); err != nil {
		return "", err
	}
	now := i.config.Now().UTC()
	ends := now.Add(i.config.Lifetime)
	if !said.Until.IsZero() && said.Until.Before(ends) {
		ends = said.Until
	}
	ends = ends.Truncate(time.Second)
	if !ends.After(now) {
		return "", &attestd.CallerError{
			Class: attestd.ClassStale, Hint: "give fresh evidence",
			Err: errors.New("what the result would rest on has ended"),
		}
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return "", fmt.Errorf("id of a result: %w", err)
	}
	payload, err := i.encode(said, id.String(), now, ends)
	if err != nil {
		return "", err
	}
	signed := keys.Signed{ID: id, ExpiresAt: ends}
	if about, err := uuid.Parse(said.Appraisal.ID); err == nil {
		signed.About = about
	}
	return i.config.Ring.SignJWT(ctx, Type, payload, signed)
}

func (s Statement) check() error {
	if _, err := ParseProfile(string(s.Profile)); err != nil {
		return err
	}
	bad := func(hint, format string, args ...any) error {
		return &attestd.CallerError{Class: attestd.ClassMalformed, Hint: hint, Err: fmt.Errorf(format, args...)}
	}
	if n := len(s.Nonce); n != 0 && (n < MinNonce || n > MaxNonce) {
		return bad("give 8 to 64 random bytes", "a nonce of %d bytes, want %d to %d", n, MinNonce, MaxNonce)
	}
	if known := s.NonceBy == NonceByVerifier || s.NonceBy == NonceByClient; known != (len(s.Nonce) != 0) {
		return errors.New("a nonce without its chooser, or a chooser without a nonce")
	}
	if len(s.Audience) > maxAudience || strings.ContainsFunc(s.Audience, func(r rune) bool { return r < ' ' }) {
		return bad("name the relying party", "an audience of %d bytes, want at most %d of text",
			len(s.Audience), maxAudience)
	}
	if s.Appraisal.Format == "" || s.Appraisal.Schema != attestd.VerdictSchema {
		return errors.New("a result needs an appraisal of known evidence")
	}
	return nil
}

// own are attestd's own claims.
type own struct {
	// Appraisal is the SHA-256 of the appraisal's id in hex. The id itself is a key: with it the whole
	// verdict can be read and a result be had for any audience and with any nonce, so that a relying
	// party could pass for the machine before the next one.
	Appraisal string            `json:"appraisal_sha256,omitempty"`
	Format    attestd.Format    `json:"format"`
	Verdict   attestd.Verdict   `json:"verdict"`
	RiskScore attestd.RiskScore `json:"risk_score"`
	Tier      attestd.Tier      `json:"tier"`
	Freshness attestd.Freshness `json:"freshness"`
	// Nonce says who chose it: "verifier-chosen" or "client-chosen".
	Nonce string `json:"nonce,omitempty"`
	// EvidenceAt is when the evidence was judged, in seconds since 1970; iat says when that was signed.
	EvidenceAt int64             `json:"evidence_at"`
	Failing    []attestd.CheckID `json:"checks_failing"`
	Subject    string            `json:"subject,omitempty"`
	Tenant     string            `json:"tenant,omitempty"`
	State      *attestd.State    `json:"state,omitempty"`
	Policy     attestd.PolicyRef `json:"policy"`
	// Device is the path of the device that the part is about; empty for the whole. Edges, of the whole
	// alone, say by what the devices are known to be in one machine, and WeakestEdge what that comes to.
	Device      string         `json:"device,omitempty"`
	Edges       []edge         `json:"edges,omitempty"`
	WeakestEdge *attestd.Grade `json:"weakest_edge,omitempty"`
}

// encode writes the payload. Its members are few and fixed; json.Marshal sorts them.
func (i *Issuer) encode(said Statement, id string, now, ends time.Time) ([]byte, error) {
	named := profiles[said.Profile]
	given := said.Appraisal
	status := StatusOf(given, said.State)
	submod := named.part(given, status)
	if len(said.KeySPKI) != 0 && given.Verdict == attestd.VerdictAccepted {
		submod[named.attestation] = map[string]string{
			"akpub": base64.RawURLEncoding.EncodeToString(said.KeySPKI),
		}
	}
	submod[Own] = i.own(said)
	submods := map[string]any{string(given.Format): submod}
	if err := named.addDevices(submods, given); err != nil {
		return nil, err
	}
	token := map[string]any{
		"eat_profile": named.tag, "iat": now.Unix(), "exp": ends.Unix(), "jti": id,
		named.verifier: map[string]string{"developer": i.config.Developer, "build": i.config.Build},
		"submods":      submods,
	}
	if named.topStatus {
		token[named.status] = status
	}
	if len(said.Nonce) != 0 {
		text := base64.RawURLEncoding.EncodeToString(said.Nonce)
		if token["eat_nonce"] = text; named.submodNonce && said.NonceBy == NonceByVerifier {
			submod["eat_nonce"] = text
		}
	}
	if said.Audience != "" {
		token["aud"] = said.Audience
	}
	if i.config.Issuer != "" {
		token["iss"] = i.config.Issuer
	}
	return json.Marshal(token)
}

func (i *Issuer) own(said Statement) own {
	given := said.Appraisal
	out := own{
		Format: given.Format, Verdict: given.Verdict, RiskScore: riskOf(given), Tier: tierNow(given),
		Freshness: given.Freshness, EvidenceAt: given.At.Unix(), Policy: given.Policy,
	}
	if given.ID != "" {
		digest := sha256.Sum256([]byte(given.ID))
		out.Appraisal = hex.EncodeToString(digest[:])
	}
	if said.NonceBy != "" {
		out.Nonce = said.NonceBy + "-chosen"
	}
	if given.Nonce != "" { // the verdict knows better than whoever asks for its result
		out.Nonce = given.Nonce
	}
	out.Failing = failing(given, func(attestd.Check) bool { return true })
	if weakest, composed := given.WeakestEdge(); composed {
		out.Edges, out.WeakestEdge = edgesOf(given), &weakest
	}
	if given.Standing != nil {
		out.Subject, out.Tenant = given.Standing.Subject, given.Standing.Tenant
		if out.Subject != "" {
			out.State = &said.State
		}
	}
	return out
}

// vectorOf leaves out claims that say nothing, as the deployed readers do.
func vectorOf(vector attestd.TrustVector) map[string]int8 {
	out := map[string]int8{}
	for _, one := range claimsOf(vector) {
		if one.value != 0 {
			out[one.name] = one.value
		}
	}
	return out
}
