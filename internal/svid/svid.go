package svid

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/spire/wire"
)

// Purposes of the challenges that evidence must answer. What the evidence is for lies in the
// binding, so that who relays a request cannot have an answer in the clear that was to be
// encrypted.
const (
	Purpose          = "svid"
	EncryptedPurpose = "svid-encrypted"
)

// Schema names the form of a [Document].
const Schema = "attestd.svid.v1"

// Verifier judges evidence. Package service has the one there is.
type Verifier interface {
	Verify(ctx context.Context, submission service.Submission) (attestd.Appraisal, error)
}

// Office decides what may be issued. Package issuance has the one there is.
type Office interface {
	Holder(given attestd.Appraisal, format attestd.Format, tenant string, spki []byte) (
		*issuance.Holder, error)
	Direct(ctx context.Context, holder *issuance.Holder, wanted string) (*issuance.Direct, error)
	Admit(direct *issuance.Direct, audience []string, claims map[string]any) (
		lifetime time.Duration, withdraw func(), err error)
	Admits(direct *issuance.Direct) error
}

// Controller asks SPIRE. Package front has the one there is.
type Controller interface {
	Connected() bool
	MintX509(ctx context.Context, what wire.MintX509) (wire.MintedX509, error)
	MintJWT(ctx context.Context, what wire.MintJWT) (wire.MintedJWT, error)
}

// Config is what a [Desk] is made of. Every field is required.
type Config struct {
	TrustDomain string
	Verifier    Verifier
	Office      Office
	Controller  Controller
	// Now is the store's clock.
	Now func() time.Time
}

// Desk issues identities without an agent. It is safe for concurrent use.
type Desk struct {
	config Config
	turns  turns
}

// New returns a desk.
//
// Errors: where a field is missing.
func New(config Config) (*Desk, error) {
	if config.TrustDomain == "" || config.Verifier == nil || config.Office == nil ||
		config.Controller == nil || config.Now == nil {
		return nil, errors.New("identities without an agent need a trust domain, a verifier, " +
			"an office, a controller and a clock")
	}
	return &Desk{config: config}, nil
}

// Request asks for an identity.
type Request struct {
	// Submission has the evidence. Its purpose and freshness are set here.
	Submission service.Submission
	// CSR (DER) asks for an X509-SVID, Audience for a JWT-SVID: one of them.
	CSR      []byte
	Audience []string
	// SPIFFEID chooses among several; empty for the only one, or the one that the CSR names.
	SPIFFEID string
	// Encrypt asks for an answer that only the holder of the key can read.
	Encrypt bool
}

// Document is the answer.
type Document struct {
	Schema   string `json:"schema"`
	SPIFFEID string `json:"spiffe_id"`
	// Certificates is the chain of an X509-SVID, leaf first, and Roots the trust domain's
	// authorities, all in DER.
	Certificates [][]byte `json:"certificates,omitempty"`
	Roots        [][]byte `json:"roots,omitempty"`
	// Token is a JWT-SVID.
	Token       string    `json:"token,omitempty"`
	ExpiresAt   time.Time `json:"expires_at"`
	AppraisalID string    `json:"appraisal_id"`
}

// NotAccepted says that the evidence was judged and not accepted.
type NotAccepted struct{ Appraisal attestd.Appraisal }

// Error names the appraisal.
func (e *NotAccepted) Error() string {
	return fmt.Sprintf("evidence is %s: appraisal %s", e.Appraisal.Verdict, e.Appraisal.ID)
}

// issueWithin bounds everything behind the verdict: what waits for SPIRE for longer is not issued.
const issueWithin = 10 * time.Second

