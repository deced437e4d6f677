package agentattestor

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	nodeattestorv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/nodeattestor/v1"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/attestwire"
	"github.com/attestd/attestd/plugins/spire/keysocket"
)

// AgentKey is the key that SPIRE asks an identity for; without SPKI there is none to bind.
type AgentKey = keysocket.Key

// Keys is the key manager. Package keysocket has the client of the one there is.
type Keys interface {
	Newest(ctx context.Context) (AgentKey, error)
	PutEnlist(ctx context.Context, enlist wire.Enlist) error
}

// budget is what an attestation may take on this machine before the log says so: SPIRE's agent
// makes no request while it attests. limit is where it ends: the server waits no longer for a
// message.
const (
	budget = 2 * time.Second
	limit  = 25 * time.Second
)

// runner attests by one configuration.
type runner struct {
	format      attestd.Format
	tenant      string
	trustDomain string
	// keySet is attestd's, pinned by file; nil for the one that comes with the challenge.
	keySet    []byte
	tokenFile string
	machine   machine
	keys      Keys // nil for none
	now       func() time.Time
}

// attest is one whole exchange.
func (r *runner) attest(stream nodeattestorv1.NodeAttestor_AidAttestationServer,
	log hclog.Logger) error {
	ctx, cancel := context.WithTimeout(stream.Context(), limit)
	defer cancel()
	watch := stopwatch{began: r.now(), now: r.now}
	talk := talk{stream}
	ready, err := r.prepare(ctx)
	if err != nil {
		return err
	}
	watch.lap("prepared")
	err = talk.open(&attestwire.Opening{
		V: attestwire.Version, Format: r.format, Tenant: r.tenant,
		AttestationKey: ready.attestationKey, EndorsementKey: ready.endorsementKey,
	})
	if err != nil {
		return err
	}
	log.Debug("asked for a challenge", "format", r.format, "tenant", r.tenant, "key",
		ready.key.Kind)
	var asked attestwire.Challenge
	if err := talk.hear(&asked); err != nil {
		return err
	}
	watch.lap("challenged")
	challenge, err := r.accept(asked.Challenge)
	if err != nil {
		return err
	}
	answer, notes, err := r.collect(ctx, ready, challenge)
	if err != nil {
		return err
	}
	watch.lap("collected")
	for _, note := range notes {
		log.Warn(attestd.Excerpt(note, 300))
	}
	if err := talk.say(answer); err != nil {
		return err
	}
	log.Debug("handed evidence in", "format", r.format, "bytes", len(answer.Evidence))
	var outcome attestwire.Outcome
	if err := talk.hear(&outcome); err != nil {
		return err
	}
	watch.lap("judged")
	if err := r.keep(ctx, ready.key, outcome, log); err != nil {
		return err
	}
	if err := talk.say(&attestwire.Receipt{V: attestwire.Version, Received: true}); err != nil {
		return err
	}
	watch.lap("enlisted")
	watch.report(log, "agent", outcome.AgentID, "grade", outcome.Grade, "appraisal",
		outcome.AppraisalID)
	return nil
}

// prepared is what needs no challenge.
type prepared struct {
	key                            AgentKey
	attestationKey, endorsementKey []byte
	attester                       attester.Attester
}

func (r *runner) prepare(ctx context.Context) (prepared, error) {
	var ready prepared
	var err error
	if r.keys != nil {
		// SPIRE's agent generates a key, signs its request with it, and only then asks for
		// evidence: the newest key is the one that the identity is for. No other is generated
		// before this exchange is over.
		if ready.key, err = r.keys.Newest(ctx); err != nil {
			return ready, fmt.Errorf("the agent's key: %w", err)
		}
		if len(ready.key.SPKI) == 0 {
			return ready, errors.New("the agent's key: the key manager's answer has none")
		}
	}
	if ready.attestationKey, ready.endorsementKey, err = r.machine.identity(ctx); err != nil {
		return ready, fmt.Errorf("identity: %w", err)
	}
	ready.attester, err = r.machine.attester(ctx, ready.key)
	return ready, err
}

// accept decides whether this machine answers the challenge.
func (r *runner) accept(given wire.NodeChallenge) (attester.Challenge, error) {
	verifier := attester.Verifier{TrustDomain: r.trustDomain, KeySet: r.keySet}
	if verifier.KeySet == nil {
		verifier.KeySet = given.Keys
	}
	if len(verifier.KeySet) == 0 {
		return attester.Challenge{},
			foreign(errors.New("the challenge came without the keys that it is signed by"))
	}
	challenge, err := verifier.Accept(given.Challenge, r.format, r.now())
	if err != nil {
		return challenge, err
	}
	if challenge.Tenant() != r.tenant {
		return attester.Challenge{},
			foreign(fmt.Errorf("the challenge is for tenant %q, and this machine is of %q",
				attestd.Excerpt(challenge.Tenant(), 60), r.tenant))
	}
	return challenge, nil
}

func foreign(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassForbidden, Err: err,
		Hint: "look which attestd the SPIRE server's plugin is linked to",
	}
}

