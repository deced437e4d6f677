package introspect

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/nhi"
	"github.com/attestd/attestd/internal/problem"
)

// Path is what is asked.
const Path = "/v1/introspect"

// Limits of a request, in bytes.
const (
	maxBody  = 16 << 10
	maxToken = 8 << 10
)

const form = "application/x-www-form-urlencoded"

// Enforcers say who sends a request.
type Enforcers interface {
	// Of returns an enforcement point that may use the right; see [enforcer.Book.Of].
	Of(r *http.Request, right enforcer.Right, header string) (*enforcer.Enforcer, error)
}

// Config is what a server goes by. Every field is required.
type Config struct {
	Introspector decision.Introspector
	Enforcers    Enforcers
	// Deadline is how long an answer may take.
	Deadline time.Duration
	// Bodies accounts for those of all requests.
	Bodies *problem.Bodies
	Now    func() time.Time
	Log    *slog.Logger
}

// Server answers. It is safe for concurrent use.
type Server struct{ config Config }

// New returns a server.
//
// Errors: a [*attestd.CallerError] of class CONFIG for a field that is missing.
func New(config Config) (*Server, error) {
	if config.Introspector == nil || config.Enforcers == nil || config.Deadline <= 0 ||
		config.Bodies == nil || config.Now == nil || config.Log == nil {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "give each field of introspect.Config",
			Err: errors.New("a field of introspect.Config is missing"),
		}
	}
	return &Server{config: config}, nil
}

// Register adds the path to a mux.
func (s *Server) Register(mux *http.ServeMux) { mux.Handle(Path, s) }

// inactive is all that is said of a token that does not count (RFC 7662, section 2.2: "the authorization
// server SHOULD NOT include any additional information about an inactive token").
var inactive = []byte(`{"active":false}` + "\n")

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	received := s.config.Now()
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost {
		refused := enforcer.Edge.New(attestd.ClassUnsupported, "the method is not taken", "use POST").
			WithStatus(http.StatusMethodNotAllowed, "Method not taken")
		refused.Allow = http.MethodPost
		refused.Write(w)
		return
	}
	document, err := s.answer(w, r, received)
	if err != nil {
		enforcer.Refusal(err).Write(w)
		return
	}
	w.Header().Set("Content-Type", problem.JSON)
	_, _ = w.Write(document)
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, received time.Time) ([]byte, error) {
	from, err := s.config.Enforcers.Of(r, enforcer.RightIntrospect, enforcer.HeaderAuthorization)
	if err != nil {
		s.config.Log.WarnContext(r.Context(), "somebody who may not asked about a token", "err", err)
		return nil, err
	}
	if from.Take(received) > 0 {
		return nil, enforcer.Edge.Refuse(attestd.ClassRateLimited,
			"the enforcement point asks more often than it may", "its rate stands in decisions.enforcers")
	}
	token, err := s.token(w, r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.config.Deadline)
	defer cancel()
	in, shut := s.config.Introspector.Introspect(ctx, decision.Credential{Token: token})
	if told, err := active(from, in, shut, received); err != nil || !told {
		return inactive, err
	}
	return json.Marshal(stateOf(in.Who, in.Standing, in.Record))
}

// token reads the form. A token in the URL would be in everybody's logs (RFC 7662, section 2.1: "the
// token … as application/x-www-form-urlencoded data").
func (s *Server) token(w http.ResponseWriter, r *http.Request) (string, error) {
	if r.URL.RawQuery != "" {
		return "", malformed("the URL has a query")
	}
	if _, err := enforcer.Edge.MediaType(r, form); err != nil {
		return "", err
	}
	body, done, err := s.config.Bodies.Read(&enforcer.Edge, w, r, maxBody)
	if err != nil {
		return "", err
	}
	defer done()
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return "", malformed("the body is not a form")
	}
	for _, list := range values { // RFC 6749, section 3.1: parameters "MUST NOT be included more than once"
		if len(list) != 1 {
			return "", malformed("a parameter stands twice")
		}
	}
	token := values.Get("token")
	if token == "" || len(token) > maxToken {
		return "", malformed("the parameter token is missing or too long")
	}
	return strings.Clone(token), nil
}

