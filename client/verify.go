package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/attestd/attestd"
)

// Wish says what evidence is wanted for.
type Wish struct {
	// Format of the evidence.
	Format attestd.Format
	// Purpose is what the evidence is for; empty for "verify".
	Purpose string
	// NonceBytes is the length of the nonce, 32 to 64; 0 for the server's own.
	NonceBytes int
	// AttestationKey and EndorsementKey are TPMT_PUBLICs, for a credential that shows them to be in one
	// TPM; both or none.
	AttestationKey, EndorsementKey []byte
	// Result has a signed result come with the verdict, for the audience where one is named and in the
	// profile where one is named.
	Result                  bool
	Audience, ResultProfile string
}

// Challenge is what evidence must answer. Its signature has not been looked at: agents do, with package
// attester, which takes Document.
type Challenge struct {
	attestd.Challenge
	// Document is the server's answer as it came.
	Document []byte
	// CredentialBlob and EncryptedSecret are what TPM2_ActivateCredential takes, a TPMS_ID_OBJECT and the
	// buffer of a TPM2B_ENCRYPTED_SECRET; both empty where there is no credential to answer.
	CredentialBlob, EncryptedSecret []byte
	// Activated says that the attestation key answered a credential before.
	Activated bool
}

// Challenge asks for a challenge.
//
// Errors: an [*Error].
func (c *Client) Challenge(ctx context.Context, wish Wish) (Challenge, error) {
	body := members{"format": wish.Format}
	body.add("tenant", c.tenant)
	body.add("purpose", wish.Purpose)
	if wish.NonceBytes != 0 {
		body["nonce_bytes"] = wish.NonceBytes
	}
	body.bytes("attestation_key", wish.AttestationKey)
	body.bytes("endorsement_key", wish.EndorsementKey)
	got, err := c.post(ctx, "/v1/challenges", body)
	if err != nil {
		return Challenge{}, err
	}
	var read struct {
		Challenge  attestd.Challenge `json:"challenge"`
		Activation struct {
			Blob   []byte `json:"credential_blob"`
			Secret []byte `json:"encrypted_secret"`
		} `json:"activation"`
		Activated bool `json:"activated"`
	}
	if err := c.into(got, http.StatusCreated, &read); err != nil {
		return Challenge{}, err
	}
	asked := read.Challenge
	switch {
	case asked.ID == "" || len(asked.Nonce) < attestd.MinNonce:
		return Challenge{}, c.noAttestd(got.status, "a challenge without an id, or with a short nonce")
	case asked.Format != wish.Format, c.tenant != "" && asked.Tenant != c.tenant,
		wish.Purpose != "" && asked.Purpose != wish.Purpose:
		return Challenge{}, c.noAttestd(got.status,
			"a challenge for another format, tenant or purpose than was asked for")
	}
	return Challenge{
		Challenge: asked, Document: bytes.Clone(got.body), CredentialBlob: read.Activation.Blob,
		EncryptedSecret: read.Activation.Secret, Activated: read.Activated,
	}, nil
}

// members are those of a request; what is empty is left out, as the server demands it.
type members map[string]any

func (m members) add(name, value string) {
	if value != "" {
		m[name] = value
	}
}

func (m members) bytes(name string, value []byte) {
	if len(value) != 0 {
		m[name] = value // base64
	}
}

// key adds a key, which the server reads from text.
func (m members) key(spki []byte) {
	if len(spki) != 0 {
		m["key_spki"] = base64.StdEncoding.EncodeToString(spki)
	}
}

func (m members) endorsements(given attestd.Endorsements) {
	if len(given.Certificates)+len(given.CRLs) == 0 {
		return
	}
	m["endorsements"] = map[string][][]byte{
		"certificates": append([][]byte{}, given.Certificates...), "crls": append([][]byte{}, given.CRLs...),
	}
}

// Evidence answers a challenge.
type Evidence struct {
	Bytes        []byte
	Endorsements attestd.Endorsements
	// KeySPKI is the public key that the evidence binds, DER; empty for none.
	KeySPKI []byte
	// NonceAlone says that the freshness field holds the nonce itself and not the binding. That is weaker:
	// there is a verdict then and no subject.
	NonceAlone bool
	// ActivationSecret is what opened the challenge's credential; empty where there was none.
	ActivationSecret []byte
	// EnrolmentToken makes the machine the tenant's, once; empty for none.
	EnrolmentToken string
}

// Verdict is the server's. Read its member Verdict: that there was no error does not say that the
// evidence was accepted.
type Verdict struct {
	attestd.Appraisal
	// Result is the signed result that was asked for, to be shown to others; package client/ear reads it.
	// Empty where none was asked for, or where the challenge was no good.
	Result string
}

// Accepted reports whether the evidence was accepted.
func (v Verdict) Accepted() bool { return v.Verdict == attestd.VerdictAccepted }

