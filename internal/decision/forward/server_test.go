package forward_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/decision/forward"
)

// pipe is a connection that is no unix socket's.
var pipe, _ = net.Pipe()

// ask sends a request for a route to the server. A header with the value "" is left out.
func (w *world) ask(t testing.TB, query string, headers map[string]string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.URL = &url.URL{Path: forward.Path, RawQuery: query}
	request.RemoteAddr = "127.0.0.1:1"
	for name, value := range map[string]string{
		"X-Attestd-Enforcer": "Bearer " + secret, "Authorization": "Bearer " + token,
		"X-Original-Method": "GET", "X-Original-Uri": "/v1/items?q=canary",
	} {
		request.Header.Set(name, value)
	}
	for name, value := range headers {
		request.Header.Del(name)
		for one := range strings.SplitSeq(value, "\n") {
			if one != "" {
				request.Header.Add(name, one)
			}
		}
	}
	out := httptest.NewRecorder()
	w.server.ServeHTTP(out, request.WithContext(enforcer.ConnContext(t.Context(), pipe)))
	for _, one := range []string{token, secret} {
		if strings.Contains(out.Body.String()+w.log.String(), one) {
			t.Error("a token is in the answer or the log")
		}
	}
	return out
}

const query = "proxy=nginx&tenant=acme"

func TestAnAllowNamesTheCallerForTheUpstream(t *testing.T) {
	w := newWorld(t, ordinary)
	out := w.ask(t, query, map[string]string{"X-Request-Id": "r1", "X-Attestd-Subject": "spiffe://example.org/forged"})
	want := http.Header{
		"X-Attestd-Subject": {caller}, "X-Attestd-Tenant": {"acme"}, "X-Attestd-Risk-Tier": {"low"},
		"X-Attestd-Decision-Id": {record.String()}, "X-Attestd-Reason": {"-"},
		"Server-Timing": {"attestd;dur=1.500"}, "Cache-Control": {"no-store"},
	}
	if out.Code != http.StatusNoContent || !reflect.DeepEqual(out.Header(), want) {
		t.Errorf("got %d %v, want 204 %v", out.Code, out.Header(), want)
	}
	asked := w.last(t)
	if asked.Deadline.Sub(asked.Received) != 200*time.Millisecond {
		t.Errorf("the deadline is %s after the question", asked.Deadline.Sub(asked.Received))
	}
	if asked.Sees == nil {
		t.Error("the question does not say whose callers the proxy may know of")
	}
	asked.Received, asked.Deadline, asked.Sees = time.Time{}, time.Time{}, nil
	if wanted := (decision.Ask{
		Via: decision.ViaForward, Enforcer: "token:proxy", Credential: decision.Credential{Token: token},
		Action:   decision.Action{Name: decision.ActionHTTPRead},
		Resource: decision.Resource{Type: "route", ID: "/v1/items", Tenant: "acme"},
		Context: decision.Context{
			ExposureScore: -1, Connectivity: decision.ConnectivityUnknown, RequestID: "r1",
		},
		Supported: []string{decision.ObligationStepUp},
	}); !reflect.DeepEqual(asked, wanted) {
		t.Errorf("was asked %+v\nwant      %+v", asked, wanted)
	}
}

