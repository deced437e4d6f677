package mcp_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/attestd/attestd/client/decide"
	"github.com/attestd/attestd/client/mcp"
)

// protect returns a middleware for servers of the official Go SDK: each message that a client sends is
// asked about before the server does anything, and lists of tools are cut to those that it may call.
func protect(guard *mcp.Guard) sdk.Middleware {
	return func(next sdk.MethodHandler) sdk.MethodHandler {
		return func(ctx context.Context, method string, request sdk.Request) (sdk.Result, error) {
			params, err := json.Marshal(request.GetParams())
			if err != nil {
				return nil, err
			}
			credential, wants := credentialOf(request), !strings.HasPrefix(method, "notifications/")
			if err := guard.Check(ctx, credential, method, params, wants); err != nil {
				return nil, asJSONRPC(err)
			}
			result, err := next(ctx, method, request)
			if list, ok := result.(*sdk.ListToolsResult); ok && err == nil {
				return visible(ctx, guard, credential, list)
			}
			return result, err
		}
	}
}

// credentialOf takes the bearer token of the HTTP request that a message came with. Whoever has none is
// nobody, and denied.
func credentialOf(request sdk.Request) decide.Credential {
	extra := request.GetExtra()
	if extra == nil {
		return decide.Credential{}
	}
	credential, err := decide.Bearer(&http.Request{Header: extra.Header})
	if err != nil {
		return decide.Credential{}
	}
	return credential
}

// asJSONRPC makes the SDK's error of the guard's, so that clients see its code and its data.
func asJSONRPC(err error) error {
	var refused *mcp.Error
	if !errors.As(err, &refused) {
		return err
	}
	return &jsonrpc.Error{Code: refused.Code, Message: refused.Message, Data: refused.Data}
}

func visible(
	ctx context.Context, guard *mcp.Guard, credential decide.Credential, list *sdk.ListToolsResult,
) (sdk.Result, error) {
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
	}
	may, err := guard.Visible(ctx, credential, names)
	if err != nil {
		return nil, asJSONRPC(err)
	}
	cut := *list
	cut.Tools = slices.DeleteFunc(slices.Clone(list.Tools), func(tool *sdk.Tool) bool {
		return !slices.Contains(may, tool.Name)
	})
	return &cut, nil
}

// decisionPoint speaks AuthZEN and allows what is in its list, as "ACTION TYPE".
type decisionPoint struct {
	mu     sync.Mutex
	allows []string
	reason string
}

func (p *decisionPoint) set(reason string, allows ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reason, p.allows = reason, allows
}

func (p *decisionPoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	type evaluation struct {
		Action   struct{ Name string }
		Resource struct{ Type, ID string }
	}
	var asked struct {
		evaluation
		Evaluations []evaluation
	}
	if json.NewDecoder(r.Body).Decode(&asked) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	answer := func(one evaluation) map[string]any {
		if slices.Contains(p.allows, one.Action.Name+" "+one.Resource.Type+" "+one.Resource.ID) {
			return map[string]any{"decision": true}
		}
		return map[string]any{"decision": false, "context": map[string]any{
			"reason_codes": []string{p.reason}, "decision_id": "0193",
		}}
	}
	out := answer(asked.evaluation)
	if len(asked.Evaluations) != 0 {
		var list []any
		for _, one := range asked.Evaluations {
			list = append(list, answer(one))
		}
		out = map[string]any{"evaluations": list}
	}
	_ = json.NewEncoder(w).Encode(out)
}

// withToken sends each request as the agent.
type withToken struct{ token string }

func (t withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if t.token != "" {
		r.Header.Set("Authorization", "Bearer "+t.token)
	}
	return http.DefaultTransport.RoundTrip(r)
}

var agentToken = "e30." + base64.RawURLEncoding.EncodeToString(
	[]byte(`{"sub":"spiffe://example.org/tenant/acme/agent/retriever"}`)) + ".c2ln"

// toolServer is a server of the SDK with two tools, and how often one of them ran.
type toolServer struct {
	pdp      *decisionPoint
	endpoint string
	ran      func() int
}

