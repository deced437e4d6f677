package decide_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/client/decide"
	"github.com/attestd/attestd/internal/decision"
)

func TestAQuestionInAuthZENsWords(t *testing.T) {
	s, score := &server{answer: `{"decision":true}`}, 40
	c := dial(t, s, decide.Options{Token: "enforcer"})
	asked := question()
	asked.Wish.Resource.Datasets = []decide.Dataset{{ID: "wiki", Classification: []string{"pii"}}}
	asked.Wish.Resource.Privileged, asked.Wish.Resource.Ring = true, "canary"
	asked.Wish.Context = decide.Context{
		PromptID: "p1:a", Intent: "summary", ExposureScore: &score, RequestID: "req-1",
		Chain: []decide.Link{{Type: "human", ID: "alice", Issuer: "https://idp"}},
	}
	got, err := c.Decide(t.Context(), asked, "custom")
	if err != nil || !got.Allow {
		t.Fatalf("got %+v, %v", got, err)
	}
	want := map[string]any{
		"subject": map[string]any{"type": "workload", "id": caller, "properties": map[string]any{"token": token}},
		"action":  map[string]any{"name": "data.read"},
		"resource": map[string]any{"type": "dataset", "id": "churn", "properties": map[string]any{
			"tenant": "acme", "ring": "canary", "privileged": true,
			"dataset_scope": []any{map[string]any{"id": "wiki", "classification": []any{"pii"}}},
		}},
		"context": map[string]any{
			"prompt_id": "p1:a", "intent": "summary", "exposure_score": 40.0,
			"subject_chain":         []any{map[string]any{"type": "human", "id": "alice", "iss": "https://idp"}},
			"supported_obligations": []any{"custom"}, "obligations_supported": []any{"custom"},
		},
	}
	if diff := cmp.Diff(want, s.last(t)); diff != "" {
		t.Errorf("question (-want +got):\n%s", diff)
	}
	if s.path != "/access/v1/evaluation" || s.header.Get("X-Request-Id") != "req-1" ||
		s.header.Get("Authorization") != "Bearer enforcer" || s.header.Get("Content-Type") != "application/json" {
		t.Errorf("path %s, header %v", s.path, s.header)
	}
}