func TestARouteIsReadFromTheQueryAlone(t *testing.T) {
	w := newWorld(t, ordinary)
	w.ask(t, "proxy=traefik&action=tool.call&resource_type=tool&resource_id=search&tenant=acme&project=p&ring=canary"+
		"&privileged=true&connectivity=connected&datasets=a,hr%3Dpii%2Bsecret,b%3Dx+y&token_header=X-Svid"+
		"&source_header=X-Forwarded-For",
		map[string]string{
			"Authorization": "Basic Zm9v", "X-Svid": token, "X-Forwarded-For": "203.0.113.9, 192.0.2.7",
			"X-Original-Method": "", "X-Original-Uri": "", "X-Forwarded-Uri": "/search/x", "X-Attestd-Tenant": "globex", "X-Privileged": "false",
		})
	asked := w.last(t)
	if asked.Sees == nil {
		t.Error("the question does not say whose callers the proxy may know of")
	}
	asked.Received, asked.Deadline, asked.Sees = time.Time{}, time.Time{}, nil
	if want := (decision.Ask{
		Via: decision.ViaForward, Enforcer: "token:proxy",
		Credential: decision.Credential{Token: token, Source: netip.MustParseAddr("192.0.2.7")},
		Action:     decision.Action{Name: decision.ActionToolCall},
		Resource: decision.Resource{
			Type: "tool", ID: "search", Tenant: "acme", Project: "p", Ring: "canary", Privileged: true,
			Datasets: []decision.Dataset{
				{ID: "a"}, {ID: "hr", Classification: []string{"pii", "secret"}},
				{ID: "b", Classification: []string{"x", "y"}},
			},
		},
		Context:   decision.Context{ExposureScore: -1, Connectivity: decision.ConnectivityConnected},
		Supported: []string{decision.ObligationStepUp},
	}); !reflect.DeepEqual(asked, want) {
		t.Errorf("was asked %+v\nwant      %+v", asked, want)
	}
}

// A caller of Caddy can send X-Original-Uri, which Caddy hands on as it is; which header counts is for the
// route to say.
func TestTheMethodAndThePathAreThoseThatTheProxyWrites(t *testing.T) {
	for _, row := range []struct {
		name, query string
		headers     map[string]string
		action, id  string
	}{
		{"nginx", query, map[string]string{"X-Forwarded-Uri": "/public", "X-Forwarded-Method": "GET",
			"X-Original-Method": "DELETE"}, decision.ActionHTTPWrite, "/v1/items"},
		{"caddy", "proxy=caddy", map[string]string{"X-Forwarded-Uri": "/private", "X-Forwarded-Method": "POST",
			"X-Original-Uri": "/public"}, decision.ActionHTTPWrite, "/private"},
		{"a method that nobody knows", query, map[string]string{"X-Original-Method": "get"},
			decision.ActionHTTPWrite, "/v1/items"},
		{"HEAD", query, map[string]string{"X-Original-Method": "HEAD"}, decision.ActionHTTPRead, "/v1/items"},
	} {
		w := newWorld(t, ordinary)
		w.ask(t, row.query, row.headers)
		if asked := w.last(t); asked.Action.Name != row.action || asked.Resource.ID != row.id {
			t.Errorf("%s: was asked %s of %s", row.name, asked.Action.Name, asked.Resource.ID)
		}
	}
}

func TestARequestThatIsNoQuestionAllowsNothing(t *testing.T) {
	for _, row := range []struct {
		name, query string
		headers     map[string]string
		want        int
	}{
		{"no proxy", "tenant=acme", nil, 400},
		{"another proxy", "proxy=apache", nil, 400},
		{"a key that is not known", query + "&privilegd=true", nil, 400},
		{"a key twice", query + "&tenant=acme", nil, 400},
		{"an empty value", query + "&ring=", nil, 400},
		{"a semicolon", query + ";ring=a", nil, 400},
		{"a type without an id", query + "&resource_type=tool", nil, 400},
		{"an id without a type", query + "&resource_id=tool", nil, 400},
		{"privileged as a number", query + "&privileged=1", nil, 400},
		{"a connectivity that is none", query + "&connectivity=x", nil, 400},
		{"a dataset without an id", query + "&datasets=a,", nil, 400},
		{"a dataset without its class", query + "&datasets=a%3D", nil, 400},
		{"a header that is none", query + "&token_header=a%0ab", nil, 400},
		{"the proxy's own header for the caller's token", query + "&token_header=x-attestd-enforcer", nil, 400},
		{"a certificate from nowhere", query + "&credential=certificate", nil, 400},
		{"a certificate's header for a token", query + "&certificate_header=X-C", nil, 400},
		{"a kind of credential that is none", query + "&credential=cookie", nil, 400},
		{"a long query", query + "&ring=" + strings.Repeat("a", 600), nil, 400},
		{"no path", query, map[string]string{"X-Original-Uri": ""}, 400},
		{"two paths", query, map[string]string{"X-Original-Uri": "/a\n/b"}, 400},
		{"no method", query, map[string]string{"X-Original-Method": ""}, 400},
		{"two methods", query, map[string]string{"X-Original-Method": "GET\nPOST"}, 400},
		{"a path with dots", query, map[string]string{"X-Original-Uri": "/public/../private"}, 400},
		{"a path with an escape", query, map[string]string{"X-Original-Uri": "/public/%2e%2e/private"}, 400},
		{"a path with two slashes", query, map[string]string{"X-Original-Uri": "//private"}, 400},
		{"a path with a parameter", query, map[string]string{"X-Original-Uri": "/a;b/c"}, 400},
		{"a path that is a URL", query, map[string]string{"X-Original-Uri": "http://x/private"}, 400},
		{"nobody's proxy", query, map[string]string{"X-Attestd-Enforcer": ""}, 403},
		{"another proxy's token", query, map[string]string{"X-Attestd-Enforcer": "Bearer " + secret + "x"}, 403},
		{"another tenant", "proxy=nginx&tenant=globex", nil, 403},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, ordinary)
			out := w.ask(t, row.query, row.headers)
			if out.Code != row.want || len(w.asked) != 0 {
				t.Errorf("got %d %s after %d questions, want %d", out.Code, out.Body, len(w.asked), row.want)
			}
			// A denial is recorded, whoever denied it; who is no enforcement point asked nothing.
			if want := out.Code == 400 || row.name == "another tenant"; (len(w.refused) == 1) != want ||
				want && (w.refused[0].RefusedDetail == "" || w.refused[0].Enforcer != "token:proxy") {
				t.Errorf("recorded %+v", w.refused)
			}
			if out.Header().Get("WWW-Authenticate") != "" || out.Header().Get("X-Attestd-Subject") != "" {
				t.Errorf("the caller is told %v", out.Header())
			}
		})
	}
}