// collect makes the evidence that answers the challenge.
func (r *runner) collect(
	ctx context.Context, ready prepared, challenge attester.Challenge,
) (answer *attestwire.Answer, notes []string, err error) {
	request := attester.Request{}
	if request.Freshness, err = challenge.Freshness(ready.key.SPKI); err != nil {
		return nil, nil, fmt.Errorf("freshness: %w", err)
	}
	if r.machine.carriesKey(ready.key) {
		request.Key = ready.key.SPKI
	}
	answer = &attestwire.Answer{V: attestwire.Version, KeySPKI: ready.key.SPKI}
	if blob, secret, ok := challenge.Activation(); ok {
		if answer.ActivationSecret, err = r.machine.activate(ctx, blob, secret); err != nil {
			return nil, nil, fmt.Errorf("credential: %w", err)
		}
	}
	if answer.EnrolmentToken, notes, err = r.token(); err != nil {
		return nil, nil, err
	}
	evidence, err := ready.attester.Collect(ctx, request)
	if err != nil {
		return nil, nil, fmt.Errorf("evidence: %w", err)
	}
	answer.Evidence = evidence.Bytes
	answer.Endorsements = attestwire.Endorsements{
		Certificates: evidence.Endorsements.Certificates, CRLs: evidence.Endorsements.CRLs,
	}
	return answer, append(notes, evidence.Notes...), nil
}

// token reads the enrolment token. A machine that attestd knows needs none, so the file may be
// gone.
func (r *runner) token() (token string, notes []string, err error) {
	if r.tokenFile == "" {
		return "", nil, nil
	}
	text, err := readFile(r.tokenFile, maxToken)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", []string{"there is no enrolment token in " + r.tokenFile +
			": the machine must be enrolled already"}, nil
	case err != nil:
		return "", nil, fmt.Errorf("enrolment_token_file: %w", err)
	}
	token = strings.TrimSpace(string(text))
	if strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", nil, &attestd.CallerError{
			Class: attestd.ClassConfig,
			Hint:  "save what attestd enroll token printed, and nothing else",
			Err:   errors.New("enrolment_token_file holds something else than a token"),
		}
	}
	return token, nil, nil
}

// keep hands the certificate to the key manager, for the node's other plugins. Where that fails the
// node still gets its identity: what those plugins cannot say, they withhold.
func (r *runner) keep(
	ctx context.Context, key AgentKey, outcome attestwire.Outcome, log hclog.Logger,
) error {
	if err := attestwire.CheckAgentID(outcome.AgentID, r.trustDomain); err != nil {
		return foreign(err)
	}
	if outcome.Enlist == nil || r.keys == nil {
		return nil
	}
	if err := enlisted(*outcome.Enlist, key.SPKI); err != nil {
		return foreign(err)
	}
	if len(outcome.Enlist.Addresses) == 0 {
		log.Info("attestd names no address for the node's plugins: set spire.listen")
		return nil
	}
	return handOver(ctx, r.keys, *outcome.Enlist, patience)
}

// patience is how long a key manager may be away: its supervisor starts it again within a second.
const patience = 5 * time.Second

// handOver gives the key manager the certificate for the node's other plugins. Without it a node that is
// attested gives its workloads no selectors until it attests again, half its SVID's life later; so where
// it cannot be handed over, this attestation has failed, and SPIRE's agent makes another.
func handOver(ctx context.Context, keys Keys, enlist wire.Enlist, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var err error
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		if err = keys.PutEnlist(ctx, enlist); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return &attestd.UndecidedError{
				Class: attestd.ClassStoreUnavailable, Want: "an answer of the key manager attestd",
				Hint: "look in the agent's log for the key manager; runtime_dir is the same for all plugins",
				Err:  err,
			}
		case <-time.After(wait):
		}
	}
}

// enlisted refuses a certificate for a key that is not this agent's.
func enlisted(enlist wire.Enlist, spki []byte) error {
	if len(enlist.Certificates) == 0 {
		return errors.New("the certificate for the node's plugins is missing")
	}
	leaf, err := x509.ParseCertificate(enlist.Certificates[0])
	if err != nil {
		return fmt.Errorf("the certificate for the node's plugins: %s",
			attestd.Excerpt(err.Error(), 120))
	}
	if !bytes.Equal(leaf.RawSubjectPublicKeyInfo, spki) {
		return errors.New("the certificate for the node's plugins is for a key of somebody else")
	}
	return nil
}

// stopwatch says in the log how long each step took.
type stopwatch struct {
	began, last time.Time
	now         func() time.Time
	laps        []any
}

func (s *stopwatch) lap(name string) {
	if s.last.IsZero() {
		s.last = s.began
	}
	at := s.now()
	s.laps = append(s.laps, name, at.Sub(s.last).Round(time.Microsecond).String())
	s.last = at
}

func (s *stopwatch) report(log hclog.Logger, about ...any) {
	took := s.last.Sub(s.began)
	about = append(append(about, "took", took.Round(time.Microsecond).String()), s.laps...)
	if took > budget {
		log.Warn("attested, slowly: while it attests SPIRE's agent asks for nothing else", about...)
		return
	}
	log.Info("attested", about...)
}