func serveTools(t *testing.T, inFront bool) toolServer {
	t.Helper()
	pdp := new(decisionPoint)
	point := httptest.NewServer(pdp)
	client, err := decide.New(point.URL, decide.Options{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	enforcer, err := decide.NewEnforcer(client, nil)
	if err != nil {
		t.Fatal(err)
	}
	guard, err := mcp.New(mcp.Config{
		Enforcer: enforcer, Credential: decide.Bearer, Log: slog.New(slog.DiscardHandler),
		Server: decide.Resource{ID: "tools", Tenant: "acme"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	runs := 0
	server := sdk.NewServer(&sdk.Implementation{Name: "tools", Version: "1"}, nil)
	for _, name := range []string{"search", "drop"} {
		sdk.AddTool(server, &sdk.Tool{Name: name, Description: name}, func(
			context.Context, *sdk.CallToolRequest, struct{},
		) (*sdk.CallToolResult, struct{}, error) {
			mu.Lock()
			defer mu.Unlock()
			runs++
			return nil, struct{}{}, nil
		})
	}
	handler := http.Handler(sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server }, nil))
	if inFront {
		handler = guard.Handler(handler)
	} else {
		server.AddReceivingMiddleware(protect(guard))
	}
	on := httptest.NewServer(handler)
	t.Cleanup(func() { on.CloseClientConnections(); on.Close(); point.Close() })
	return toolServer{pdp, on.URL, func() int { mu.Lock(); defer mu.Unlock(); return runs }}
}

func (s toolServer) connect(ctx context.Context, token string) (*sdk.ClientSession, error) {
	return sdk.NewClient(&sdk.Implementation{Name: "agent", Version: "1"}, nil).Connect(ctx,
		&sdk.StreamableClientTransport{
			Endpoint: s.endpoint, HTTPClient: &http.Client{Transport: withToken{token}}, MaxRetries: -1,
		}, nil)
}

const (
	mayList = "tool.list mcp_server tools"
	maySee  = "tool.call tool search"
)

// TestToolsOfTheOfficialSDKAreProtected: a server and a client of the SDK, with the guard as the server's
// middleware and with the guard in front of it.
func TestToolsOfTheOfficialSDKAreProtected(t *testing.T) {
	for name, inFront := range map[string]bool{"middleware": false, "in front": true} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			s := serveTools(t, inFront)
			s.pdp.set("blast_radius", mayList, maySee)
			session, err := s.connect(ctx, agentToken)
			if err != nil {
				t.Fatalf("an agent that may list cannot connect: %v", err)
			}
			defer func() { _ = session.Close() }()
			if err := session.Ping(ctx, nil); err != nil {
				t.Errorf("ping: %v", err)
			}
			list, err := session.ListTools(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			if want := map[bool]int{false: 1, true: 2}[inFront]; len(list.Tools) != want {
				t.Errorf("the agent sees %d tools, want %d", len(list.Tools), want)
			}
			if _, err := session.CallTool(ctx, &sdk.CallToolParams{Name: "search"}); err != nil || s.ran() != 1 {
				t.Errorf("an allowed call ran %d times: %v", s.ran(), err)
			}
			_, err = session.CallTool(ctx, &sdk.CallToolParams{Name: "drop"})
			wantDenial(t, err, "blast_radius")
			// The same session and the same token, once the caller is quarantined.
			s.pdp.set("quarantined")
			_, err = session.CallTool(ctx, &sdk.CallToolParams{Name: "search"})
			wantDenial(t, err, "quarantined")
			if s.ran() != 1 {
				t.Errorf("tools ran %d times, want once", s.ran())
			}
		})
	}
}

func wantDenial(t *testing.T, err error, reason string) {
	t.Helper()
	var refused *jsonrpc.Error
	if !errors.As(err, &refused) || refused.Code != mcp.CodeDenied ||
		!strings.Contains(string(refused.Data), `"reason":"`+reason+`"`) {
		t.Errorf("got %v, want a denial for %s as an error of JSON-RPC", err, reason)
	}
}

// TestNobodyConnects: without a token, and where nothing is allowed.
func TestNobodyConnects(t *testing.T) {
	for name, inFront := range map[string]bool{"middleware": false, "in front": true} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		s := serveTools(t, inFront)
		s.pdp.set("not_attested", mayList, maySee)
		if session, err := s.connect(ctx, ""); err == nil {
			_ = session.Close()
			t.Errorf("%s: somebody without a token is connected", name)
		}
		s.pdp.set("not_attested")
		if session, err := s.connect(ctx, agentToken); err == nil {
			_ = session.Close()
			t.Errorf("%s: an agent that nothing is allowed to is connected", name)
		}
		cancel()
	}
}

// TestThePageHasTheMiddleware: docs/decisions/mcp.md shows what this test runs.
func TestThePageHasTheMiddleware(t *testing.T) {
	page, err := os.ReadFile("../../../docs/decisions/mcp.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("mcp_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(code), "func protect(")
	body, _, ended := strings.Cut(rest, "\n}\n")
	if !found || !ended || !strings.Contains(string(page), "func protect("+body+"\n}\n") {
		t.Error("docs/decisions/mcp.md shows another middleware than is tested")
	}
}
