package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/authzen"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/decision/extauthz"
	"github.com/attestd/attestd/internal/problem"
	"github.com/attestd/attestd/internal/subject"
)

// secret is the enforcement point's token; it guards nothing.
const secret = "bm90aGluZyBpcyBiZWhpbmQgdGhpcw-bench"

// askers is how many callers take part in the load.
const askers = 1000

// ready is what a server says when it can be asked.
type ready struct {
	HTTP   string   `json:"http"`
	GRPC   string   `json:"grpc"`
	Tokens []string `json:"tokens"`
	// Callers are the numbers of those whose tokens they are.
	Callers []int   `json:"callers"`
	Tenants int     `json:"tenants"`
	Loaded  float64 `json:"policies_loaded_s"`
}

type local struct{ h *house }

func (l local) Identify(
	context.Context, decision.Credential, time.Time, func(subject.ID) uint64,
) decision.Who {
	return decision.Who{Fault: decision.CodeUnauthenticated}
}
func (l local) Stands(id subject.ID, at time.Time) decision.Standing {
	return l.h.office.Stands(id, at)
}
func (l local) Sequence() uint64 { return l.h.office.Sequence() }

// serveHouse answers until its standard input ends. SIGUSR1 takes the store away.
func serveHouse(of size) error {
	folder, err := os.MkdirTemp("", "bench-decide-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	h, err := newHouse(of, folder)
	if err != nil {
		return err
	}
	defer h.stop()
	sum := sha256.Sum256([]byte(secret))
	path := filepath.Join(folder, "enforcers.yaml")
	document := "schema: attestd.enforcers.v1\nenforcers:\n  - token: bench\n    sha256: " + hex.EncodeToString(sum[:]) +
		"\n    may: [authzen, ext_authz]\n    tenants: [\"*\"]\n    rate: 1000000\n"
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		return err
	}
	book, err := enforcer.New(enforcer.Config{
		Path: path, Identifier: local{h}, Standings: local{h}, Now: time.Now,
		LookupUser: func(string) (uint32, error) { return 0, errors.New("no users here") },
	})
	if err != nil {
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	questions, err := authzen.New(authzen.Config{
		Decider: h.engine, Enforcers: book, URL: "http://localhost", Deadline: 200 * time.Millisecond,
		Bodies: &problem.Bodies{Most: 64 << 20, Small: 4 << 10}, Now: time.Now, Log: quiet,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	questions.Register(mux)
	envoy, err := extauthz.New(extauthz.Config{
		Decider: h.engine, Enforcers: extauthz.Of(book), Deadline: 200 * time.Millisecond, Most: 1024, Now: time.Now,
		Log: quiet,
	})
	if err != nil {
		return err
	}
	say := ready{Tenants: of.Tenants, Loaded: h.loaded.Seconds()}
	for i := range min(askers, of.Subjects) {
		caller := i * (of.Subjects / min(askers, of.Subjects))
		token, err := h.token(caller, 0)
		if err != nil {
			return err
		}
		say.Tokens, say.Callers = append(say.Tokens, token), append(say.Callers, caller)
	}
	outage := make(chan os.Signal, 1)
	signal.Notify(outage, syscall.SIGUSR1)
	go func() {
		<-outage
		_ = h.store.Close()
	}()
	return serve(say, mux, envoy.GRPC(grpc.Creds(enforcer.Transport(nil))), enforcer.ConnContext)
}

// serve opens both listeners, says where they are and answers until standard input ends.
func serve(
	say ready, handler http.Handler, calls *grpc.Server, conn func(context.Context, net.Conn) context.Context,
) error {
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	rpc, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ConnContext: conn, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(web) }()
	go func() { _ = calls.Serve(rpc) }()
	say.HTTP, say.GRPC = web.Addr().String(), rpc.Addr().String()
	if err := json.NewEncoder(os.Stdout).Encode(say); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = server.Close()
	calls.Stop()
	return nil
}

// allowAll is the server beside which the other one is measured: it reads what it is sent and allows it.
type allowAll struct {
	authv3.UnimplementedAuthorizationServer
}

func (allowAll) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}}}, nil
}

func serveNull() error {
	calls := grpc.NewServer()
	authv3.RegisterAuthorizationServer(calls, allowAll{})
	body := []byte(`{"decision":true}` + "\n")
	return serve(ready{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		document, err := io.ReadAll(r.Body)
		var asked map[string]any
		if err != nil || json.Unmarshal(document, &asked) != nil {
			http.Error(w, "no question", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}), calls, func(ctx context.Context, _ net.Conn) context.Context { return ctx })
}

var errServer = fmt.Errorf("a server of the bench ended")
