package authzen

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/problem"
)

// Paths that are answered.
const (
	PathEvaluation    = "/access/v1/evaluation"
	PathEvaluations   = "/access/v1/evaluations"
	PathConfiguration = "/.well-known/authzen-configuration"
)

// Limits of bodies, in bytes. A token has 8 KiB at most; a chain has more.
const (
	maxOne = 160 << 10
	maxAll = 512 << 10
	// maxRequestID is of the header X-Request-ID, which is echoed.
	maxRequestID = 128
)

// Enforcers say who sends a request.
type Enforcers interface {
	// Of returns an enforcement point that may use the right; see [enforcer.Book.Of].
	Of(r *http.Request, right enforcer.Right, header string) (*enforcer.Enforcer, error)
}

// Config is what a server goes by. Every field is required.
type Config struct {
	Decider   decision.Decider
	Enforcers Enforcers
	// URL is where clients find the server, as in https://attestd.example.org:8425, without a path.
	URL string
	// Deadline is how long the answer to a request may take, however many questions it has.
	Deadline time.Duration
	// Bodies accounts for those of all requests.
	Bodies *problem.Bodies
	Now    func() time.Time
	Log    *slog.Logger
}

// Server answers. It is safe for concurrent use.
type Server struct {
	config   Config
	metadata []byte
}

// New returns a server.
//
// Errors: a [*attestd.CallerError] of class CONFIG for a field that is missing or a URL that is none.
func New(config Config) (*Server, error) {
	if config.Decider == nil || config.Enforcers == nil || config.Deadline <= 0 || config.Bodies == nil ||
		config.Now == nil || config.Log == nil {
		return nil, misconfigured("a field of authzen.Config is missing")
	}
	base, err := url.Parse(config.URL)
	if err != nil || base.Scheme != "https" && base.Scheme != "http" || base.Host == "" || base.Path != "" ||
		base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return nil, misconfigured("the URL of decisions is no scheme and host alone")
	}
	// AuthZEN 1.0, Policy Decision Point Metadata; supported_obligations as in the Obligations profile.
	metadata, err := json.Marshal(struct {
		PDP         string   `json:"policy_decision_point"`
		Evaluation  string   `json:"access_evaluation_endpoint"`
		Evaluations string   `json:"access_evaluations_endpoint"`
		Obligations []string `json:"supported_obligations"`
	}{config.URL, config.URL + PathEvaluation, config.URL + PathEvaluations, []string{
		decision.ObligationStepUp, decision.ObligationNotification, decision.ObligationCustom,
	}})
	if err != nil {
		return nil, err
	}
	return &Server{config: config, metadata: append(metadata, '\n')}, nil
}

func misconfigured(text string) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig, Hint: "docs/decisions/authzen.md", Err: errors.New(text),
	}
}

// Register adds the paths to a mux. Another method than each path's own is refused by its handler.
func (s *Server) Register(mux *http.ServeMux) {
	mux.HandleFunc(PathEvaluation, func(w http.ResponseWriter, r *http.Request) { s.evaluate(w, r, false) })
	mux.HandleFunc(PathEvaluations, func(w http.ResponseWriter, r *http.Request) { s.evaluate(w, r, true) })
	mux.HandleFunc(PathConfiguration, s.configuration)
}

// configuration is for everybody: it says where to ask, and whoever asks is authenticated there.
func (s *Server) configuration(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		refuseMethod(w, http.MethodGet)
		return
	}
	w.Header().Set("Content-Type", problem.JSON)
	_, _ = w.Write(s.metadata)
}

func refuseMethod(w http.ResponseWriter, allowed string) {
	refused := enforcer.Edge.New(attestd.ClassUnsupported, "the method is not taken", "use "+allowed).
		WithStatus(http.StatusMethodNotAllowed, "Method not taken")
	refused.Allow = allowed
	refused.Write(w)
}

