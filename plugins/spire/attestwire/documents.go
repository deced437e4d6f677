package attestwire

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/strict"
)

// Version of the documents. Both sides refuse others: a version that is guessed is a check that is
// guessed.
const Version = 1

// MaxDocument is the largest document in bytes. Evidence has at most 1 MiB, and base64 adds a
// third.
const MaxDocument = 2 << 20

// Most that the parts of a document may have, in bytes where no other word stands there.
const (
	// TPMT_PUBLIC and SubjectPublicKeyInfo; those of RSA-4096 have about 600
	maxPublic       = 1 << 10
	maxEvidence     = 1 << 20 // as verifiers take it
	maxEndorsements = 16      // certificates, and as many CRLs
	maxEndorsement  = 64 << 10
	maxSecret       = 64
	maxToken        = 256
	maxCanary       = 64
	maxDepth        = 7
)

// Document is one of the messages of an attestation: Opening, Challenge, Answer, Outcome, Receipt.
type Document interface {
	check() error
	// limit is the most bytes that it may have.
	limit() int
}

// An Opening and a Receipt come from whoever can reach the SPIRE server, before anything is known
// of them, and are held while others are waited for.
func (*Opening) limit() int   { return 8 << 10 }
func (*Challenge) limit() int { return 256 << 10 }
func (*Answer) limit() int    { return MaxDocument }
func (*Outcome) limit() int   { return 256 << 10 }
func (*Receipt) limit() int   { return 1 << 10 }

// Opening is the node's first message, which SPIRE calls the payload.
type Opening struct {
	V int `json:"v"`
	// Format of the evidence to come, and Tenant that the node's configuration names.
	Format attestd.Format `json:"format,omitempty"`
	Tenant string         `json:"tenant,omitempty"`
	// AttestationKey and EndorsementKey are the TPMT_PUBLIC of a TPM's keys; both or none.
	AttestationKey []byte `json:"attestation_key,omitempty"`
	EndorsementKey []byte `json:"endorsement_key,omitempty"`
	// Canary asks whether attestd answers, and for nothing else: no other member goes with it.
	Canary string `json:"canary,omitempty"`
}

// Challenge is the server's first message.
type Challenge struct {
	V         int                `json:"v"`
	Challenge wire.NodeChallenge `json:"challenge"`
}

// Answer is the node's evidence. It names neither challenge nor tenant nor format: the server takes
// those from its own half of the exchange, so that the answer cannot contradict what was asked.
type Answer struct {
	V            int          `json:"v"`
	Evidence     []byte       `json:"evidence"`
	Endorsements Endorsements `json:"endorsements"`
	// KeySPKI is the DER SubjectPublicKeyInfo of the agent's key that the evidence binds; empty for
	// none.
	KeySPKI          []byte `json:"key_spki,omitempty"`
	ActivationSecret []byte `json:"activation_secret,omitempty"`
	EnrolmentToken   string `json:"enrolment_token,omitempty"`
}

// Endorsements are [attestd.Endorsements].
type Endorsements struct {
	Certificates [][]byte `json:"certificates,omitempty"`
	CRLs         [][]byte `json:"crls,omitempty"`
}

// Outcome is the server's last message before SPIRE's own answer.
type Outcome struct {
	V int `json:"v"`
	// AgentID, AppraisalID and Grade are attestd's, for the node's log. SPIRE gives the node its
	// id.
	AgentID     string     `json:"agent_id"`
	AppraisalID string     `json:"appraisal_id"`
	Grade       wire.Grade `json:"grade"`
	// Enlist is for the node's other plugins; nil where the evidence binds no key.
	Enlist *wire.Enlist `json:"enlist,omitempty"`
}

// Receipt is the node's last message. It has a member because SPIRE refuses an empty response.
type Receipt struct {
	V        int  `json:"v"`
	Received bool `json:"received"`
}

// Encode writes a document.
//
// Errors: those of [Decode], for a document that the other side would not take.
func Encode(document Document) ([]byte, error) {
	if err := document.check(); err != nil {
		return nil, malformed(document, err)
	}
	text, err := json.Marshal(document)
	if most := document.limit(); err == nil && len(text) > most {
		err = fmt.Errorf("has %d bytes, want at most %d", len(text), most)
	}
	if err != nil {
		return nil, malformed(document, err)
	}
	return text, nil
}

