package controller_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/spire-plugin-sdk/pluginmain"
	composerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/credentialcomposer/v1"
	attestorv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/nodeattestor/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestMain also is the plugins that the SPIRE servers of these tests run: a node attestor that
// believes what it is told and answers canaries, and a composer that is slow where the id says so.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 {
		switch os.Args[1] {
		case "attestor":
			pluginmain.Serve(attestorv1.NodeAttestorPluginServer(&attestor{}))
			return
		case "composer":
			pluginmain.Serve(composerv1.CredentialComposerPluginServer(&composer{}))
			return
		}
	}
	os.Exit(m.Run())
}

// slowness is how long the composer takes for an agent whose id ends in /slow.
const slowness = 900 * time.Millisecond

type attestor struct {
	attestorv1.UnimplementedNodeAttestorServer
}

func (*attestor) Attest(stream attestorv1.NodeAttestor_AttestServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	payload := string(first.GetPayload())
	if strings.Contains(payload, `"canary"`) {
		// A file in the working folder breaks it.
		if _, err := os.Stat("broken"); err == nil {
			return status.Error(codes.Unavailable, "attestd is out of reach")
		}
		return status.Error(codes.FailedPrecondition, "attestd: canary: ok")
	}
	return stream.Send(&attestorv1.AttestResponse{Response: &attestorv1.AttestResponse_AgentAttributes{
		AgentAttributes: &attestorv1.AgentAttributes{
			SpiffeId: "spiffe://" + domain + "/spire/agent/attestd/" + payload, CanReattest: true,
			SelectorValues: []string{"tier:low"},
		},
	}})
}

type composer struct {
	composerv1.UnimplementedCredentialComposerServer
}

func (*composer) ComposeAgentX509SVID(ctx context.Context, request *composerv1.ComposeAgentX509SVIDRequest) (
	*composerv1.ComposeAgentX509SVIDResponse, error,
) {
	if strings.HasSuffix(request.GetSpiffeId(), "/slow") {
		select {
		case <-time.After(slowness):
		case <-ctx.Done():
		}
	}
	return &composerv1.ComposeAgentX509SVIDResponse{Attributes: request.GetAttributes()}, nil
}
