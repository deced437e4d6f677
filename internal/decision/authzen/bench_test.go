package authzen_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/authzen"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/problem"
)

// atOnce is a decider that costs nothing.
type atOnce struct {
	say func(decision.Ask) decision.Answer
}

func (a atOnce) Decide(_ context.Context, ask decision.Ask) decision.Answer { return a.say(ask) }

func newOne(t testing.TB) (handler http.Handler, request func() *http.Request) {
	server, err := authzen.New(authzen.Config{
		Decider: atOnce{like()}, Enforcers: enforcers(t, ordinary+"    rate: 1000000\n"), URL: "https://a",
		Deadline: time.Second, Now: time.Now, Bodies: &problem.Bodies{Most: 1 << 22}, Log: slogDiscard,
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	server.Register(mux)
	body := evaluation(`,"dataset_scope":["kb"]`, `"prompt_id":"p1:abc"`)
	ctx := enforcer.ConnContext(t.Context(), pipe)
	return mux, func() *http.Request {
		request := httptest.NewRequest(http.MethodPost, authzen.PathEvaluation, strings.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer "+secret)
		request.RemoteAddr = "127.0.0.1:1"
		return request.WithContext(ctx)
	}
}

// BenchmarkEvaluation is what AuthZEN costs around a decision, without net/http's own part.
func BenchmarkEvaluation(b *testing.B) {
	handler, request := newOne(b)
	b.ReportAllocs()
	requests := make([]*http.Request, 1000)
	for i := 0; b.Loop(); i++ {
		if i%len(requests) == 0 {
			b.StopTimer()
			for j := range requests {
				requests[j] = request()
			}
			b.StartTimer()
		}
		handler.ServeHTTP(httptest.NewRecorder(), requests[i%len(requests)])
	}
}

// TestAnEvaluationIsCheap: what a question costs beside its decision does not grow unseen.
func TestAnEvaluationIsCheap(t *testing.T) {
	handler, request := newOne(t)
	requests := make([]*http.Request, 101)
	for i := range requests {
		requests[i] = request()
	}
	next := 0
	allocations := testing.AllocsPerRun(100, func() {
		out := httptest.NewRecorder()
		handler.ServeHTTP(out, requests[next])
		next++
	})
	if allocations > 90 {
		t.Errorf("%.0f allocations, want at most 90", allocations)
	}
}
