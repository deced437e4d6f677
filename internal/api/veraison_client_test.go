package api_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// veraisonClient is a client written from Veraison's published description alone (veraison/docs,
// api/challenge-response/challenge-response.yaml and api/well-known/verification.yaml): it knows the
// path /newSession from the discovery document and nothing else of the server.
type veraisonClient struct {
	world *world
	base  *url.URL
}

type veraisonSession struct {
	Nonce    []byte   `json:"nonce"` // "format: byte"
	Expiry   string   `json:"expiry"`
	Accept   []string `json:"accept"`
	Status   string   `json:"status"`
	Evidence *struct {
		Type  string `json:"type"`
		Value []byte `json:"value"`
	} `json:"evidence"`
	Result *string `json:"result"`

	at *url.URL
}

const veraisonMedia = "application/vnd.veraison.challenge-response-session+json"

func (c veraisonClient) discover() (endpoint string, key json.RawMessage, media []string) {
	got := c.ask(http.MethodGet, c.base.ResolveReference(&url.URL{Path: "/.well-known/veraison/verification"}),
		"application/vnd.veraison.discovery+json", "", nil)
	var found struct {
		Key       json.RawMessage   `json:"ear-verification-key"`
		Media     []string          `json:"media-types"`
		Version   string            `json:"version"`
		State     string            `json:"service-state"`
		Endpoints map[string]string `json:"api-endpoints"`
	}
	c.world.must(json.Unmarshal(got.body, &found))
	if got.status != http.StatusOK || found.State != "READY" || found.Version == "" {
		c.world.Fatalf("got %d %s", got.status, got.body)
	}
	return found.Endpoints["newChallengeResponseSession"], found.Key, found.Media
}

func (c veraisonClient) ask(method string, at *url.URL, accept, media string, body []byte) answer {
	var sent io.Reader
	if body != nil {
		sent = bytes.NewReader(body)
	}
	request, err := http.NewRequest(method, at.String(), sent)
	c.world.must(err)
	request.Header.Set("Accept", accept)
	if media != "" {
		request.Header.Set("Content-Type", media)
	}
	return c.world.send(request)
}

// open runs step (1): POST /newSession.
func (c veraisonClient) open(endpoint, query string) veraisonSession {
	c.world.Helper()
	at := c.base.ResolveReference(&url.URL{Path: endpoint, RawQuery: query})
	got := c.ask(http.MethodPost, at, veraisonMedia, "", nil)
	if got.status != http.StatusCreated || got.header.Get("Content-Type") != veraisonMedia {
		c.world.Fatalf("got %d %s: %s", got.status, got.header.Get("Content-Type"), got.body)
	}
	opened := c.read(got)
	location, err := url.Parse(got.header.Get("Location"))
	if err != nil || got.header.Get("Location") == "" {
		c.world.Fatalf("Location %q: %v", got.header.Get("Location"), err)
	}
	opened.at = at.ResolveReference(location)
	expires, err := time.Parse(time.RFC3339, opened.Expiry)
	if err != nil || !expires.After(time.Now()) || opened.Status != "waiting" || opened.Result != nil {
		c.world.Fatalf("got %s, %v", got.body, err)
	}
	return opened
}

func (c veraisonClient) read(got answer) veraisonSession {
	c.world.Helper()
	var session veraisonSession
	if err := json.Unmarshal(got.body, &session); err != nil || len(session.Nonce) < 8 || len(session.Accept) == 0 {
		c.world.Fatalf("got %d %s: %v", got.status, got.body, err)
	}
	return session
}

// submit runs step (2), and where the answer is not there at once (3): POST evidence, then GET.
func (c veraisonClient) submit(session veraisonSession, media string, evidence []byte) string {
	c.world.Helper()
	if !slices.Contains(session.Accept, media) {
		c.world.Fatalf("%s is not among %q", media, session.Accept)
	}
	got := c.ask(http.MethodPost, session.at, veraisonMedia, media, evidence)
	for range 5 {
		done := c.read(got)
		switch {
		case got.status == http.StatusOK && done.Status == "complete" && done.Result != nil:
			return *done.Result
		case got.status == http.StatusAccepted, got.status == http.StatusOK && done.Status == "processing":
			got = c.ask(http.MethodGet, session.at, veraisonMedia, "", nil)
		default:
			c.world.Fatalf("got %d %s", got.status, got.body)
		}
	}
	c.world.Fatal("the session is never complete")
	return ""
}

func (w *world) veraison() veraisonClient {
	base, err := url.Parse(w.server.URL)
	w.must(err)
	return veraisonClient{w, base}
}

func nonceQuery(nonce []byte) string {
	return "nonce=" + url.QueryEscape(base64.URLEncoding.EncodeToString(nonce))
}

func sizeQuery(size int) string { return "nonceSize=" + strconv.Itoa(size) }

// claimsOf returns the payload of a token whose signature is the test of others.
func (w *world) claimsOf(token string) map[string]any {
	w.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		w.Fatalf("got %q, want a compact JWS", token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	w.must(err)
	var claims map[string]any
	w.must(json.Unmarshal(payload, &claims))
	return claims
}

// submodOf returns the one submodule of an EAR's claims.
func (w *world) submodOf(claims map[string]any) map[string]any {
	w.Helper()
	submods, _ := claims["submods"].(map[string]any)
	if len(submods) != 1 {
		w.Fatalf("got %v, want one submodule", claims)
	}
	for _, one := range submods {
		return one.(map[string]any)
	}
	return nil
}

func own(submod map[string]any, name string) string {
	members, _ := submod["attestd"].(map[string]any)
	return fmt.Sprint(members[name])
}