func TestACallerShowsOneCredential(t *testing.T) {
	der := certificate(t)
	escaped := url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	plain := base64.StdEncoding.EncodeToString(der)
	byCertificate := query + "&credential=certificate&certificate_header=X-Cert"
	for _, row := range []struct {
		name, entry, query string
		headers            map[string]string
		shown              bool
		challenge          string
	}{
		{"a token", ordinary, query, nil, true, ""},
		{"none", ordinary, query, map[string]string{"Authorization": ""}, false, `Bearer realm="attestd"`},
		{"two", ordinary, query, map[string]string{"Authorization": "Bearer a\nBearer b"}, false, "invalid_token"},
		{"two in one", ordinary, query, map[string]string{"Authorization": "Bearer a, Bearer b"}, false, "invalid_token"},
		{"another scheme", ordinary, query, map[string]string{"Authorization": "Basic " + token}, false, "invalid_token"},
		{"no scheme", ordinary, query, map[string]string{"Authorization": token}, false, "invalid_token"},
		{"a long one", ordinary, query, map[string]string{"Authorization": "Bearer " + strings.Repeat("a", 8193)}, false,
			"invalid_token"}, // neg: 147
		{"a certificate as nginx writes it", ordinary, byCertificate, map[string]string{"X-Cert": escaped}, true, ""},
		{"one as Caddy writes it", ordinary, byCertificate, map[string]string{"X-Cert": plain}, true, ""},
		{"a chain as Traefik writes it", ordinary, byCertificate,
			map[string]string{"X-Cert": url.QueryEscape(plain + "," + plain)}, true, ""},
		{"one where a token is wanted", ordinary, query,
			map[string]string{"X-Cert": escaped, "Authorization": ""}, false, `Bearer realm="attestd"`},
		{"a token where one is wanted", ordinary, byCertificate, nil, false, `Bearer realm="attestd"`},
		{"an empty header", ordinary, byCertificate, map[string]string{"X-Cert": " "}, false, "realm"},
		{"one of a proxy that may not vouch", "    may: [forward-auth]\n    tenants: [acme]\n", byCertificate,
			map[string]string{"X-Cert": escaped}, false, "invalid_token"},
		{"two certificates' headers", ordinary, byCertificate, map[string]string{"X-Cert": escaped + "\n" + escaped}, false,
			"invalid_token"},
		{"a key", ordinary, byCertificate, map[string]string{"X-Cert": url.PathEscape(
			"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")}, false, "invalid_token"},
		{"nine certificates", ordinary, byCertificate,
			map[string]string{"X-Cert": strings.TrimSuffix(strings.Repeat(plain+",", 9), ",")}, false, "invalid_token"},
		{"bytes behind it", ordinary, byCertificate, map[string]string{"X-Cert": escaped + "x"}, false, "invalid_token"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, row.entry)
			out := w.ask(t, row.query, row.headers)
			asked := w.last(t) // nobody who is not identified goes unrecorded
			if shown := asked.Credential.Token != "" || len(asked.Credential.Chain) != 0; shown != row.shown {
				t.Errorf("was shown a credential: %v", shown)
			}
			if got := out.Header().Get("WWW-Authenticate"); !strings.Contains(got, row.challenge) ||
				row.shown != (out.Code == 204) || !row.shown && out.Code != 401 ||
				row.challenge == `Bearer realm="attestd"` && got != row.challenge {
				t.Errorf("got %d with the challenge %q, want %q", out.Code, got, row.challenge)
			}
		})
	}
}

