package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/result"
	"github.com/attestd/attestd/internal/service"
)

// Results signs attestation results. Package service has the one there is: it asks for each result anew
// whether the subject is held, so that an appraisal from before a quarantine gives none after it.
type Results interface {
	Sign(ctx context.Context, appraisalID string, options service.ResultOptions) (token string, err error)
	SignGiven(ctx context.Context, given attestd.Appraisal, options service.ResultOptions) (
		token string, err error)
	JWKS() (document []byte, maxAge time.Duration)
}

// Media types of results: RFC 9782 section 6.3 and RFC 7517 section 8.5.
const (
	mediaEAR    = "application/eat+jwt"
	mediaKeySet = "application/jwk-set+json"
)

// resultEAR is the one kind of result that is signed.
const resultEAR = "ear"

// answered is a verdict, with the result where one was asked for.
type answered struct {
	attestd.Appraisal
	// EAR is an attestation result (draft-ietf-rats-ear) as a compact JWS.
	EAR string `json:"ear,omitempty" doc:"a signed result, where result was ear and a verdict was kept"`
}

// signed reports whether a signed result is wanted beside the verdict.
//
// Errors: for another kind of result, and where none are signed: before the challenge is used up.
func (r verifyRequest) signed(results Results) (bool, error) {
	switch {
	case r.Result == "" && r.ResultProfile == "" && r.ResultAudience == "":
		return false, nil
	case r.Result != resultEAR:
		return false, malformed(fmt.Sprintf("result is %q", attestd.Excerpt(string(r.Result), 20)),
			`give "ear" for a signed result, or leave it out`)
	case results == nil:
		return false, noResults()
	}
	return true, nil
}

func noResults() error {
	return edge.New(attestd.ClassUnsupported, "no results are signed here",
		"this verifier was started without a key for results").Err()
}

// answerSigned writes a verdict with its result, both or neither: a caller that needs the result must
// not take a verdict for it. The verdict is kept; its result can be asked for again.
func (s *server) answerSigned(
	w http.ResponseWriter, r *http.Request, given attestd.Appraisal, submission service.Submission,
	options service.ResultOptions,
) error {
	s.judged(r, given, submission.Tenant)
	options.KeySPKI = submission.KeySPKI
	token, err := s.sign(s.config.Results.SignGiven(r.Context(), given, options))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, answered{Appraisal: given, EAR: token})
}

// sign counts a result that was signed.
func (s *server) sign(token string, err error) (string, error) {
	switch {
	case err != nil:
		return "", err
	case token == "":
		return "", errors.New("a signer gave an empty result")
	}
	s.metrics.results.Inc()
	return token, nil
}

// options reads what a result is to be like.
func (r verifyRequest) options(source string) service.ResultOptions {
	return service.ResultOptions{
		Profile: string(r.ResultProfile), Audience: string(r.ResultAudience), Source: source,
	}
}

func (s *server) ear(w http.ResponseWriter, r *http.Request) error {
	values, err := query(r, "audience", "nonce", "profile")
	if err != nil {
		return err
	}
	if s.config.Results == nil {
		return noResults()
	}
	options := service.ResultOptions{
		Profile: values["profile"], Audience: values["audience"], Source: source(r),
	}
	if text, asked := values["nonce"]; asked {
		if options.Nonce, err = decodeNonce(text); err != nil {
			return badBase64("nonce")
		}
		options.NonceBy = result.NonceByClient
	}
	given, err := s.kept(r)
	if err != nil {
		return err
	}
	if given.Nonce == attestd.NonceClientChosen {
		return edge.New(attestd.ClassPolicyDeny,
			"a session's client chose the nonce that the evidence answers",
			"its result is for that client, who looks at the session; for others, answer a challenge").Err()
	}
	token, err := s.sign(s.config.Results.SignGiven(r.Context(), given, options))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", mediaEAR)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write([]byte(token)) // without a line's end: it is the token and nothing else
	return nil
}

// kept returns the verdict that a path names.
func (s *server) kept(r *http.Request) (attestd.Appraisal, error) {
	var given attestd.Appraisal
	document, found, err := s.config.Service.Appraisal(r.Context(), r.PathValue(idPlace))
	switch {
	case err != nil:
		return given, err
	case !found:
		return given, noAppraisal()
	}
	if err := json.Unmarshal(document, &given); err != nil {
		return given, fmt.Errorf("stored appraisal: %s", attestd.Excerpt(err.Error(), 160))
	}
	return given, nil
}

func (s *server) resultKeys(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	if s.config.Results == nil {
		return noResults()
	}
	document, age := s.config.Results.JWKS()
	w.Header().Set("Cache-Control", "max-age="+strconv.Itoa(int(age.Seconds())))
	writeDocument(w, http.StatusOK, mediaKeySet, document)
	return nil
}
