package extauthz_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/decision/extauthz"
	"github.com/attestd/attestd/internal/subject"
)

// noSVIDs is for enforcement points that show none.
type noSVIDs struct{}

func (noSVIDs) Identify(
	context.Context, decision.Credential, time.Time, func(subject.ID) uint64,
) decision.Who {
	return decision.Who{Fault: decision.CodeUnauthenticated}
}

func (noSVIDs) Stands(subject.ID, time.Time) decision.Standing { return decision.Standing{} }
func (noSVIDs) Sequence() uint64                               { return 0 }

// Tokens of enforcement points; the second has no right to ext_authz.
const (
	envoyToken = "envoy-token-of-32-bytes-or-longer"
	muteToken  = "other-token-of-32-bytes-or-longer"
)

func digestOf(token string) string {
	digest := sha256.Sum256([]byte(token))
	return hex.EncodeToString(digest[:])
}

// dial serves over a unix socket as the daemon does, and returns a client.
func dial(t testing.TB, d decision.Decider) authv3.AuthorizationClient {
	t.Helper()
	folder := t.TempDir()
	file := filepath.Join(folder, "enforcers.yaml")
	document := fmt.Sprintf(`schema: attestd.enforcers.v1
enforcers:
  - token: edge
    sha256: "%s"
    may: [ext_authz]
    tenants: [acme]
    vouches: true
    rate: 100000
    burst: 100000
  - token: mute
    sha256: "%s"
    may: [authzen]
    tenants: [acme]
`, digestOf(envoyToken), digestOf(muteToken))
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	book, err := enforcer.New(enforcer.Config{
		Path: file, Identifier: noSVIDs{}, Standings: noSVIDs{}, Now: time.Now,
		LookupUser: func(string) (uint32, error) { return 0, os.ErrNotExist },
	})
	if err != nil {
		t.Fatal(err)
	}
	server := serve(t, d, nil, func(c *extauthz.Config) { c.Enforcers = extauthz.Of(book) })
	socket := filepath.Join(folder, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	on := server.GRPC(grpc.Creds(enforcer.Transport(nil)))
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := on.Serve(listener); err != nil {
			t.Error(err)
		}
	})
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		on.Stop()
		wait.Wait()
	})
	health, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil || health.Status != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("health: %v, %v", health, err)
	}
	return authv3.NewAuthorizationClient(conn)
}

func as(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

// TestOverASocket: Envoy's messages, the enforcement point's token in gRPC's metadata, the caller's in the
// message.
func TestOverASocket(t *testing.T) {
	d := saying(answered())
	client := dial(t, d)
	out, err := client.Check(as(t.Context(), envoyToken), request())
	if err != nil || out.GetOkResponse() == nil {
		t.Fatalf("got %v, %v", out, err)
	}
	if got := d.last(t); got.Credential.Token != token || got.Enforcer != "token:edge" {
		t.Errorf("asked as %s with a token of %d bytes", got.Enforcer, len(got.Credential.Token))
	}
	for name, ctx := range map[string]context.Context{
		"another token": as(t.Context(), "another-token-of-32-bytes-or-more"), "no token": t.Context(),
		"a token without the right": as(t.Context(), muteToken),
	} {
		out, err := client.Check(ctx, request())
		if denied := denial(t, out, err); denied.GetStatus().GetCode() != 503 {
			t.Errorf("%s: %v", name, denied)
		}
	}
	if d.count() != 1 {
		t.Errorf("%d questions", d.count())
	}
}

// TestMessagesAreBounded: what is larger is not read.
func TestMessagesAreBounded(t *testing.T) {
	client := dial(t, saying(answered()))
	_, err := client.Check(as(t.Context(), envoyToken), request(func(a *authv3.AttributeContext) {
		a.Request.Http.Body = string(make([]byte, 300<<10))
	}))
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}
}

// TestManyAtOnce: no question is lost and none gets another's answer.
func TestManyAtOnce(t *testing.T) {
	client := dial(t, &decider{say: func(_ context.Context, ask decision.Ask) decision.Answer {
		if ask.Context.RequestID == "deny" {
			return answered(decision.CodeNotPermitted)
		}
		return answered()
	}})
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			for i := range 250 {
				id := [...]string{"allow", "deny"}[(i+worker)%2]
				out, err := client.Check(as(t.Context(), envoyToken), request(func(a *authv3.AttributeContext) {
					a.Request.Http.Id = id
				}))
				if err != nil || (out.GetOkResponse() != nil) != (id == "allow") {
					t.Errorf("%s: %v, %v", id, out, err)
					return
				}
			}
		})
	}
	wait.Wait()
}

func BenchmarkCheck(b *testing.B) {
	answer := answered()
	server := serve(b, constant{answer}, envoy)
	asked := request()
	b.ReportAllocs()
	for b.Loop() {
		if out, err := server.Check(context.Background(), asked); err != nil || out.GetOkResponse() == nil {
			b.Fatal(out, err)
		}
	}
}

func BenchmarkCheckOverASocket(b *testing.B) {
	client := dial(b, constant{answered()})
	ctx := as(context.Background(), envoyToken)
	b.RunParallel(func(pb *testing.PB) {
		asked := request()
		for pb.Next() {
			if out, err := client.Check(ctx, asked); err != nil || out.GetOkResponse() == nil {
				b.Error(out, err)
				return
			}
		}
	})
}

// constant keeps nothing.
type constant struct{ answer decision.Answer }

func (c constant) Decide(context.Context, decision.Ask) decision.Answer { return c.answer }
