package composer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	composerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/credentialcomposer/v1"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"

	"github.com/spiffe/spire-plugin-sdk/pluginsdk"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/host"
)

// healthCheckPath is what SPIRE's server makes a certificate for every minute, to see that it can, and
// drops (its pkg/server/ca/ca_health.go). attestd refuses to know it.
const healthCheckPath = "/for/health/check/only"

// healthCheckKey is the SHA-256 of the key in that certificate, of which nobody has the private half:
// an entry of the same name, registered for a workload, comes with another.
const healthCheckKey = "4156e79d2d1f633ab3b0d37b6feaf06c6541c30a5e7dfe35de731bb6cc782cad"

// downstreamUnit begins the unit in the subject of a CA for a server below this one, which SPIRE writes
// itself (pkg/server/credtemplate/builder.go).
const downstreamUnit = "DOWNSTREAM-"

// maxID is the greatest length of a SPIFFE ID (SPIFFE-ID, section 2.3).
const maxID = 2048

// Composer is the plugin. It embeds no type that answers Unimplemented for it.
type Composer struct {
	composerv1.UnsafeCredentialComposerServer
	*host.Configured[document]

	env     host.Env
	refused *refusals
}

// New returns the composer, which answers once it is configured.
func New(env host.Env) (host.Plugin, error) {
	composer := &Composer{
		Configured: host.NewConfigured(env, defaults, connect(env)),
		env:        env, refused: newRefusals(env.Logger),
	}
	return host.Plugin{
		Name:     env.Name,
		Server:   composerv1.CredentialComposerPluginServer(composer),
		Services: []pluginsdk.ServiceServer{configv1.ConfigServiceServer(composer)},
	}, nil
}

// ComposeServerX509CA leaves the server's CA certificate as it is, and refuses one for a server below it
// where that is not allowed: whoever has one issues identities that attestd never hears of.
func (c *Composer) ComposeServerX509CA(_ context.Context, request *composerv1.ComposeServerX509CARequest) (
	*composerv1.ComposeServerX509CAResponse, error) {
	units := request.GetAttributes().GetSubject().GetOrganizationalUnit()
	if slices.ContainsFunc(units, func(unit string) bool { return strings.HasPrefix(unit, downstreamUnit) }) {
		document, release, err := c.Acquire()
		if err != nil {
			return nil, err
		}
		defer release()
		if document.Downstream == downstreamAllow {
			return &composerv1.ComposeServerX509CAResponse{Attributes: request.GetAttributes()}, nil
		}
		return nil, c.refuse("downstream-ca", "", codes.PermissionDenied,
			"a server below this one wants a CA, and attestd would hear of nothing that it issues; "+
				"downstream = \"allow\" in the composer's plugin_data lets it")
	}
	return &composerv1.ComposeServerX509CAResponse{Attributes: request.GetAttributes()}, nil
}

// ComposeServerX509SVID leaves the server's own SVID as it is.
func (c *Composer) ComposeServerX509SVID(_ context.Context, request *composerv1.ComposeServerX509SVIDRequest) (
	*composerv1.ComposeServerX509SVIDResponse, error) {
	return &composerv1.ComposeServerX509SVIDResponse{Attributes: request.GetAttributes()}, nil
}

// ComposeAgentX509SVID asks whether this agent gets an SVID for this key.
func (c *Composer) ComposeAgentX509SVID(ctx context.Context, request *composerv1.ComposeAgentX509SVIDRequest) (
	*composerv1.ComposeAgentX509SVIDResponse, error) {
	attributes, err := c.certificate(ctx, wire.GrantAgentX509, request.GetSpiffeId(), request.GetPublicKey(),
		request.GetAttributes())
	if err != nil {
		return nil, err
	}
	return &composerv1.ComposeAgentX509SVIDResponse{Attributes: attributes}, nil
}

// ComposeWorkloadX509SVID asks whether this workload gets an SVID now.
func (c *Composer) ComposeWorkloadX509SVID(ctx context.Context,
	request *composerv1.ComposeWorkloadX509SVIDRequest) (*composerv1.ComposeWorkloadX509SVIDResponse, error) {
	document, release, err := c.Acquire()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(request.GetPublicKey())
	healthCheck := request.GetSpiffeId() == "spiffe://"+document.trustDomain+healthCheckPath &&
		hex.EncodeToString(sum[:]) == healthCheckKey
	release()
	if healthCheck {
		return &composerv1.ComposeWorkloadX509SVIDResponse{Attributes: request.GetAttributes()}, nil
	}
	attributes, err := c.certificate(ctx, wire.GrantWorkloadX509, request.GetSpiffeId(), request.GetPublicKey(),
		request.GetAttributes())
	if err != nil {
		return nil, err
	}
	return &composerv1.ComposeWorkloadX509SVIDResponse{Attributes: attributes}, nil
}

