package attester_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/internal/challenge"
)

var issued = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// reply is a challenge that a verifier signed.
func reply(t *testing.T, signer *challenge.Signer, change func(*challenge.Reply)) []byte {
	t.Helper()
	given := challenge.Reply{Schema: challenge.Schema, Challenge: attestd.Challenge{
		ID: "0190", Nonce: bytes.Repeat([]byte{3}, 32), TrustDomain: "example.org",
		VerifierKeyID: signer.KeyID(), Tenant: "blue", Purpose: "verify", Format: attestd.FormatTPM,
		IssuedAt: issued, ExpiresAt: issued.Add(time.Minute),
	}}
	var err error
	if given.Signature, err = signer.Sign(given.Challenge); err != nil {
		t.Fatal(err)
	}
	change(&given)
	doc, err := json.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func unchanged(*challenge.Reply) {}

func TestAChallengeThatMayBeAnsweredSaysWhatToBind(t *testing.T) {
	signer, err := challenge.NewEphemeralSigner()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := signer.KeySet()
	if err != nil {
		t.Fatal(err)
	}
	doc := reply(t, signer, func(r *challenge.Reply) {
		r.Activation = &challenge.Activation{CredentialBlob: []byte{1}, EncryptedSecret: []byte{2}}
	})
	for _, verifier := range []attester.Verifier{
		{TrustDomain: "example.org"}, {TrustDomain: "example.org", KeySet: keys},
	} {
		got, err := verifier.Accept(doc, attestd.FormatTPM, issued.Add(59*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if got.ID() != "0190" || got.Tenant() != "blue" || got.Purpose() != "verify" || got.Activated() ||
			!got.ExpiresAt().Equal(issued.Add(time.Minute)) {
			t.Errorf("got %+v", got)
		}
		blob, secret, ok := got.Activation()
		if !ok || !bytes.Equal(blob, []byte{1}) || !bytes.Equal(secret, []byte{2}) {
			t.Errorf("credential %x %x %v", blob, secret, ok)
		}
		want, err := attestd.Binding{
			TrustDomain: "example.org", VerifierKeyID: signer.KeyID(), Tenant: "blue", Purpose: "verify",
			Format: attestd.FormatTPM, Nonce: bytes.Repeat([]byte{3}, 32), SPKI: []byte("key"),
		}.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if value, err := got.Freshness([]byte("key")); err != nil || !bytes.Equal(value, want) {
			t.Errorf("freshness %x, %v; want %x", value, err, want)
		}
	}
}

func TestAChallengeThatMayNotBeAnsweredIsRefused(t *testing.T) {
	signer, err := challenge.NewEphemeralSigner()
	if err != nil {
		t.Fatal(err)
	}
	other, err := challenge.NewEphemeralSigner()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := signer.KeySet()
	if err != nil {
		t.Fatal(err)
	}
	mine := attester.Verifier{TrustDomain: "example.org", KeySet: keys}
	for _, row := range []struct {
		name     string
		verifier attester.Verifier
		document []byte
		after    time.Duration
		class    attestd.Class
		want     string
	}{
		{
			"nobody said which verifier", attester.Verifier{KeySet: keys}, reply(t, signer, unchanged), 0,
			attestd.ClassConfig, "no trust domain",
		},
		{
			"of a foreign trust domain", attester.Verifier{TrustDomain: "example.com", KeySet: keys},
			reply(t, signer, unchanged), 0, attestd.ClassForbidden, `trust domain "example.org", want "example.com"`,
		},
		{
			"of a foreign trust domain, without keys", attester.Verifier{TrustDomain: "example.com"},
			reply(t, signer, unchanged), 0, attestd.ClassForbidden, "trust domain",
		},
		{
			"for another format", mine,
			reply(t, signer, func(r *challenge.Reply) { r.Challenge.Format = attestd.FormatNitro }), 0,
			attestd.ClassForbidden, `format "nitro", want "tpm"`,
		},
		{"at its end", mine, reply(t, signer, unchanged), time.Minute, attestd.ClassStale, "was over at"},
		{
			"without an end", mine,
			reply(t, signer, func(r *challenge.Reply) { r.Challenge.ExpiresAt = time.Time{} }), 0,
			attestd.ClassStale, "was over at",
		},
		{"signed by another key", mine, reply(t, other, unchanged), 0, attestd.ClassForbidden, "not in the set"},
		{
			"changed behind the signature", mine,
			reply(t, signer, func(r *challenge.Reply) { r.Challenge.Nonce[0] ^= 1 }), 0,
			attestd.ClassForbidden, "covers another challenge",
		},
		{"no document", mine, []byte("{}"), 0, attestd.ClassMalformed, "schema"},
		{
			"a nonce of 16 bytes", mine,
			reply(t, signer, func(r *challenge.Reply) { r.Challenge.Nonce = r.Challenge.Nonce[:16] }), 0,
			attestd.ClassMalformed, "16 bytes",
		},
		{
			"keys that are no keys", attester.Verifier{TrustDomain: "example.org", KeySet: []byte("{")},
			reply(t, signer, unchanged), 0, attestd.ClassForbidden, "key set",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := row.verifier.Accept(row.document, attestd.FormatTPM, issued.Add(row.after))
			var caller *attestd.CallerError
			if !errors.As(err, &caller) || caller.Class != row.class || caller.Hint == "" ||
				!strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %s: %s", err, row.class, row.want)
			}
			if got.ID() != "" {
				t.Error("a challenge came with the error")
			}
		})
	}
}
