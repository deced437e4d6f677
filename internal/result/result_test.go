package result_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/client/ear"
	"github.com/attestd/attestd/internal/keys"
	"github.com/attestd/attestd/internal/result"
)

var now = time.Unix(1_800_000_000, 0).UTC()

type world struct {
	testing.TB
	ring   *keys.Ring
	issuer *result.Issuer
}

func newWorld(t testing.TB) *world {
	t.Helper()
	clock := func() time.Time { return now }
	ring, err := keys.Open(context.Background(), keys.Config{
		Purpose: keys.PurposeResult, Folder: filepath.Join(t.TempDir(), "keys"), Lifetime: 5 * time.Minute, Now: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ring.Close() })
	issuer, err := result.New(result.Config{
		Ring: ring, Profile: result.Veraison2023, Lifetime: 5 * time.Minute, Developer: "https://attestd.example",
		Build: "1.2.3", Issuer: "spiffe://example.org/attestd", Now: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &world{TB: t, ring: ring, issuer: issuer}
}

func accepted() attestd.Appraisal {
	return attestd.Appraisal{
		Schema: attestd.VerdictSchema, ID: "0b0f3f5e-8f5c-4d4e-9d53-2f1a8b6c7d80",
		Verdict: attestd.VerdictAccepted, Format: attestd.FormatNitro, Tier: attestd.TierLow, Risk: attestd.Risk(12),
		Freshness: attestd.FreshnessBinding, At: now.Add(-time.Second),
		Checks: []attestd.Check{
			{ID: "nitro/nonce", Result: attestd.ResultPass}, {ID: "nitro/age", Result: attestd.ResultFail},
			{ID: "nitro/age", Result: attestd.ResultFail},
		},
		Claims: json.RawMessage(`{"module_id":"i-0abc-secret"}`), Handles: []attestd.Handle{{
			Kind: attestd.HandleInstance, Value: "i-0abc-secret",
		}},
		Standing: &attestd.Standing{
			Subject: "spiffe://example.org/spire/agent/attestd/nitro/1", Tenant: "blue", Ownership: "enrolment",
			State: attestd.StateTrusted, Risk: attestd.Risk(12),
		},
		Trust:          attestd.TrustVector{Hardware: 2, Executables: 2, Configuration: 2, InstanceIdentity: 2},
		Policy:         attestd.PolicyRef{ID: "production", Digest: "sha256:9f2c"},
		EvidenceSHA256: strings.Repeat("ab", 32),
	}
}

// digestOf is how results name an appraisal.
func digestOf(id string) string {
	digest := sha256.Sum256([]byte(id))
	return hex.EncodeToString(digest[:])
}

func (w *world) sign(said result.Statement) string {
	w.Helper()
	token, err := w.issuer.Sign(context.Background(), said)
	if err != nil {
		w.Fatal(err)
	}
	return token
}

func (w *world) read(token string, change func(*ear.Options)) (*ear.Result, error) {
	w.Helper()
	document, _ := w.issuer.JWKS()
	set, err := ear.ParseKeySet(document)
	if err != nil {
		w.Fatal(err)
	}
	options := ear.Options{Now: now, NoAudience: true, AnyNonce: true}
	if change != nil {
		change(&options)
	}
	return ear.Verify(token, set, options)
}

func TestResultsAreReadInBothProfiles(t *testing.T) {
	w := newWorld(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	nonce := []byte(strings.Repeat("n", 64))
	for _, profile := range []result.Profile{result.Veraison2023, result.IETF03} {
		t.Run(string(profile), func(t *testing.T) {
			w.TB = t
			token := w.sign(result.Statement{
				Appraisal: accepted(), Profile: profile, State: attestd.StateTrusted, Nonce: nonce,
				NonceBy: result.NonceByVerifier, KeySPKI: spki, Audience: "https://rp.example",
			})
			got, err := w.read(token, func(o *ear.Options) {
				o.NoAudience, o.Audience, o.AnyNonce, o.Nonce = false, "https://rp.example", false, nonce
				o.Issuer = "spiffe://example.org/attestd"
			})
			if err != nil {
				t.Fatal(err)
			}
			part := got.Submods[0]
			if got.Demand() != nil || got.Profile != profile.Tag() || len(got.Submods) != 1 || part.Name != "nitro" ||
				part.Trust != accepted().Trust || part.Policies[0] != "production@sha256:9f2c" ||
				!slices.Equal(part.KeySPKI, spki) || !got.IssuedAt.Equal(now) ||
				!got.ExpiresAt.Equal(now.Add(5*time.Minute)) ||
				got.Verifier != (ear.Verifier{Developer: "https://attestd.example", Build: "1.2.3"}) {
				t.Errorf("got %+v", got)
			}
			own := part.Own
			if own == nil || own.RiskScore != attestd.Risk(12) || own.Tier != attestd.TierLow ||
				own.Appraisal != digestOf(accepted().ID) || !slices.Equal(own.Failing, []attestd.CheckID{"nitro/age"}) ||
				own.Nonce != "verifier-chosen" || own.Subject != accepted().Standing.Subject || own.Tenant != "blue" ||
				own.State != attestd.StateTrusted || own.Freshness != attestd.FreshnessBinding ||
				own.EvidenceAt != now.Unix()-1 {
				t.Errorf("own claims: %+v", own)
			}
			payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
			if err != nil || strings.Contains(string(payload), "secret") ||
				strings.Contains(string(payload), "abab") ||
				strings.Contains(string(payload), accepted().ID) {
				t.Errorf("the result has what only the verifier should: %s", payload)
			}
		})
	}
}

func TestTheStatusIsTheWorstThatThereIs(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*attestd.Appraisal)
		state  attestd.State
		want   result.Status
	}{
		{"accepted at a low risk", nil, attestd.StateTrusted, result.Affirming},
		{"accepted, and nobody keeps it", nil, attestd.StateUnknown, result.Affirming},
		{"accepted at a medium risk", func(a *attestd.Appraisal) { a.Risk, a.Tier = attestd.Risk(50), attestd.TierMedium },
			attestd.StateTrusted, result.Warning},
		{"accepted, with signals against the subject", func(a *attestd.Appraisal) { a.Standing.Risk = attestd.Risk(41) },
			attestd.StateTrusted, result.Warning},
		{"accepted, and its subject is at a high risk", func(a *attestd.Appraisal) { a.Standing.Risk = attestd.Risk(75) },
			attestd.StateTrusted, result.Contraindicated},
		{"accepted, and the subject is suspect", nil, attestd.StateSuspect, result.Warning},
		{"accepted, and the subject is quarantined", nil, attestd.StateQuarantined, result.Contraindicated},
		{"accepted, and the subject is revoked", nil, attestd.StateRevoked, result.Contraindicated},
		{"accepted, and the state is none", nil, attestd.State(9), result.Contraindicated},
		{"accepted, and the vector warns", func(a *attestd.Appraisal) { a.Trust.Hardware = 32 }, attestd.StateTrusted, result.Warning},
		{"accepted, and the vector contraindicates", func(a *attestd.Appraisal) { a.Trust.FileSystem = 96 },
			attestd.StateTrusted, result.Contraindicated},
		{"accepted, and the vector is negative", func(a *attestd.Appraisal) { a.Trust.FileSystem = -97 },
			attestd.StateTrusted, result.Contraindicated},
		{"rejected", func(a *attestd.Appraisal) { a.Verdict, a.Tier = attestd.VerdictRejected, attestd.TierLow },
			attestd.StateTrusted, result.Contraindicated},
		{"undecided", func(a *attestd.Appraisal) { a.Verdict, a.Tier = attestd.VerdictUndecided, attestd.TierUnknown },
			attestd.StateTrusted, result.None},
		{"undecided, and the vector warns", func(a *attestd.Appraisal) {
			a.Verdict, a.Trust.Hardware = attestd.VerdictUndecided, 32
		}, attestd.StateSuspect, result.None},
		{"undecided, and the vector contraindicates", func(a *attestd.Appraisal) {
			a.Verdict, a.Trust.Hardware = attestd.VerdictUndecided, 96
		}, attestd.StateTrusted, result.Contraindicated},
		{"a verdict that is none", func(a *attestd.Appraisal) { a.Verdict = 7 }, attestd.StateTrusted, result.Contraindicated},
	} {
		t.Run(row.name, func(t *testing.T) {
			given := accepted()
			if row.change != nil {
				row.change(&given)
			}
			if got := result.StatusOf(given, row.state); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
	if got := result.StatusOf(attestd.Appraisal{}, attestd.StateUnknown); got != result.None {
		t.Errorf("the zero appraisal is %s", got)
	}
}

// TestWhateverIsSignedIsReadAsSigned: any appraisal becomes a result that the reader, who knows the rules
// by itself, takes; and it affirms nothing that was not accepted.
func TestWhateverIsSignedIsReadAsSigned(t *testing.T) {
	w := newWorld(t)
	rapid.Check(t, func(t *rapid.T) {
		given := accepted()
		given.Verdict = attestd.Verdict(rapid.IntRange(0, 2).Draw(t, "verdict"))
		given.Risk = attestd.Risk(rapid.IntRange(0, 100).Draw(t, "risk"))
		given.Tier = given.Risk.Tier()
		claim := func(name string) int8 { return rapid.Int8().Draw(t, name) }
		given.Trust = attestd.TrustVector{
			Hardware: claim("hardware"), Executables: claim("executables"), Configuration: claim("configuration"),
			SourcedData: claim("data"), StorageOpaque: claim("storage"), RuntimeOpaque: claim("runtime"),
			FileSystem: claim("files"), InstanceIdentity: claim("instance"),
		}
		state := attestd.State(rapid.IntRange(0, 4).Draw(t, "state"))
		profile := rapid.SampledFrom([]result.Profile{result.Veraison2023, result.IETF03}).Draw(t, "profile")
		token, err := w.issuer.Sign(context.Background(), result.Statement{Appraisal: given, State: state, Profile: profile})
		if err != nil {
			t.Fatal(err)
		}
		got, err := w.read(token, nil)
		if err != nil {
			t.Fatal(err)
		}
		good := given.Verdict == attestd.VerdictAccepted && state <= attestd.StateTrusted
		want := given.Trust
		if got.Status == ear.None {
			want = attestd.TrustVector{} // nothing that somebody could work a better status out of
		}
		if got.Demand() == nil && !good || got.Submods[0].Trust != want {
			t.Fatalf("%+v of %+v", got, given)
		}
	})
}

func TestTheVerdictKnowsWhoChoseItsNonce(t *testing.T) {
	w := newWorld(t)
	given := accepted()
	given.Nonce = attestd.NonceClientChosen
	got, err := w.read(w.sign(result.Statement{
		Appraisal: given, Nonce: []byte("eight or more"), NonceBy: result.NonceByVerifier,
	}), nil)
	if err != nil || got.Submods[0].Own.Nonce != "client-chosen" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestStatementsThatAreNotSigned(t *testing.T) {
	w := newWorld(t)
	for name, row := range map[string]struct {
		change func(*result.Statement)
		class  attestd.Class // empty for a bug
	}{
		"a nonce of 7 bytes":           {func(s *result.Statement) { s.Nonce, s.NonceBy = make([]byte, 7), "client" }, attestd.ClassMalformed},
		"a nonce of 65 bytes":          {func(s *result.Statement) { s.Nonce, s.NonceBy = make([]byte, 65), "client" }, attestd.ClassMalformed},
		"a nonce that nobody chose":    {func(s *result.Statement) { s.Nonce = make([]byte, 32) }, ""},
		"a chooser without a nonce":    {func(s *result.Statement) { s.NonceBy = "client" }, ""},
		"another chooser":              {func(s *result.Statement) { s.Nonce, s.NonceBy = make([]byte, 32), "god" }, ""},
		"another profile":              {func(s *result.Statement) { s.Profile = "ietf-04" }, attestd.ClassUnsupported},
		"an audience of two lines":     {func(s *result.Statement) { s.Audience = "a\nb" }, attestd.ClassMalformed},
		"a long audience":              {func(s *result.Statement) { s.Audience = strings.Repeat("a", 513) }, attestd.ClassMalformed},
		"what it rests on has ended":   {func(s *result.Statement) { s.Until = now }, attestd.ClassStale},
		"what it rests on ended early": {func(s *result.Statement) { s.Until = now.Add(-time.Hour) }, attestd.ClassStale},
		"no appraisal":                 {func(s *result.Statement) { s.Appraisal = attestd.Appraisal{} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			said := result.Statement{Appraisal: accepted(), State: attestd.StateTrusted}
			row.change(&said)
			token, err := w.issuer.Sign(context.Background(), said)
			var caller *attestd.CallerError
			if token != "" || err == nil || errors.As(err, &caller) != (row.class != "") ||
				caller != nil && (caller.Class != row.class || caller.Hint == "") {
				t.Errorf("got %q, %v, want class %q", token, err, row.class)
			}
		})
	}
	got, err := w.read(w.sign(result.Statement{Appraisal: accepted(), Until: now.Add(90 * time.Second)}), nil)
	if err != nil || !got.ExpiresAt.Equal(now.Add(90*time.Second)) {
		t.Errorf("it outlives what it rests on: %+v, %v", got, err)
	}
}

func TestAnIssuerNeedsItsParts(t *testing.T) {
	w := newWorld(t)
	good := result.Config{
		Ring: w.ring, Profile: result.IETF03, Lifetime: time.Minute, Developer: "d", Build: "b", Now: time.Now,
	}
	if _, err := result.New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*result.Config){
		"keys": func(c *result.Config) { c.Ring = nil }, "a profile": func(c *result.Config) { c.Profile = "" },
		"a lifetime": func(c *result.Config) { c.Lifetime = 0 }, "a short one": func(c *result.Config) { c.Lifetime = 25 * time.Hour },
		"a developer": func(c *result.Config) { c.Developer = "" }, "a build": func(c *result.Config) { c.Build = "" },
		"a clock": func(c *result.Config) { c.Now = nil },
	} {
		bad := good
		if change(&bad); ignore(result.New(bad)) == nil {
			t.Errorf("an issuer without %s", name)
		}
	}
}

func ignore(_ *result.Issuer, err error) error { return err }

// TestTheTierIsThatOfTheRiskNow: a reader of the tier alone must not miss the signals against a subject.
func TestTheTierIsThatOfTheRiskNow(t *testing.T) {
	w := newWorld(t)
	for risk, want := range map[attestd.RiskScore]attestd.Tier{
		attestd.Risk(5): attestd.TierLow, attestd.Risk(45): attestd.TierMedium, attestd.Risk(85): attestd.TierHigh,
		attestd.Risk(100): attestd.Risk(100).Tier(),
	} {
		given := accepted()
		given.Standing.Risk = risk
		got, err := w.read(w.sign(result.Statement{Appraisal: given, State: attestd.StateTrusted}), func(*ear.Options) {})
		if err != nil {
			t.Fatal(err)
		}
		if own := got.Submods[0].Own; own.Tier != want {
			t.Errorf("risk %d of the subject: tier %s, want %s", risk.Int(), own.Tier, want)
		}
	}
	given := accepted()
	given.Verdict, given.Tier = attestd.VerdictRejected, attestd.TierCritical
	got, err := w.read(w.sign(result.Statement{Appraisal: given}), func(*ear.Options) {})
	if err != nil || got.Submods[0].Own.Tier != attestd.TierCritical {
		t.Errorf("rejected: %+v, %v", got, err)
	}
}
