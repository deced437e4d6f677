package controller

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	agentv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1"
	svidv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/svid/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
)

// Names of the canaries.
const (
	canaryMint        = "mint"
	canaryAttestation = "attestation"
)

// What the node attestor says to a canary: the answer came from attestd, and nothing was issued. SPIRE
// puts the plugin's name before it, in the place of "attestd: ".
const (
	canaryAttestor = "attestd"
	canaryAlive    = "nodeattestor(attestd): canary: ok"
)

const canaryTTL = 60 // seconds

// canaries try SPIRE with its plugins and attestd behind them from end to end: a plugin that died
// stops all SVIDs while SPIRE's own health stays green.
type canaries struct {
	c *controller

	mu   sync.Mutex
	last map[string]wire.CanaryResult
}

func newCanaries(c *controller) *canaries {
	return &canaries{c: c, last: map[string]wire.CanaryResult{}}
}

// attestationFails says why no agent may be made to attest again, or nothing where one could.
func (k *canaries) attestationFails(now time.Time) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	last, there := k.last[canaryAttestation]
	switch {
	case !there:
		return "attestation was not tried yet"
	case now.Sub(last.At) > 3*k.c.config.Canary:
		return "attestation was not tried since " + last.At.UTC().Format(time.RFC3339)
	case !last.OK:
		return "attestation is broken: " + last.Error
	}
	return ""
}

// afterDeath is how soon a canary that died flies again: what it says stands in the way of people.
const afterDeath = time.Second

// run lets both canaries fly now and then again and again.
func (k *canaries) run(ctx context.Context) {
	for {
		var both sync.WaitGroup
		both.Go(func() { k.try(ctx, canaryMint, k.mint) })
		both.Go(func() { k.try(ctx, canaryAttestation, k.attest) })
		both.Wait()
		wait := k.c.config.Canary
		if k.dead() {
			wait = min(wait, afterDeath)
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// dead reports whether one of the last canaries died.
func (k *canaries) dead() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, last := range k.last {
		if !last.OK {
			return true
		}
	}
	return false
}

func (k *canaries) try(ctx context.Context, name string, fly func(context.Context) error) {
	began := time.Now()
	err := call(ctx, fly)
	if ctx.Err() != nil {
		return
	}
	result := wire.CanaryResult{
		Name: name, OK: err == nil, Took: time.Since(began).Microseconds(), At: began.UTC(),
	}
	if err != nil {
		result.Error = attestd.Excerpt(status.Convert(err).Message(), 200)
	}
	k.mu.Lock()
	before, there := k.last[name]
	// The monotonic reading stays here: a clock that is set must not make a canary young.
	kept := result
	kept.At = began
	k.last[name] = kept
	k.mu.Unlock()
	if !there || before.OK != result.OK {
		if result.OK {
			k.c.log.InfoContext(ctx, "canary lives", "canary", name)
		} else {
			k.c.log.ErrorContext(ctx, "canary died: SPIRE issues nothing or attests nobody", "canary", name,
				"err", result.Error, "hint", "attestd doctor --only spire; the SPIRE server's log has more")
		}
	}
	err = call(ctx, func(ctx context.Context) error {
		return k.c.link.Call(ctx, wire.MethodCanary, result, nil)
	})
	if err != nil && !notLinked(err) && ctx.Err() == nil {
		k.c.log.WarnContext(ctx, "attestd did not take a canary's result",
			"err", attestd.Excerpt(err.Error(), 200))
	}
}

// mint lets SPIRE mint a JWT-SVID that nobody accepts: the composer must answer, and SPIRE sign. What
// it says must be what attestd says of the canary, that nothing was attested: SPIRE issues without a
// word where a composer lacks an RPC (SPIRE 1.15.3, pkg/server/plugin/credentialcomposer, v1.go), and
// one that comes after attestd's can change what it said.
func (k *canaries) mint(ctx context.Context) error {
	id, err := k.c.spire.identity(k.c.config.CanaryID)
	if err != nil {
		return err
	}
	reply, err := k.c.spire.svids.MintJWTSVID(ctx, &svidv1.MintJWTSVIDRequest{
		Id: id, Audience: []string{wire.CanaryAudience}, Ttl: canaryTTL,
	})
	if err != nil {
		return err
	}
	return canarySays(reply.GetSvid().GetToken())
}

// canarySays looks at the claims of the canary's JWT-SVID. Its signature is not verified: SPIRE sent it,
// and it grants nothing.
func canarySays(token string) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return errors.New("SPIRE minted no JWT-SVID")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var said struct {
		Attested *bool    `json:"attested"`
		Score    *float64 `json:"risk_score"` // a configured audience gets it
	}
	if err == nil {
		err = json.Unmarshal(text, &said)
	}
	switch {
	case err != nil:
		return errors.New("the JWT-SVID cannot be read, or its claims are not attestd's")
	case said.Attested == nil:
		return errors.New("the JWT-SVID lacks attestd's claims: SVIDs are issued without asking attestd")
	case *said.Attested || said.Score != nil && *said.Score != 100:
		return errors.New("the claims of the JWT-SVID are not attestd's: another composer changes them")
	}
	return nil
}

// attest sends what only the node attestor answers, and only after attestd did.
func (k *canaries) attest(ctx context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := k.c.spire.agents.AttestAgent(ctx)
	if err != nil {
		return err
	}
	err = stream.Send(&agentv1.AttestAgentRequest{Step: &agentv1.AttestAgentRequest_Params_{
		Params: &agentv1.AttestAgentRequest_Params{
			Data: &types.AttestationData{
				Type: canaryAttestor, Payload: []byte(`{"v":1,"canary":"` + rand.Text() + `"}`),
			},
			Params: &agentv1.AgentX509SVIDParams{Csr: csr},
		},
	}})
	if err != nil {
		// The reason stands in what is received.
		_, received := stream.Recv()
		return errors.Join(err, received)
	}
	_, err = stream.Recv()
	if err == nil {
		return errors.New("the node attestor went on with a canary")
	}
	said := status.Convert(err)
	if said.Code() != codes.FailedPrecondition || said.Message() != canaryAlive {
		return fmt.Errorf("the node attestor says %s: %s", said.Code(), attestd.Excerpt(said.Message(), 150))
	}
	return nil
}
