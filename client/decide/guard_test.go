package decide_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/client/decide"
)

// guarded is a handler behind a guard, and what reached it.
type guarded struct {
	http.Handler
	reached *http.Request
}

type carries map[string]func(context.Context, decide.Obligation) error

func guard(t *testing.T, s *server, obligations carries, change ...func(*decide.GuardConfig)) *guarded {
	t.Helper()
	enforcer, err := decide.NewEnforcer(dial(t, s, decide.Options{Timeout: time.Second}), obligations)
	if err != nil {
		t.Fatal(err)
	}
	config := decide.GuardConfig{
		Enforcer: enforcer, Credential: decide.Bearer, Log: quiet(),
		Wish: func(*http.Request) (decide.Wish, error) { return wish(), nil },
	}
	for _, one := range change {
		one(&config)
	}
	g, err := decide.NewGuard(config)
	if err != nil {
		t.Fatal(err)
	}
	out := new(guarded)
	out.Handler = g.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { out.reached = r }))
	return out
}

func get(g *guarded, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/churn", nil)
	for i := 0; i < len(header); i += 2 {
		r.Header[header[i]] = append(r.Header[header[i]], header[i+1])
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w
}

func TestWhatIsAllowedIsServed(t *testing.T) {
	g := guard(t, &server{answer: `{"decision":true,"context":{"decision_id":"0193",
		"subject":{"id":"` + caller + `","tenant":"acme","risk_tier":"low\r\nX: y"}}}`}, nil)
	w := get(g, "Authorization", "Bearer "+token, "X-Attestd-Tenant", "other", "X-Attestd-Reason", "forged")
	if w.Code != http.StatusOK || g.reached == nil {
		t.Fatalf("got %d", w.Code)
	}
	told, found := decide.FromContext(g.reached.Context())
	header := g.reached.Header
	if !found || told.ID != "0193" || header.Get("X-Attestd-Subject") != caller ||
		header.Get("X-Attestd-Tenant") != "acme" || header.Get("X-Attestd-Decision-Id") != "0193" ||
		header.Get("X-Attestd-Reason") != "" || header.Get("X-Attestd-Risk-Tier") != "" {
		t.Errorf("told %+v and %v", told, header)
	}
}

// TestWhatIsNotAllowedIsNotServed: neg: 176
func TestWhatIsNotAllowedIsNotServed(t *testing.T) {
	bearer := []string{"Authorization", "Bearer " + token}
	denied := func(code string) string {
		return `{"decision":false,"context":{"decision_id":"0193","retry_after":7,"reason_codes":["` + code + `"]}}`
	}
	for name, row := range map[string]struct {
		server *server
		header []string
		status int
		reason string
		also   [2]string
	}{
		"denied":            {&server{answer: denied("purpose_mismatch")}, bearer, 403, "purpose_mismatch", [2]string{"X-Attestd-Decision-Id", "0193"}},
		"throttled":         {&server{answer: denied("throttled")}, bearer, 429, "throttled", [2]string{"Retry-After", "7"}},
		"a token that ends": {&server{answer: denied("token_expired")}, bearer, 401, "token_expired", [2]string{"Www-Authenticate", `Bearer realm="attestd", error="invalid_token"`}},
		"old evidence":      {&server{answer: denied("attestation_stale")}, bearer, 401, "attestation_stale", [2]string{"Www-Authenticate", `Bearer error="insufficient_user_authentication", acr_values="urn:attestd:acr:hw-fresh"`}},
		"a step-up that allows": {&server{answer: `{"decision":true,"context":{"obligations":[{"type":"step-up","id":"1","acr_value":"urn:a"}]}}`},
			bearer, 401, "step_up_required", [2]string{"Www-Authenticate", `Bearer error="insufficient_user_authentication", acr_values="urn:a"`}},
		"a step-up that ends quotes": {&server{answer: `{"decision":true,"context":{"obligations":[{"type":"step-up","id":"1","acr_value":"a\", x=\"b"}]}}`},
			bearer, 401, "step_up_required", [2]string{"Www-Authenticate", `Bearer error="insufficient_user_authentication", acr_values="urn:attestd:acr:hw-fresh"`}},
		"an obligation of somebody else's": {&server{answer: `{"decision":true,"context":{"obligations":[{"type":"custom","id":"1"}]}}`},
			bearer, 403, "obligation_unsupported", [2]string{}},
		"the server is down":   {&server{status: 503, retry: "9"}, bearer, 503, "state_unavailable", [2]string{"Retry-After", "9"}},
		"the server says what": {&server{answer: "<html>"}, bearer, 503, "state_unavailable", [2]string{"Retry-After", "1"}},
		"no credential":        {&server{answer: `{"decision":true}`}, nil, 401, "unauthenticated", [2]string{}},
		"two credentials":      {&server{answer: `{"decision":true}`}, append(bearer, bearer...), 401, "unauthenticated", [2]string{}},
		"another scheme":       {&server{answer: `{"decision":true}`}, []string{"Authorization", "Basic " + token}, 401, "unauthenticated", [2]string{}},
		"a token that is none": {&server{answer: `{"decision":true}`}, []string{"Authorization", "Bearer x"}, 401, "unauthenticated", [2]string{}},
		"a reason that breaks": {&server{answer: denied(`a\r\nX: y`)}, bearer, 403, "", [2]string{"Cache-Control", "no-store"}},
	} {
		g := guard(t, row.server, nil)
		w := get(g, row.header...)
		if g.reached != nil || w.Code != row.status || w.Header().Get("X-Attestd-Reason") != row.reason ||
			row.also[0] != "" && w.Header().Get(row.also[0]) != row.also[1] {
			t.Errorf("%s: status %d, header %v, body %s", name, w.Code, w.Header(), w.Body)
		}
		if strings.Contains(w.Body.String(), token) {
			t.Errorf("%s: the token stands in %s", name, w.Body)
		}
	}
	g := guard(t, &server{answer: `{"decision":true}`}, nil, func(c *decide.GuardConfig) {
		c.Wish = func(*http.Request) (decide.Wish, error) { return decide.Wish{}, errors.New("no") }
	})
	if w := get(g, bearer...); w.Code != http.StatusBadRequest || g.reached != nil {
		t.Errorf("a request without a wish: %d", w.Code)
	}
}

func TestObligationsAreCarriedOut(t *testing.T) {
	const notify = `"context":{"reason_codes":["ring_mismatch"],"obligations":[{"type":"notification","id":"1","to":"oncall"}]}}`
	for name, row := range map[string]struct {
		answer string
		fails  error
		served bool
	}{
		"of an allow": {`{"decision":true,` + notify, nil, true},
		"of a denial": {`{"decision":false,` + notify, nil, false},
		"that fails":  {`{"decision":true,` + notify, errors.New("the pager is down"), false},
	} {
		told := ""
		g := guard(t, &server{answer: row.answer}, carries{
			decide.ObligationNotification: func(_ context.Context, o decide.Obligation) error {
				told = o.Text("to")
				return row.fails
			},
		})
		get(g, "Authorization", "Bearer "+token)
		if told != "oncall" || (g.reached != nil) != row.served {
			t.Errorf("%s: told %q, served: %t", name, told, g.reached != nil)
		}
	}
}

func TestCertificatesAreThoseOfTLS(t *testing.T) {
	id, err := url.Parse(caller)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{answer: `{"decision":true}`}
	g := guard(t, s, nil, func(c *decide.GuardConfig) { c.Credential = decide.Certificate })
	if w := get(g, "Authorization", "Bearer "+token); w.Code != http.StatusUnauthorized || g.reached != nil {
		t.Errorf("a token in place of a certificate: %d", w.Code)
	}
	r := httptest.NewRequest(http.MethodGet, "/churn", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{URIs: []*url.URL{id}, Raw: []byte{0xfb, 0xff}}}}
	g.ServeHTTP(httptest.NewRecorder(), r)
	properties := s.last(t)["subject"].(map[string]any)["properties"].(map[string]any)
	if g.reached == nil || properties["x5c"].([]any)[0] != "+/8=" || properties["token"] != nil {
		t.Errorf("asked with %v", properties)
	}
	r.TLS.PeerCertificates[0].URIs = nil
	g.reached = nil
	if g.ServeHTTP(httptest.NewRecorder(), r); g.reached != nil {
		t.Error("a certificate of nobody was served")
	}
}

