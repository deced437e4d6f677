package signals

import (
	"encoding/json"
	"net/http"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/problem"
)

// Path of the signals API.
const Path = "/v1/signals"

// Sources say who sends a request, as [enforcer.Book] does.
type Sources interface {
	Of(r *http.Request, right enforcer.Right, header string) (*enforcer.Enforcer, error)
}

// Handler answers POST /v1/signals for enforcement points that may give reports.
type Handler struct {
	desk    *Desk
	sources Sources
	bodies  problem.Bodies
}

// maxHeld bounds the bodies of all requests together.
const maxHeld = 4 << 20

// NewHandler returns a handler. Both are required.
//
// Errors: a [*attestd.CallerError] of class CONFIG.
func NewHandler(desk *Desk, sources Sources) (*Handler, error) {
	if desk == nil || sources == nil {
		return nil, refuse(attestd.ClassConfig, hintConfig, "signals need a desk and their sources")
	}
	return &Handler{desk: desk, sources: sources, bodies: problem.Bodies{Most: maxHeld}}, nil
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	receipt, err := h.answer(w, r)
	if err != nil {
		enforcer.Refusal(err).Write(w)
		return
	}
	document, err := json.Marshal(receipt)
	if err != nil {
		enforcer.Refusal(err).Write(w)
		return
	}
	w.Header().Set("Content-Type", problem.JSON)
	_, _ = w.Write(append(document, '\n'))
}

func (h *Handler) answer(w http.ResponseWriter, r *http.Request) (Receipt, error) {
	if r.Method != http.MethodPost {
		refused := enforcer.Edge.New(attestd.ClassMalformed, "a report is posted", "POST "+Path).
			WithStatus(http.StatusMethodNotAllowed, "Method not taken")
		refused.Allow = http.MethodPost
		return Receipt{}, refused.Err()
	}
	source, err := h.sources.Of(r, enforcer.RightSignals, enforcer.HeaderAuthorization)
	if err != nil {
		return Receipt{}, err
	}
	if wait := source.Take(h.desk.config.Now()); wait > 0 {
		return Receipt{}, refuse(attestd.ClassRateLimited, "ask again in a second",
			"the enforcement point asks more often than it may")
	}
	if _, err = enforcer.Edge.MediaType(r, problem.JSON); err != nil {
		return Receipt{}, err
	}
	body, done, err := h.bodies.Read(&enforcer.Edge, w, r, maxReport)
	if err != nil {
		return Receipt{}, err
	}
	defer done()
	report, err := Read(body)
	if err != nil {
		return Receipt{}, err
	}
	return h.desk.Take(r.Context(), source, report)
}
