package spiretest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/attestd/attestd/client/decide"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/decision/signals"
)

// verdict is what an interface answered.
type verdict struct {
	allow  bool
	reason string // the code that decided
	id     string // of the record
}

// asker asks attestd through one of its interfaces; an empty token is none.
type asker func(t *testing.T, token string, wish decide.Wish) verdict

// interfaces are all of them, as enforcement points speak them.
func (s *decideSite) interfaces() map[string]asker {
	return map[string]asker{"AuthZEN": s.authzen, "forward-auth": s.forward, "ext_authz": s.check}
}

// authzen asks as a program with client/decide does.
func (s *decideSite) authzen(t *testing.T, token string, wish decide.Wish) verdict {
	t.Helper()
	answer, err := s.asking.Decide(t.Context(), decide.Question{
		Credential: decide.Credential{Token: token}, Wish: wish,
	})
	if err != nil {
		t.Fatal(err)
	}
	return verdict{answer.Allow, answer.Reason, answer.ID}
}

// overUnix is a client of whatever listens on a socket.
func overUnix(path string) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		MaxIdleConnsPerHost: 64,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
}

// routed is the question of a proxy about a request whose route is this wish.
func routed(ctx context.Context, token string, wish decide.Wish) (*http.Request, error) {
	route := url.Values{
		"proxy": {"nginx"}, "tenant": {wish.Resource.Tenant}, "action": {wish.Action},
		"resource_type": {wish.Resource.Type}, "resource_id": {wish.Resource.ID},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		"http://attestd/v1/forward-auth?"+route.Encode(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Original-Method", http.MethodPost)
	request.Header.Set("X-Original-Uri", "/search/items")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return request, nil
}

// forward asks as nginx does.
func (s *decideSite) forward(t *testing.T, token string, wish decide.Wish) verdict {
	t.Helper()
	request, err := routed(t.Context(), token, wish)
	if err != nil {
		t.Fatal(err)
	}
	web := overUnix(s.decisions())
	defer web.CloseIdleConnections()
	answer, err := web.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // the status decides
	out := verdict{
		answer.StatusCode == http.StatusNoContent, answer.Header.Get("X-Attestd-Reason"),
		answer.Header.Get("X-Attestd-Decision-Id"),
	}
	if want := decision.SpecOf(decision.Code(out.reason)).Status; !out.allow && answer.StatusCode != want {
		t.Errorf("forward-auth answers %d for %q, want %d", answer.StatusCode, out.reason, want)
	}
	return out
}

// check asks as Envoy does.
func (s *decideSite) check(t *testing.T, token string, wish decide.Wish) verdict {
	t.Helper()
	answer, err := s.envoy.Check(t.Context(), checked(token, wish))
	if err != nil {
		t.Fatal(err)
	}
	return judged(t, answer)
}

// checked is Envoy's question about a request whose route is this wish. The client says of itself who it
// is.
func checked(token string, wish decide.Wish) *authv3.CheckRequest {
	headers := map[string]string{":path": "/search/items", "x-attestd-subject": "forged"}
	if token != "" {
		headers["authorization"] = "Bearer " + token
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "req-1", Method: http.MethodPost, Path: "/search/items", Headers: headers,
		}},
		ContextExtensions: map[string]string{
			"tenant": wish.Resource.Tenant, "action": wish.Action, "resource_type": wish.Resource.Type,
			"resource_id": wish.Resource.ID,
		},
	}}
}

// judged reads Envoy's answer: its parts must say one thing.
func judged(t *testing.T, answer *authv3.CheckResponse) verdict {
	t.Helper()
	fields := answer.GetDynamicMetadata().GetFields()
	out := verdict{
		answer.GetOkResponse() != nil, fields["reason"].GetStringValue(), fields["decision_id"].GetStringValue(),
	}
	denied := answer.GetDeniedResponse()
	if out.allow == (denied != nil) || out.allow != (answer.GetStatus().GetCode() == 0) {
		t.Errorf("ext_authz says two things: %v", answer)
	}
	want := decision.SpecOf(decision.Code(out.reason)).Status
	if got := int(denied.GetStatus().GetCode()); denied != nil && got != want {
		t.Errorf("ext_authz answers %d for %q, want %d", got, out.reason, want)
	}
	for _, one := range answer.GetOkResponse().GetHeaders() {
		if one.GetHeader().GetValue() == "forged" {
			t.Errorf("the upstream gets what the client says of itself: %v", one)
		}
	}
	return out
}

