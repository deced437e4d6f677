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
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
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
const slowness = 1500 * time.Millisecond

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
		// A file in the working folder breaks it, as its text says.
		switch text, err := os.ReadFile("broken"); {
		case err == nil && len(text) != 0:
			return status.Error(codes.FailedPrecondition, string(text))
		case err == nil:
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

// ComposeWorkloadJWTSVID adds the claims that stand in the file "claims" of the working folder, and
// attestd's of the canary where there is none.
func (*composer) ComposeWorkloadJWTSVID(_ context.Context, request *composerv1.ComposeWorkloadJWTSVIDRequest) (
	*composerv1.ComposeWorkloadJWTSVIDResponse, error,
) {
	text, err := os.ReadFile("claims")
	if err != nil {
		text = []byte(`{"attested":false,"risk_score":100}`)
	}
	added := &structpb.Struct{}
	if err := protojson.Unmarshal(text, added); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	attributes := request.GetAttributes()
	for name, value := range added.GetFields() {
		attributes.Claims.Fields[name] = value
	}
	return &composerv1.ComposeWorkloadJWTSVIDResponse{Attributes: attributes}, nil
}
