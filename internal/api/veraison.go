package api

import (
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/result"
	"github.com/attestd/attestd/internal/service"
)

// The challenge-response API of project Veraison: github.com/veraison/docs, api/challenge-response and
// api/well-known, OpenAPI version 1.0.0alpha. docs/divergences.md says where we leave it.
const (
	newSessionPath = "/challenge-response/v1/newSession"
	sessionPath    = "/challenge-response/v1/session/{id}"

	mediaSession   = "application/vnd.veraison.challenge-response-session+json"
	mediaDiscovery = "application/vnd.veraison.discovery+json"
)

// sessionDocument is a session as clients see it.
type sessionDocument struct {
	// Nonce is base64 with padding: "format: byte" in the description, and what its clients read.
	Nonce  []byte       `json:"nonce"`
	Expiry time.Time    `json:"expiry"`
	Accept []string     `json:"accept"`
	Status sessionState `json:"status"`
	// Result is an EAR as a compact JWS, once the session is complete.
	Result string `json:"result,omitempty"`
}

func (s *server) sessionDocument(of session) sessionDocument {
	return sessionDocument{
		Nonce: of.nonce, Expiry: of.expires.UTC(), Accept: s.evidenceTypes(), Status: of.state,
	}
}

// servesVeraison refuses where the API is off.
func (s *server) servesVeraison(r *http.Request, media ...string) error {
	if !s.config.Veraison {
		return notFound("the challenge-response API is off here",
			"the operator turns it on with verify.veraison")
	}
	if !accepts(r, media...) {
		return edge.New(attestd.ClassUnsupported, "none of the media types in Accept is given here",
			"leave Accept out, or accept "+media[0]).
			WithStatus(http.StatusNotAcceptable, "No such media type").Err()
	}
	return nil
}

// accepts reports whether the answer may be of one of the media types (RFC 9110 section 12.5.1). No
// Accept means any; weights but 0 do not matter where there is one answer.
func accepts(r *http.Request, media ...string) bool {
	values := r.Header.Values("Accept")
	if len(values) == 0 {
		return true
	}
	for _, part := range strings.Split(strings.Join(values, ","), ",") {
		named, parameters, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil {
			continue
		}
		if weight, err := strconv.ParseFloat(parameters["q"], 64); err == nil && weight == 0 {
			continue
		}
		for _, one := range media {
			group, _, _ := strings.Cut(one, "/")
			if named == one || named == "*/*" || named == group+"/*" {
				return true
			}
		}
	}
	return false
}

func (s *server) newSession(w http.ResponseWriter, r *http.Request) error {
	if err := s.servesVeraison(r, mediaSession); err != nil {
		return err
	}
	if r.ContentLength != 0 {
		return malformed("a new session takes no body", "give nonce or nonceSize in the query, and no body")
	}
	wish, err := sessionWish(r)
	if err != nil {
		return err
	}
	opened, err := s.config.Service.OpenSession(r.Context(), wish)
	if err != nil {
		return err
	}
	one := session{
		id: opened.ID, tenant: wish.Tenant, source: wish.Source, nonce: opened.Nonce,
		chosen: wish.Chosen != nil, life: opened.Lifetime, expires: opened.ExpiresAt, state: sessionWaiting,
	}
	if err := s.sessions.add(one); err != nil {
		return err
	}
	kind := "server"
	if one.chosen {
		kind = "client"
	}
	s.metrics.sessions.WithLabelValues(kind).Inc()
	// Relative to the request, as in the deployed service: it holds behind a proxy with a prefix too.
	w.Header().Set("Location", "session/"+one.id)
	return writeSession(w, http.StatusCreated, s.sessionDocument(one))
}

func sessionWish(r *http.Request) (service.SessionWish, error) {
	values, err := query(r, "nonce", "nonceSize", "tenant")
	if err != nil {
		return service.SessionWish{}, err
	}
	wish := service.SessionWish{
		Tenant: orDefault(word(values["tenant"]), DefaultTenant), Source: source(r),
	}
	if text, given := values["nonceSize"]; given {
		wish.NonceBytes, err = strconv.Atoi(text)
		if err != nil || wish.NonceBytes <= 0 {
			return service.SessionWish{}, malformed("nonceSize is no number of bytes",
				"give 32 to 64, or leave it out")
		}
	}
	if text, given := values["nonce"]; given {
		if wish.Chosen, err = decodeNonce(text); err != nil {
			return service.SessionWish{}, badBase64("nonce")
		}
	}
	return wish, nil
}