// Verify hands in evidence that answers the challenge and returns the verdict, which is decided:
// "accepted" or "rejected".
//
// Errors: an [*Error]; where the evidence could not be decided upon, its Appraisal is the verdict. The
// challenge is used up, unless the class is RATE_LIMITED and the server had no room.
func (c *Client) Verify(
	ctx context.Context, asked Challenge, wish Wish, evidence Evidence,
) (Verdict, error) {
	body := members{"challenge_id": asked.ID, "format": asked.Format, "evidence": evidence.Bytes}
	body.add("tenant", asked.Tenant)
	body.add("purpose", asked.Purpose)
	body.endorsements(evidence.Endorsements)
	body.key(evidence.KeySPKI)
	body.bytes("activation_secret", evidence.ActivationSecret)
	body.add("enrolment_token", evidence.EnrolmentToken)
	if evidence.NonceAlone {
		body["freshness"] = attestd.FreshnessNonce
	}
	if wish.Result {
		body["result"] = "ear"
		body.add("result_audience", wish.Audience)
		body.add("result_profile", wish.ResultProfile)
	}
	got, err := c.post(ctx, "/v1/verify", body)
	if err != nil {
		return Verdict{}, err
	}
	return c.verdict(got, evidence.Bytes)
}

func (c *Client) verdict(got answer, evidence []byte) (Verdict, error) {
	var read struct {
		attestd.Appraisal
		EAR string `json:"ear"`
	}
	if err := c.into(got, http.StatusOK, &read); err != nil {
		return Verdict{}, err
	}
	digest := sha256.Sum256(evidence)
	if read.Schema != attestd.VerdictSchema || read.EvidenceSHA256 != hex.EncodeToString(digest[:]) ||
		read.Verdict != attestd.VerdictAccepted && read.Verdict != attestd.VerdictRejected {
		return Verdict{}, c.noAttestd(got.status, "an answer that is no verdict about this evidence")
	}
	return Verdict{Appraisal: read.Appraisal, Result: read.EAR}, nil
}

// Attest is the whole exchange: it asks for a challenge, has evidence collected for it, and hands that
// in.
//
// Errors: those of collect, as they are, and those of Challenge and Verify.
func (c *Client) Attest(
	ctx context.Context, wish Wish, collect func(context.Context, Challenge) (Evidence, error),
) (Verdict, error) {
	asked, err := c.Challenge(ctx, wish)
	if err != nil {
		return Verdict{}, err
	}
	evidence, err := collect(ctx, asked)
	if err != nil {
		return Verdict{}, err
	}
	return c.Verify(ctx, asked, wish, evidence)
}

// Recording is evidence from an archive.
type Recording struct {
	// Format of the evidence; empty to have it detected.
	Format attestd.Format
	// At is the time to judge as of; zero for now.
	At time.Time
	// Nonce must be in the evidence; empty to demand none.
	Nonce    []byte
	Evidence Evidence
}

// VerifyRecorded has evidence judged without freshness, where the server allows that. Nothing may follow
// from the verdict.
//
// Errors: those of Verify.
func (c *Client) VerifyRecorded(ctx context.Context, recording Recording) (Verdict, error) {
	body := members{"evidence": recording.Evidence.Bytes}
	body.add("format", string(recording.Format))
	if !recording.At.IsZero() {
		body["at"] = recording.At.UTC().Format(time.RFC3339)
	}
	body.bytes("nonce", recording.Nonce)
	body.key(recording.Evidence.KeySPKI)
	body.endorsements(recording.Evidence.Endorsements)
	got, err := c.post(ctx, "/v1/verify-recorded", body)
	if err != nil {
		return Verdict{}, err
	}
	return c.verdict(got, recording.Evidence.Bytes)
}

// Appraisal returns a verdict that the server kept.
//
// Errors: an [*Error], with status 404 where it has none with that id.
func (c *Client) Appraisal(ctx context.Context, id string) (attestd.Appraisal, error) {
	got, err := c.get(ctx, "/v1/appraisals/"+url.PathEscape(id), nil)
	if err != nil {
		return attestd.Appraisal{}, err
	}
	var given attestd.Appraisal
	if err := c.into(got, http.StatusOK, &given); err != nil {
		return attestd.Appraisal{}, err
	}
	if given.Schema != attestd.VerdictSchema || given.ID != id {
		return attestd.Appraisal{}, c.noAttestd(got.status, "an answer that is not the verdict asked for")
	}
	return given, nil
}

// Keys returns the JWK set that challenges are verified with, for package attester.
//
// Errors: an [*Error].
func (c *Client) Keys(ctx context.Context) ([]byte, error) {
	got, err := c.get(ctx, "/v1/keys", nil)
	if err != nil {
		return nil, err
	}
	var read struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := c.into(got, http.StatusOK, &read); err != nil {
		return nil, err
	}
	if len(read.Keys) == 0 {
		return nil, c.noAttestd(got.status, "a key set without keys")
	}
	return got.body, nil
}
