package api

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/service"
)

// DefaultTenant is the tenant of a request that names none.
const DefaultTenant = "default"

// Bounds of lists in requests. A chain has 8 certificates at most and a CRL per issuer.
const (
	maxCertificates = 64
	maxCRLs         = 16
	maxSPKI         = 4 << 10
	maxToken        = 256
)

// word is a text that is there or left out, and never empty: a caller whose variable was unset means
// a nonce, a key or a tenant, and must not be answered as if it had asked for none.
type word string

// UnmarshalText implements [encoding.TextUnmarshaler].
func (w *word) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("a member is empty; give it a value, or leave it out")
	}
	*w = word(text)
	return nil
}

// octets are bytes in base64 that are there or left out, and never empty or null.
type octets []byte

// UnmarshalJSON implements [json.Unmarshaler].
func (o *octets) UnmarshalJSON(document []byte) error {
	var decoded []byte
	if err := json.Unmarshal(document, &decoded); err != nil {
		return err
	}
	if len(decoded) == 0 {
		return errors.New("a member is empty; give it a value, or leave it out")
	}
	*o = decoded
	return nil
}

// challengeRequest is the body of POST /v1/challenges.
type challengeRequest struct {
	Format     word `json:"format" need:"" doc:"format of the evidence"`
	Tenant     word `json:"tenant" doc:"one of the configuration's tenants; default"`
	Purpose    word `json:"purpose" doc:"what the evidence is for; verify"`
	NonceBytes int  `json:"nonce_bytes" doc:"32 to 64; 64 where SEV-SNP report data must equal the nonce"`
	// AttestationKey and EndorsementKey are each a TPMT_PUBLIC; the service says which formats and
	// lengths there are.
	AttestationKey octets `json:"attestation_key" doc:"TPMT_PUBLIC of the attestation key, tpm only"`
	EndorsementKey octets `json:"endorsement_key" doc:"TPMT_PUBLIC of the endorsement key, tpm only"`
}

// verifyRequest is the JSON body of POST /v1/verify.
type verifyRequest struct {
	ChallengeID  word                `json:"challenge_id" need:"" doc:"the challenge that the evidence answers"`
	Format       word                `json:"format" need:"" doc:"the challenge's"`
	Tenant       word                `json:"tenant" doc:"the challenge's; default"`
	Purpose      word                `json:"purpose" doc:"the challenge's; verify"`
	Freshness    word                `json:"freshness" doc:"binding (the default) or nonce"`
	Evidence     []byte              `json:"evidence" need:""`
	Endorsements endorsementsRequest `json:"endorsements"`
	KeySPKI      word                `json:"key_spki" doc:"the public key that the evidence binds, in PEM or in base64 of DER"`
	// ActivationSecret answers the challenge's credential. It has no place in a query, which logs keep.
	ActivationSecret octets `json:"activation_secret" doc:"what opened the challenge's credential, tpm only"`
	// EnrolmentToken makes the machine ours, once. A secret too, so it has no place in a query either.
	EnrolmentToken word `json:"enrolment_token" doc:"a one-time token that enrols the machine"`
	// Result is "ear" to have a signed result beside the verdict.
	Result         word `json:"result" doc:"ear for a signed result beside the verdict"`
	ResultProfile  word `json:"result_profile" doc:"its profile; the configured one"`
	ResultAudience word `json:"result_audience" doc:"whom it is for; left out of it"`
}

// recordedRequest is the JSON body of POST /v1/verify-recorded.
type recordedRequest struct {
	Format       word                `json:"format"`
	At           word                `json:"at" doc:"time to judge as of (RFC 3339); now"`
	Nonce        octets              `json:"nonce" doc:"the nonce that must be in it"`
	Evidence     []byte              `json:"evidence" need:""`
	Endorsements endorsementsRequest `json:"endorsements"`
	KeySPKI      word                `json:"key_spki"`
}

