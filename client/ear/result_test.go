package ear_test

import (
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/client/ear"
)

func TestAGoodResultIsRead(t *testing.T) {
	from := newIssuer(t, elliptic.P256())
	token := from.token(map[string]any{"something.new": []any{1, "two"}}, nil)
	got, err := ear.Verify(token, from.set(), options())
	if err != nil {
		t.Fatal(err)
	}
	if got.Status != ear.Affirming || got.Demand() != nil || len(got.Submods) != 1 ||
		got.Submods[0].Name != "nitro" || got.Submods[0].Trust.Hardware != 2 || got.Audience != audience ||
		!got.IssuedAt.Equal(now.Add(-10*time.Second)) || !got.ExpiresAt.Equal(now.Add(290*time.Second)) ||
		got.Verifier.Developer != "somebody" || got.Submods[0].Policies[0] != "production@sha256:00" {
		t.Errorf("got %+v", got)
	}
}

func TestTheZeroResultAffirmsNothing(t *testing.T) {
	var none *ear.Result
	if !errors.Is(none.Demand(), ear.ErrNotAffirmed) || !errors.Is(new(ear.Result).Demand(), ear.ErrNotAffirmed) {
		t.Error("a result that there is not affirms")
	}
	if ear.Status(77).String() != "contraindicated" {
		t.Error("a status that there is not has a name")
	}
}

// neg: 143
func TestTokensThatSayHowTheyAreToBeVerifiedAreRefused(t *testing.T) {
	from := newIssuer(t, elliptic.P256())
	payload := jsonOf(t, claims(nil, nil))
	public, err := from.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	unsigned := b64(from.header(map[string]any{"alg": "none"})) + "." + b64(payload) + "."
	symmetric := b64(from.header(map[string]any{"alg": "HS256"})) + "." + b64(payload)
	mac := hmac.New(sha256.New, public)
	_, _ = mac.Write([]byte(symmetric))
	larger := newIssuer(t, elliptic.P384())
	header := func(changes map[string]any) string { return from.sign(from.header(changes), payload) }
	for name, token := range map[string]string{
		"alg none without a signature":        unsigned,
		"alg none with a signature":           header(map[string]any{"alg": "none"}),
		"HS256 with the public key as secret": symmetric + "." + b64(mac.Sum(nil)),
		"ES256 under a P-384 key":             larger.sign(larger.header(nil), payload),
		"alg ES384":                           header(map[string]any{"alg": "ES384"}),
		"alg in another case":                 header(map[string]any{"alg": "es256"}),
		"no alg":                              header(map[string]any{"alg": nil}),
		"a kid that is a path":                header(map[string]any{"kid": "../../dev/null"}),
		"a kid that is SQL":                   header(map[string]any{"kid": "x' UNION SELECT 'k"}),
		"a kid of nobody":                     header(map[string]any{"kid": "other"}),
		"no kid":                              header(map[string]any{"kid": nil}),
		"an empty kid":                        header(map[string]any{"kid": ""}),
		"jku":                                 header(map[string]any{"jku": "https://evil.example/jwks"}),
		"x5u":                                 header(map[string]any{"x5u": "https://evil.example/c"}),
		"jwk":                                 header(map[string]any{"jwk": from.jwk(nil)}),
		"x5c":                                 header(map[string]any{"x5c": []any{"MIIB"}}),
		"crit":                                header(map[string]any{"crit": []any{"exp"}}),
		"b64":                                 header(map[string]any{"b64": false}),
		"cty":                                 header(map[string]any{"cty": "JWT"}),
		"another typ":                         header(map[string]any{"typ": "JWT"}),
		"no typ":                              header(map[string]any{"typ": nil}),
		"two algs": from.sign([]byte(`{"alg":"ES256","alg":"none","typ":"eat+jwt","kid":"the-key"}`),
			payload),
		"another key's signature": newIssuer(t, elliptic.P256()).sign(from.header(nil), payload),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ear.Verify(token, from.set(), options())
			demandClass(t, got, err, attestd.ClassUnauthenticated)
		})
	}
	var unknown *ear.UnknownKeyError
	if _, err := ear.Verify(header(map[string]any{"kid": "other"}), from.set(), options()); !errors.As(err, &unknown) {
		t.Errorf("a key that is not in the set: %v", err)
	}
}

