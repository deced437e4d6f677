package decide_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	"github.com/attestd/attestd/client/decide"
)

const caller = "spiffe://example.org/tenant/acme/agent/retriever"

// token is one that names the caller; nobody here looks at its signature.
var token = "eyJhbGciOiJFUzI1NiJ9." +
	base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"`+caller+`"}`)) + ".c2lnbmF0dXJl"

// server is a decision point that answers what its test says.
type server struct {
	mu     sync.Mutex
	asked  []map[string]any
	header http.Header
	path   string
	// status, answer and retry are what it says; hang makes it say nothing.
	status int
	answer string
	retry  string
	hang   chan bool
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var asked map[string]any
	if err != nil || json.Unmarshal(body, &asked) != nil {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	s.mu.Lock()
	s.asked, s.header, s.path = append(s.asked, asked), r.Header, r.URL.Path
	hang := s.hang
	s.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if s.retry != "" {
		w.Header().Set("Retry-After", s.retry)
	}
	if s.status != 0 {
		w.WriteHeader(s.status)
	}
	_, _ = io.WriteString(w, s.answer)
}

func (s *server) last(t *testing.T) map[string]any {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == 0 {
		t.Fatal("nobody was asked")
	}
	return s.asked[len(s.asked)-1]
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// dial serves over a unix socket and returns a client.
func dial(t testing.TB, s *server, options decide.Options) *decide.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	on := httptest.NewUnstartedServer(s)
	on.Listener = listener
	on.Start()
	client, err := decide.New("unix:"+path, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); on.Close() })
	return client
}

func wish() decide.Wish {
	return decide.Wish{Action: "data.read", Resource: decide.Resource{Type: "dataset", ID: "churn", Tenant: "acme"}}
}

func question() decide.Question {
	return decide.Question{Credential: decide.Credential{Token: token}, Wish: wish()}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
