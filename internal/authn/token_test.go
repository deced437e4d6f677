package authn_test

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/attestd/attestd/internal/authn"
	"github.com/attestd/attestd/internal/decision"
)

func TestATokenIdentifiesItsSubject(t *testing.T) {
	w := newWorld(t, nil)
	text := w.token(claims())
	who := w.shows(text)
	if who.Fault != "" || who.ID != workload || who.TrustDomain != domain || who.Method != decision.MethodJWT ||
		who.Cached || !who.Expires.Equal(start.Add(5*time.Minute)) || len(who.Credential) != 64 {
		t.Fatalf("got %+v", who)
	}
	if again := w.shows(text); !again.Cached || again.ID != workload {
		t.Errorf("the second time: %+v", again)
	}
}

// encode puts parts together as they are.
func encode(parts ...string) string {
	for i, one := range parts {
		parts[i] = base64.RawURLEncoding.EncodeToString([]byte(one))
	}
	return strings.Join(parts, ".")
}

// neg: 143, neg: 144, neg: 145, neg: 146, neg: 147, neg: 148: each token is one that somebody made to
// be taken for another's.
func TestTokensThatIdentifyNobody(t *testing.T) {
	w := newWorld(t, nil)
	good := w.token(claims())
	parts := strings.Split(good, ".")
	with := func(change func(map[string]any)) string {
		c := maps.Clone(claims())
		change(c)
		return w.token(c)
	}
	header := func(extra map[jose.HeaderKey]any) string {
		return w.signed(jose.ES256, w.key, extra, claims())
	}
	public, err := x509.MarshalPKIXPublicKey(w.key.Public())
	must(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	kid := map[jose.HeaderKey]any{"kid": "k1"}
	for name, row := range map[string]struct {
		text string
		code decision.Code
	}{
		"neg: 143 alg none": {encode(`{"alg":"none","kid":"k1"}`, `{"sub":"`+workload+`","aud":"`+audience+`","exp":9999999999}`) + ".",
			decision.CodeUnauthenticated},
		"neg: 143 none in place of ES256": {encode(`{"alg":"none","kid":"k1"}`) + "." + parts[1] + "." + parts[2],
			decision.CodeUnauthenticated},
		"neg: 143 HMAC with the public key": {w.signed(jose.HS256, public, kid, claims()), decision.CodeUnauthenticated},
		"neg: 143 a P-384 key's algorithm":  {w.signed(jose.ES384, key(t, elliptic.P384()), kid, claims()), decision.CodeUnauthenticated},
		"neg: 143 an RSA key's algorithm":   {w.signed(jose.RS256, rsaKey, kid, claims()), decision.CodeUnauthenticated},
		"neg: 143 another key":              {w.signed(jose.ES256, key(t, elliptic.P256()), kid, claims()), decision.CodeUnauthenticated},
		"neg: 143 kid as a path":            {header(map[jose.HeaderKey]any{"kid": "../../k1"}), decision.CodeUnauthenticated},
		"neg: 143 kid as a query":           {header(map[jose.HeaderKey]any{"kid": "k1' OR '1'='1"}), decision.CodeUnauthenticated},
		"neg: 143 no kid":                   {header(nil), decision.CodeUnauthenticated},
		"neg: 143 jku":                      {header(map[jose.HeaderKey]any{"kid": "k1", "jku": "https://evil.example/keys"}), decision.CodeUnauthenticated},
		"neg: 143 x5u":                      {header(map[jose.HeaderKey]any{"kid": "k1", "x5u": "https://evil.example/c"}), decision.CodeUnauthenticated},
		"neg: 143 jwk":                      {header(map[jose.HeaderKey]any{"kid": "k1", "jwk": jose.JSONWebKey{Key: w.key.Public()}}), decision.CodeUnauthenticated},
		"neg: 143 crit":                     {header(map[jose.HeaderKey]any{"kid": "k1", "crit": []string{"exp"}, "exp": 1}), decision.CodeUnauthenticated},
		"neg: 143 another typ":              {header(map[jose.HeaderKey]any{"kid": "k1", "typ": "dpop+jwt"}), decision.CodeUnauthenticated},
		"neg: 144 no exp":                   {with(func(c map[string]any) { delete(c, "exp") }), decision.CodeUnauthenticated},
		"neg: 144 exp as text":              {with(func(c map[string]any) { c["exp"] = "1999999999" }), decision.CodeUnauthenticated},
		"neg: 144 exp with a fraction":      {with(func(c map[string]any) { c["exp"] = 1999999999.5 }), decision.CodeUnauthenticated},
		"neg: 144 exp of zero":              {with(func(c map[string]any) { c["exp"] = 0 }), decision.CodeUnauthenticated},
		"neg: 144 exp 50 s ago":             {with(func(c map[string]any) { c["exp"] = start.Add(-50 * time.Second).Unix() }), decision.CodeExpired},
		"neg: 144 exp now":                  {with(func(c map[string]any) { c["exp"] = start.Unix() }), decision.CodeExpired},
		"neg: 144 nbf in a minute":          {with(func(c map[string]any) { c["nbf"] = start.Add(time.Minute).Unix() }), decision.CodeExpired},
		"neg: 144 iat in a minute":          {with(func(c map[string]any) { c["iat"] = start.Add(time.Minute).Unix() }), decision.CodeUnauthenticated},
		"neg: 145 no aud":                   {with(func(c map[string]any) { delete(c, "aud") }), decision.CodeUnauthenticated},
		"neg: 145 nobody's aud":             {with(func(c map[string]any) { c["aud"] = []string{} }), decision.CodeUnauthenticated},
		"neg: 145 an empty aud":             {with(func(c map[string]any) { c["aud"] = "" }), decision.CodeUnauthenticated},
		"neg: 145 another's aud":            {with(func(c map[string]any) { c["aud"] = "attestd://other" }), decision.CodeUnauthenticated},
		"neg: 145 ours second":              {with(func(c map[string]any) { c["aud"] = []string{"db", audience} }), decision.CodeUnauthenticated},
		"neg: 145 ours in another case":     {with(func(c map[string]any) { c["aud"] = strings.ToUpper(audience) }), decision.CodeUnauthenticated},
		"neg: 145 ours and more":            {with(func(c map[string]any) { c["aud"] = audience + "/x" }), decision.CodeUnauthenticated},
		"neg: 146 padding":                  {parts[0] + "=." + parts[1] + "." + parts[2], decision.CodeUnauthenticated},
		"neg: 146 a space":                  {parts[0] + "." + parts[1] + "." + parts[2] + " ", decision.CodeUnauthenticated},
		"neg: 146 a line's end":             {parts[0] + "." + parts[1] + "." + parts[2] + "\n", decision.CodeUnauthenticated},
		"neg: 146 a line's end within":      {parts[0][:4] + "\n" + parts[0][4:] + "." + parts[1] + "." + parts[2], decision.CodeUnauthenticated},
		"neg: 146 bits that say nothing":    {parts[0] + "." + parts[1] + "." + spareBits(parts[2]), decision.CodeUnauthenticated},
		"neg: 147 five parts":               {good + ".a.b", decision.CodeUnauthenticated},
		"neg: 147 a megabyte of dots":       {strings.Repeat(".", 1<<20), decision.CodeUnauthenticated},
		"neg: 147 dots":                     {strings.Repeat(".", 4000), decision.CodeUnauthenticated},
		"neg: 147 a zip header":             {header(map[jose.HeaderKey]any{"kid": "k1", "zip": "DEF"}), decision.CodeUnauthenticated},
		"neg: 147 a JWE":                    {encode(`{"alg":"PBES2-HS512+A256KW","enc":"A256GCM","p2c":2147483647}`, "k", "i", "c", "t"), decision.CodeUnauthenticated},
		"neg: 147 a long token":             {w.token(map[string]any{"sub": workload, "aud": audience, "exp": 9999999999, "x": strings.Repeat("y", 9000)}), decision.CodeUnauthenticated},
		"neg: 147 JSON in depth": {encode(`{"alg":"ES256","kid":"k1"}`, strings.Repeat("[", 3000)+strings.Repeat("]", 3000), "s"),
			decision.CodeUnauthenticated},
		"a double alg":         {encode(`{"alg":"ES256","alg":"none","kid":"k1"}`) + "." + parts[1] + "." + parts[2], decision.CodeUnauthenticated},
		"a double sub":         {parts[0] + "." + encode(`{"sub":"`+workload+`","sub":"spiffe://example.org/admin"}`) + "." + parts[2], decision.CodeUnauthenticated},
		"JSON serialization":   {`{"payload":"` + parts[1] + `"}`, decision.CodeUnauthenticated},
		"another subject":      {with(func(c map[string]any) { c["sub"] = "spiffe://elsewhere.org/agent" }), decision.CodeUnauthenticated},
		"a trust domain alone": {with(func(c map[string]any) { c["sub"] = "spiffe://example.org" }), decision.CodeUnauthenticated},
		"no SPIFFE ID":         {with(func(c map[string]any) { c["sub"] = "admin" }), decision.CodeUnauthenticated},
		"no subject":           {with(func(c map[string]any) { delete(c, "sub") }), decision.CodeUnauthenticated},
		"a domain not fetched": {with(func(c map[string]any) { c["sub"] = "spiffe://partner.org/agent" }), decision.CodeBundleUnavailable},
		"a payload that was changed": {parts[0] + "." + encode(`{"sub":"`+workload+`","aud":"`+audience+`","exp":9999999999}`) + "." + parts[2],
			decision.CodeUnauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // also where it was remembered
				who := w.shows(row.text)
				if who.Fault != row.code || who.ID != "" || who.Cached {
					t.Errorf("got %+v, want %s", who, row.code)
				}
				if len(row.text) > 40 && strings.Contains(who.FaultDetail, row.text[:40]) {
					t.Errorf("the fault quotes the token: %s", who.FaultDetail)
				}
			}
		})
	}
	if who := w.shows(good); who.Fault != "" {
		t.Errorf("the honest token: %+v", who)
	}
}

