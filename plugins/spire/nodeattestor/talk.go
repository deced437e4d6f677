package nodeattestor

import (
	"errors"
	"fmt"
	"io"
	"time"

	nodeattestorv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/nodeattestor/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/plugins/spire/attestwire"
)

// talk is the exchange of messages with a node.
type talk struct {
	stream  nodeattestorv1.NodeAttestor_AttestServer
	silence time.Duration
}

// open reads the first message.
func (t talk) open(into attestwire.Document) error {
	request, err := t.receive()
	if err != nil {
		return err
	}
	if _, first := request.GetRequest().(*nodeattestorv1.AttestRequest_Payload); !first {
		return outOfTurn()
	}
	return invalid(attestwire.Decode(request.GetPayload(), into))
}

// ask sends one message and reads the one that answers it.
func (t talk) ask(question, answer attestwire.Document) error {
	text, err := attestwire.Encode(question)
	if err != nil {
		return noAnswer("%v", err)
	}
	err = t.stream.Send(&nodeattestorv1.AttestResponse{
		Response: &nodeattestorv1.AttestResponse_Challenge{Challenge: text},
	})
	if err != nil {
		return err
	}
	request, err := t.receive()
	if err != nil {
		return err
	}
	_, follows := request.GetRequest().(*nodeattestorv1.AttestRequest_ChallengeResponse)
	if !follows {
		return outOfTurn()
	}
	return invalid(attestwire.Decode(request.GetChallengeResponse(), answer))
}

// receive reads one message. Where nothing comes the goroutine stays until the stream ends, which
// it does as soon as the caller has returned.
func (t talk) receive() (*nodeattestorv1.AttestRequest, error) {
	type message struct {
		request *nodeattestorv1.AttestRequest
		err     error
	}
	heard := make(chan message, 1)
	go func() {
		request, err := t.stream.Recv()
		heard <- message{request, err}
	}()
	patience := time.NewTimer(t.silence)
	defer patience.Stop()
	select {
	case got := <-heard:
		return got.request, received(got.err)
	case <-patience.C:
		return nil, status.Errorf(codes.DeadlineExceeded,
			"attestd: the node said nothing for %s", t.silence)
	}
}

// received says what the end of a stream means.
func received(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		return status.Error(codes.InvalidArgument,
			"attestd: the node ended the exchange before its last message")
	default:
		return err
	}
}

func outOfTurn() error {
	return status.Error(codes.InvalidArgument, "attestd: a message of the node came out of turn")
}

// invalid answers a node whose message will not do.
func invalid(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	var caller *attestd.CallerError
	if errors.As(err, &caller) && caller.Hint != "" {
		text = fmt.Sprintf("%s (%s)", text, caller.Hint)
	}
	return status.Error(codes.InvalidArgument, "attestd: "+attestd.Excerpt(text, 400))
}
