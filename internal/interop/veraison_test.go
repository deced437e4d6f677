package interop

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/veraison/ear"
)

// TestTheResultOfASessionIsOneForVeraison: in the API's tests a client that was written from Veraison's
// published description opens sessions and hands in evidence; Veraison's own reader takes what they end
// with, by the key that the discovery document names.
func TestTheResultOfASessionIsOneForVeraison(t *testing.T) {
	const test = "TestASessionByThePublishedDescriptionEndsWithAResult"
	var key jwk.Key
	var results []string
	nonces := map[string]bool{}
	for _, one := range exchanges(t) {
		if sender, _, _ := strings.Cut(one.Sender, "/"); sender != test || one.Status >= 300 {
			continue
		}
		if one.URL == "/.well-known/veraison/verification" {
			var found struct {
				Key json.RawMessage `json:"ear-verification-key"`
			}
			if err := json.Unmarshal(one.Response, &found); err != nil {
				t.Fatal(err)
			}
			var err error
			if key, err = jwk.ParseKey(found.Key); err != nil {
				t.Fatalf("%s: %v", found.Key, err)
			}
		}
		var session struct {
			Nonce  []byte  `json:"nonce"`
			Result *string `json:"result"`
		}
		if one.Method == http.MethodDelete || json.Unmarshal(one.Response, &session) != nil || session.Result == nil {
			continue
		}
		results = append(results, *session.Result)
		nonces[base64.RawURLEncoding.EncodeToString(session.Nonce)] = true
	}
	if key == nil || len(results) < 4 {
		t.Fatalf("key %v and %d results were written down", key, len(results))
	}
	for _, token := range results {
		var read ear.AttestationResult
		if err := read.Verify([]byte(token), jwa.ES256, key); err != nil {
			t.Fatalf("%v in %s", err, token)
		}
		if read.Nonce == nil || !nonces[*read.Nonce] || len(read.Submods) != 1 {
			t.Errorf("got %+v", read)
		}
		for name, one := range read.Submods {
			if one.Status == nil || *one.Status == ear.TrustTierContraindicated || one.TrustVector == nil {
				t.Errorf("%s: got %+v", name, one)
			}
		}
		changed := strings.Replace(token, ".", ".e", 1)
		if err := new(ear.AttestationResult).Verify([]byte(changed), jwa.ES256, key); err == nil {
			t.Error("a token that was changed is taken")
		}
	}
}
