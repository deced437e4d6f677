package challenge_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
)

// memory is a store that keeps nothing but the last challenge and answers as a test says.
type memory struct {
	last    challenge.Issued
	outcome challenge.Outcome
	err     error
}

var now = time.Date(2026, 11, 23, 6, 0, 0, 0, time.UTC)

func (*memory) Now() time.Time { return now }

func (m *memory) InsertChallenge(_ context.Context, made challenge.Issued) error {
	m.last = made
	return m.err
}

func (m *memory) Consume(context.Context, challenge.Use) (challenge.Taken, challenge.Outcome, error) {
	return challenge.Taken{Challenge: m.last.Challenge, Credential: m.last.Credential}, m.outcome, m.err
}

func newIssuer(t *testing.T, store challenge.Store) (*challenge.Issuer, *challenge.Signer) {
	t.Helper()
	signer, err := challenge.NewEphemeralSigner()
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := challenge.NewIssuer(challenge.Config{
		Store: store, Signer: signer, TrustDomain: "example.org", Lifetime: time.Minute, NonceBytes: 32,
	})
	if err != nil {
		t.Fatal(err)
	}
	return issuer, signer
}

func issue(t *testing.T, issuer *challenge.Issuer, bytes int) challenge.Reply {
	t.Helper()
	reply, err := issuer.Issue(t.Context(), challenge.Wish{
		Format: attestd.FormatNitro, Tenant: "default", Purpose: "verify", NonceBytes: bytes,
	})
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// neg: 156
func TestNoncesAreLongAndNeverTheSame(t *testing.T) {
	issuer, _ := newIssuer(t, &memory{})
	seen := map[[8]byte]bool{}
	ones := 0
	const count = 20_000 // of 64 bits each: a collision has a chance of one in 10^11
	for range count {
		reply := issue(t, issuer, 0)
		if len(reply.Challenge.Nonce) != 32 {
			t.Fatalf("nonce has %d bytes, want 32", len(reply.Challenge.Nonce))
		}
		for at := 0; at < 32; at += 8 { // each part by itself: no counter, no constant, no time in it
			part := [8]byte(reply.Challenge.Nonce[at:])
			if seen[part] {
				t.Fatal("a part of a nonce came twice")
			}
			seen[part] = true
		}
		ones += int(reply.Challenge.Nonce[0] >> 7)
	}
	if ones < count*45/100 || ones > count*55/100 {
		t.Errorf("the first bit is set in %d of %d nonces", ones, count)
	}
}

func TestAChallengeSaysEverythingThatEvidenceIsBoundTo(t *testing.T) {
	store := &memory{}
	issuer, signer := newIssuer(t, store)
	got := issue(t, issuer, 64).Challenge
	if len(got.Nonce) != 64 || got.ID == "" || got.TrustDomain != "example.org" || got.VerifierKeyID != signer.KeyID() ||
		got.Tenant != "default" || got.Purpose != "verify" || got.Format != attestd.FormatNitro ||
		!got.IssuedAt.Equal(now) || !got.ExpiresAt.Equal(now.Add(time.Minute)) {
		t.Errorf("got %+v", got)
	}
	if store.last.ID != got.ID || !bytes.Equal(store.last.Nonce, got.Nonce) {
		t.Error("what was stored is not what was handed out")
	}
}

func TestNoChallengeIsHandedOutThatIsNotStored(t *testing.T) {
	issuer, _ := newIssuer(t, &memory{err: errors.New("disk full")})
	reply, err := issuer.Issue(t.Context(), challenge.Wish{Format: attestd.FormatNitro})
	if err == nil || reply.Signature != "" || reply.Challenge.Nonce != nil {
		t.Errorf("got %+v, %v; want nothing but an error", reply, err)
	}
}

func TestLimitsOfAnIssuerCannotBeConfiguredAway(t *testing.T) {
	signer, err := challenge.NewEphemeralSigner()
	if err != nil {
		t.Fatal(err)
	}
	good := challenge.Config{
		Store: &memory{}, Signer: signer, TrustDomain: "example.org", Lifetime: time.Minute, NonceBytes: 32,
	}
	for name, change := range map[string]func(*challenge.Config){
		"no store":                 func(c *challenge.Config) { c.Store = nil },
		"no signer":                func(c *challenge.Config) { c.Signer = nil },
		"no trust domain":          func(c *challenge.Config) { c.TrustDomain = "" },
		"no lifetime":              func(c *challenge.Config) { c.Lifetime = 0 },
		"a lifetime over a minute": func(c *challenge.Config) { c.Lifetime = time.Minute + 1 },
		"a nonce of 31 bytes":      func(c *challenge.Config) { c.NonceBytes = 31 },
		"a nonce of 65 bytes":      func(c *challenge.Config) { c.NonceBytes = 65 },
	} {
		t.Run(name, func(t *testing.T) {
			config := good
			change(&config)
			if _, err := challenge.NewIssuer(config); err == nil {
				t.Error("got an issuer, want an error")
			}
		})
	}
}

func TestEveryOutcomeButOneRefuses(t *testing.T) {
	for name, row := range map[string]struct {
		outcome challenge.Outcome
		check   attestd.CheckID
		class   attestd.Class
	}{
		"unknown": {challenge.Unknown, challenge.CheckKnown, attestd.ClassStale},
		"used":    {challenge.UsedBefore, challenge.CheckKnown, attestd.ClassReplay},
		"expired": {challenge.Expired, challenge.CheckExpired, attestd.ClassStale},
		"foreign": {challenge.Foreign, challenge.CheckKnown, attestd.ClassBinding},
	} {
		t.Run(name, func(t *testing.T) {
			store := &memory{outcome: row.outcome}
			issuer, _ := newIssuer(t, store)
			issue(t, issuer, 0)
			got, refusal, err := issuer.Consume(t.Context(), challenge.Use{})
			if err != nil || refusal == nil || refusal.Check != row.check || refusal.Class != row.class || got.Nonce != nil {
				t.Errorf("got %+v, %+v, %v", got, refusal, err)
			}
		})
	}
	store := &memory{outcome: challenge.Consumed + 1}
	issuer, _ := newIssuer(t, store)
	if _, refusal, err := issuer.Consume(t.Context(), challenge.Use{}); err == nil && refusal == nil {
		t.Error("an outcome that nobody knows passes")
	}
	store.outcome = challenge.Consumed
	if _, refusal, err := issuer.Consume(t.Context(), challenge.Use{}); err != nil || refusal != nil {
		t.Errorf("consumed: got %v, %v", refusal, err)
	}
}

func TestTheKeyFileIsMadeOnceAndKeptPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "challenge.key")
	first, err := challenge.OpenSigner(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := challenge.OpenSigner(path)
	if err != nil || first.KeyID() != second.KeyID() {
		t.Fatalf("got %v, want the same key again", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".challenge-key-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	for name, spoil := range map[string]func() error{
		"readable by others": func() error { return os.Chmod(path, 0o640) },
		"damaged":            func() error { return os.WriteFile(path, []byte("-----BEGIN"), 0o600) },
		"empty":              func() error { return os.WriteFile(path, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			if _, err := challenge.OpenSigner(path); err == nil {
				t.Error("got a signer, want a refusal")
			}
			_ = os.Chmod(path, 0o600)
		})
	}
}

func TestASignatureCoversTheChallengeBesideItAndNothingElse(t *testing.T) {
	issuer, signer := newIssuer(t, &memory{})
	keys, err := signer.KeySet()
	if err != nil {
		t.Fatal(err)
	}
	other, err := challenge.NewEphemeralSigner()
	if err != nil {
		t.Fatal(err)
	}
	reply, second := issue(t, issuer, 0), issue(t, issuer, 0)
	if err := reply.VerifySignature(keys); err != nil {
		t.Fatal(err)
	}
	forged, err := other.Sign(reply.Challenge)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*challenge.Reply){
		"another nonce":               func(r *challenge.Reply) { r.Challenge.Nonce = second.Challenge.Nonce },
		"another trust domain":        func(r *challenge.Reply) { r.Challenge.TrustDomain = "evil.example" },
		"another tenant":              func(r *challenge.Reply) { r.Challenge.Tenant = "blue" },
		"a later end":                 func(r *challenge.Reply) { r.Challenge.ExpiresAt = r.Challenge.ExpiresAt.Add(1) },
		"another challenge's":         func(r *challenge.Reply) { r.Signature = second.Signature },
		"a key that is not published": func(r *challenge.Reply) { r.Signature = forged },
		"no signature":                func(r *challenge.Reply) { r.Signature = "" },
		"the signature cut":           func(r *challenge.Reply) { r.Signature = r.Signature[:len(r.Signature)-2] },
		"a key id that names nobody":  func(r *challenge.Reply) { r.Challenge.VerifierKeyID = "x" },
		"alg none":                    func(r *challenge.Reply) { r.Signature = unsigned(t, r.Challenge) },
	} {
		t.Run(name, func(t *testing.T) {
			changed := reply
			changed.Challenge.Nonce = bytes.Clone(reply.Challenge.Nonce)
			change(&changed)
			if err := changed.VerifySignature(keys); err == nil {
				t.Error("passes")
			}
		})
	}
}

