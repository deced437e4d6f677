package enforcer_test

import (
	"context"
	"crypto/tls"
	"net"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision/enforcer"
)

// call makes one call to a server on the listener and returns who it was taken for.
func (w *world) call(
	listener net.Listener, secure *tls.Config, creds credentials.TransportCredentials, token string, right enforcer.Right,
) (name string, err error) {
	w.t.Helper()
	server := grpc.NewServer(grpc.Creds(enforcer.Transport(secure)), grpc.UnaryInterceptor(
		func(ctx context.Context, in any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			one, err := w.book.OfCall(ctx, right)
			if err != nil {
				return nil, status.Error(codes.PermissionDenied, string(classOf(err)))
			}
			name = one.Name()
			return next(ctx, in)
		}))
	healthv1.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(listener) }()
	w.t.Cleanup(server.Stop)
	target := listener.Addr().String()
	if listener.Addr().Network() == "unix" {
		target = "unix:" + target
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	ctx := w.t.Context()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	_, err = healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
	return name, err
}

func TestACallOverGRPCIsOfWhoeverShowsIt(t *testing.T) {
	w := newWorld(t)
	secure := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"},
		Certificates: []tls.Certificate{w.ca.issue(t, "spiffe://example.org/attestd")},
	}
	with := func(show ...tls.Certificate) credentials.TransportCredentials {
		return credentials.NewTLS(&tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: w.ca.pool, ServerName: "localhost", Certificates: show,
		})
	}
	unix := func() net.Listener { return listen(t, "unix", filepath.Join(t.TempDir(), "s")) }
	tcp := func() net.Listener { return listen(t, "tcp", "127.0.0.1:0") }
	for _, row := range []struct {
		name     string
		listener net.Listener
		secure   *tls.Config
		creds    credentials.TransportCredentials
		token    string
		right    enforcer.Right
		want     string
		class    attestd.Class
	}{
		{"a uid", unix(), nil, insecure.NewCredentials(), "", enforcer.RightForward, "user:proxy", ""},
		{"a uid without the right", unix(), nil, insecure.NewCredentials(), "", enforcer.RightExtAuthz, "",
			attestd.ClassForbidden},
		{"a token over a socket", unix(), nil, insecure.NewCredentials(), secret, enforcer.RightAuthZEN,
			"token:edge", ""},
		{"a token over loopback", tcp(), nil, insecure.NewCredentials(), secret, enforcer.RightAuthZEN,
			"token:edge", ""},
		{"nothing over loopback", tcp(), nil, insecure.NewCredentials(), "", enforcer.RightAuthZEN, "",
			attestd.ClassUnauthenticated},
		{"an SVID", tcp(), secure, with(w.ca.issue(t, gateway)), "", enforcer.RightExtAuthz, gateway, ""},
		{"an SVID and a token", tcp(), secure, with(w.ca.issue(t, gateway)), secret, enforcer.RightAuthZEN, "",
			attestd.ClassUnauthenticated},
		{"nothing over TLS", tcp(), secure, with(), "", enforcer.RightExtAuthz, "",
			attestd.ClassUnauthenticated},
		{"another authority's SVID", tcp(), secure, with(newAuthority(t).issue(t, gateway)), "",
			enforcer.RightExtAuthz, "", attestd.ClassUnauthenticated},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := w.call(row.listener, row.secure, row.creds, row.token, row.right)
			if got != row.want || (err == nil) != (row.class == "") ||
				err != nil && status.Convert(err).Message() != string(row.class) {
				t.Errorf("got %q, %v, want %q, %s", got, err, row.want, row.class)
			}
		})
	}
}

func TestACallWithoutItsTransportIsNobodys(t *testing.T) {
	w := newWorld(t)
	if _, err := w.book.OfCall(t.Context(), enforcer.RightExtAuthz); err == nil {
		t.Error("a call without a peer is somebody's")
	}
}