func TestAnAnswerIsReadWhole(t *testing.T) {
	s := &server{answer: `{"decision":false,"more":1,"context":{"reason_codes":["step_up_required","ring_mismatch"],
		"decision_id":"0193","policy":{"digest":"sha256:ab"},"subject":{"id":"` + caller + `","tenant":"acme","risk_tier":"low"},
		"retry_after":7,"obligations":[{"type":"step-up","id":"1","acr_value":"urn:a"},
		{"type":"notification","id":"2","properties":{"to":"oncall"}}]}}`}
	got, err := dial(t, s, decide.Options{}).Decide(t.Context(), question())
	if err != nil {
		t.Fatal(err)
	}
	want := decide.Decision{
		Reason: "step_up_required", Reasons: []string{"step_up_required", "ring_mismatch"}, ID: "0193",
		Policy: "sha256:ab", Subject: caller, Tenant: "acme", RiskTier: "low", RetryAfter: 7 * time.Second,
		Obligations: []decide.Obligation{
			{Type: "step-up", ID: "1", Properties: map[string]any{"acr_value": "urn:a"}},
			{Type: "notification", ID: "2", Properties: map[string]any{"to": "oncall"}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decision (-want +got):\n%s", diff)
	}
}

// TestAnswersThatAllowNothing: whatever is not one plain "true" denies. neg: 176
func TestAnswersThatAllowNothing(t *testing.T) {
	for name, row := range map[string]struct {
		answer string
		status int
	}{
		"nothing": {"", 0}, "null": {"null", 0}, "an empty object": {"{}", 0}, "a list": {"[true]", 0},
		"true": {"true", 0}, "a word": {`{"decision":"true"}`, 0}, "a number": {`{"decision":1}`, 0},
		"another case":         {`{"Decision":true}`, 0},
		"two answers":          {`{"decision":false,"decision":true}`, 0},
		"something behind":     {`{"decision":true}{}`, 0},
		"a deny":               {`{"decision":false}`, 0},
		"a deny of two cases":  {`{"decision":false,"Decision":true}`, 0},
		"an allow with 500":    {`{"decision":true}`, 500},
		"an allow with 202":    {`{"decision":true}`, 202},
		"an allow with 302":    {`{"decision":true}`, 302},
		"an allow with 403":    {`{"decision":true}`, 403},
		"a context of a list":  {`{"decision":true,"context":[]}`, 0},
		"obligations of words": {`{"decision":true,"context":{"obligations":["step-up"]}}`, 0},
		"one without a type":   {`{"decision":true,"context":{"obligations":[{"id":"1"}]}}`, 0},
		"one unknown":          {`{"decision":true,"context":{"obligations":[{"type":"watermark","id":"1"}]}}`, 0},
		"a step-up":            {`{"decision":true,"context":{"obligations":[{"type":"step-up","id":"1"}]}}`, 0},
		"two MiB":              {`{"decision":true,"a":"` + strings.Repeat("a", 2<<20) + `"}`, 0},
	} {
		s := &server{answer: row.answer, status: row.status}
		got, err := dial(t, s, decide.Options{Timeout: 5 * time.Second}).Decide(t.Context(), question())
		if got.Allow || s.count() != 1 || err == nil && got.Reason == "" {
			t.Errorf("%s: got %+v, %v after %d questions", name, got, err, s.count())
		}
	}
}

func TestErrorsSayWhoseFaultItIs(t *testing.T) {
	for status, class := range map[int]attestd.Class{
		400: attestd.ClassMalformed, 401: attestd.ClassUnauthenticated, 403: attestd.ClassForbidden,
		404: attestd.ClassForbidden, 429: attestd.ClassRateLimited, 503: attestd.ClassRateLimited,
	} {
		s := &server{answer: `{"detail":"the reason"}`, status: status, retry: "3"}
		_, err := dial(t, s, decide.Options{}).Decide(t.Context(), question())
		var got *decide.Error
		if !errors.As(err, &got) || got.Class != class || got.Status != status || got.Detail != "the reason" ||
			got.RetryAfter != 3*time.Second {
			t.Errorf("%d: got %#v", status, err)
		}
	}
}

// TestTimeRunsOut: by the client's own time-out and by the context. neg: 176
func TestTimeRunsOut(t *testing.T) {
	s := &server{answer: `{"decision":true}`, hang: make(chan bool)}
	defer close(s.hang)
	c := dial(t, s, decide.Options{Timeout: 20 * time.Millisecond})
	if got, err := c.Decide(t.Context(), question()); got.Allow || err == nil {
		t.Errorf("got %+v, %v", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	c = dial(t, &server{hang: s.hang}, decide.Options{Timeout: time.Hour})
	if got, err := c.Decide(ctx, question()); got.Allow || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestQuestionsThatAreNone(t *testing.T) {
	s := &server{answer: `{"decision":true}`}
	c := dial(t, s, decide.Options{})
	for name, change := range map[string]func(*decide.Question){
		"no action":           func(q *decide.Question) { q.Wish.Action = "" },
		"no resource":         func(q *decide.Question) { q.Wish.Resource.ID = "" },
		"no type":             func(q *decide.Question) { q.Wish.Resource.Type = "" },
		"no credential":       func(q *decide.Question) { q.Credential = decide.Credential{} },
		"a token of one part": func(q *decide.Question) { q.Credential.Token = "canary" },
		"a token of nobody":   func(q *decide.Question) { q.Credential.Token = "e30.e30.canary" },
		"a token of 9 KiB":    func(q *decide.Question) { q.Credential.Token = token + strings.Repeat("a", 9<<10) },
	} {
		asked := question()
		change(&asked)
		got, err := c.Decide(t.Context(), asked)
		if got.Allow || err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	if s.count() != 0 {
		t.Errorf("asked %d times", s.count())
	}
}

func TestSeveralTogether(t *testing.T) {
	s := &server{answer: `{"evaluations":[{"decision":true},{"decision":false,"context":{"reason_codes":["blast_radius"]}}]}`}
	c := dial(t, s, decide.Options{})
	got, err := c.DecideAll(t.Context(), decide.Credential{Token: token}, []decide.Wish{wish(), wish()})
	if err != nil || len(got) != 2 || !got[0].Allow || got[1].Allow || got[1].Reason != "blast_radius" {
		t.Errorf("got %+v, %v", got, err)
	}
	if s.path != "/access/v1/evaluations" || len(s.last(t)["evaluations"].([]any)) != 2 {
		t.Errorf("asked %v at %s", s.last(t), s.path)
	}
	for _, answer := range []string{
		`{"evaluations":[{"decision":true}]}`, `{}`, `{"evaluations":[{"decision":true},{}]}`,
		`{"evaluations":[{"decision":true},{"decision":true},{"decision":true}]}`, `{"decision":true}`,
	} {
		s.answer = answer
		if got, err := c.DecideAll(t.Context(), decide.Credential{Token: token}, []decide.Wish{wish(), wish()}); err == nil {
			t.Errorf("%s: got %+v", answer, got)
		}
	}
	for _, count := range []int{0, decide.MaxQuestions + 1} {
		if _, err := c.DecideAll(t.Context(), decide.Credential{Token: token}, make([]decide.Wish, count)); err == nil {
			t.Errorf("%d questions were asked", count)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, address := range []string{
		"", "unix:", "http://decide.example.org", "https://", "https://a@b", "https://a/?x=1", "https://a/path", "ftp://a",
		"http://10.0.0.1:80", "https://a/#b",
	} {
		if _, err := decide.New(address, decide.Options{}); err == nil {
			t.Errorf("%q is taken", address)
		}
	}
	for _, address := range []string{"unix:/a", "https://decide.example.org", "http://127.0.0.1:1", "http://[::1]:1"} {
		if _, err := decide.New(address, decide.Options{}); err != nil {
			t.Errorf("%q: %v", address, err)
		}
	}
	for _, options := range []decide.Options{{Timeout: -1}, {Token: "a\r\nX: b"}} {
		if _, err := decide.New("unix:/a", options); err == nil {
			t.Errorf("%+v is taken", options)
		}
	}
}

// TestRedirectsAreNotFollowed: a credential goes to whom the operator named.
func TestRedirectsAreNotFollowed(t *testing.T) {
	reached := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer other.Close()
	first := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer first.Close()
	c, err := decide.New(first.URL, decide.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Decide(t.Context(), question()); got.Allow || err == nil || reached {
		t.Errorf("got %+v, %v; reached: %t", got, err, reached)
	}
}

// TestStatusesAreAttestds: of every code there is, as ext_authz and forward-auth answer it.
func TestStatusesAreAttestds(t *testing.T) {
	for _, spec := range decision.Specs() {
		if got := (decide.Decision{Reason: string(spec.Code)}).Status(); got != spec.Status {
			t.Errorf("%s: got %d, want %d", spec.Code, got, spec.Status)
		}
	}
	if got := (decide.Decision{Allow: true}).Status(); got != http.StatusOK {
		t.Errorf("an allow has status %d", got)
	}
	if got := (decide.Decision{}).Status(); got != http.StatusForbidden {
		t.Errorf("the zero decision has status %d", got)
	}
}