// neg: 144
func TestTokensThatAreNotInForceAreRefused(t *testing.T) {
	from := newIssuer(t, elliptic.P256())
	for name, changes := range map[string]map[string]any{
		"no exp":                  {"exp": nil},
		"exp as a text":           {"exp": "1900000000"},
		"exp as a fraction":       {"exp": 1900000000.5},
		"exp as a power":          {"exp": json.RawMessage("19e8")},
		"exp null":                {"exp": json.RawMessage("null")},
		"exp beyond all times":    {"exp": int64(1) << 62},
		"ended now":               {"exp": now.Unix()},
		"ended 50 seconds ago":    {"exp": now.Unix() - 50, "iat": now.Unix() - 350},
		"no iat":                  {"iat": nil},
		"iat as a fraction":       {"iat": json.RawMessage("1799999990.0")},
		"issued in the future":    {"iat": now.Unix() + 1},
		"ended before it began":   {"iat": now.Unix() - 1, "exp": now.Unix() - 1},
		"not in force yet":        {"nbf": now.Unix() + 1},
		"nbf as a text":           {"nbf": "1"},
		"issued before all times": {"iat": -5},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ear.Verify(from.token(changes, nil), from.set(), options())
			demandClass(t, got, err, attestd.ClassUnauthenticated)
		})
	}
	late := options()
	late.Leeway = time.Minute
	if _, err := ear.Verify(from.token(map[string]any{"iat": 1, "exp": now.Unix() - 50}, nil), from.set(), late); err != nil {
		t.Errorf("within the leeway that the reader gives: %v", err)
	}
	got, err := ear.Verify(from.token(map[string]any{"iat": 1, "exp": now.Unix() - 60}, nil), from.set(), late)
	demandClass(t, got, err, attestd.ClassUnauthenticated)
}

// neg: 145
func TestTokensForOthersAreRefused(t *testing.T) {
	from := newIssuer(t, elliptic.P256())
	nobody := options()
	nobody.Audience, nobody.NoAudience = "", true
	other := options()
	other.Issuer = "spiffe://example.org/other"
	for _, row := range []struct {
		name    string
		changes map[string]any
		options ear.Options
	}{
		{"for nobody, and the reader is somebody", map[string]any{"aud": nil}, options()},
		{"for another", map[string]any{"aud": audience + "/"}, options()},
		{"for another tenant", map[string]any{"aud": "https://relying.example#b"}, options()},
		{"for another case", map[string]any{"aud": strings.ToUpper(audience)}, options()},
		{"a list with ours second", map[string]any{"aud": []any{"https://evil.example", audience}}, options()},
		{"a list with ours first", map[string]any{"aud": []any{audience, "https://evil.example"}}, options()},
		{"an empty list", map[string]any{"aud": []any{}}, options()},
		{"an empty text", map[string]any{"aud": ""}, options()},
		{"a number", map[string]any{"aud": 7}, options()},
		{"for somebody, and the reader is nobody", nil, nobody},
		{"for an empty name, and the reader is nobody", map[string]any{"aud": ""}, nobody},
		{"by another issuer", nil, other},
		{"another nonce", map[string]any{"eat_nonce": b64([]byte("another one"))}, options()},
		{"no nonce", map[string]any{"eat_nonce": nil}, options()},
		{"a nonce and something", map[string]any{"eat_nonce": b64(nonce) + "AA"}, options()},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := ear.Verify(from.token(row.changes, nil), from.set(), row.options)
			demandClass(t, got, err, attestd.ClassUnauthenticated)
		})
	}
	if _, err := ear.Verify(from.token(map[string]any{"aud": nil}, nil), from.set(), nobody); err != nil {
		t.Errorf("for nobody, read by nobody in particular: %v", err)
	}
	if _, err := ear.Verify(from.token(map[string]any{"aud": []any{audience}}, nil), from.set(), options()); err != nil {
		t.Errorf("a list of the reader alone: %v", err)
	}
}