// A key that signs more than challenges one day must not have those other signatures taken for one.
func TestAJWSOfAnotherTypeByTheSameKeyIsNoChallenge(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "challenge.key")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	signer, err := challenge.OpenSigner(path)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := signer.KeySet()
	if err != nil {
		t.Fatal(err)
	}
	made := attestd.Challenge{ID: "1", Nonce: make([]byte, 32), VerifierKeyID: signer.KeyID(), Format: attestd.FormatNitro}
	payload, err := json.Marshal(made)
	if err != nil {
		t.Fatal(err)
	}
	for kind, passes := range map[jose.ContentType]bool{"attestd-challenge+jws": true, "JWT": false, "": false} {
		other, err := jose.NewSigner(
			jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: key, KeyID: signer.KeyID()}},
			(&jose.SignerOptions{}).WithType(kind))
		if err != nil {
			t.Fatal(err)
		}
		signed, err := other.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		compact, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		err = challenge.Reply{Challenge: made, Signature: compact}.VerifySignature(keys)
		if (err == nil) != passes {
			t.Errorf("type %q: got %v, want it to pass: %t", kind, err, passes)
		}
	}
}

func unsigned(t *testing.T, c attestd.Challenge) string {
	t.Helper()
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: make([]byte, 32)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return "eyJhbGciOiJub25lIn0" + compact[strings.Index(compact, "."):]
}

