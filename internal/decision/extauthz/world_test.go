package extauthz_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/uuid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/extauthz"
	"github.com/attestd/attestd/internal/subject"
)

const (
	caller = "spiffe://example.org/tenant/acme/agent/retriever"
	token  = "eyJhbGciOiJFUzI1NiJ9.eyJjYW5hcnkiOiJwbGFudGVkIn0.c2lnbmF0dXJl"
)

// decider answers what its test says, and keeps what it was asked.
type decider struct {
	mu    sync.Mutex
	asked []decision.Ask
	// refused are those that were refused before anybody was asked.
	refused []decision.Ask
	say     func(context.Context, decision.Ask) decision.Answer
}

func (d *decider) Decide(ctx context.Context, ask decision.Ask) decision.Answer {
	if ask.Refused != "" { // recorded, and no question
		d.mu.Lock()
		d.refused = append(d.refused, ask)
		d.mu.Unlock()
		return decision.Answer{ID: snapshot, Input: &decision.Input{}}
	}
	d.mu.Lock()
	d.asked = append(d.asked, ask)
	d.mu.Unlock()
	return d.say(ctx, ask)
}

// last returns what was asked last; nothing where nothing was.
func (d *decider) last(t *testing.T) decision.Ask {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.asked) == 0 {
		t.Fatal("nobody was asked")
	}
	return d.asked[len(d.asked)-1]
}

func (d *decider) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.asked)
}

var snapshot = uuid.MustParse("01939d8e-0000-7000-8000-000000000001")

// answered is an answer about the caller; without reasons it allows.
func answered(reasons ...decision.Code) decision.Answer {
	out := decision.Answer{
		ID: snapshot, Policy: "sha256:ab", Input: &decision.Input{
			Who: decision.Who{ID: subject.ID(caller)},
			Standing: decision.Standing{
				Tenant: "acme", Risk: attestd.Risk(7), Tier: attestd.TierLow,
			},
		},
	}
	out.Allow = len(reasons) == 0
	for _, code := range reasons {
		out.Reasons = append(out.Reasons, decision.Reason{Code: code, Detail: "for the record only"})
	}
	return out
}

func saying(answer decision.Answer) *decider {
	return &decider{say: func(context.Context, decision.Ask) decision.Answer { return answer }}
}

// proxy is an Envoy of tenant acme that may vouch.
type proxy struct {
	vouches bool
	wait    time.Duration
	tenants []string
}

func (e proxy) Name() string                 { return "spiffe://example.org/envoy" }
func (e proxy) Vouches() bool                { return e.vouches }
func (e proxy) Take(time.Time) time.Duration { return e.wait }
func (e proxy) Sees(in *decision.Input) bool { return e.Speaks(in.Standing.Tenant) }
func (e proxy) Speaks(tenant string) bool {
	for _, one := range e.tenants {
		if one == tenant {
			return true
		}
	}
	return false
}

// known says that every call is of one enforcement point, or of none.
type known struct{ is extauthz.Enforcer }

func (k known) Enforcer(context.Context) (extauthz.Enforcer, error) {
	if k.is == nil {
		return nil, errors.New("nobody")
	}
	return k.is, nil
}

// world is a server with what it logged.
type world struct {
	*extauthz.Server
	logged *bytes.Buffer
}

func serve(t testing.TB, d decision.Decider, from extauthz.Enforcer, change ...func(*extauthz.Config)) world {
	t.Helper()
	out := world{logged: new(bytes.Buffer)}
	config := extauthz.Config{
		Decider: d, Enforcers: known{from}, Deadline: 200 * time.Millisecond, Most: 8, Now: time.Now,
		Log: slog.New(slog.NewTextHandler(out.logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, one := range change {
		one(&config)
	}
	server, err := extauthz.New(config)
	if err != nil {
		t.Fatal(err)
	}
	out.Server = server
	return out
}

var envoy = proxy{vouches: true, tenants: []string{"acme"}}

// request is what Envoy sends about a call of a tool.
func request(change ...func(*authv3.AttributeContext)) *authv3.CheckRequest {
	attributes := &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: address("10.1.2.3")},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "req-1", Method: "POST", Path: "/tools/search?q=secret", Headers: map[string]string{
				"authorization": "Bearer " + token, ":path": "/tools/search?q=secret",
			},
		}},
		ContextExtensions: map[string]string{
			"action": "tool.call", "resource_type": "tool", "resource_id": "search", "tenant": "acme",
		},
	}
	for _, one := range change {
		one(attributes)
	}
	return &authv3.CheckRequest{Attributes: attributes}
}

func address(ip string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{
		SocketAddress: &corev3.SocketAddress{Address: ip},
	}}
}

func extension(key, value string) func(*authv3.AttributeContext) {
	return func(a *authv3.AttributeContext) { a.ContextExtensions[key] = value }
}

func without(key string) func(*authv3.AttributeContext) {
	return func(a *authv3.AttributeContext) { delete(a.ContextExtensions, key) }
}

func sent(name, value string) func(*authv3.AttributeContext) {
	return func(a *authv3.AttributeContext) { a.Request.Http.Headers[name] = value }
}

func noToken(a *authv3.AttributeContext) { delete(a.Request.Http.Headers, "authorization") }

func certified(text string) func(*authv3.AttributeContext) {
	return func(a *authv3.AttributeContext) { a.Source.Certificate = text }
}

func path(target string) func(*authv3.AttributeContext) {
	return func(a *authv3.AttributeContext) { a.Request.Http.Path = target }
}

// certificate makes one that signs itself: whose it is says the decision, not this package.
func certificate(t testing.TB) (encoded string, der []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := url.Parse(caller)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), URIs: []*url.URL{id}, Subject: pkix.Name{CommonName: "a+b c"},
		NotAfter: time.Now().Add(time.Hour),
	}
	der, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return escape(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), der
}

// escape writes PEM as Envoy does.
func escape(text []byte) string {
	return strings.NewReplacer(
		"\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D").Replace(string(text))
}

// set returns the headers that an answer sets, by name.
func set(t *testing.T, options []*corev3.HeaderValueOption) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for _, one := range options {
		if one.AppendAction != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Errorf("header %s is added to what the caller sent", one.Header.Key)
		}
		out[one.Header.Key] = one.Header.Value
	}
	return out
}

// denial returns a denied response; an answer that lets through ends the test.
func denial(t *testing.T, response *authv3.CheckResponse, err error) *authv3.DeniedHttpResponse {
	t.Helper()
	if err != nil {
		t.Fatalf("error of gRPC: %v", err)
	}
	if response.GetStatus().GetCode() == 0 || response.GetDeniedResponse() == nil {
		t.Fatalf("got %v, want a denial", response)
	}
	return response.GetDeniedResponse()
}

func serveLog() *slog.Logger { return slog.New(slog.DiscardHandler) }
