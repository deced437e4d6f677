package nodeattestor

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/hashicorp/go-hclog"
	nodeattestorv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/nodeattestor/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/attestwire"
)

// Caller is the way to attestd.
type Caller interface {
	Call(ctx context.Context, method string, in, out any) error
}

// settings are one accepted configuration. They are never changed: another configuration makes
// others.
type settings struct {
	trustDomain  string
	canaryTenant string
	attestd      Caller
	// silence is how long a node may take for a message, judging how long attestd for an answer.
	silence, judging time.Duration
	now              func() time.Time
}

// canaryOK is what a canary that went well ends with. The controller looks for it.
const canaryOK = "attestd: canary: ok"

// attest is one whole exchange.
func (s *settings) attest(
	stream nodeattestorv1.NodeAttestor_AttestServer, log hclog.Logger,
) (*nodeattestorv1.AgentAttributes, error) {
	ctx := stream.Context()
	talk := talk{stream: stream, silence: s.silence}
	var opening attestwire.Opening
	if err := talk.open(&opening); err != nil {
		return nil, err
	}
	source := sourceOf(ctx)
	if opening.IsCanary() {
		return nil, s.canary(ctx, source)
	}
	given, asked, err := s.begin(ctx, wire.NodeBegin{
		Format: opening.Format, Tenant: opening.Tenant, Source: source,
		AttestationKey: opening.AttestationKey, EndorsementKey: opening.EndorsementKey,
	})
	if err != nil {
		return nil, err
	}
	log.Debug("node was challenged", "format", opening.Format, "tenant", opening.Tenant, "source",
		source)
	var answer attestwire.Answer
	message := attestwire.Challenge{V: attestwire.Version, Challenge: given}
	if err := talk.ask(&message, &answer); err != nil {
		return nil, err
	}
	verdict, err := s.finish(ctx, wire.NodeFinish{
		ChallengeID: asked.ID(), Format: opening.Format, Tenant: opening.Tenant, Source: source,
		Evidence: answer.Evidence, Endorsements: attestd.Endorsements{
			Certificates: answer.Endorsements.Certificates, CRLs: answer.Endorsements.CRLs,
		},
		KeySPKI: answer.KeySPKI, ActivationSecret: answer.ActivationSecret,
		EnrolmentToken: answer.EnrolmentToken,
	})
	if err != nil {
		return nil, err
	}
	var receipt attestwire.Receipt
	if err := talk.ask(verdict.outcome(), &receipt); err != nil {
		return nil, err
	}
	log.Info("node was attested", "agent", verdict.AgentID, "format", opening.Format,
		"tenant", opening.Tenant, "grade", verdict.Grade, "appraisal", verdict.AppraisalID,
		"source", source)
	return &nodeattestorv1.AgentAttributes{
		SpiffeId: verdict.AgentID, SelectorValues: verdict.Selectors,
		// With it every renewal of the agent's SVID is an attestation. Without it SPIRE renews on
		// its own and the selectors stay what they were.
		CanReattest: true,
	}, nil
}

// begin gets a challenge and looks whether it is one for this node.
func (s *settings) begin(
	ctx context.Context, ask wire.NodeBegin,
) (wire.NodeChallenge, attester.Challenge, error) {
	ctx, cancel := context.WithTimeout(ctx, s.judging)
	defer cancel()
	var given wire.NodeChallenge
	if err := s.attestd.Call(ctx, wire.MethodNodeBegin, ask, &given); err != nil {
		return given, attester.Challenge{}, err
	}
	// The node looks at it too. Here it shows that what answers is an attestd, and the one of this
	// trust domain: an answer that is none must end as "out of reach" and not as the node's fault.
	verifier := attester.Verifier{TrustDomain: s.trustDomain, KeySet: given.Keys}
	if len(given.Keys) == 0 {
		return given, attester.Challenge{},
			noAnswer("the challenge came without the keys that it is signed by")
	}
	asked, err := verifier.Accept(given.Challenge, ask.Format, s.now())
	if err != nil {
		return given, asked, noAnswer("challenge: %v", err)
	}
	if asked.Tenant() != ask.Tenant {
		return given, asked, noAnswer("the challenge is for tenant %q, and %q was asked for",
			attestd.Excerpt(asked.Tenant(), 64), ask.Tenant)
	}
	return given, asked, nil
}

// checked is a verdict that was looked at.
type checked struct{ wire.NodeVerdict }

func (c checked) outcome() *attestwire.Outcome {
	return &attestwire.Outcome{
		V: attestwire.Version, AgentID: c.AgentID, AppraisalID: c.AppraisalID, Grade: c.Grade,
		Enlist: c.Enlist,
	}
}

func (s *settings) finish(ctx context.Context, answer wire.NodeFinish) (checked, error) {
	ctx, cancel := context.WithTimeout(ctx, s.judging)
	defer cancel()
	var verdict checked
	err := s.attestd.Call(ctx, wire.MethodNodeFinish, answer, &verdict.NodeVerdict)
	if err != nil {
		return checked{}, err
	}
	if err := attestwire.CheckAgentID(verdict.AgentID, s.trustDomain); err != nil {
		return checked{}, noAnswer("%v", err)
	}
	if err := attestwire.CheckSelectors(verdict.Selectors, answer.Tenant); err != nil {
		return checked{}, noAnswer("%v", err)
	}
	// A node without a bound key must not be taken for one with: the grade speaks of the key that
	// the node named.
	if verdict.Grade != wire.GradeNone && len(answer.KeySPKI) == 0 {
		return checked{}, noAnswer("grade %q for evidence that binds no key",
			attestd.Excerpt(string(verdict.Grade), 40))
	}
	return verdict, nil
}

// canary asks attestd for a challenge and issues nothing, whatever comes of it.
func (s *settings) canary(ctx context.Context, source string) error {
	_, _, err := s.begin(ctx, wire.NodeBegin{
		Format: attestd.FormatTPM, Tenant: s.canaryTenant, Source: source,
	})
	if err != nil {
		return err
	}
	return status.Error(codes.FailedPrecondition, canaryOK)
}

// noAnswer says that what came from attestd is no answer. The node learns no more than that: it
// could not do anything about it.
func noAnswer(format string, args ...any) error {
	return &badAnswer{fmt.Errorf(format, args...)}
}

// badAnswer is an answer of attestd's that was not taken.
type badAnswer struct{ err error }

func (b *badAnswer) Error() string {
	return "attestd's answer was not taken: " + attestd.Excerpt(b.err.Error(), 300)
}

// GRPCStatus is what SPIRE and the node see of it.
func (b *badAnswer) GRPCStatus() *status.Status {
	return status.New(codes.Unavailable,
		"attestd: could not decide: its answer was not taken; see the "+
			"SPIRE server's log")
}

// forwardedIP is what SPIRE calls the address that it saw the node come from.
const forwardedIP = "x-forwarded-client-ip"

// sourceOf returns the node's address, or nothing where SPIRE does not say or says none.
func sourceOf(ctx context.Context) string {
	values := metadata.ValueFromIncomingContext(ctx, forwardedIP)
	if len(values) != 1 {
		return ""
	}
	address, err := netip.ParseAddr(values[0])
	if err != nil {
		return ""
	}
	return address.Unmap().WithZone("").String()
}
