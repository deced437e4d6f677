package agentattestor

import (
	"errors"
	"io"

	nodeattestorv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/nodeattestor/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/plugins/spire/attestwire"
)

// talk is the exchange of messages with the server's plugin.
type talk struct {
	stream nodeattestorv1.NodeAttestor_AidAttestationServer
}

func (t talk) open(document attestwire.Document) error {
	text, err := attestwire.Encode(document)
	if err != nil {
		return err
	}
	return t.stream.Send(&nodeattestorv1.PayloadOrChallengeResponse{
		Data: &nodeattestorv1.PayloadOrChallengeResponse_Payload{Payload: text},
	})
}

func (t talk) say(document attestwire.Document) error {
	text, err := attestwire.Encode(document)
	if err != nil {
		return err
	}
	return t.stream.Send(&nodeattestorv1.PayloadOrChallengeResponse{
		Data: &nodeattestorv1.PayloadOrChallengeResponse_ChallengeResponse{ChallengeResponse: text},
	})
}

// hear reads one message. SPIRE ends the stream where its server refused; the agent's own log has
// why.
func (t talk) hear(into attestwire.Document) error {
	message, err := t.stream.Recv()
	switch {
	case errors.Is(err, io.EOF):
		return status.Error(codes.Aborted, "attestd: the server ended the attestation")
	case err != nil:
		return err
	}
	return attestwire.Decode(message.GetChallenge(), into)
}

// told is err as SPIRE's agent gets it, for its log. Nothing of it leaves the machine.
func told(err error) error {
	if _, is := status.FromError(err); is {
		return err
	}
	code := codes.Internal
	text := err.Error()
	var undecided *attestd.UndecidedError
	var caller *attestd.CallerError
	switch {
	case errors.As(err, &undecided):
		code = codes.Unavailable
		text += hinted(undecided.Hint)
	case errors.As(err, &caller):
		code = codes.FailedPrecondition
		switch caller.Class {
		case attestd.ClassForbidden:
			code = codes.PermissionDenied
		case attestd.ClassMalformed:
			code = codes.InvalidArgument
		}
		text += hinted(caller.Hint)
	}
	return status.Error(code, "attestd: "+attestd.Excerpt(text, 500))
}

func hinted(hint string) string {
	if hint == "" {
		return ""
	}
	return " (hint: " + hint + ")"
}
