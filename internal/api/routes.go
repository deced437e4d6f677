package api

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/problem"
)

func (s *server) challenge(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	if _, err := edge.MediaType(r, mediaJSON); err != nil {
		return err
	}
	const limit = 4 << 10 // short members, and two keys of at most service.MaxPublic in base64
	body, done, err := s.body(w, r, limit)
	if err != nil {
		return err
	}
	defer done()
	var request challengeRequest
	if err := decode(body, limit, &request); err != nil {
		return err
	}
	wish, err := request.wish(source(r))
	if err != nil {
		return err
	}
	reply, err := s.config.Service.Challenge(r.Context(), wish)
	if err != nil {
		return err
	}
	s.metrics.challenges.Inc()
	return writeJSON(w, http.StatusCreated, reply)
}

// readRequest reads a body that is JSON or raw evidence.
func readRequest[T any](
	s *server, w http.ResponseWriter, r *http.Request, raw func(*http.Request, []byte) (T, error),
) (request T, done func(), err error) {
	media, err := edge.MediaType(r, mediaJSON, mediaCBOR, mediaBytes)
	if err != nil {
		return request, nil, err
	}
	limit := s.config.Limits.RawBody
	if media == mediaJSON {
		limit = s.config.Limits.JSONBody
		if _, err := query(r); err != nil {
			return request, nil, err
		}
	}
	body, done, err := s.body(w, r, limit)
	if err != nil {
		return request, nil, err
	}
	if media == mediaJSON {
		err = decode(body, limit, &request)
	} else {
		request, err = raw(r, body)
	}
	if err != nil {
		done()
		return request, nil, err
	}
	return request, done, nil
}

func (s *server) verify(w http.ResponseWriter, r *http.Request) error {
	request, done, err := readRequest(s, w, r, rawVerify)
	if err != nil {
		return err
	}
	defer done()
	submission, err := request.submission(source(r))
	if err != nil {
		return err
	}
	signed, err := request.signed(s.config.Results)
	if err != nil {
		return err
	}
	given, err := s.config.Service.Verify(r.Context(), submission)
	if err != nil {
		return err
	}
	if signed && given.Verdict != attestd.VerdictUndecided && given.ID != "" {
		return s.answerSigned(w, r, given, submission, request.options(submission.Source))
	}
	return s.answer(w, r, given, submission.Tenant)
}

func (s *server) verifyRecorded(w http.ResponseWriter, r *http.Request) error {
	request, done, err := readRequest(s, w, r, rawRecorded)
	if err != nil {
		return err
	}
	defer done()
	recording, err := request.recording()
	if err != nil {
		return err
	}
	given, err := s.config.Service.VerifyRecorded(r.Context(), recording)
	if err != nil {
		return err
	}
	return s.answer(w, r, given, DefaultTenant)
}

// answer writes a verdict: 200 where there is one, 503 with the whole of it where it is undecided.
func (s *server) answer(w http.ResponseWriter, r *http.Request, given attestd.Appraisal, tenant string) error {
	s.judged(r, given, tenant)
	if given.Verdict != attestd.VerdictUndecided {
		return writeVerdict(w, &given)
	}
	return s.undecided(given).Err()
}

// judged counts and logs a verdict.
func (s *server) judged(r *http.Request, given attestd.Appraisal, tenant string) {
	s.metrics.verdict(given)
	var failed []string
	for _, reason := range given.Reasons {
		failed = append(failed, string(reason.Check))
	}
	level := slog.LevelInfo
	if given.Verdict == attestd.VerdictRejected {
		level = slog.LevelWarn
	}
	s.config.Logger.LogAttrs(r.Context(), level, "evidence judged",
		slog.String("verdict", given.Verdict.String()), slog.String("format", string(given.Format)),
		slog.String("check", strings.Join(failed, " ")), slog.String("tenant", tenant),
		slog.String("policy", given.Policy.ID), slog.Int("risk_score", given.Risk.Int()),
		slog.String("freshness", given.Freshness.String()), slog.String("id", given.ID),
		slog.String("subject", subjectOf(given)))
}

// subjectOf returns whom a verdict is about; empty where it is nobody's.
func subjectOf(given attestd.Appraisal) string {
	if given.Standing == nil {
		return ""
	}
	return given.Standing.Subject
}

func (s *server) undecided(given attestd.Appraisal) problem.Problem {
	class, detail, hint := attestd.ClassCollateralUnavailable, "something is missing to decide", ""
	for _, reason := range given.Reasons {
		if reason.Effect != attestd.EffectUndecided {
			continue
		}
		if known := s.classes[reason.Check]; known.Undecided() {
			class = known
		}
		detail, hint = string(reason.Check)+": "+reason.Detail, reason.Remedy
		break
	}
	p := edge.New(class, detail, hint)
	p.Appraisal = &given
	return p
}

func (s *server) appraisal(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	document, found, err := s.config.Service.Appraisal(r.Context(), r.PathValue(idPlace))
	if err != nil {
		return err
	}
	if !found {
		return noAppraisal()
	}
	writeDocument(w, http.StatusOK, "application/json", document)
	return nil
}

func noAppraisal() error {
	return notFound("no appraisal with that id",
		"ids are in the answers of /v1/verify; old appraisals are removed")
}

func notFound(detail, hint string) error {
	return edge.New(attestd.ClassForbidden, detail, hint).
		WithStatus(http.StatusNotFound, "Not found").Err()
}

func (s *server) keys(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", "max-age=300")
	writeDocument(w, http.StatusOK, "application/jwk-set+json", s.config.KeySet)
	return nil
}

// stateAnswer is what probes are answered.
type stateAnswer struct {
	Status string `json:"status"`
}

func (s *server) health(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, stateAnswer{"ok"})
}

func (s *server) serveMetrics(w http.ResponseWriter, r *http.Request) error {
	if err := byAddress(r); err != nil {
		return err
	}
	s.metrics.page.ServeHTTP(w, r)
	return nil
}

// readyEvery is how long an answer about readiness holds: each costs a durable write, and callers
// must not be able to ask for more of those than they are worth.
const readyEvery = 2 * time.Second

// readiness remembers the last answer.
type readiness struct {
	mu    sync.Mutex
	asked time.Time
	err   error
}

func (s *server) readyz(w http.ResponseWriter, r *http.Request) error {
	if err := s.askReady(r.Context()); err != nil {
		// The cause can name files; it is in the log.
		return edge.New(attestd.ClassStoreUnavailable, "not ready", "the log has the cause").Err()
	}
	return writeJSON(w, http.StatusOK, stateAnswer{"ready"})
}

func (s *server) askReady(ctx context.Context) error {
	s.ready.mu.Lock()
	defer s.ready.mu.Unlock()
	if time.Since(s.ready.asked) < readyEvery {
		return s.ready.err
	}
	// Not the caller's context: one that leaves must not make others believe that we are broken.
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyEvery)
	defer cancel()
	err := s.config.Service.Ready(limited)
	if err == nil && s.config.Conditions != nil {
		err = s.config.Conditions.Ready()
	}
	if err != nil && s.ready.err == nil {
		s.config.Logger.ErrorContext(ctx, "not ready", "err", attestd.Excerpt(err.Error(), 1000))
	}
	s.ready.asked, s.ready.err = time.Now(), err
	return err
}