// evaluate answers a request of one question or of several.
func (s *Server) evaluate(w http.ResponseWriter, r *http.Request, several bool) {
	received := s.config.Now()
	w.Header().Set("Cache-Control", "no-store")
	requestID, err := echo(w, r)
	if err != nil {
		refuse(w, err)
		return
	}
	if r.Method != http.MethodPost {
		refuseMethod(w, http.MethodPost)
		return
	}
	from, err := s.config.Enforcers.Of(r, enforcer.RightAuthZEN, enforcer.HeaderAuthorization)
	if err != nil {
		s.config.Log.WarnContext(r.Context(), "somebody who may not asked for a decision", "err", err)
		refuse(w, err)
		return
	}
	body, done, err := s.body(w, r, several)
	if err != nil {
		refuse(w, err)
		return
	}
	defer done()
	asked, err := readDocument(body, several)
	if err != nil {
		refuse(w, malformed(err.Error()))
		return
	}
	if wait := from.TakeN(max(1, len(asked.evaluations)), received); wait > 0 {
		refused := enforcer.Edge.New(attestd.ClassRateLimited,
			"the enforcement point asks more often than it may", "its rate stands in decisions.enforcers")
		refused.Write(retry{w, wait})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.config.Deadline)
	defer cancel()
	one := asker{
		server: s, from: from, received: received, requestID: requestID, trace: r.Header.Get("Traceparent"),
	}
	var out any
	if len(asked.evaluations) == 0 {
		out = one.answer(ctx, asked.question)
	} else {
		out = one.answerAll(ctx, &asked)
	}
	document, err := json.Marshal(out)
	if err != nil {
		s.config.Log.ErrorContext(ctx, "an answer cannot be written", "err", err)
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", problem.JSON)
	_, _ = w.Write(append(document, '\n'))
}

// echo returns the request's identifier, which is in the answer as well ("the PDP MUST include the same
// identifier in the response", AuthZEN 1.0, Request Identification).
func echo(w http.ResponseWriter, r *http.Request) (string, error) {
	values := r.Header.Values("X-Request-Id")
	if len(values) == 0 {
		return "", nil
	}
	if len(values) != 1 || len(values[0]) > maxRequestID {
		return "", malformed("want one X-Request-ID of at most " + strconv.Itoa(maxRequestID) + " bytes")
	}
	w.Header().Set("X-Request-Id", values[0])
	return values[0], nil
}

func (s *Server) body(w http.ResponseWriter, r *http.Request, several bool) ([]byte, func(), error) {
	if _, err := enforcer.Edge.MediaType(r, problem.JSON); err != nil {
		// Not 415: "Bad Request" is the one error of the form that AuthZEN 1.0 has (Error Responses).
		var shaped *problem.Error
		if errors.As(err, &shaped) {
			err = shaped.WithStatus(http.StatusBadRequest, shaped.Title).Err()
		}
		return nil, nil, err
	}
	limit := maxOne
	if several {
		limit = maxAll
	}
	return s.config.Bodies.Read(&enforcer.Edge, w, r, limit)
}

func malformed(detail string) error {
	return enforcer.Edge.Refuse(attestd.ClassMalformed, detail, "docs/decisions/authzen.md has the form")
}

func refuse(w http.ResponseWriter, err error) { enforcer.Refusal(err).Write(w) }

// retry puts the real wait in place of the edge's.
type retry struct {
	http.ResponseWriter
	wait time.Duration
}

// WriteHeader implements [http.ResponseWriter].
func (r retry) WriteHeader(status int) {
	r.Header().Set("Retry-After", strconv.Itoa(seconds(r.wait)))
	r.ResponseWriter.WriteHeader(status)
}

// seconds rounds up: who comes back sooner is refused again.
func seconds(wait time.Duration) int { return int((wait + time.Second - 1) / time.Second) }

// traceForm is the length of a traceparent of version 00 (W3C Trace Context, section 3.2.2).
const traceForm = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

// isTrace reports whether text has the form of a traceparent; another is left out, as the text asks.
func isTrace(text string) bool {
	if len(text) != traceForm || text[2] != '-' || text[35] != '-' || text[52] != '-' {
		return false
	}
	return !strings.ContainsFunc(text, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'f')
	})
}
