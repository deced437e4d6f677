package host

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	composerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/credentialcomposer/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// fakeStream is a stream whose other side says what is put into said, and ends with its context.
type fakeStream struct {
	grpc.ServerStream
	ctx  context.Context
	said chan *composerv1.ComposeWorkloadX509SVIDRequest
}

func (s *fakeStream) Context() context.Context { return s.ctx }

func (s *fakeStream) RecvMsg(message any) error {
	select {
	case one := <-s.said:
		message.(*composerv1.ComposeWorkloadX509SVIDRequest).PublicKey = one.GetPublicKey()
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// TestAStreamEndsWhereTheOtherSideBreaksItsLimits: silent, or with a message over the limit, or in a
// panic; nothing of it is left. neg: 192
func TestAStreamEndsWhereTheOtherSideBreaksItsLimits(t *testing.T) {
	guard := guard{env: Env{Logger: hclog.NewNullLogger(), Counts: &Counts{}}, silence: 50 * time.Millisecond}
	info := &grpc.StreamServerInfo{FullMethod: "/spire.plugin.Any/Attest"}
	before := runtime.NumGoroutine()
	for _, row := range []struct {
		name string
		said []byte
		then func()
		want codes.Code
	}{
		{"a message", []byte("small"), nil, codes.OK},
		{"a message of the greatest size and somewhat", make([]byte, MaxMessage), nil, codes.InvalidArgument},
		{"nothing", nil, nil, codes.DeadlineExceeded},
		{"a message and a panic", []byte("small"), func() { panic("here") }, codes.Internal},
	} {
		// As gRPC does, the stream's context ends when its handler has returned.
		ctx, cancel := context.WithCancel(t.Context())
		stream := &fakeStream{ctx: ctx, said: make(chan *composerv1.ComposeWorkloadX509SVIDRequest, 1)}
		if row.said != nil {
			stream.said <- &composerv1.ComposeWorkloadX509SVIDRequest{PublicKey: row.said}
		}
		err := guard.stream(nil, stream, info, func(_ any, stream grpc.ServerStream) error {
			if _, limited := stream.Context().Deadline(); !limited {
				t.Errorf("%s: the stream has no end", row.name)
			}
			if err := stream.RecvMsg(new(composerv1.ComposeWorkloadX509SVIDRequest)); err != nil {
				return err
			}
			if row.then != nil {
				row.then()
			}
			return nil
		})
		cancel()
		if status.Code(err) != row.want {
			t.Errorf("%s: got %v, want %s", row.name, err, row.want)
		}
	}
	for end := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, want %d", runtime.NumGoroutine(), before)
		}
	}
}

// TestAConfigurationThatWasEndedIsNotGivenOut: not even to who found it a moment before. neg: 200
func TestAConfigurationThatWasEndedIsNotGivenOut(t *testing.T) {
	one := &Configured[int]{}
	before, after := &active[int]{document: new(int)}, &active[int]{document: new(int)}
	after.users.Store(1)
	one.current.Store(before) // nobody uses it any more
	time.AfterFunc(20*time.Millisecond, func() { one.current.Store(after) })
	document, release, err := one.Acquire()
	if err != nil || document != after.document {
		t.Fatalf("got %p, %v, want %p", document, err, after.document)
	}
	release()
	if before.users.Load() != 0 || after.users.Load() != 1 {
		t.Errorf("%d and %d users, want 0 and 1", before.users.Load(), after.users.Load())
	}
}
