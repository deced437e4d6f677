package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/problem"
	"github.com/attestd/attestd/internal/service"
)

// Config says what the API is made of. Fields without another word are required.
type Config struct {
	Service *service.Service
	// SVIDs issues identities without an agent; nil where none are.
	SVIDs SVIDs
	// Results signs attestation results; nil where none are given.
	Results Results
	// Veraison serves the challenge-response API of project Veraison; it needs Results.
	Veraison bool
	// Version of the build, for whoever asks what this is; empty where it has none.
	Version string
	// KeySet is the JWK set that challenges are verified with.
	KeySet []byte
	Logger *slog.Logger
	Limits Limits
	// Specs are the checks that a verdict can have: for metrics and the classes of answers.
	Specs []attestd.CheckSpec
	// Conditions says whether everything beside the service is fit to serve; nil where there is nothing.
	Conditions interface{ Ready() error }
	// Metrics is what /metrics shows: this API's own are added to it.
	Metrics *prometheus.Registry
}

type server struct {
	config  Config
	bodies  problem.Bodies
	metrics *metrics
	ready   readiness
	classes map[attestd.CheckID]attestd.Class
	routes  []route
	// sessions are those of the challenge-response API; document is the API's description.
	sessions sessions
	document []byte
}

// New returns the handler of the whole API.
//
// Errors: where a field is missing.
func New(config Config) (http.Handler, error) {
	switch {
	case config.Service == nil, config.Logger == nil, len(config.KeySet) == 0, len(config.Specs) == 0,
		config.Metrics == nil:
		return nil, errors.New("an API needs a service, a logger, a key set and the table of checks")
	case config.Veraison && config.Results == nil:
		return nil, errors.New("sessions end with a signed result: they need somebody who signs")
	case config.Limits.JSONBody <= 0, config.Limits.RawBody <= 0, config.Limits.AllBodies <= 0:
		return nil, fmt.Errorf("API limits must all be above zero, got %+v", config.Limits)
	}
	s := &server{config: config, routes: routes(), classes: map[attestd.CheckID]attestd.Class{}}
	s.bodies.Most = config.Limits.AllBodies
	s.metrics = newMetrics(config.Specs, func() float64 { return float64(s.bodies.Held()) },
		config.Metrics)
	for _, spec := range config.Specs {
		s.classes[spec.ID] = spec.Class
	}
	var err error
	if s.document, err = describe(s.routes, config.Version); err != nil {
		return nil, err
	}
	return s, nil
}

// ServeHTTP finds the route and turns what it returns into an answer. A panic underneath ends this
// request and nothing else.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	recorder := &statusRecorder{ResponseWriter: w}
	found, err := s.find(r)
	name := otherLabel
	if found != nil {
		name = found.name
		if err = fromNoPage(r); err == nil {
			err = s.run(found, recorder, r)
		}
	}
	if err != nil {
		s.fail(recorder, r, name, err)
	}
	took := time.Since(began)
	s.metrics.request(name, recorder.status, took)
	s.config.Logger.DebugContext(r.Context(), "request", "route", name, "status", recorder.status,
		"source", source(r), "took", took)
}

func (s *server) run(found *route, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			// The value can hold what the caller sent; the stack says where.
			err = fmt.Errorf("panic: %s at %s",
				attestd.Excerpt(fmt.Sprint(recovered), 100), attestd.Excerpt(string(debug.Stack()), 4000))
		}
	}()
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	return found.serve(s, w, r)
}

// fromNoPage refuses what a web page sent. The API is for programs; a page that was opened beside a
// daemon on loopback could otherwise use up the challenges of all callers there, and with a name that
// is resolved anew to loopback read what it asked for. Browsers add Origin to every POST, also to the
// page's own origin, and Sec-Fetch-Site where they trust the address; "none" is a person at the keys. A
// GET in the clear can come with neither: see byAddress.
//
// Errors: 403.
func fromNoPage(r *http.Request) error {
	site := r.Header.Get("Sec-Fetch-Site")
	if len(r.Header.Values("Origin")) == 0 && (site == "" || site == "none") {
		return nil
	}
	return edge.New(attestd.ClassForbidden, "requests of web pages are not taken",
		"ask from a program; a proxy that serves pages must remove Origin and Sec-Fetch-Site").Err()
}