func TestNothingIsExpectedByLeavingItOut(t *testing.T) {
	from := newIssuer(t, elliptic.P256())
	token := from.token(nil, nil)
	for name, change := range map[string]func(*ear.Options){
		"no time":                    func(o *ear.Options) { o.Now = time.Time{} },
		"no audience":                func(o *ear.Options) { o.Audience = "" },
		"an audience, and no matter": func(o *ear.Options) { o.NoAudience = true },
		"no nonce":                   func(o *ear.Options) { o.Nonce = nil },
		"a nonce, and no matter":     func(o *ear.Options) { o.AnyNonce = true },
		"a long leeway":              func(o *ear.Options) { o.Leeway = 2 * time.Minute },
		"a negative leeway":          func(o *ear.Options) { o.Leeway = -time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			wanted := options()
			change(&wanted)
			got, err := ear.Verify(token, from.set(), wanted)
			demandClass(t, got, err, attestd.ClassConfig)
		})
	}
	got, err := ear.Verify(token, nil, options())
	demandClass(t, got, err, attestd.ClassConfig)
	got, err = ear.Verify(token, &ear.KeySet{}, options())
	demandClass(t, got, err, attestd.ClassConfig)
}

// neg: 146
func TestTokensInAnotherSpellingAreRefused(t *testing.T) {
	from := newIssuer(t, elliptic.P256())
	token := from.token(nil, nil)
	head, rest, _ := strings.Cut(token, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	last := signature[:len(signature)-1]
	unused := ""
	for _, letter := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		if signature[len(signature)-1] != byte(letter) { // 64 bytes leave four bits unused
			if unused = last + string(letter); !strings.ContainsRune("AQgw", letter) {
				break
			}
		}
	}
	for name, other := range map[string]string{
		"padding behind the signature": token + "==",
		"padding behind the header":    head + "=." + payload + "." + signature,
		"a space":                      head + "." + payload + " ." + signature,
		"a line break":                 head + "." + payload + "\n." + signature,
		"a line break in the signature": head + "." + payload + "." + signature[:40] + "\r\n" +
			signature[40:],
		"unused bits":      head + "." + payload + "." + unused,
		"the other base64": head + "." + payload + "." + "+/" + signature[2:],
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ear.Verify(other, from.set(), options())
			demandClass(t, got, err, attestd.ClassMalformed)
		})
	}
	for name, change := range map[string]map[string]any{
		"key_ops encrypt": {"key_ops": []any{"encrypt"}}, "use enc": {"use": "enc"}, "alg ES384": {"alg": "ES384"},
		"no alg": {"alg": nil}, "kty RSA": {"kty": "RSA"}, "kty oct": {"kty": "oct"},
	} {
		set, err := ear.ParseKeySet(jsonOf(t, map[string]any{"keys": []any{from.jwk(change)}}))
		if err != nil || set.Len() != 0 {
			t.Errorf("%s: a key that verifies nothing is one of %d, %v", name, set.Len(), err)
		}
	}
	short := from.sign(from.header(nil), jsonOf(t, claims(nil, nil)))
	cut := short[:strings.LastIndex(short, ".")+1]
	for _, size := range []int{0, 63, 65, 72} {
		got, err := ear.Verify(cut+b64(make([]byte, size)), from.set(), options())
		demandClass(t, got, err, attestd.ClassUnauthenticated)
	}
	got, err := ear.Verify(cut+b64(make([]byte, 64)), from.set(), options()) // r and s are zero
	demandClass(t, got, err, attestd.ClassUnauthenticated)
}