// decodeNonce reads base64url with or without padding: the description shows the one, clients send
// either. Bits that mean nothing must be zero, so that a nonce has one spelling.
func decodeNonce(text string) ([]byte, error) {
	encoding := base64.URLEncoding
	if !strings.HasSuffix(text, "=") {
		encoding = base64.RawURLEncoding
	}
	if strings.ContainsAny(text, "\r\n") { // which package base64 skips
		return nil, errors.New("a line's end")
	}
	decoded, err := encoding.Strict().DecodeString(text)
	if err == nil && len(decoded) == 0 {
		err = errors.New("no bytes")
	}
	return decoded, err
}

func badBase64(parameter string) error {
	return malformed("query parameter "+parameter+" is no base64url",
		"give it in base64url, with or without padding (RFC 4648 section 5)")
}

func noSession() error {
	return notFound("no session with that id", "sessions live for a minute; open a new one")
}

func (s *server) answerSession(w http.ResponseWriter, r *http.Request) error {
	if err := s.servesVeraison(r, mediaSession); err != nil {
		return err
	}
	if _, err := query(r); err != nil {
		return err
	}
	media, err := edge.MediaType(r, s.evidenceTypes()...)
	if err != nil {
		w.Header().Set("Accept", strings.Join(s.evidenceTypes(), ", ")) // RFC 9110 section 12.5.1
		return err
	}
	limit := s.config.Limits.RawBody
	if media == mediaTSMJSON {
		limit = s.config.Limits.JSONBody
	}
	body, done, err := s.body(w, r, limit)
	if err != nil {
		return err
	}
	defer done()
	// Before the session is taken: an envelope that cannot be read costs no nonce.
	format, evidence, err := unwrap(media, body, limit)
	if err != nil {
		return err
	}
	id := r.PathValue(idPlace)
	taken, found, waiting := s.sessions.begin(id)
	switch {
	case !found:
		return noSession()
	case !waiting:
		return edge.New(attestd.ClassConflict, fmt.Sprintf("the session is %s", taken.state),
			"a session takes evidence once; open a new one").Err()
	}
	signed, err := s.judgeSession(r, taken, format, evidence)
	if err != nil {
		return err
	}
	shown, _ := s.sessions.get(id)
	if shown.id == "" {
		return noSession() // it was deleted meanwhile
	}
	document := s.sessionDocument(shown)
	document.Result = signed
	return writeSession(w, http.StatusOK, document)
}

// judgeSession has the evidence judged and a result signed. Whatever goes wrong, the session is failed
// then, but where the verifier was busy: the challenge behind it knows whether it was used.
func (s *server) judgeSession(
	r *http.Request, taken session, format attestd.Format, evidence []byte,
) (signed string, err error) {
	state, appraisal := sessionFailed, ""
	defer func() { s.sessions.end(taken.id, state, appraisal) }()
	submission := service.SessionSubmission{
		ID: taken.id, Tenant: taken.tenant, Format: format, Evidence: evidence, Source: taken.source,
	}
	if taken.chosen {
		submission.Chosen = taken.nonce
	}
	given, err := s.config.Service.VerifySession(r.Context(), submission)
	var caller *attestd.CallerError
	switch {
	case errors.As(err, &caller) && caller.Class == attestd.ClassRateLimited:
		state = sessionWaiting
		return "", err
	case err != nil:
		return "", err
	}
	s.judged(r, given, taken.tenant)
	switch {
	case given.Verdict == attestd.VerdictUndecided:
		return "", s.undecided(given).Err()
	case given.ID == "": // the challenge behind it is over or used: there is nothing to sign about
		return "", noSession()
	}
	if signed, err = s.sign(s.config.Results.SignGiven(r.Context(), given, taken.options())); err != nil {
		return "", err
	}
	state, appraisal = sessionComplete, given.ID
	return signed, nil
}

// options: the result shows the nonce, and who chose it.
func (s session) options() service.ResultOptions {
	options := service.ResultOptions{Nonce: s.nonce, NonceBy: result.NonceByVerifier, Source: s.source}
	if s.chosen {
		options.NonceBy = result.NonceByClient
	}
	return options
}

func (s *server) showSession(w http.ResponseWriter, r *http.Request) error {
	if err := s.servesVeraison(r, mediaSession); err != nil {
		return err
	}
	if _, err := query(r); err != nil {
		return err
	}
	one, found := s.sessions.get(r.PathValue(idPlace))
	if !found {
		return noSession()
	}
	document := s.sessionDocument(one)
	if one.state == sessionComplete {
		var err error
		if document.Result, err = s.sign(
			s.config.Results.Sign(r.Context(), one.appraisal, one.options())); err != nil {
			return err
		}
	}
	return writeSession(w, http.StatusOK, document)
}

func (s *server) deleteSession(w http.ResponseWriter, r *http.Request) error {
	if err := s.servesVeraison(r, mediaSession); err != nil {
		return err
	}
	if _, err := query(r); err != nil {
		return err
	}
	if !s.sessions.remove(r.PathValue(idPlace)) {
		return noSession()
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
