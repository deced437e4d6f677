package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/attestd/attestd"
)

// Results signs attestation results. Package service has the one there is.
type Results interface {
	// Sign returns a result about a kept appraisal, an EAR as a compact JWS. It asks anew whether the
	// subject is held: an appraisal from before a quarantine gives no result after it.
	//
	// Errors: a [*attestd.CallerError] of class QUARANTINED or REVOKED_SUBJECT for what is held, an
	// [*attestd.UndecidedError] where nobody can sign now.
	Sign(ctx context.Context, appraisalID string) (token string, err error)
	// JWKS returns the JWK set that results are verified with, the key that signs now first, and for
	// how long it may be kept.
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
	case r.Result == "":
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
	w http.ResponseWriter, r *http.Request, given attestd.Appraisal, tenant string,
) error {
	s.judged(r, given, tenant)
	token, err := s.sign(r, given.ID)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, answered{Appraisal: given, EAR: token})
}

// sign has a result signed and counted.
func (s *server) sign(r *http.Request, id string) (string, error) {
	token, err := s.config.Results.Sign(r.Context(), id)
	switch {
	case err != nil:
		return "", err
	case token == "":
		return "", fmt.Errorf("an empty result for appraisal %s", id)
	}
	s.metrics.results.Inc()
	return token, nil
}

func (s *server) ear(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	if s.config.Results == nil {
		return noResults()
	}
	id := r.PathValue(idPlace)
	// What is not there is 404 here as beside: the signer says only why it does not sign.
	if _, found, err := s.config.Service.Appraisal(r.Context(), id); err != nil {
		return err
	} else if !found {
		return noAppraisal()
	}
	token, err := s.sign(r, id)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", mediaEAR)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write([]byte(token)) // without a line's end: it is the token and nothing else
	return nil
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