// spareBits sets bits of the last character that no byte is made of.
func spareBits(part string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, part[len(part)-1])
	return part[:len(part)-1] + string(alphabet[last|1])
}

// A key of one trust domain says nothing about subjects of another.
func TestEachDomainSpeaksForItselfAlone(t *testing.T) {
	w := newWorld(t, nil)
	w.other.bundle = w.bundle("partner.org")
	strange := key(t, elliptic.P256())
	w.other.bundle.RemoveJWTAuthority("k1")
	must(t, w.other.bundle.AddJWTAuthority("k1", strange.Public()))
	must(t, refreshOther(w))
	c := claims()
	kid := map[jose.HeaderKey]any{"kid": "k1"}
	if who := w.shows(w.signed(jose.ES256, strange, kid, c)); who.Fault != decision.CodeUnauthenticated {
		t.Errorf("the partner's key spoke for us: %+v", who)
	}
	c["sub"] = "spiffe://partner.org/agent"
	if who := w.shows(w.signed(jose.ES256, strange, kid, c)); who.Fault != "" || who.TrustDomain != "partner.org" {
		t.Errorf("the partner's own: %+v", who)
	}
}

// SPIRE writes numbers that went through its composers as floats.
func TestNumbersAsSPIREWritesThem(t *testing.T) {
	w := newWorld(t, nil)
	text := w.signed(jose.ES256, w.key, map[jose.HeaderKey]any{"kid": "k1"}, raw(
		`{"sub":"`+workload+`","aud":"`+audience+`","exp":1777864000,"iat":1777863000,"nbf":1.777863e+09}`))
	at := time.Unix(1777863500, 0)
	w.wait(at.Sub(w.clock()))
	must(t, w.refresh())
	if who := w.shows(text); who.Fault != "" || who.ID != workload {
		t.Errorf("got %+v", who)
	}
}

