package host

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/attestd/attestd"
)

// Limits of a call. SPIRE has none of its own towards a plugin.
const (
	// MaxMessage is the greatest message that a plugin takes, gRPC's default between agent and server.
	MaxMessage = 4 << 20
	// UnaryTime is how long a call with one answer may take.
	UnaryTime = 30 * time.Second
	// Silence is how long the other side of a stream may say nothing, StreamTime how long one lasts.
	Silence    = 30 * time.Second
	StreamTime = 2 * time.Minute
)

// errInternal is all that SPIRE, and through it an agent or a workload, learns of a bug.
func errInternal() error {
	return status.Error(codes.Internal, "attestd: internal error in the plugin, see SPIRE's log")
}

// guard stands between SPIRE and the plugin's code.
type guard struct {
	env     Env
	silence time.Duration
}

func (g guard) options() []grpc.ServerOption {
	return []grpc.ServerOption{
		// Somewhat more than a plugin takes, so that a message over the limit is refused by its own name.
		grpc.MaxRecvMsgSize(MaxMessage + 1<<20),
		grpc.ChainUnaryInterceptor(g.unary),
		grpc.ChainStreamInterceptor(g.stream),
		grpc.UnknownServiceHandler(unknown),
	}
}

// ours reports whether the method is one of SPIRE's to a plugin, not one of go-plugin's own.
func ours(method string) bool { return strings.HasPrefix(method, "/spire.") }

func (g guard) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo,
	handler grpc.UnaryHandler) (answer any, err error) {
	if !ours(info.FullMethod) {
		return handler(ctx, request)
	}
	defer func() { err = g.outcome(info.FullMethod, recover(), err) }()
	if err := sized(request); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, UnaryTime)
	defer cancel()
	return handler(ctx, request)
}

func (g guard) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo,
	handler grpc.StreamHandler) (err error) {
	if !ours(info.FullMethod) {
		return handler(server, stream)
	}
	defer func() { err = g.outcome(info.FullMethod, recover(), err) }()
	ctx, cancel := context.WithTimeout(stream.Context(), StreamTime)
	defer cancel()
	return handler(server, &guardedStream{ServerStream: stream, ctx: ctx, silence: g.silence})
}

// unknown answers calls that this version has no code for. What it answers goes through the guard, as
// gRPC's own answer would not: Unimplemented tells SPIRE to go on without the plugin, and a composer that
// does not know a kind of credential must not let it pass.
func unknown(any, grpc.ServerStream) error { return status.Error(codes.Unimplemented, "not known") }

// outcome turns a panic and Unimplemented into errors that refuse.
func (g guard) outcome(method string, panicked any, err error) error {
	if panicked != nil {
		g.env.Counts.Add("panics")
		g.env.Logger.Error("a call panicked, and the plugin goes on", "method", method,
			"panic", attestd.Excerpt(fmt.Sprint(panicked), 400), "stack", string(debug.Stack()))
		return errInternal()
	}
	if err != nil && status.Code(err) == codes.Unimplemented {
		g.env.Counts.Add("unknown_calls")
		g.env.Logger.Error("refused a call that this version does not know; update attestd-spire",
			"method", method)
		return status.Error(codes.Internal, "attestd: this version of the plugin does not know the call")
	}
	return err
}

func sized(message any) error {
	if one, ok := message.(proto.Message); ok {
		if size := proto.Size(one); size > MaxMessage {
			return status.Errorf(codes.InvalidArgument, "attestd: message of %d bytes, want at most %d",
				size, MaxMessage)
		}
	}
	return nil
}

// guardedStream ends where the other side is silent, or the stream has lasted long enough: its handler
// gets the error, returns it, and so frees whoever waits.
type guardedStream struct {
	grpc.ServerStream
	ctx     context.Context
	silence time.Duration
}

func (s *guardedStream) Context() context.Context { return s.ctx }

func (s *guardedStream) RecvMsg(message any) error {
	done := make(chan error, 1)
	// The goroutine ends with the stream, and that ends when the handler returns this error.
	go func() { done <- s.ServerStream.RecvMsg(message) }()
	timer := time.NewTimer(s.silence)
	defer timer.Stop()
	select {
	case err := <-done:
		if err != nil {
			return err
		}
		return sized(message)
	case <-timer.C:
		return status.Errorf(codes.DeadlineExceeded, "attestd: nothing was said for %s", s.silence)
	case <-s.ctx.Done():
		if errors.Is(s.ctx.Err(), context.DeadlineExceeded) {
			return status.Errorf(codes.DeadlineExceeded, "attestd: the stream lasted over %s", StreamTime)
		}
		return status.FromContextError(s.ctx.Err()).Err()
	}
}