func TestOnlyAWholeReplyIsRead(t *testing.T) {
	issuer, _ := newIssuer(t, &memory{})
	reply := issue(t, issuer, 0)
	good, err := json.Marshal(reply)
	if err != nil {
		t.Fatal(err)
	}
	read, err := challenge.ParseReply(good)
	if err != nil || read.Challenge.ID != reply.Challenge.ID || !read.Challenge.ExpiresAt.Equal(reply.Challenge.ExpiresAt) {
		t.Fatalf("got %+v, %v", read, err)
	}
	for name, document := range map[string]string{
		"empty":           "",
		"another schema":  strings.Replace(string(good), "challenge.v1", "challenge.v2", 1),
		"an unknown key":  strings.Replace(string(good), `{"schema"`, `{"x":1,"schema"`, 1),
		"a key twice":     strings.Replace(string(good), `{"schema"`, `{"schema":"attestd.challenge.v1","schema"`, 1),
		"a short nonce":   strings.Replace(string(good), `"nonce":"`, `"nonce":"AA==","was":"`, 1),
		"trailing bytes":  string(good) + "{}",
		"no signature":    strings.Replace(string(good), `"signature":"ey`, `"signature":"","x":"ey`, 1),
		"longer than any": string(good) + strings.Repeat(" ", 16<<10),
		"a bare challenge": func() string {
			bare, _ := json.Marshal(reply.Challenge)
			return string(bare)
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			var caller *attestd.CallerError
			if _, err := challenge.ParseReply([]byte(document)); !errors.As(err, &caller) || caller.Hint == "" {
				t.Errorf("got %v, want a caller error with a hint", err)
			}
		})
	}
}
