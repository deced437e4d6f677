package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/api"
	"github.com/attestd/attestd/internal/service"
)

const nitroMedia = "application/vnd.attestd.nitro"

func random(size int) []byte {
	drawn := make([]byte, size)
	_, _ = rand.Read(drawn)
	return drawn
}

func TestASessionByThePublishedDescriptionEndsWithAResult(t *testing.T) {
	w := newWorld(t, options{signed: true})
	client := w.veraison()
	endpoint, key, media := client.discover()
	if !strings.Contains(string(key), `"P-256"`) || !strings.Contains(strings.Join(media, " "), nitroMedia) {
		t.Fatalf("got key %s and media types %q", key, media)
	}
	for name, row := range map[string]struct {
		query  string
		size   int
		chosen string
	}{
		"we choose a nonce of the length wished for": {sizeQuery(32), 32, "verifier-chosen"},
		"we choose nonce and length":                 {"", 48, "verifier-chosen"},
		"the client chooses":                         {nonceQuery(random(64)), 64, "client-chosen"},
		"for a tenant of its own":                    {"tenant=blue&" + sizeQuery(64), 64, "verifier-chosen"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			client := w.veraison()
			session := client.open(endpoint, row.query)
			if len(session.Nonce) != row.size {
				t.Fatalf("got a nonce of %d bytes, want %d", len(session.Nonce), row.size)
			}
			token := client.submit(session, nitroMedia, w.enclave(session.Nonce))
			claims := w.claimsOf(token)
			submod := w.submodOf(claims)
			if own(submod, "verdict") != "accepted" || own(submod, "freshness") != "nonce" ||
				own(submod, "nonce") != row.chosen || own(submod, "subject") != "<nil>" {
				t.Errorf("got %v", claims)
			}
			if want := base64.RawURLEncoding.EncodeToString(session.Nonce); claims["eat_nonce"] != want {
				t.Errorf("got eat_nonce %v, want %s", claims["eat_nonce"], want)
			}
			kept := w.verdict(w.do(http.MethodGet, "/v1/appraisals/"+w.appraisalOf(submod), "", nil))
			if (kept.Nonce == attestd.NonceClientChosen) != (row.chosen == "client-chosen") ||
				kept.Standing.Subject != "" {
				t.Errorf("kept with nonce %q and standing %+v", kept.Nonce, kept.Standing)
			}
			again := client.read(client.ask(http.MethodGet, session.at, veraisonMedia, "", nil))
			if again.Status != "complete" || again.Result == nil || *again.Result == token {
				t.Errorf("looked at again it is %q; its result must be there, and signed anew", again.Status)
			}
			if got := client.ask(http.MethodDelete, session.at, "*/*", "", nil); got.status != http.StatusNoContent {
				t.Errorf("got %d %s", got.status, got.body)
			}
			w.problem(client.ask(http.MethodGet, session.at, veraisonMedia, "", nil), 404, attestd.ClassForbidden)
		})
	}
}

// TestASessionsResultSaysWhatWasWrong: bad evidence is an answer and no error, as Veraison has it.
func TestASessionsResultSaysWhatWasWrong(t *testing.T) {
	w := newWorld(t, options{signed: true})
	client := w.veraison()
	for name, evidence := range map[string]func(nonce []byte) []byte{
		"another nonce":       func([]byte) []byte { return w.enclave(random(32)) },
		"nothing of the kind": func([]byte) []byte { return []byte("evidence") },
		"no nonce":            func([]byte) []byte { return w.enclave(nil) },
	} {
		session := client.open("/challenge-response/v1/newSession", sizeQuery(32))
		submod := w.submodOf(w.claimsOf(client.submit(session, nitroMedia, evidence(session.Nonce))))
		if own(submod, "verdict") != "rejected" || submod["ear.status"] != "contraindicated" {
			t.Errorf("%s: got %v", name, submod)
		}
	}
}

