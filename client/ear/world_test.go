package ear_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/client/ear"
)

var (
	now   = time.Unix(1_800_000_000, 0).UTC()
	nonce = []byte("a nonce of thirty-two bytes, yes")
	b64   = base64.RawURLEncoding.EncodeToString
)

const audience = "https://relying.example"

// issuer signs whatever a test wants.
type issuer struct {
	t   testing.TB
	key *ecdsa.PrivateKey
	kid string
}

func newIssuer(t testing.TB, curve elliptic.Curve) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{t: t, key: key, kid: "the-key"}
}

// jwk is its public half, with changes.
func (i *issuer) jwk(changes map[string]any) map[string]any {
	point, err := i.key.PublicKey.Bytes()
	if err != nil {
		i.t.Fatal(err)
	}
	half := (len(point) - 1) / 2
	return merge(map[string]any{
		"kty": "EC", "crv": i.key.Curve.Params().Name, "alg": "ES256", "use": "sig", "kid": i.kid,
		"x": b64(point[1 : 1+half]), "y": b64(point[1+half:]),
	}, changes)
}

// merge lays changes over members; nil takes one away.
func merge(members, changes map[string]any) map[string]any {
	out := maps.Clone(members)
	for name, value := range changes {
		if out[name] = value; value == nil {
			delete(out, name)
		}
	}
	return out
}

func (i *issuer) set() *ear.KeySet {
	i.t.Helper()
	set, err := ear.ParseKeySet(jsonOf(i.t, map[string]any{"keys": []any{i.jwk(nil)}}))
	if err != nil || set.Len() != 1 {
		i.t.Fatal(set, err)
	}
	return set
}

func jsonOf(t testing.TB, value any) []byte {
	t.Helper()
	document, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// sign signs two documents as they are.
func (i *issuer) sign(header, payload []byte) string {
	i.t.Helper()
	input := b64(header) + "." + b64(payload)
	digest := sha256.Sum256([]byte(input))
	der, err := i.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		i.t.Fatal(err)
	}
	var pair struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &pair); err != nil {
		i.t.Fatal(err)
	}
	size := (i.key.Curve.Params().BitSize + 7) / 8
	raw := make([]byte, 2*size)
	pair.R.FillBytes(raw[:size])
	pair.S.FillBytes(raw[size:])
	return input + "." + b64(raw)
}

func (i *issuer) header(changes map[string]any) []byte {
	return jsonOf(i.t, merge(map[string]any{"alg": "ES256", "typ": "eat+jwt", "kid": i.kid}, changes))
}

// claims are a good result's, with changes to them and to its one part.
func claims(changes, part map[string]any) map[string]any {
	return merge(map[string]any{
		"eat_profile": "tag:github.com,2023:veraison/ear", "iat": now.Unix() - 10, "exp": now.Unix() + 290,
		"jti": "7d3c", "aud": audience, "iss": "spiffe://example.org/attestd", "eat_nonce": b64(nonce),
		"ear.verifier-id": map[string]any{"developer": "somebody", "build": "1"},
		"submods": map[string]any{"nitro": merge(map[string]any{
			"ear.status":                 "affirming",
			"ear.trustworthiness-vector": map[string]any{"hardware": 2, "executables": 2},
			"ear.appraisal-policy-id":    "production@sha256:00",
		}, part)},
	}, changes)
}

func (i *issuer) token(changes, part map[string]any) string {
	i.t.Helper()
	return i.sign(i.header(nil), jsonOf(i.t, claims(changes, part)))
}

func options() ear.Options {
	return ear.Options{Now: now, Audience: audience, Nonce: nonce}
}

// demandClass demands that there is no result, and why.
func demandClass(t *testing.T, got *ear.Result, err error, want attestd.Class) {
	t.Helper()
	var caller *attestd.CallerError
	if got != nil || !errors.As(err, &caller) || caller.Class != want {
		t.Errorf("got %+v, %v; want class %s", got, err, want)
		return
	}
	if caller.Hint == "" {
		t.Errorf("%v has no hint", err)
	}
}