// endorsementsRequest holds certificates and CRLs, each in PEM or in base64 of DER.
type endorsementsRequest struct {
	Certificates []string `json:"certificates"`
	CRLs         []string `json:"crls"`
}

func (r challengeRequest) wish(source string) (service.Wish, error) {
	format, err := attestd.ParseFormat(string(r.Format))
	if err != nil {
		return service.Wish{}, err
	}
	return service.Wish{
		Wish: challenge.Wish{
			Format: format, Tenant: orDefault(r.Tenant, DefaultTenant),
			Purpose:    orDefault(r.Purpose, challenge.DefaultPurpose),
			NonceBytes: r.NonceBytes, Source: source,
		},
		AttestationKey: r.AttestationKey, EndorsementKey: r.EndorsementKey,
	}, nil
}

func (r verifyRequest) submission(source string) (service.Submission, error) {
	if r.ChallengeID == "" {
		return service.Submission{}, malformed("challenge_id is missing",
			"ask for a challenge with POST /v1/challenges and have it answered; "+
				"without one only /v1/verify-recorded judges")
	}
	format, err := attestd.ParseFormat(string(r.Format))
	if err != nil {
		return service.Submission{}, err
	}
	freshness := attestd.FreshnessBinding
	if r.Freshness != "" {
		if err := freshness.UnmarshalText([]byte(r.Freshness)); err != nil || freshness == attestd.FreshnessNotShown {
			return service.Submission{}, malformed(
				fmt.Sprintf("freshness is %q", attestd.Excerpt(string(r.Freshness), 20)),
				`give "binding" (the default) or "nonce"`)
		}
	}
	if len(r.Evidence) == 0 {
		return service.Submission{}, malformed("evidence is missing", "give it in base64")
	}
	if len(r.EnrolmentToken) > maxToken {
		return service.Submission{}, malformed("enrolment_token is no token",
			"give it as `attestd enroll token` printed it")
	}
	endorsements, err := r.Endorsements.decode()
	if err != nil {
		return service.Submission{}, err
	}
	key, err := decodeKey(r.KeySPKI)
	if err != nil {
		return service.Submission{}, err
	}
	return service.Submission{
		ChallengeID: string(r.ChallengeID), Tenant: orDefault(r.Tenant, DefaultTenant),
		Purpose: orDefault(r.Purpose, challenge.DefaultPurpose), Format: format, Evidence: r.Evidence,
		Endorsements: endorsements, Freshness: freshness, KeySPKI: key,
		ActivationSecret: r.ActivationSecret, EnrolmentToken: string(r.EnrolmentToken), Source: source,
	}, nil
}

func (r recordedRequest) recording() (service.Recording, error) {
	recording := service.Recording{Evidence: r.Evidence, Nonce: r.Nonce}
	var err error
	if r.Format != "" {
		if recording.Format, err = attestd.ParseFormat(string(r.Format)); err != nil {
			return service.Recording{}, err
		}
	}
	if r.At != "" {
		if recording.At, err = time.Parse(time.RFC3339, string(r.At)); err != nil {
			return service.Recording{}, malformed(
				fmt.Sprintf("at is %q", attestd.Excerpt(string(r.At), 40)),
				"give a time as in 2026-11-23T06:00:00Z (RFC 3339)")
		}
		recording.At = recording.At.UTC()
	}
	if len(r.Evidence) == 0 {
		return service.Recording{}, malformed("evidence is missing", "give it in base64")
	}
	if recording.Endorsements, err = r.Endorsements.decode(); err != nil {
		return service.Recording{}, err
	}
	if recording.KeySPKI, err = decodeKey(r.KeySPKI); err != nil {
		return service.Recording{}, err
	}
	return recording, nil
}