// byAddress refuses, in the clear and over TCP, a request for a host with a name. There we are on
// loopback, and a name can be that of a page which is resolved anew to loopback: its GET has nothing
// else to tell it by. Metrics need it: all else that a GET answers with is public, or has an id that
// cannot be guessed.
//
// Errors: 403.
func byAddress(r *http.Request) error {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if r.TLS != nil || local != nil && local.Network() == "unix" {
		return nil
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if strings.EqualFold(host, "localhost") || net.ParseIP(strings.Trim(host, "[]")) != nil {
		return nil
	}
	return edge.New(attestd.ClassForbidden, "the host of the request is a name",
		"scrape 127.0.0.1 or localhost, or the unix socket; a proxy must pass its upstream's address as Host").Err()
}

// fail writes the answer to an error, and the log entry where it is our fault.
func (s *server) fail(w *statusRecorder, r *http.Request, name string, err error) {
	answer := problemOf(err)
	switch {
	case answer.Status == http.StatusInternalServerError:
		answer.ID = rand.Text()
		var stack []byte // where the judge was when it broke; it holds no bytes of evidence
		if bug := (*judge.Bug)(nil); errors.As(err, &bug) {
			stack = bug.Stack
		}
		s.config.Logger.ErrorContext(r.Context(), "internal error", "route", name, "id", answer.ID,
			"err", attestd.Excerpt(err.Error(), 5000), "stack", attestd.Excerpt(string(stack), 4000))
	case answer.Status == http.StatusServiceUnavailable && answer.Appraisal == nil:
		s.config.Logger.ErrorContext(r.Context(), "could not decide", "route", name,
			"class", string(answer.Class), "err", attestd.Excerpt(err.Error(), 1000))
	case answer.Class == attestd.ClassConflict:
		// Somebody shows a key that is another's: a mistake in a roll-out, or a copy.
		s.config.Logger.WarnContext(r.Context(), "conflict", "route", name, "source", source(r),
			"err", attestd.Excerpt(err.Error(), 400))
	case errors.Is(err, context.Canceled):
		s.config.Logger.InfoContext(r.Context(), "caller left", "route", name, "source", source(r))
	}
	if w.status != 0 {
		return // something was written already; the connection ends broken
	}
	answer.Write(w)
}

// writeJSON writes an answer that is no error.
func writeJSON(w http.ResponseWriter, status int, value any) error {
	return writeAs(w, status, mediaJSON, value)
}

// writeAs writes JSON under a media type of its own.
func writeAs(w http.ResponseWriter, status int, media string, value any) error {
	document, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	writeDocument(w, status, media, document)
	return nil
}

func writeDocument(w http.ResponseWriter, status int, media string, document []byte) {
	sendDocument(w, status, media, append(document[:len(document):len(document)], '\n'))
}

// sendDocument writes a document that ends with a line feed.
func sendDocument(w http.ResponseWriter, status int, media string, document []byte) {
	w.Header().Set("Content-Type", media)
	// With its length an answer is one piece; without, longer ones are sent in chunks.
	w.Header().Set("Content-Length", strconv.Itoa(len(document)))
	w.WriteHeader(status)
	// A caller that does not read its answer is its own affair.
	_, _ = w.Write(document)
}

// source is what limits are counted by: the address of the connection, never a header. An IPv6
// address counts as its /64, which is what one subscriber has.
func source(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return "unix" // a unix socket has no address
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return otherLabel
	}
	address = address.Unmap().WithZone("")
	if address.Is4() {
		return address.String()
	}
	prefix, err := address.Prefix(64)
	if err != nil {
		return otherLabel
	}
	return prefix.String()
}

// statusRecorder remembers the status that was written.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements [http.ResponseWriter].
func (w *statusRecorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter].
func (w *statusRecorder) Write(data []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(data)
}

// Unwrap is for [http.ResponseController] and [http.MaxBytesReader].
func (w *statusRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