type raw string

func (r raw) MarshalJSON() ([]byte, error) { return []byte(r), nil }

func TestConfigurationsThatAreRefused(t *testing.T) {
	w := newWorld(t, nil)
	for name, config := range map[string]authn.Config{
		"neg: 145 no audience": {Bundles: w.bundles, MaxAge: time.Minute, Entries: 1},
		"an empty audience":    {Bundles: w.bundles, Audiences: []string{""}, MaxAge: time.Minute, Entries: 1},
		"no bundles":           {Audiences: []string{"a"}, MaxAge: time.Minute, Entries: 1},
		"hours of leeway":      {Bundles: w.bundles, Audiences: []string{"a"}, Leeway: time.Hour, MaxAge: time.Minute, Entries: 1},
		"for ever":             {Bundles: w.bundles, Audiences: []string{"a"}, Entries: 1},
		"no room":              {Bundles: w.bundles, Audiences: []string{"a"}, MaxAge: time.Minute},
	} {
		if _, err := authn.New(config); err == nil {
			t.Errorf("%s: made", name)
		}
	}
	if _, err := authn.NewBundles(authn.BundlesConfig{}); err == nil {
		t.Error("bundles without a source")
	}
}

func FuzzToken(f *testing.F) {
	w := newWorld(f, nil)
	good := w.token(claims())
	f.Add(good)
	f.Add(encode(`{"alg":"ES256","kid":"k1"}`, `{"sub":"`+workload+`"}`, "s"))
	f.Fuzz(func(t *testing.T, text string) {
		who := w.shows(text)
		if who.Fault == "" && text != good {
			t.Fatalf("%q identifies %+v", text, who)
		}
		if (who.Fault == "") == (who.ID == "") {
			t.Fatalf("neither somebody nor a fault: %+v", who)
		}
	})
}

