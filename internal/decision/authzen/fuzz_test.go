package authzen_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"encoding/json"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/authzen"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/problem"
)

var slogDiscard = slog.New(slog.DiscardHandler)

// gate lets nothing through but what a question must hold.
type gate struct{ t *testing.T }

func (g *gate) Decide(_ context.Context, ask decision.Ask) decision.Answer {
	if ask.Refused != "" {
		return decision.Answer{Result: decision.Result{Reasons: []decision.Reason{{Code: ask.Refused}}}}
	}
	if ask.Action.Name == "" || ask.Resource.Type == "" || ask.Resource.ID == "" ||
		ask.Context.ExposureScore < -1 || ask.Context.ExposureScore > 100 ||
		ask.Resource.Tenant != "" && ask.Resource.Tenant != "acme" || len(ask.Context.Chain) > 64 {
		g.t.Errorf("was asked %+v", ask)
	}
	for _, link := range ask.Context.Chain {
		if link.Verified || link.Attested || link.RiskTier != "" {
			g.t.Errorf("a link says of itself %+v", link)
		}
	}
	return decision.Answer{Result: decision.Result{Reasons: []decision.Reason{{Code: decision.CodeNotPermitted}}}}
}

func fuzz(f *testing.F, path string, seeds ...string) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	book := enforcers(f, ordinary+"    rate: 1000000\n")
	f.Fuzz(func(t *testing.T, body []byte) {
		server, err := authzen.New(authzen.Config{
			Decider: &gate{t}, Enforcers: book, URL: "https://a", Deadline: time.Second, Now: time.Now,
			Bodies: &problem.Bodies{Most: 1 << 22}, Log: slogDiscard,
		})
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		server.Register(mux)
		request := httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(body)))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+secret)
		request.RemoteAddr = "127.0.0.1:1"
		out := httptest.NewRecorder()
		mux.ServeHTTP(out, request.WithContext(enforcer.ConnContext(t.Context(), pipe)))
		if code := out.Code; code != 200 && code != 400 && code != 413 && code != 429 {
			t.Errorf("got %d %s", code, out.Body)
		}
		if !json.Valid(out.Body.Bytes()) || strings.Contains(out.Body.String(), `"decision":true`) {
			t.Errorf("got %s", out.Body)
		}
	})
}

// FuzzEvaluation: no body is an allow, a panic or another status than a question's.
func FuzzEvaluation(f *testing.F) {
	fuzz(f, authzen.PathEvaluation, evaluation("", ""), "{}", `{"subject":{"type":"\u0061","id":"b"}}`,
		evaluation(`,"dataset_scope":["a",{"id":"b"}]`, `"subject_chain":[{"type":"nhi","id":"x"}],"exposure_score":3`))
}

// FuzzEvaluations: the same of several.
func FuzzEvaluations(f *testing.F) {
	fuzz(f, authzen.PathEvaluations, strings.TrimSuffix(evaluation("", ""), "}")+
		`,"options":{"evaluations_semantic":"deny_on_first_deny"},"evaluations":[{},{"action":{"name":"x"}}]}`)
}