func certificate(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestEachCodeHasItsAnswer(t *testing.T) {
	for _, spec := range decision.Specs() {
		w := newWorld(t, ordinary)
		w.say = func(ask decision.Ask) decision.Answer {
			out := like(spec.Code, decision.CodeNovelScope)(ask)
			out.Input.Findings.RetryAfter = 1500 * time.Millisecond
			return out
		}
		out := w.ask(t, query, nil)
		var body struct {
			Status   int
			Reason   decision.Code
			Decision string `json:"decision_id"`
		}
		err := json.Unmarshal(out.Body.Bytes(), &body)
		if err != nil || out.Code != spec.Status || body.Status != spec.Status || body.Reason != spec.Code ||
			body.Decision != record.String() || out.Header().Get("X-Attestd-Reason") != string(spec.Code) ||
			out.Header().Get("X-Attestd-Decision-Id") != record.String() ||
			out.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: got %d %v %s: %v", spec.Code, out.Code, out.Header(), out.Body, err)
		}
		if strings.Contains(out.Body.String(), "the detail") || out.Header().Get("X-Attestd-Subject") != "" {
			t.Errorf("%s: the caller is told %v %s", spec.Code, out.Header(), out.Body)
		}
		later := spec.Status == 429 || spec.Status == 503
		if got := out.Header().Get("Retry-After"); later && got != "2" || !later && got != "" {
			t.Errorf("%s: Retry-After is %q", spec.Code, got)
		}
		if (spec.Status == 401) != (out.Header().Get("WWW-Authenticate") != "") {
			t.Errorf("%s: the challenge is %q", spec.Code, out.Header().Get("WWW-Authenticate"))
		}
	}
}

func TestAnAllowThatBindsToMoreIsADenial(t *testing.T) {
	stepUp := decision.Obligation{ID: "o", Type: decision.ObligationStepUp,
		Properties: map[string]any{"acr_value": "urn:acme:acr:gold"}}
	for _, row := range []struct {
		name   string
		change func(*decision.Answer)
		status int
		reason decision.Code
	}{
		{"a step-up", func(a *decision.Answer) { a.Obligations = []decision.Obligation{stepUp} }, 401, decision.CodeStepUp},
		{"a notification", func(a *decision.Answer) {
			a.Obligations = []decision.Obligation{{Type: decision.ObligationNotification}}
		}, 403, decision.CodeObligation},
		{"for nobody", func(a *decision.Answer) { a.Input.Who.ID = "" }, 500, decision.CodeInternal},
		{"without its input", func(a *decision.Answer) { a.Input = nil }, 500, decision.CodeInternal},
		{"the zero answer", func(a *decision.Answer) { *a = decision.Answer{} }, 500, decision.CodeInternal},
	} {
		w := newWorld(t, ordinary)
		w.say = func(ask decision.Ask) decision.Answer {
			out := like()(ask)
			row.change(&out)
			return out
		}
		out := w.ask(t, query, nil)
		if out.Code != row.status || out.Header().Get("X-Attestd-Reason") != string(row.reason) {
			t.Errorf("%s: got %d %s", row.name, out.Code, out.Header().Get("X-Attestd-Reason"))
		}
		if row.status == 401 && out.Header().Get("WWW-Authenticate") !=
			`Bearer error="insufficient_user_authentication", acr_values="urn:acme:acr:gold"` {
			t.Errorf("the challenge is %s", out.Header().Get("WWW-Authenticate"))
		}
	}
}