func BenchmarkToken(b *testing.B) {
	w := newWorld(b, nil)
	text := w.token(claims())
	credential := decision.Credential{Token: text}
	b.Run("known", func(b *testing.B) {
		w.identify(credential)
		b.ReportAllocs()
		for b.Loop() {
			if who := w.identify(credential); !who.Cached {
				b.Fatal(who)
			}
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w.epoch++ // nothing that was remembered is good
			if who := w.identify(credential); who.Fault != "" {
				b.Fatal(who)
			}
		}
	})
}

var errGone = errors.New("gone")

// TestTheBytesOfACertificateAreNoToken: what everybody sees in a handshake identifies nobody, also where its
// holder was seen before.
func TestTheBytesOfACertificateAreNoToken(t *testing.T) {
	w := newWorld(t, nil)
	leaf := w.svid(nil)
	if who := w.identify(decision.Credential{Chain: []*x509.Certificate{leaf}}); who.Fault != "" {
		t.Fatalf("%+v", who)
	}
	if who := w.shows(string(leaf.Raw)); who.Fault == "" || who.ID != "" {
		t.Errorf("identified %s", who.ID)
	}
}

// TestABundleDoesNotGoBack, also where its keys were the same in between.
func TestABundleDoesNotGoBack(t *testing.T) {
	w := newWorld(t, nil)
	same := w.bundle(domain)
	same.SetSequenceNumber(20)
	w.source.bundle = same
	must(t, w.refresh())
	older := w.bundle(domain)
	must(t, older.AddJWTAuthority("withdrawn", key(t, elliptic.P256()).Public()))
	older.SetSequenceNumber(10)
	w.source.bundle = older
	if err := w.refresh(); err == nil {
		t.Error("number 10 was taken after 20")
	}
}

// TestATokenOfDaysIsNone: SVIDs are for minutes.
func TestATokenOfDaysIsNone(t *testing.T) {
	w := newWorld(t, nil)
	long := claims()
	long["exp"] = start.Add(24*time.Hour + time.Second).Unix()
	if who := w.shows(w.token(long)); who.Fault != decision.CodeUnauthenticated {
		t.Errorf("%+v", who)
	}
	long["exp"] = start.Add(24 * time.Hour).Unix()
	if who := w.shows(w.token(long)); who.Fault != "" {
		t.Errorf("%+v", who)
	}
}
