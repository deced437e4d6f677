package interop

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/lestrrat-go/jwx/v2/jwt"
	veraison "github.com/veraison/ear"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/client/ear"
	"github.com/attestd/attestd/internal/keys"
	"github.com/attestd/attestd/internal/result"
)

// issuerOf signs results in a profile, with the machine's clock: other readers ask it.
func issuerOf(t *testing.T, profile result.Profile) *result.Issuer {
	t.Helper()
	ring, err := keys.Open(context.Background(), keys.Config{
		Purpose: keys.PurposeResult, Folder: filepath.Join(t.TempDir(), "keys"), Lifetime: 5 * time.Minute, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ring.Close() })
	issuer, err := result.New(result.Config{
		Ring: ring, Profile: profile, Lifetime: 5 * time.Minute, Developer: "https://attestd.example", Build: "1.2.3",
		Issuer: "spiffe://example.org/attestd", Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return issuer
}

// activeKey is the first key of the published set, read by another program.
func activeKey(t *testing.T, issuer *result.Issuer) *ecdsa.PublicKey {
	t.Helper()
	document, _ := issuer.JWKS()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(document, &set); err != nil || len(set.Keys) != 2 {
		t.Fatalf("%d keys, %v", len(set.Keys), err)
	}
	key, ok := set.Keys[0].Key.(*ecdsa.PublicKey)
	if !ok || !set.Keys[0].Valid() {
		t.Fatalf("the key is a %T", set.Keys[0].Key)
	}
	return key
}

func verdict(of attestd.Verdict, risk int) attestd.Appraisal {
	return attestd.Appraisal{
		Schema: attestd.VerdictSchema, ID: "0b0f3f5e-8f5c-4d4e-9d53-2f1a8b6c7d80", Verdict: of,
		Format: attestd.FormatSEVSNP, Risk: attestd.Risk(risk), Tier: attestd.Risk(risk).Tier(), At: time.Now(),
		Freshness: attestd.FreshnessBinding,
		Trust:     attestd.TrustVector{Hardware: 2, RuntimeOpaque: 2, Executables: 3, Configuration: 2},
		Policy:    attestd.PolicyRef{ID: "production", Digest: "sha256:00"},
	}
}

// TestVeraisonReadsAttestdsResults: the library that relying parties of project Veraison use verifies
// and parses each result, with every status there is, and says of it what we said.
func TestVeraisonReadsAttestdsResults(t *testing.T) {
	issuer := issuerOf(t, result.Veraison2023)
	public := activeKey(t, issuer)
	bound, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(bound.Public())
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, 64)
	_, _ = rand.Read(nonce)
	for _, row := range []struct {
		given attestd.Appraisal
		state attestd.State
		want  veraison.TrustTier
	}{
		{verdict(attestd.VerdictAccepted, 10), attestd.StateTrusted, veraison.TrustTierAffirming},
		{verdict(attestd.VerdictAccepted, 50), attestd.StateTrusted, veraison.TrustTierWarning},
		{verdict(attestd.VerdictAccepted, 10), attestd.StateSuspect, veraison.TrustTierWarning},
		{verdict(attestd.VerdictRejected, 100), attestd.StateTrusted, veraison.TrustTierContraindicated},
		{verdict(attestd.VerdictUndecided, 100), attestd.StateUnknown, veraison.TrustTierNone},
	} {
		t.Run(row.given.Verdict.String()+" "+row.state.String(), func(t *testing.T) {
			token, err := issuer.Sign(context.Background(), result.Statement{
				Appraisal: row.given, State: row.state, Nonce: nonce, NonceBy: result.NonceByVerifier, KeySPKI: spki,
				Audience: "https://rp.example",
			})
			if err != nil {
				t.Fatal(err)
			}
			var read veraison.AttestationResult
			if err := read.Verify([]byte(token), jwa.ES256, public); err != nil {
				t.Fatal(err)
			}
			part := read.Submods["sev-snp"]
			hardware, executables := veraison.TrustClaim(2), veraison.TrustClaim(3)
			if row.want == veraison.TrustTierNone {
				hardware, executables = 0, 0
			}
			if len(read.Submods) != 1 || part == nil || *part.Status != row.want ||
				part.TrustVector.Hardware != hardware || part.TrustVector.Executables != executables || *part.AppraisalPolicyID != "production@sha256:00" ||
				*read.Profile != veraison.EatProfile || *read.VerifierID.Build != "1.2.3" ||
				*read.Nonce != base64.RawURLEncoding.EncodeToString(nonce) {
				t.Fatalf("read %+v", read)
			}
			if row.given.Verdict == attestd.VerdictAccepted {
				key, err := part.GetKeyAttestation()
				if err != nil || !bound.PublicKey.Equal(key) {
					t.Errorf("akpub: %v, %v", key, err)
				}
			} else if part.VeraisonKeyAttestation != nil {
				t.Error("a key is attested that was not accepted")
			}
			before := *part.Status
			if part.UpdateStatusFromTrustVector(); *part.Status != before {
				t.Errorf("their rule makes %v of %v", *part.Status, before)
			}
			// Their strict reading of the payload itself, and their writing of what they read.
			payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
			if err != nil {
				t.Fatal(err)
			}
			var again veraison.AttestationResult
			if err := json.Unmarshal(payload, &again); err != nil {
				t.Errorf("payload: %v", err)
			}
			if _, err := again.MarshalJSON(); err != nil {
				t.Errorf("what they read is not what they write: %v", err)
			}
		})
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	token, err := issuer.Sign(context.Background(), result.Statement{Appraisal: verdict(attestd.VerdictAccepted, 10)})
	if err != nil {
		t.Fatal(err)
	}
	var read veraison.AttestationResult
	if read.Verify([]byte(token), jwa.ES256, other.Public()) == nil {
		t.Error("another key verifies the result")
	}
}

// TestAttestdReadsWhatVeraisonWrites: their result, in a token with a type, a key id and an end, is read
// as they wrote it; without those, as their Sign writes it, it is refused and the reason is named.
func TestAttestdReadsWhatVeraisonWrites(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	document, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{
		Key: key.Public(), KeyID: "theirs", Algorithm: "ES256", Use: "sig",
	}}})
	if err != nil {
		t.Fatal(err)
	}
	set, err := ear.ParseKeySet(document)
	if err != nil || set.Len() != 1 {
		t.Fatal(set, err)
	}
	theirs := veraison.NewAttestationResult("cpu0", "build", "developer")
	*theirs.Submods["cpu0"].Status = veraison.TrustTierAffirming
	theirs.Submods["cpu0"].TrustVector.SetAll(veraison.ApprovedConfigClaim)
	if err := theirs.Submods["cpu0"].SetKeyAttestation(key.Public()); err != nil {
		t.Fatal(err)
	}
	options := ear.Options{Now: time.Now(), Leeway: time.Second, NoAudience: true, AnyNonce: true}
	plain, err := theirs.Sign(jwa.ES256, key)
	if err != nil {
		t.Fatal(err)
	}
	var caller *attestd.CallerError
	if got, err := ear.Verify(string(plain), set, options); got != nil || !errors.As(err, &caller) ||
		caller.Class != attestd.ClassUnauthenticated {
		t.Errorf("a token without a type, a key id and an end: %+v, %v", got, err)
	}
	token := jwt.New()
	for name, value := range theirs.AsMap() {
		if err := token.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := token.Set("exp", time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	headers := jws.NewHeaders()
	for name, value := range map[string]string{"typ": "eat+jwt", "kid": "theirs"} {
		if err := headers.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	signed, err := jwt.Sign(token, jwt.WithKey(jwa.ES256, key, jws.WithProtectedHeaders(headers)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ear.Verify(string(signed), set, options)
	if err != nil {
		t.Fatal(err)
	}
	part := got.Submods[0]
	if got.Demand() != nil || part.Name != "cpu0" || part.Trust.Hardware != 2 || part.Trust.SourcedData != 2 ||
		len(part.KeySPKI) == 0 || part.Own != nil || got.Verifier.Developer != "developer" {
		t.Errorf("read %+v", got)
	}
}

// TestGoJOSEVerifiesBothProfiles: a JOSE library that is told the algorithm reads each token.
func TestGoJOSEVerifiesBothProfiles(t *testing.T) {
	for _, profile := range []result.Profile{result.Veraison2023, result.IETF03} {
		issuer := issuerOf(t, profile)
		public := activeKey(t, issuer)
		halves := 0
		for range 64 { // a half of the signature begins with a zero byte now and then
			token, err := issuer.Sign(context.Background(), result.Statement{
				Appraisal: verdict(attestd.VerdictAccepted, 10), Audience: "https://rp.example",
			})
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := josejwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
			if err != nil {
				t.Fatal(err)
			}
			var claims josejwt.Claims
			var all map[string]any
			if err := parsed.Claims(public, &claims, &all); err != nil {
				t.Fatal(err)
			}
			err = claims.ValidateWithLeeway(josejwt.Expected{
				Issuer: "spiffe://example.org/attestd", AnyAudience: josejwt.Audience{"https://rp.example"}, Time: time.Now(),
			}, time.Second)
			if err != nil || claims.Expiry == nil || claims.IssuedAt == nil || claims.ID == "" ||
				all["eat_profile"] != profile.Tag() || parsed.Headers[0].ExtraHeaders["typ"] != result.Type {
				t.Fatalf("%v: %+v", err, all)
			}
			raw, err := base64.RawURLEncoding.DecodeString(token[strings.LastIndex(token, ".")+1:])
			if err != nil || len(raw) != 64 {
				t.Fatalf("a signature of %d bytes, %v", len(raw), err)
			}
			if new(big.Int).SetBytes(raw[:32]).BitLen() < 249 || new(big.Int).SetBytes(raw[32:]).BitLen() < 249 {
				halves++
			}
		}
		t.Logf("%s: 64 tokens, %d with a short half", profile, halves)
	}
}
