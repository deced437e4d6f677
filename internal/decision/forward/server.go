package forward

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/enforcer"
)

// Path is what proxies ask.
const Path = "/v1/forward-auth"

// Enforcers say who sends a request.
type Enforcers interface {
	// Of returns an enforcement point that may use the right; see [enforcer.Book.Of].
	Of(r *http.Request, right enforcer.Right, header string) (*enforcer.Enforcer, error)
}

// Config is what a server goes by. Every field is required.
type Config struct {
	Decider   decision.Decider
	Enforcers Enforcers
	// Deadline is how long an answer may take.
	Deadline time.Duration
	Now      func() time.Time
	Log      *slog.Logger
}

// Server answers proxies. It is safe for concurrent use.
type Server struct{ config Config }

// New returns a server.
//
// Errors: a [*attestd.CallerError] of class CONFIG for a field that is missing.
func New(config Config) (*Server, error) {
	if config.Decider == nil || config.Enforcers == nil || config.Deadline <= 0 || config.Now == nil ||
		config.Log == nil {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "give each field of forward.Config",
			Err: errors.New("a field of forward.Config is missing"),
		}
	}
	return &Server{config: config}, nil
}

// Register adds the path to a mux.
func (s *Server) Register(mux *http.ServeMux) { mux.Handle(Path, s) }

// supported are the obligations that a proxy carries out: it hands the challenge of a step-up on.
var supported = []string{decision.ObligationStepUp}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	received := s.config.Now()
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refused := enforcer.Edge.New(attestd.ClassUnsupported, "the method is not taken", "use GET").
			WithStatus(http.StatusMethodNotAllowed, "Method not taken")
		refused.Allow = http.MethodGet
		refused.Write(w)
		return
	}
	from, err := s.config.Enforcers.Of(r, enforcer.RightForward, enforcer.HeaderToken)
	if err != nil {
		s.config.Log.WarnContext(r.Context(), "somebody who may not asked for a proxy", "err", err)
		refused := enforcer.Refusal(err)
		if refused.Status == http.StatusUnauthorized {
			// The proxy would hand a challenge on to its caller, who is not meant.
			refused = refused.WithStatus(http.StatusForbidden, refused.Title)
		}
		refused.Write(w)
		return
	}
	if wait := from.Take(received); wait > 0 {
		s.deny(w, denial{code: decision.CodeThrottled, wait: wait})
		return
	}
	says, err := readRoute(r.URL.RawQuery)
	if err == nil {
		err = says.fill(r.Header)
	}
	if err != nil {
		s.config.Log.WarnContext(r.Context(), "a proxy's request is no question",
			"enforcer", from.Name(), "deny_reason", string(decision.CodeMalformed), "err", err)
		s.refuse(w, r, says, from, received, decision.CodeMalformed, err.Error())
		return
	}
	// The answer about a tenant that is not the proxy's own is that about one that is not there.
	if tenant := says.Resource.Tenant; tenant != "" && !from.Speaks(tenant) {
		s.config.Log.WarnContext(r.Context(), "an enforcement point asked for a tenant that is not its own",
			"enforcer", from.Name(), "tenant", attestd.Excerpt(tenant, 80))
		s.refuse(w, r, says, from, received, decision.CodeTenantMismatch,
			"the enforcement point does not speak for the tenant")
		return
	}
	s.decide(w, r, &says, from, received)
}

// refuse denies what is no question, or not the proxy's to put, and has that recorded.
func (s *Server) refuse(
	w http.ResponseWriter, r *http.Request, says configured, from *enforcer.Enforcer, received time.Time,
	code decision.Code, detail string,
) {
	answer := s.config.Decider.Decide(r.Context(), decision.Ask{
		Via: decision.ViaForward, Enforcer: from.Name(), Action: decision.Action{Name: says.Action},
		Resource: says.Resource, Context: decision.Context{ExposureScore: -1, RequestID: label(r.Header, "X-Request-Id")},
		Received: received, Refused: code, RefusedDetail: detail,
	})
	answer.Allow = false
	s.deny(w, denial{code: code, answer: &answer, from: from})
}

func (s *Server) decide(
	w http.ResponseWriter, r *http.Request, says *configured, from *enforcer.Enforcer, received time.Time,
) {
	// A credential that cannot be read is none: nobody is identified then, and that is a decision, which is
	// recorded.
	credential, shown, err := credentialOf(says, r.Header, from.Vouches())
	if err != nil {
		credential = decision.Credential{Source: credential.Source}
		s.config.Log.DebugContext(r.Context(), "a caller's credential cannot be read",
			"enforcer", from.Name(), "err", err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.config.Deadline)
	defer cancel()
	answer := s.config.Decider.Decide(ctx, decision.Ask{
		Via: decision.ViaForward, Enforcer: from.Name(), Credential: credential,
		Action: decision.Action{Name: says.Action}, Resource: says.Resource,
		Context: decision.Context{
			ExposureScore: -1, Connectivity: says.Connected,
			RequestID: label(r.Header, "X-Request-Id"), Trace: label(r.Header, "Traceparent"),
		},
		Supported: supported, Sees: from.Sees, Received: received, Deadline: received.Add(s.config.Deadline),
	})
	refused := denial{answer: &answer, shown: shown, from: from}
	switch {
	case !answer.Allow:
		refused.code = firstOf(answer.Reasons)
		if answer.Input != nil {
			refused.wait = answer.Input.Findings.RetryAfter
		}
	case answer.Input == nil || answer.Input.Who.ID == "":
		refused.code = decision.CodeInternal
	default:
		refused.code = bound(answer.Obligations)
	}
	if refused.code != "" {
		s.deny(w, refused)
		return
	}
	allow(w, &answer, from.Sees(answer.Input))
}

// bound returns why an answer that allows does not let the request through: an allow with a step-up is an
// allow after the step-up, which comes with another credential.
func bound(obligations []decision.Obligation) decision.Code {
	for _, one := range obligations {
		if one.Type == decision.ObligationStepUp {
			return decision.CodeStepUp
		}
		if !slices.Contains(supported, one.Type) {
			return decision.CodeObligation
		}
	}
	return ""
}

func firstOf(reasons []decision.Reason) decision.Code {
	if len(reasons) == 0 {
		return decision.CodeInternal
	}
	return reasons[0].Code
}

// maxLabel bounds what is recorded of a header that callers choose.
const maxLabel = 128

// label returns a header that joins records with other logs; empty for none of its form.
func label(sent http.Header, name string) string {
	values := sent.Values(name)
	if len(values) != 1 || len(values[0]) > maxLabel || !isVisible(values[0]) {
		return ""
	}
	return values[0]
}