// rawVerify reads a raw body's parameters; evidence that needs endorsements beside it goes as JSON.
func rawVerify(r *http.Request, body []byte) (verifyRequest, error) {
	values, err := query(r, "challenge_id", "format", "tenant", "purpose", "freshness", "result",
		"result_profile", "result_audience")
	if err != nil {
		return verifyRequest{}, err
	}
	return verifyRequest{
		ChallengeID: word(values["challenge_id"]), Format: word(values["format"]),
		Tenant: word(values["tenant"]), Purpose: word(values["purpose"]),
		Freshness: word(values["freshness"]), Evidence: body,
		Result: word(values["result"]), ResultProfile: word(values["result_profile"]),
		ResultAudience: word(values["result_audience"]),
	}, nil
}

func rawRecorded(r *http.Request, body []byte) (recordedRequest, error) {
	values, err := query(r, "format", "at", "nonce")
	if err != nil {
		return recordedRequest{}, err
	}
	nonce, err := hex.DecodeString(values["nonce"])
	if err != nil {
		return recordedRequest{}, malformed("query parameter nonce is not hex", "give it in hex")
	}
	return recordedRequest{
		Format: word(values["format"]), At: word(values["at"]), Nonce: nonce, Evidence: body,
	}, nil
}

func (e endorsementsRequest) decode() (attestd.Endorsements, error) {
	certificates, err := decodeList("certificates", e.Certificates, "CERTIFICATE", maxCertificates)
	if err != nil {
		return attestd.Endorsements{}, err
	}
	crls, err := decodeList("crls", e.CRLs, "X509 CRL", maxCRLs)
	if err != nil {
		return attestd.Endorsements{}, err
	}
	return attestd.Endorsements{Certificates: certificates, CRLs: crls}, nil
}

// decodeList reads members in PEM (one block or several) or in base64 of DER. What the DER holds is
// not looked at here: this side of the process border parses nothing hostile beyond its envelope.
func decodeList(name string, members []string, pemType string, most int) ([][]byte, error) {
	var decoded [][]byte
	for i, member := range members {
		// One more than there may be, to know that there are too many, and no more than that: a body
		// can hold many thousand blocks, and this runs before anything that limits a caller.
		blocks, err := decodeDER(member, pemType, most-len(decoded)+1)
		if err != nil {
			return nil, malformed(fmt.Sprintf("endorsements.%s[%d]: %v", name, i, err),
				"give PEM, or DER in base64")
		}
		if decoded = append(decoded, blocks...); len(decoded) > most {
			return nil, edge.New(attestd.ClassTooLarge,
				fmt.Sprintf("endorsements.%s has more than %d members", name, most),
				"send the chain of this evidence only").Err()
		}
	}
	return decoded, nil
}

// decodeDER reads at most the given number of blocks and leaves what is behind them alone.
func decodeDER(text, pemType string, most int) ([][]byte, error) {
	if !strings.HasPrefix(strings.TrimSpace(text), "-----BEGIN") {
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(der) == 0 {
			return nil, fmt.Errorf("is neither PEM nor base64")
		}
		return [][]byte{der}, nil
	}
	var decoded [][]byte
	rest := bytes.TrimSpace([]byte(text))
	for len(rest) != 0 && len(decoded) < most {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || len(block.Bytes) == 0 {
			return nil, fmt.Errorf("is not PEM to its end")
		}
		if block.Type != pemType {
			return nil, fmt.Errorf("is PEM of type %q, want %q", attestd.Excerpt(block.Type, 40), pemType)
		}
		decoded, rest = append(decoded, block.Bytes), bytes.TrimLeft(rest, " \t\r\n")
	}
	return decoded, nil
}

func decodeKey(text word) ([]byte, error) {
	if text == "" {
		return nil, nil
	}
	decoded, err := decodeDER(string(text), "PUBLIC KEY", 2)
	if err != nil || len(decoded) != 1 || len(decoded[0]) > maxSPKI {
		return nil, malformed("key_spki is not one public key",
			"give a SubjectPublicKeyInfo in PEM (BEGIN PUBLIC KEY), or its DER in base64")
	}
	return decoded[0], nil
}

func orDefault(value word, fallback string) string {
	if value == "" {
		return fallback
	}
	return string(value)
}