// Issue judges the evidence and issues what is asked for. judged is told of the verdict where there
// is one, whatever comes of it. The answer is the document, or in its place a JWE of it.
//
// Errors: a [*NotAccepted]; a [*attestd.CallerError], of class BINDING for a CSR of another key, of
// class POLICY_DENY, QUARANTINED or REVOKED_SUBJECT for what is not granted; an
// [*attestd.UndecidedError] where attestd or SPIRE cannot tell now.
func (d *Desk) Issue(
	ctx context.Context, ask Request, judged func(attestd.Appraisal),
) (document Document, sealed string, err error) {
	wanted, err := d.read(ask)
	if err != nil {
		return Document{}, "", err
	}
	// Before the challenge is used up.
	if !d.config.Controller.Connected() {
		return Document{}, "", undecided("no controller", errors.New("SPIRE cannot be asked"))
	}
	submission := ask.Submission
	submission.Freshness, submission.KeySPKI = attestd.FreshnessBinding, wanted.spki
	if submission.Purpose = Purpose; ask.Encrypt {
		submission.Purpose = EncryptedPurpose
	}
	given, err := d.config.Verifier.Verify(ctx, submission)
	if err != nil {
		return Document{}, "", err
	}
	judged(given)
	if given.Verdict != attestd.VerdictAccepted {
		return Document{}, "", &NotAccepted{Appraisal: given}
	}
	holder, err := d.config.Office.Holder(given, submission.Format, submission.Tenant, wanted.spki)
	if err != nil {
		return Document{}, "", err
	}
	within, cancel := context.WithTimeout(ctx, issueWithin)
	defer cancel()
	document, err = d.issue(within, holder, wanted)
	if err != nil {
		if within.Err() != nil && ctx.Err() == nil {
			err = undecided("no answer within "+issueWithin.String(), err)
		}
		return Document{}, "", err
	}
	document.AppraisalID = given.ID
	if ask.Encrypt {
		sealed, err = seal(document, wanted.key)
		return Document{SPIFFEID: document.SPIFFEID, ExpiresAt: document.ExpiresAt}, sealed, err
	}
	return document, "", nil
}

// issue has SPIRE mint for a holder.
func (d *Desk) issue(ctx context.Context, holder *issuance.Holder, what wanted) (Document, error) {
	direct, err := d.config.Office.Direct(ctx, holder, what.id)
	if err != nil {
		return Document{}, err
	}
	// SPIRE does not say which request it asks for: one of an id at a time, so that nobody's token
	// comes with another's key.
	release, err := d.turns.take(ctx, direct.ID())
	if err != nil {
		return Document{}, undecided("others wait for the same id", err)
	}
	defer release()
	claims, err := what.confirmation()
	if err != nil {
		return Document{}, err
	}
	lifetime, withdraw, err := d.config.Office.Admit(direct, what.audience, claims)
	if err != nil {
		return Document{}, err
	}
	defer withdraw()
	document, err := d.mint(ctx, direct.ID(), what, lifetime)
	if err != nil {
		// SPIRE says of a refusal only that it is one. A hold that came meanwhile is the answer
		// then.
		if held := d.config.Office.Admits(direct); held != nil {
			return Document{}, held
		}
		return Document{}, refused(err)
	}
	return document, nil
}

// refused is a fault of SPIRE's or of its configuration: the caller was to be issued this.
func refused(err error) error {
	var caller *attestd.CallerError
	var known *attestd.UndecidedError
	switch {
	case errors.As(err, &caller):
		return undecided("SPIRE refuses to mint", err)
	case errors.As(err, &known):
		return err
	default:
		return undecided("SPIRE minted something else", err)
	}
}

func undecided(got string, err error) error {
	return &attestd.UndecidedError{
		Check: "spire/mint", Class: attestd.ClassStoreUnavailable, Got: got,
		Want: "a credential of SPIRE's", Err: err,
		Hint: "try again with a new challenge; if it lasts, the logs of attestd and SPIRE have the cause",
	}
}

func malformed(hint, format string, args ...any) error {
	return fault(attestd.ClassMalformed, hint, format, args...)
}

func fault(class attestd.Class, hint, format string, args ...any) error {
	return &attestd.CallerError{Class: class, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// wanted is a request that was read.
type wanted struct {
	key  crypto.PublicKey
	spki []byte
	// csr or audience.
	csr      []byte
	audience []string
	id       string // empty for the only one
}