// ComposeWorkloadJWTSVID asks whether this workload gets a JWT-SVID now, until when, and what it says.
func (c *Composer) ComposeWorkloadJWTSVID(ctx context.Context,
	request *composerv1.ComposeWorkloadJWTSVIDRequest) (*composerv1.ComposeWorkloadJWTSVIDResponse, error) {
	token, problem := readToken(request.GetSpiffeId(), request.GetAttributes().GetClaims())
	if problem != "" {
		return nil, c.unusable(wire.GrantWorkloadJWT, request.GetSpiffeId(), problem)
	}
	granted, err := c.ask(ctx, wire.GrantRequest{
		Kind: wire.GrantWorkloadJWT, ID: request.GetSpiffeId(),
		Audience: token.audience, ExpiresAt: token.expires,
	})
	if err != nil {
		return nil, err
	}
	if problem := token.apply(granted); problem != "" {
		return nil, c.unusable(wire.GrantWorkloadJWT, request.GetSpiffeId(), problem)
	}
	return &composerv1.ComposeWorkloadJWTSVIDResponse{
		Attributes: &composerv1.JWTSVIDAttributes{Claims: token.claims},
	}, nil
}

// certificate asks for an X.509-SVID and adds the extension. Everything is prepared before the question:
// between its answer and SPIRE's signature lies no work of ours that a hold could come into.
func (c *Composer) certificate(ctx context.Context, kind, id string, key []byte,
	attributes *composerv1.X509SVIDAttributes) (*composerv1.X509SVIDAttributes, error) {
	if attributes == nil || len(key) == 0 {
		return nil, c.unusable(kind, id, "SPIRE sent no attributes or no key")
	}
	composed := proto.CloneOf(attributes)
	sum := sha256.Sum256(key)
	granted, err := c.ask(ctx, wire.GrantRequest{Kind: kind, ID: id, KeySHA256: sum[:]})
	if err != nil {
		return nil, err
	}
	if problem := extend(composed, granted); problem != "" {
		return nil, c.unusable(kind, id, problem)
	}
	return composed, nil
}

// ask puts the question to attestd and turns everything that is not a grant into a refusal.
func (c *Composer) ask(ctx context.Context, request wire.GrantRequest) (wire.Granted, error) {
	if request.ID == "" || len(request.ID) > maxID {
		return wire.Granted{}, c.unusable(request.Kind, request.ID, "SPIRE sent no SPIFFE ID")
	}
	document, release, err := c.Acquire()
	if err != nil {
		return wire.Granted{}, err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, document.Timeout)
	defer cancel()
	granted, err := document.granter.grant(ctx, request)
	if err != nil {
		why := err.Error()
		if linked := (*link.Error)(nil); errors.As(err, &linked) && linked.Hint != "" {
			why += " (hint: " + linked.Hint + ")"
		}
		return wire.Granted{}, c.refuse(request.Kind, request.ID, host.CodeOf(err), why)
	}
	c.env.Counts.Add("granted_" + request.Kind)
	return granted, nil
}

// unusable refuses what SPIRE, another composer or attestd has got wrong.
func (c *Composer) unusable(kind, id, problem string) error {
	return c.refuse(kind, id, codes.Internal, problem)
}

// refuse notes why, and tells SPIRE what a workload may know.
func (c *Composer) refuse(kind, id string, code codes.Code, why string) error {
	id = attestd.Excerpt(id, maxID)
	text := "attestd: no identity is issued now; ask: attestd why " + id
	outcome := "undecided"
	switch code {
	case codes.PermissionDenied:
		outcome = "refused"
	case codes.Internal:
		outcome = "faulty"
	default:
		code = codes.Unavailable
	}
	c.env.Counts.Add(outcome + "_" + kind)
	c.refused.note(kind, id, outcome, attestd.Excerpt(why, 400))
	return status.Error(code, text)
}