// neg: 147
func TestEncryptedCompressedAndHugeTokensAreRefused(t *testing.T) {
	from := newIssuer(t, elliptic.P256())
	payload := jsonOf(t, claims(nil, nil))
	jwe := b64([]byte(`{"alg":"PBES2-HS512+A256KW","p2c":2147483647,"p2s":"AAAA","enc":"A256GCM"}`)) +
		".AAAA.AAAA.AAAA.AAAA"
	for name, row := range map[string]struct {
		token string
		class attestd.Class
	}{
		"a JWE with a huge count":  {jwe, attestd.ClassMalformed},
		"a megabyte of dots":       {strings.Repeat(".", 1<<20), attestd.ClassTooLarge},
		"two dots and a megabyte":  {".." + strings.Repeat("A", 1<<20), attestd.ClassTooLarge},
		"64 KiB of dots":           {strings.Repeat(".", 64<<10), attestd.ClassMalformed},
		"zip":                      {from.sign(from.header(map[string]any{"zip": "DEF"}), payload), attestd.ClassUnauthenticated},
		"a header of two KiB":      {from.sign(from.header(map[string]any{"kid": strings.Repeat("k", 2<<10)}), payload), attestd.ClassTooLarge},
		"nothing":                  {"", attestd.ClassMalformed},
		"three parts of nothing":   {"..", attestd.ClassUnauthenticated},
		"arrays without an end":    {from.sign(from.header(nil), []byte(strings.Repeat("[", 40000))), attestd.ClassUnauthenticated},
		"a document in JSON's JWS": {`{"payload":"","signatures":[]}`, attestd.ClassMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			got, err := ear.Verify(row.token, from.set(), options())
			demandClass(t, got, err, row.class)
			if took := time.Since(began); took > time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestResultsThatContradictThemselvesAreRefused(t *testing.T) {
	from := newIssuer(t, elliptic.P256())
	vector := func(members map[string]any) map[string]any {
		return map[string]any{"ear.trustworthiness-vector": members}
	}
	for _, row := range []struct {
		name          string
		changes, part map[string]any
	}{
		{"affirming, and a claim warns", nil, vector(map[string]any{"hardware": 32})},
		{"affirming, and a claim contraindicates", nil, vector(map[string]any{"hardware": 99})},
		{"affirming, and a negative claim warns", nil, vector(map[string]any{"hardware": -33})},
		{"affirming, and a negative claim contraindicates", nil, vector(map[string]any{"hardware": -128})},
		{"a claim of a vector that there is not", nil, vector(map[string]any{"soft-ware": 99})},
		{"a claim beyond a byte", nil, vector(map[string]any{"hardware": 1024})},
		{"a claim that is a text", nil, vector(map[string]any{"hardware": "2"})},
		{"no status", nil, map[string]any{"ear.status": nil}},
		{"another status", nil, map[string]any{"ear.status": "fine"}},
		{"a status in another case", nil, map[string]any{"ear.status": "Affirming"}},
		{"a status of the other profile alone", nil, map[string]any{"ear.status": nil, "ear_status": "affirming"}},
		{"no parts", map[string]any{"submods": map[string]any{}}, nil},
		{"no submods", map[string]any{"submods": nil}, nil},
		{"submods that are a list", map[string]any{"submods": []any{}}, nil},
		{"another profile", map[string]any{"eat_profile": "tag:ietf.org,2025-07:ear"}, nil},
		{"no profile", map[string]any{"eat_profile": nil}, nil},
		{"no verifier", map[string]any{"ear.verifier-id": nil}, nil},
		{"a verifier without a build", map[string]any{"ear.verifier-id": map[string]any{"developer": "d"}}, nil},
		{"a key that is none", nil, map[string]any{"ear.veraison.key-attestation": map[string]any{"akpub": "AAAA"}}},
		{"a key attestation without a key", nil, map[string]any{"ear.veraison.key-attestation": map[string]any{}}},
		{"own claims without a verdict", nil, map[string]any{"attestd": map[string]any{"format": "nitro"}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := ear.Verify(from.token(row.changes, row.part), from.set(), options())
			demandClass(t, got, err, attestd.ClassUnauthenticated)
		})
	}
	twice := []byte(strings.Replace(string(jsonOf(t, claims(nil, nil))), `{`, `{"exp":1900000000,`, 1))
	got, err := ear.Verify(from.sign(from.header(nil), twice), from.set(), options())
	demandClass(t, got, err, attestd.ClassUnauthenticated)
}

func TestTheWholeIsAsBadAsItsWorstPart(t *testing.T) {
	from := newIssuer(t, elliptic.P256())
	part := func(status string) map[string]any { return map[string]any{"ear.status": status} }
	for want, parts := range map[ear.Status]map[string]any{
		ear.Affirming:       {"a": part("affirming"), "b": part("affirming")},
		ear.Warning:         {"a": part("affirming"), "b": part("warning")},
		ear.None:            {"a": part("affirming"), "b": part("none"), "c": part("warning")},
		ear.Contraindicated: {"a": part("none"), "b": part("contraindicated"), "c": part("affirming")},
	} {
		got, err := ear.Verify(from.token(map[string]any{"submods": parts}, nil), from.set(), options())
		if err != nil || got.Status != want || (got.Demand() == nil) != (want == ear.Affirming) {
			t.Errorf("want %s, got %+v, %v", want, got, err)
		}
	}
}

func TestKeySetsThatAreRefused(t *testing.T) {
	from := newIssuer(t, elliptic.P256())
	one, two := newIssuer(t, elliptic.P256()), newIssuer(t, elliptic.P256())
	many := make([]any, 65)
	for i := range many {
		many[i] = map[string]any{"kty": "OKP"}
	}
	for name, row := range map[string]struct {
		set   any
		class attestd.Class
	}{
		"two keys of one name": {map[string]any{"keys": []any{one.jwk(nil), two.jwk(nil)}}, attestd.ClassMalformed},
		"a private key":        {map[string]any{"keys": []any{from.jwk(map[string]any{"d": "AAAA"})}}, attestd.ClassMalformed},
		"no name":              {map[string]any{"keys": []any{from.jwk(map[string]any{"kid": nil})}}, attestd.ClassMalformed},
		"not on the curve":     {map[string]any{"keys": []any{from.jwk(map[string]any{"x": b64(make([]byte, 32))})}}, attestd.ClassMalformed},
		"a short coordinate":   {map[string]any{"keys": []any{from.jwk(map[string]any{"x": "AAAA"})}}, attestd.ClassMalformed},
		"no list":              {map[string]any{}, attestd.ClassMalformed},
		"null":                 {map[string]any{"keys": nil}, attestd.ClassMalformed},
		"too many":             {map[string]any{"keys": many}, attestd.ClassTooLarge},
		"too long":             {strings.Repeat("x", 65<<10), attestd.ClassTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := ear.ParseKeySet(jsonOf(t, row.set))
			var caller *attestd.CallerError
			if set != nil || !errors.As(err, &caller) || caller.Class != row.class {
				t.Errorf("got %v, %v, want class %s", set, err, row.class)
			}
		})
	}
}

// FuzzVerify: whatever comes, there is a result or an error, and only a token as it was signed is a result.
func FuzzVerify(f *testing.F) {
	from := newIssuer(f, elliptic.P256())
	good := from.token(nil, nil)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add("e30.e30.e30")
	set := from.set()
	f.Fuzz(func(t *testing.T, token string) {
		got, err := ear.Verify(token, set, options())
		if (got == nil) == (err == nil) || got != nil && token != good {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

// FuzzKeySet: whatever comes, there is a set or an error.
func FuzzKeySet(f *testing.F) {
	from := newIssuer(f, elliptic.P256())
	f.Add(jsonOf(f, map[string]any{"keys": []any{from.jwk(nil)}}))
	f.Fuzz(func(t *testing.T, document []byte) {
		if set, err := ear.ParseKeySet(document); (set == nil) == (err == nil) {
			t.Errorf("got %v, %v", set, err)
		}
	})
}