func TestWhatNoSessionIsOpenedFor(t *testing.T) {
	w := newWorld(t, options{signed: true})
	ask := func(query, accept string, body []byte) answer {
		request, err := http.NewRequest(http.MethodPost,
			w.server.URL+"/challenge-response/v1/newSession?"+query, bytes.NewReader(body))
		w.must(err)
		request.Header.Set("Accept", accept)
		return w.send(request)
	}
	padded := base64.URLEncoding.EncodeToString(random(32))
	for name, row := range map[string]struct {
		query  string
		status int
		class  attestd.Class
		says   string
	}{
		"a nonce of 8 bytes":      {nonceQuery(random(8)), 400, attestd.ClassMalformed, "8 bytes, want 32 to 64"},
		"a nonce of 31 bytes":     {nonceQuery(random(31)), 400, attestd.ClassMalformed, "31 bytes, want 32 to 64"},
		"a nonce of 65 bytes":     {nonceQuery(random(65)), 400, attestd.ClassMalformed, "65 bytes"},
		"a nonce of zeros":        {nonceQuery(make([]byte, 32)), 400, attestd.ClassMalformed, "all zero"},
		"8 bytes wished for":      {sizeQuery(8), 400, attestd.ClassMalformed, "8 bytes is wished for, want 32"},
		"31 bytes wished for":     {sizeQuery(31), 400, attestd.ClassMalformed, "want 32 to 64"},
		"65 bytes wished for":     {sizeQuery(65), 400, attestd.ClassMalformed, "want 32 to 64"},
		"no number":               {"nonceSize=many", 400, attestd.ClassMalformed, "no number"},
		"a negative number":       {"nonceSize=-32", 400, attestd.ClassMalformed, "no number"},
		"both":                    {sizeQuery(32) + "&" + nonceQuery(random(32)), 400, attestd.ClassMalformed, "one of them"},
		"an empty nonce":          {"nonce=", 400, attestd.ClassMalformed, "empty"},
		"two nonces":              {nonceQuery(random(32)) + "&" + nonceQuery(random(32)), 400, attestd.ClassMalformed, "more than once"},
		"a nonce in no base64url": {"nonce=" + strings.Repeat("*", 44), 400, attestd.ClassMalformed, "base64url"},
		// neg: 146
		"a nonce with bits that mean nothing": {"nonce=" + padded[:42] + "B", 400, attestd.ClassMalformed, "base64url"},
		"a nonce with a line's end":           {"nonce=" + padded[:20] + "%0A" + padded[20:], 400, attestd.ClassMalformed, "base64url"},
		"a nonce with padding twice":          {"nonce=" + padded + "=", 400, attestd.ClassMalformed, "base64url"},
		"a parameter that is not known":       {"size=32", 400, attestd.ClassMalformed, "unknown"},
		"a tenant that is not known":          {"tenant=green", 403, attestd.ClassForbidden, "tenant"},
	} {
		got := w.problem(ask(row.query, veraisonMedia, nil), row.status, row.class)
		if !strings.Contains(got.Detail, row.says) {
			t.Errorf("%s: got %q, want %q in it", name, got.Detail, row.says)
		}
	}
	w.problem(ask(sizeQuery(32), veraisonMedia, []byte("{}")), 400, attestd.ClassMalformed)
	for _, accept := range []string{"text/html", "application/json", veraisonMedia + ";q=0"} {
		w.problem(ask(sizeQuery(32), accept, nil), 406, attestd.ClassUnsupported)
	}
	for _, accept := range []string{"*/*", "application/*", "text/html, " + veraisonMedia + ";q=0.5"} {
		if got := ask(sizeQuery(32), accept, nil); got.status != http.StatusCreated {
			t.Errorf("%s: got %d %s", accept, got.status, got.body)
		}
	}
}

