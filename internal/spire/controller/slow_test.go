package controller_test

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/attestd/attestd/internal/spire/controller"
)

// TestABanIsLaidAgainAndAgainWhereNobodySaw: a server that is slow is one on which attestations take
// long, and those undo a ban. Only where somebody was seen to have banned the agent it is laid once.
func TestABanIsLaidAgainAndAgainWhereNobodySaw(t *testing.T) {
	var bans atomic.Int64
	slow := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		if !strings.HasSuffix(method, "/BanAgent") {
			<-stream.Context().Done()
			return status.Error(codes.Unavailable, "busy")
		}
		bans.Add(1)
		if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		return stream.SendMsg(&emptypb.Empty{})
	}))
	d := newDaemon(t)
	socket := filepath.Join(filepath.Dir(d.socket), "s.sock") // a short path
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = slow.Serve(listener) }()
	t.Cleanup(slow.Stop)
	d.orders.Number, d.orders.Bans = 1, []string{"spiffe://" + domain + "/spire/agent/attestd/tpm/one"}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- controller.RunWith(ctx, controller.Config{
			Server: "unix:" + socket, Attestd: []string{"unix:" + d.socket}, TrustDomain: domain,
			EntryPrefix: "attestd.", Poll: time.Second, Canary: time.Minute,
			CanaryID: "spiffe://" + domain + "/attestd/canary", Logger: slog.New(slog.DiscardHandler),
		}, controller.ReadBacks()...)
	}()
	for deadline := time.Now().Add(10 * time.Second); bans.Load() == 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(900 * time.Millisecond) // before it is read back for the first time
	if got := bans.Load(); got < 8 {
		t.Errorf("the ban was laid %d times in 0.9 s, want it every 20 ms", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
