package host

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// TestTheSupervisorKeepsWhatWasAppliedLast: the next child must not begin with a configuration that this
// one has left behind.
func TestTheSupervisorKeepsWhatWasAppliedLast(t *testing.T) {
	t.Parallel()
	var up bytes.Buffer
	c := &child{env: Env{Logger: hclog.NewNullLogger()}, up: &up}
	var mu sync.Mutex
	var applied []string
	begun, secondDone := make(chan struct{}), make(chan struct{})
	configure := func(word string, then func()) {
		_, err := c.notice(t.Context(), &configv1.ConfigureRequest{HclConfiguration: word},
			&grpc.UnaryServerInfo{}, func(context.Context, any) (any, error) {
				mu.Lock()
				applied = append(applied, word)
				mu.Unlock()
				then()
				return &configv1.ConfigureResponse{}, nil
			})
		if err != nil {
			t.Error(err)
		}
	}
	var work sync.WaitGroup
	work.Go(func() {
		configure("first", func() {
			close(begun)
			select { // the answer is late, and the second overtakes it where it can
			case <-secondDone:
			case <-time.After(200 * time.Millisecond):
			}
		})
	})
	work.Go(func() {
		<-begun
		configure("second", func() {})
		close(secondDone)
	})
	work.Wait()
	var told []string
	for up.Len() > 0 {
		_, body, err := readControl(&up)
		if err != nil {
			t.Fatal(err)
		}
		var request configv1.ConfigureRequest
		if err := proto.Unmarshal(body, &request); err != nil {
			t.Fatal(err)
		}
		told = append(told, request.GetHclConfiguration())
	}
	if !slices.Equal(told, applied) || len(told) != 2 {
		t.Errorf("applied %q, and the supervisor was told %q", applied, told)
	}
}