func TestASessionTakesEvidenceOnce(t *testing.T) {
	w := newWorld(t, options{signed: true})
	client := w.veraison()
	session := client.open("/challenge-response/v1/newSession", sizeQuery(32))
	evidence := w.enclave(session.Nonce)
	const callers = 16
	var complete, refused int
	var mu sync.Mutex
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			got := client.ask(http.MethodPost, session.at, veraisonMedia, nitroMedia, evidence)
			mu.Lock()
			defer mu.Unlock()
			switch got.status {
			case http.StatusOK:
				complete++
			case http.StatusConflict:
				refused++
			default:
				t.Errorf("got %d %s", got.status, got.body)
			}
		})
	}
	all.Wait()
	if complete != 1 || refused != callers-1 {
		t.Errorf("%d were answered and %d refused, want 1 and %d", complete, refused, callers-1)
	}
	// A session's challenge is good nowhere else, and no other challenge is a session.
	open := client.open("/challenge-response/v1/newSession", sizeQuery(32))
	_, id, _ := strings.Cut(open.at.Path, "/session/")
	for _, purpose := range []string{"verify", "session", "session-client-chosen"} {
		given := w.verdict(w.post("/v1/verify", object{
			"challenge_id": id, "format": "nitro", "purpose": purpose, "freshness": "nonce",
			"evidence": w.enclave(open.Nonce),
		}))
		if failed(given) != "challenge/known" {
			t.Errorf("%s: got %s", purpose, failed(given))
		}
	}
	w.problem(w.post("/v1/verify", object{
		"challenge_id": id, "format": "any", "purpose": "session", "evidence": w.enclave(open.Nonce),
	}), 400, attestd.ClassUnsupported)
	if got := client.submit(open, nitroMedia, w.enclave(open.Nonce)); got == "" {
		t.Error("the session was used up by others' requests")
	}
}

func TestWhatASessionDoesNotTake(t *testing.T) {
	w := newWorld(t, options{signed: true})
	client := w.veraison()
	session := client.open("/challenge-response/v1/newSession", sizeQuery(32))
	post := func(media string, body []byte) answer {
		return client.ask(http.MethodPost, session.at, veraisonMedia, media, body)
	}
	evidence := w.enclave(session.Nonce)
	for _, media := range []string{
		"", "application/json", "application/cbor", "application/eat+cwt", "text/plain", nitroMedia + ";v=1",
		// neg: 147. A token is no evidence: nothing here decrypts or unpacks one.
		"application/jose", "application/jwt", "application/eat+jwt",
	} {
		got := post(media, evidence)
		w.problem(got, 415, attestd.ClassUnsupported)
		if media == "text/plain" && !strings.Contains(got.header.Get("Accept"), nitroMedia) {
			t.Errorf("got Accept %q", got.header.Get("Accept"))
		}
	}
	w.problem(post(nitroMedia, nil), 400, attestd.ClassMalformed)
	w.problem(post(nitroMedia, make([]byte, smallLimits.RawBody+1)), 413, attestd.ClassTooLarge)
	w.problem(post("application/vnd.attestd.sgx", evidence), 415, attestd.ClassUnsupported)
	w.problem(client.ask(http.MethodPost, session.at, "text/html", nitroMedia, evidence), 406, attestd.ClassUnsupported)
	for _, path := range []string{"x", "00000000-0000-4000-8000-000000000000", "..%2f"} {
		at := *session.at
		at.Path = "/challenge-response/v1/session/" + path
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			if got := client.ask(method, &at, veraisonMedia, "", nil); got.status != http.StatusNotFound {
				t.Errorf("%s %s: got %d", method, path, got.status)
			}
		}
	}
	// None of that cost the nonce.
	client.submit(session, nitroMedia, evidence)
}