// Decode reads a document: no unknown member, no duplicate, nothing behind it (internal/strict).
//
// Errors: a [*attestd.CallerError] of class MALFORMED.
func Decode(text []byte, into Document) error {
	err := strict.DecodeJSON(text, strict.JSONLimits{Bytes: into.limit(), Depth: maxDepth}, into)
	if err == nil {
		err = into.check()
	}
	if err != nil {
		return malformed(into, err)
	}
	return nil
}

func malformed(document Document, err error) error {
	name := strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", document), "*attestwire."))
	return &attestd.CallerError{
		Class: attestd.ClassMalformed,
		Hint:  "run the same version of attestd-spire on the SPIRE server and on its nodes",
		Err:   fmt.Errorf("message %s of a node attestation: %w", name, err),
	}
}

// Forms of names that later stand in SPIFFE IDs, selectors and logs.
var (
	tenantForm = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$`)
	plainForm  = regexp.MustCompile(`^[!-~]+$`)
)

func version(v int) error {
	if v != Version {
		return fmt.Errorf("v is %d, want %d", v, Version)
	}
	return nil
}

func within(name string, size, least, most int) error {
	if size < least || size > most {
		return fmt.Errorf("%s has %d bytes, want %d to %d", name, size, least, most)
	}
	return nil
}

// IsCanary reports whether the opening is a canary.
func (o *Opening) IsCanary() bool { return o.Canary != "" }

func (o *Opening) check() error {
	if o.IsCanary() {
		if o.Format != "" || o.Tenant != "" || len(o.AttestationKey)+len(o.EndorsementKey) != 0 {
			return errors.New("a canary asks for nothing else")
		}
		if !plainForm.MatchString(o.Canary) {
			return errors.New("canary is not a word of printable ASCII")
		}
		return errors.Join(version(o.V), within("canary", len(o.Canary), 1, maxCanary))
	}
	if _, err := attestd.ParseFormat(string(o.Format)); err != nil {
		return err
	}
	if !tenantForm.MatchString(o.Tenant) {
		return fmt.Errorf("tenant %q is not a name", attestd.Excerpt(o.Tenant, 64))
	}
	if (len(o.AttestationKey) == 0) != (len(o.EndorsementKey) == 0) {
		return errors.New("one of attestation_key and endorsement_key is there without the other")
	}
	return errors.Join(version(o.V), within("attestation_key", len(o.AttestationKey), 0, maxPublic),
		within("endorsement_key", len(o.EndorsementKey), 0, maxPublic))
}

func (c *Challenge) check() error {
	return errors.Join(version(c.V), within("challenge", len(c.Challenge.Challenge), 2,
		MaxDocument),
		within("keys", len(c.Challenge.Keys), 2, MaxDocument))
}

func (a *Answer) check() error {
	if a.EnrolmentToken != "" && !plainForm.MatchString(a.EnrolmentToken) {
		return errors.New("enrolment_token is not printable ASCII")
	}
	return errors.Join(version(a.V), within("evidence", len(a.Evidence), 1, maxEvidence),
		certificates("certificates", a.Endorsements.Certificates),
		certificates("crls", a.Endorsements.CRLs),
		within("key_spki", len(a.KeySPKI), 0, maxPublic),
		within("activation_secret", len(a.ActivationSecret), 0, maxSecret),
		within("enrolment_token", len(a.EnrolmentToken), 0, maxToken))
}

func certificates(name string, list [][]byte) error {
	if len(list) > maxEndorsements {
		return fmt.Errorf("%s has %d items, want at most %d", name, len(list), maxEndorsements)
	}
	for _, der := range list {
		if err := within(name, len(der), 1, maxEndorsement); err != nil {
			return err
		}
	}
	return nil
}

func (o *Outcome) check() error {
	if o.Grade != wire.GradeResident && o.Grade != wire.GradeBound && o.Grade != wire.GradeNone {
		return fmt.Errorf("grade %q is not known", attestd.Excerpt(string(o.Grade), 40))
	}
	if o.Grade == wire.GradeNone && o.Enlist != nil {
		return errors.New("a certificate for a node whose evidence binds no key")
	}
	if o.Enlist != nil && o.Enlist.AgentID != o.AgentID {
		return errors.New("the certificate is for another agent")
	}
	return errors.Join(version(o.V), within("agent_id", len(o.AgentID), 1, maxID),
		within("appraisal_id", len(o.AppraisalID), 1, maxCanary))
}

func (r *Receipt) check() error {
	if !r.Received {
		return errors.New("received is not true")
	}
	return version(r.V)
}