func malformed(detail string) error {
	return enforcer.Edge.Refuse(attestd.ClassMalformed, detail,
		"send token=… as "+form+"; docs/decisions/introspection.md has the form")
}

// active reports whether the token counts now, for an enforcement point that may know: its holder would
// get past each gate about it, so that something could be allowed to it.
//
// Errors: an [*attestd.UndecidedError] where that cannot be told.
func active(
	from *enforcer.Enforcer, in *decision.Input, shut decision.Code, at time.Time,
) (bool, error) {
	who, standing := in.Who, in.Standing
	nobody := []decision.Code{decision.CodeUnauthenticated, decision.CodeExpired, decision.CodeMalformed}
	switch {
	case slices.Contains(nobody, who.Fault):
		return false, nil
	case who.Fault != "" || who.ID == "":
		return false, undecided("whose the token is", string(who.Fault))
	case standing.Fault != "":
		return false, undecided("how the subject stands", string(standing.Fault))
	}
	return from.Sees(in) && shut == "" && standing.Attested && standing.State.Grants() && at.Before(who.Expires), nil
}

func undecided(what, why string) error {
	return &attestd.UndecidedError{
		Class: attestd.ClassStoreUnavailable, Got: why, Want: what, Hint: "attestd status",
	}
}

// state is what is said of a token that counts (RFC 7662, section 2.2), with our members behind theirs.
type state struct {
	Active    bool     `json:"active"`
	Subject   string   `json:"sub"`
	TokenType string   `json:"token_type"`
	Audience  []string `json:"aud,omitempty"`
	Expires   int64    `json:"exp"`
	IssuedAt  int64    `json:"iat,omitempty"`

	TrustDomain string `json:"trust_domain"`
	Tenant      string `json:"tenant,omitempty"`
	State       string `json:"state"`
	Risk        int    `json:"risk_score"`
	Tier        string `json:"risk_tier"`
	Epoch       uint64 `json:"risk_epoch"`
	Status      string `json:"ear_status,omitempty"`
	AttestedAt  string `json:"attested_at,omitempty"`
	DueAt       string `json:"due_at,omitempty"`
	TEE         string `json:"tee,omitempty"`
	Measurement string `json:"measurement,omitempty"`
	KeyGrade    string `json:"key_grade,omitempty"`
	Devices     string `json:"devices,omitempty"`
	Edge        string `json:"weakest_edge,omitempty"`
	// Purpose, Ring, Zone and Policy are those of the record.
	Purpose string `json:"purpose,omitempty"`
	Ring    string `json:"ring,omitempty"`
	Zone    string `json:"zone,omitempty"`
	Policy  string `json:"policy,omitempty"`
}

func stateOf(who decision.Who, standing decision.Standing, record *nhi.Record) state {
	out := state{
		Active: true, Subject: string(who.ID), TokenType: "Bearer", Audience: who.Audience,
		Expires: who.Expires.Unix(), TrustDomain: who.TrustDomain, Tenant: standing.Tenant,
		State: standing.State.String(), Risk: standing.Risk.Int(), Tier: standing.Tier.String(),
		Epoch: standing.Epoch, Status: standing.Status, AttestedAt: when(standing.AttestedAt),
		DueAt: when(standing.DueAt), TEE: standing.TEE, Measurement: standing.Measurement,
		KeyGrade: standing.KeyGrade, Devices: standing.Devices, Edge: standing.Edge,
	}
	if !who.IssuedAt.IsZero() {
		out.IssuedAt = who.IssuedAt.Unix()
	}
	if record != nil {
		out.Purpose, out.Ring = string(record.Purpose), record.Ring
		out.Zone, out.Policy = string(record.Zone), record.Policy
	}
	return out
}

func when(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339)
}