// TestAHeldMachineHasNoResult: neither when its session is answered nor, after a quarantine, when one
// that is complete is looked at.
func TestAHeldMachineHasNoResult(t *testing.T) {
	held := &fence{}
	w := newWorld(t, options{signed: true, fence: held})
	client := w.veraison()
	session := client.open("/challenge-response/v1/newSession", sizeQuery(32))
	client.submit(session, nitroMedia, w.enclave(session.Nonce))
	held.hold(attestd.StateQuarantined)
	w.problem(client.ask(http.MethodGet, session.at, veraisonMedia, "", nil), 403, attestd.ClassQuarantined)
	other := client.open("/challenge-response/v1/newSession", sizeQuery(32))
	got := client.ask(http.MethodPost, other.at, veraisonMedia, nitroMedia, w.enclave(other.Nonce))
	w.problem(got, 403, attestd.ClassQuarantined)
	shown := client.read(client.ask(http.MethodGet, other.at, veraisonMedia, "", nil))
	if shown.Status != "failed" || shown.Result != nil {
		t.Errorf("got %+v", shown)
	}
}

// brokenSigner signs nothing.
type brokenSigner struct{ api.Results }

var errSigner = &attestd.UndecidedError{
	Check: "result/signed", Class: attestd.ClassStoreUnavailable, Got: "no signature", Want: "one",
	Hint: "try again", Err: errors.New("the signer is down"),
}

func (brokenSigner) Sign(context.Context, string, service.ResultOptions) (string, error) {
	return "", errSigner
}

func (brokenSigner) SignGiven(context.Context, attestd.Appraisal, service.ResultOptions) (string, error) {
	return "", errSigner
}

func TestWithoutASignatureThereIsNoResultAndNoHalfOfOne(t *testing.T) {
	w := newWorld(t, options{signed: true, results: func(r api.Results) api.Results { return brokenSigner{r} }})
	client := w.veraison()
	session := client.open("/challenge-response/v1/newSession", sizeQuery(32))
	got := client.ask(http.MethodPost, session.at, veraisonMedia, nitroMedia, w.enclave(session.Nonce))
	if w.problem(got, 503, attestd.ClassStoreUnavailable); got.header.Get("Retry-After") == "" {
		t.Error("a 503 without Retry-After")
	}
	if shown := client.read(client.ask(http.MethodGet, session.at, veraisonMedia, "", nil)); shown.Status != "failed" {
		t.Errorf("the session is %s", shown.Status)
	}
	issued := w.challenge(attestd.FormatNitro, nil).Challenge
	got = w.post("/v1/verify", object{
		"challenge_id": issued.ID, "format": "nitro", "evidence": w.bound(issued), "result": "ear",
	})
	if w.problem(got, 503, attestd.ClassStoreUnavailable).Appraisal != nil {
		t.Error("a verdict where a result was asked for and there is none")
	}
}

func TestSessionsAreOffUnlessTheyAreTurnedOn(t *testing.T) {
	w := newWorld(t, options{})
	for _, row := range [][2]string{
		{http.MethodPost, "/challenge-response/v1/newSession"},
		{http.MethodGet, "/challenge-response/v1/session/x"},
		{http.MethodPost, "/challenge-response/v1/session/x"},
		{http.MethodDelete, "/challenge-response/v1/session/x"},
		{http.MethodGet, "/.well-known/veraison/verification"},
	} {
		w.problem(w.do(row[0], row[1], "", nil), 404, attestd.ClassForbidden)
	}
}

func TestSessionsAreBoundedPerSource(t *testing.T) {
	w := newWorld(t, options{signed: true, perSource: 3})
	client := w.veraison()
	for range 3 {
		client.open("/challenge-response/v1/newSession", sizeQuery(32))
	}
	for _, query := range []string{sizeQuery(32), nonceQuery(random(32))} {
		at := *client.base
		at.Path, at.RawQuery = "/challenge-response/v1/newSession", query
		w.problem(client.ask(http.MethodPost, &at, veraisonMedia, "", nil), 429, attestd.ClassRateLimited)
	}
}
