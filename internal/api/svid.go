package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/problem"
	"github.com/attestd/attestd/internal/svid"
)

// SVIDs issues identities without an agent. Package svid has the one there is.
type SVIDs interface {
	Issue(ctx context.Context, ask svid.Request, judged func(attestd.Appraisal)) (
		document svid.Document, sealed string, err error)
}

// svidRequest is the body of POST /v1/svid.
type svidRequest struct {
	ChallengeID      word                `json:"challenge_id" need:""`
	Format           word                `json:"format" need:""`
	Tenant           word                `json:"tenant"`
	Evidence         []byte              `json:"evidence" need:""`
	Endorsements     endorsementsRequest `json:"endorsements"`
	KeySPKI          word                `json:"key_spki"`
	ActivationSecret octets              `json:"activation_secret"`
	EnrolmentToken   word                `json:"enrolment_token"`
	// CSR is a PKCS #10 request in PEM, or its DER in base64.
	CSR      word   `json:"csr" doc:"for an X509-SVID: a PKCS #10 request in PEM, or its DER in base64"`
	Audience []word `json:"audience" doc:"for a JWT-SVID: 1 to 16 audiences"`
	SPIFFEID word   `json:"spiffe_id" doc:"which identity, where there are several"`
	Encrypt  bool   `json:"encrypt" doc:"answer with a JWE to the key"`
}

func (r svidRequest) ask(source string) (svid.Request, error) {
	submission, err := verifyRequest{
		ChallengeID: r.ChallengeID, Format: r.Format, Tenant: r.Tenant, Evidence: r.Evidence,
		Endorsements: r.Endorsements, KeySPKI: r.KeySPKI, ActivationSecret: r.ActivationSecret,
		EnrolmentToken: r.EnrolmentToken,
	}.submission(source)
	if err != nil {
		return svid.Request{}, err
	}
	ask := svid.Request{Submission: submission, SPIFFEID: string(r.SPIFFEID), Encrypt: r.Encrypt}
	for _, one := range r.Audience {
		ask.Audience = append(ask.Audience, string(one))
	}
	if r.CSR == "" {
		return ask, nil
	}
	decoded, err := decodeDER(string(r.CSR), "CERTIFICATE REQUEST", 2)
	if err != nil || len(decoded) != 1 {
		return svid.Request{}, malformed("csr is not one certificate request",
			"give a PKCS #10 request in PEM (BEGIN CERTIFICATE REQUEST), or its DER in base64")
	}
	ask.CSR = decoded[0]
	return ask, nil
}

// mediaJOSE is the media type of a compact JWE (RFC 7515, section 9.2.1).
const mediaJOSE = "application/jose"

func (s *server) svid(w http.ResponseWriter, r *http.Request) error {
	if s.config.SVIDs == nil {
		return edge.New(attestd.ClassUnsupported, "no identities are issued here",
			"the operator turns them on with spire.server (docs/config.md)").Err()
	}
	if _, err := query(r); err != nil {
		return err
	}
	if _, err := edge.MediaType(r, mediaJSON); err != nil {
		return err
	}
	limit := s.config.Limits.JSONBody
	body, done, err := s.body(w, r, limit)
	if err != nil {
		return err
	}
	defer done()
	var request svidRequest
	if err := decode(body, limit, &request); err != nil {
		return err
	}
	ask, err := request.ask(source(r))
	if err != nil {
		return err
	}
	document, sealed, err := s.config.SVIDs.Issue(r.Context(), ask, func(given attestd.Appraisal) {
		s.judged(r, given, ask.Submission.Tenant)
	})
	if err != nil {
		return s.notIssued(err)
	}
	kind := "x509-svid"
	if len(ask.Audience) != 0 {
		kind = "jwt-svid"
	}
	s.metrics.svids.WithLabelValues(kind).Inc()
	s.config.Logger.InfoContext(r.Context(), "identity issued", "kind", kind,
		"subject", document.SPIFFEID, "expires_at", document.ExpiresAt)
	if sealed != "" {
		writeDocument(w, http.StatusOK, mediaJOSE, []byte(sealed))
		return nil
	}
	return writeJSON(w, http.StatusOK, document)
}

// notIssued is the answer about evidence that was judged and leads to no identity; other errors are
// answered as everywhere.
func (s *server) notIssued(err error) error {
	var verdict *svid.NotAccepted
	if !errors.As(err, &verdict) {
		return err
	}
	if verdict.Appraisal.Verdict != attestd.VerdictRejected {
		return s.undecided(verdict.Appraisal).Err()
	}
	return s.rejected(verdict.Appraisal).Err()
}

// rejected is the answer where evidence was rejected and something was to follow from it: the
// verdict is in it, as that of /v1/verify is.
func (s *server) rejected(given attestd.Appraisal) problem.Problem {
	class := attestd.ClassPolicyDeny
	detail, hint := "the evidence is rejected", "see reasons of the appraisal"
	for _, reason := range given.Reasons {
		if reason.Effect != attestd.EffectRejects {
			continue
		}
		if s.classes[reason.Check] == attestd.ClassBinding {
			class = attestd.ClassBinding
		}
		detail, hint = string(reason.Check)+": "+reason.Detail, reason.Remedy
		break
	}
	p := edge.New(class, detail, hint)
	p.Appraisal = &given
	return p
}