// TestAnAllowIsNotRefusedAsOne: a bug of who calls Refuse must not read as an answer that allows.
func TestAnAllowIsNotRefusedAsOne(t *testing.T) {
	for _, one := range []decide.Decision{{Allow: true}, {}} {
		w := httptest.NewRecorder()
		if decide.Refuse(w, one); w.Code != http.StatusInternalServerError {
			t.Errorf("%+v: got %d", one, w.Code)
		}
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	enforcer, err := decide.NewEnforcer(dial(t, new(server), decide.Options{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	whole := decide.GuardConfig{
		Enforcer: enforcer, Credential: decide.Bearer, Log: quiet(),
		Wish: func(*http.Request) (decide.Wish, error) { return wish(), nil },
	}
	for name, change := range map[string]func(*decide.GuardConfig){
		"no enforcer": func(c *decide.GuardConfig) { c.Enforcer = nil }, "no credential": func(c *decide.GuardConfig) { c.Credential = nil },
		"no wish": func(c *decide.GuardConfig) { c.Wish = nil }, "no log": func(c *decide.GuardConfig) { c.Log = nil },
	} {
		config := whole
		if change(&config); func() error { _, err := decide.NewGuard(config); return err }() == nil {
			t.Errorf("%s: taken", name)
		}
	}
	nothing := func(context.Context, decide.Obligation) error { return nil }
	for name, one := range map[string]carries{
		"a step-up": {decide.ObligationStepUp: nothing}, "no name": {"": nothing}, "no way": {"custom": nil},
	} {
		if _, err := decide.NewEnforcer(dial(t, new(server), decide.Options{}), one); err == nil {
			t.Errorf("obligation with %s: taken", name)
		}
	}
	if _, err := decide.NewEnforcer(nil, nil); err == nil {
		t.Error("no client: taken")
	}
}

// TestNobodySpeaksInTheGuardsName: in no spelling, and not by having the guard's own headers taken off on
// the way to what is behind it.
func TestNobodySpeaksInTheGuardsName(t *testing.T) {
	g := guard(t, &server{answer: `{"decision":true,"context":{"decision_id":"0193"}}`}, nil)
	w := get(g, "Authorization", "Bearer "+token, "X_Attestd_Tenant", "other", "x-attestd_subject", "admin",
		"X_attestd-Anything", "x", "Connection", "keep-alive")
	if w.Code != http.StatusOK || g.reached == nil {
		t.Fatalf("got %d", w.Code)
	}
	for name := range g.reached.Header {
		if strings.Contains(strings.ToLower(name), "attestd") && name != "X-Attestd-Decision-Id" {
			t.Errorf("%s reached the program", name)
		}
	}
	for _, list := range []string{"X-Attestd-Tenant", "close, x-attestd-subject", "X_Attestd_Tenant"} {
		g := guard(t, &server{answer: `{"decision":true}`}, nil)
		if w := get(g, "Authorization", "Bearer "+token, "Connection", list); w.Code != http.StatusBadRequest ||
			g.reached != nil {
			t.Errorf("Connection: %s: got %d", list, w.Code)
		}
	}
}
