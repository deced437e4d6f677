package spiretest_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/attestd/attestd/client/decide"
	"github.com/attestd/attestd/client/mcp"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/decision"
)

// withSVID sends each request with the agent's JWT-SVID.
type withSVID struct{ token string }

// RoundTrip implements [http.RoundTripper].
func (w withSVID) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if w.token != "" {
		r.Header.Set("Authorization", "Bearer "+w.token)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// protected is a server of the official SDK with two tools, behind client/mcp, and how often a tool ran.
func (s *decideSite) protected(t *testing.T) (endpoint string, ran *atomic.Int64) {
	t.Helper()
	enforcer, err := decide.NewEnforcer(s.asking, nil)
	if err != nil {
		t.Fatal(err)
	}
	guard, err := mcp.New(mcp.Config{
		Enforcer: enforcer, Credential: decide.Bearer, Log: slog.New(slog.DiscardHandler),
		Server: decide.Resource{ID: "https://tools.example", Tenant: tenant},
	})
	if err != nil {
		t.Fatal(err)
	}
	ran = new(atomic.Int64)
	server := sdk.NewServer(&sdk.Implementation{Name: "tools", Version: "1"}, nil)
	for _, name := range []string{"search", "drop"} {
		sdk.AddTool(server, &sdk.Tool{Name: name, Description: name}, func(
			context.Context, *sdk.CallToolRequest, struct{},
		) (*sdk.CallToolResult, struct{}, error) {
			ran.Add(1)
			return nil, struct{}{}, nil
		})
	}
	on := httptest.NewServer(guard.Handler(sdk.NewStreamableHTTPHandler(
		func(*http.Request) *sdk.Server { return server }, nil)))
	t.Cleanup(func() { on.CloseClientConnections(); on.Close() })
	return on.URL, ran
}

func connectMCP(ctx context.Context, endpoint, token string) (*sdk.ClientSession, error) {
	return sdk.NewClient(&sdk.Implementation{Name: "agent", Version: "1"}, nil).Connect(ctx,
		&sdk.StreamableClientTransport{
			Endpoint: endpoint, HTTPClient: &http.Client{Transport: withSVID{token}}, MaxRetries: -1,
		}, nil)
}

// tools wants an MCP server to run what attestd allows, and a quarantine to end a session that is open.
func (s *decideSite) tools(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	endpoint, ran := s.protected(t)
	for name, token := range map[string]string{
		"nobody": "", "an unattested agent": s.token(t, "", id(plainWorkload)),
		"another tenant's agent": s.token(t, globex, stranger.id()),
	} {
		if session, err := connectMCP(ctx, endpoint, token); err == nil {
			_ = session.Close()
			t.Errorf("%s is connected", name)
		}
	}
	session, err := connectMCP(ctx, endpoint, s.token(t, tenant, calling.id()))
	if err != nil {
		t.Fatalf("an agent of the lab is not connected: %v", err)
	}
	defer func() { _ = session.Close() }()
	if list, err := session.ListTools(ctx, nil); err != nil || len(list.Tools) != 2 {
		t.Errorf("the tools are %v, %v", list, err)
	}
	call := func(name string) error {
		_, err := session.CallTool(ctx, &sdk.CallToolParams{Name: name})
		return err
	}
	if err := call("search"); err != nil || ran.Load() != 1 {
		t.Fatalf("an allowed call ran %d times: %v", ran.Load(), err)
	}
	wantRefusal(t, call("drop"), decision.CodeBlastRadius)
	if _, err := s.ann.Quarantine(ctx, wire.Order{
		Target: calling.id(), Tenant: tenant, Reason: "drill",
	}); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, call("search"), decision.CodeQuarantined)
	if ran.Load() != 1 {
		t.Errorf("tools ran %d times, want once", ran.Load())
	}
}

// wantRefusal wants a denial as an error of JSON-RPC.
func wantRefusal(t *testing.T, err error, reason decision.Code) {
	t.Helper()
	var refused *jsonrpc.Error
	if !errors.As(err, &refused) || refused.Code != mcp.CodeDenied ||
		!strings.Contains(string(refused.Data), `"reason":"`+string(reason)+`"`) {
		t.Errorf("got %v, want a denial for %s", err, reason)
	}
}