func TestNothingOfAnAnswerEndsAHeader(t *testing.T) {
	w := newWorld(t, ordinary)
	w.say = func(ask decision.Ask) decision.Answer {
		out := like()(ask)
		out.Input.Who.ID = "spiffe://example.org/a\r\nX-Admin: 1"
		return out
	}
	if out := w.ask(t, query, nil); out.Header().Get("X-Attestd-Subject") != "-" {
		t.Errorf("got %q", out.Header().Get("X-Attestd-Subject"))
	}
	w.say = func(ask decision.Ask) decision.Answer {
		out := like(decision.CodeStepUp)(ask)
		out.Obligations = []decision.Obligation{{Type: decision.ObligationStepUp,
			Properties: map[string]any{"acr_value": "x\", realm=\"evil\r\n"}}}
		return out
	}
	if got := w.ask(t, query, nil).Header().Get("WWW-Authenticate"); !strings.Contains(got, decision.ACRHardwareFresh) ||
		strings.Contains(got, "evil") {
		t.Errorf("got %q", got)
	}
}

// neg: 188
func TestOfAnotherTenantsCallerNothingIsLearned(t *testing.T) {
	var seen []string
	for _, code := range []decision.Code{decision.CodeQuarantined, decision.CodeStale, decision.CodeThrottled} {
		w := newWorld(t, ordinary)
		w.say = func(ask decision.Ask) decision.Answer {
			out := like(code)(ask)
			out.Input.Standing.Tenant, out.Input.Findings.RetryAfter = "globex", time.Hour
			return out
		}
		out := w.ask(t, query, nil)
		seen = append(seen, strconv.Itoa(out.Code)+out.Body.String()+out.Header().Get("Retry-After")+
			out.Header().Get("WWW-Authenticate")+out.Header().Get("X-Attestd-Reason"))
	}
	if seen[0] != seen[1] || seen[0] != seen[2] || !strings.Contains(seen[0], "tenant_mismatch") {
		t.Errorf("got %q", seen)
	}
	w := newWorld(t, ordinary)
	w.say = func(ask decision.Ask) decision.Answer {
		out := like()(ask)
		out.Input.Standing.Tenant = "globex"
		return out
	}
	out := w.ask(t, query, nil)
	if out.Code != 204 || out.Header().Get("X-Attestd-Tenant") != "-" || out.Header().Get("X-Attestd-Risk-Tier") != "-" {
		t.Errorf("where policies allow it: got %d %v", out.Code, out.Header())
	}
}

func TestAProxyThatAsksTooOftenWaits(t *testing.T) {
	w := newWorld(t, ordinary+"    rate: 1\n    burst: 1\n")
	if out := w.ask(t, query, nil); out.Code != 204 {
		t.Fatalf("got %d", out.Code)
	}
	out := w.ask(t, query, nil)
	if out.Code != 429 || out.Header().Get("Retry-After") != "1" || len(w.asked) != 1 {
		t.Errorf("got %d %v after %d questions", out.Code, out.Header(), len(w.asked))
	}
}

func TestEveryFieldOfTheConfigurationIsRequired(t *testing.T) {
	w := newWorld(t, ordinary)
	whole := forward.Config{Decider: w, Enforcers: enforcers(t, ordinary), Deadline: 1, Now: time.Now, Log: quiet}
	if _, err := forward.New(whole); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*forward.Config){
		"Decider":   func(c *forward.Config) { c.Decider = nil },
		"Enforcers": func(c *forward.Config) { c.Enforcers = nil },
		"Deadline":  func(c *forward.Config) { c.Deadline = 0 },
		"Now":       func(c *forward.Config) { c.Now = nil },
		"Log":       func(c *forward.Config) { c.Log = nil },
	} {
		config := whole
		change(&config)
		if _, err := forward.New(config); err == nil {
			t.Errorf("without %s there is a server", name)
		}
	}
}