// active asks how the holder of a token stands (RFC 7662).
func (s *decideSite) active(t *testing.T, token string) bool {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://attestd/v1/introspect",
		strings.NewReader(url.Values{"token": {token}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	web := overUnix(s.decisions())
	defer web.CloseIdleConnections()
	answer, err := web.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	var out struct {
		Active *bool `json:"active"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&out); err != nil || out.Active == nil {
		t.Fatalf("introspection answers %s, %v", answer.Status, err)
	}
	return *out.Active
}

// recorded waits for the record of a decision, which is on disk within about a second.
func (s *decideSite) recorded(t *testing.T, id string) journal.Record {
	t.Helper()
	if id == "" {
		t.Fatal("the answer names no record")
	}
	var found []journal.Record
	if !until(10*time.Second, func() bool {
		page, err := s.root.Decision(t.Context(), id)
		found = page.Decisions
		return err == nil && len(found) == 1
	}) {
		t.Fatalf("decision %s has no record", id)
	}
	return found[0]
}

// allDecisions are the records of a caller's decisions since the site was made, in the order of time.
func (s *decideSite) allDecisions(t *testing.T, query client.DecisionQuery) []journal.Record {
	t.Helper()
	var out []journal.Record
	query.Oldest, query.Limit, query.Since = true, journal.MostRecords, s.began
	for {
		page, err := s.root.Decisions(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, page.Decisions...)
		if len(page.Decisions) < query.Limit {
			return out
		}
		query.After = page.Next
	}
}

// report gives a signal against somebody, as the enforcement point that has the token.
func (s *decideSite) report(t *testing.T, token string, report map[string]any) (int, signals.Receipt) {
	t.Helper()
	document, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://attestd/v1/signals",
		bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	web := overUnix(s.decisions())
	defer web.CloseIdleConnections()
	answer, err := web.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	var out signals.Receipt
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode == http.StatusOK {
		err = json.Unmarshal(body, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, out
}

// wantDenied wants a denial whose first reason is one of the codes, and that the record has it too.
func (s *decideSite) wantDenied(t *testing.T, got verdict, codes ...decision.Code) journal.Record {
	t.Helper()
	if got.allow || !slices.Contains(codes, decision.Code(got.reason)) {
		t.Fatalf("got allow %t for %q, want a denial for %s", got.allow, got.reason, codes)
	}
	record := s.recorded(t, got.id)
	if record.Decision != journal.Deny || string(record.Reason) != got.reason {
		t.Errorf("the record says %s for %q, the answer said %q", record.Decision, record.Reason, got.reason)
	}
	return record
}

// wantAllowed wants an allow of this caller, with all three proofs in its record.
func (s *decideSite) wantAllowed(t *testing.T, got verdict, subject string) journal.Record {
	t.Helper()
	if !got.allow {
		t.Fatalf("denied for %q, want an allow; the record: %s", got.reason, s.words(t, got.id))
	}
	record := s.recorded(t, got.id)
	if record.Decision != journal.Allow || string(record.Subject) != subject || record.Result == nil ||
		!record.Result.Proofs.Who.OK || !record.Result.Proofs.What.OK || !record.Result.Proofs.Policy.OK {
		t.Errorf("the record of an allow of %s is %+v, %+v", subject, record, record.Result)
	}
	return record
}

// words says what a record rests on, for a failure.
func (s *decideSite) words(t *testing.T, id string) string {
	t.Helper()
	record := s.recorded(t, id)
	document, err := json.Marshal(record.Input)
	return strings.TrimSpace(fmt.Sprintf("%v %s %v", record.Result, document, err))
}

// evaluated sends a request of AuthZEN's.
func evaluated(t *testing.T, web *http.Client, request *http.Request) verdict {
	t.Helper()
	defer web.CloseIdleConnections()
	answer, err := web.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // it was read
	var out struct {
		Decision bool `json:"decision"`
		Context  struct {
			Reasons []string `json:"reason_codes"`
			ID      string   `json:"decision_id"`
		} `json:"context"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&out); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("AuthZEN answers %s, %v", answer.Status, err)
	}
	first, _, _ := strings.Cut(strings.Join(out.Context.Reasons, " "), " ")
	return verdict{out.Decision, first, out.Context.ID}
}
