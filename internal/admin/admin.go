package admin

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/problem"
)

type server struct {
	config   Config
	routes   []route
	bodies   problem.Bodies
	metrics  *metrics
	failures *throttle
	level    *level
	channels channels
	places   *journal.Places
	// large lets one long list in at a time, bundle one bundle out.
	large, bundle sync.Mutex
}

// call is one request that was let in.
type call struct {
	context.Context
	route  *route
	who    operator.Principal
	source string
	bearer string
	query  map[string]string
	body   []byte
	// about is what the entry of the audit log says beside who asked for what; dry that nothing was
	// changed.
	about audit.Record
	dry   bool
}

// New returns the handler of the admin API. Put it behind what compares paths as they stand: a mux
// that cleans paths or redirects lets through what it has not compared.
//
// Errors: where a part is missing, or the table of routes is not whole.
func New(config Config) (http.Handler, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	s := &server{config: config, routes: routes(), failures: newThrottle(config.Now)}
	s.bodies.Most, s.bodies.Small = allBodies, 2*orderLimit
	for _, row := range s.routes {
		if row.login == (len(row.roles) != 0) || row.record == recordedNowhere || row.serve == nil {
			return nil, fmt.Errorf("route %s %s has no role or leaves no trace", row.method, row.path)
		}
	}
	s.level = newLevel(config.Level)
	var err error
	if s.places, err = journal.NewPlaces(); err != nil {
		return nil, err
	}
	s.metrics, err = newMetrics(config.Registerer)
	return s, err
}

// answer is an answer that is no JSON document.
type answer struct {
	media, name string
	content     []byte
}

// ServeHTTP lets the request in or refuses it, and writes down either. A panic underneath ends this
// request and nothing else.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	c := &call{Context: r.Context(), source: source(r)}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	document, err := s.run(c, w, r)
	status := http.StatusOK
	if err == nil {
		document, err = encode(document)
	}
	if err != nil {
		status = s.fail(c, w, err)
	} else {
		write(w, document.(answer))
	}
	name := "other"
	if c.route != nil {
		name = c.route.action
	}
	s.metrics.request(name, status, time.Since(began))
	s.config.Logger.DebugContext(r.Context(), "admin request", "action", name, "status", status,
		"operator", c.who.Name, "source", c.source)
}

func (s *server) run(c *call, w http.ResponseWriter, r *http.Request) (document any, err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			// The value can hold what the caller sent; the stack says where.
			document, err = nil, fmt.Errorf("panic: %s at %s",
				attestd.Excerpt(fmt.Sprint(recovered), 100), attestd.Excerpt(string(debug.Stack()), 4000))
		}
	}()
	if err := s.admit(c, r); err != nil {
		return nil, err
	}
	if c.query, err = query(r, c.route.query); err != nil {
		return nil, err
	}
	done, err := s.take(c, w, r)
	if err != nil {
		return nil, err
	}
	defer done()
	if c.route.record == recorded {
		if err := s.demandLog(); err != nil {
			return nil, err
		}
	}
	if document, err = c.route.serve(s, c); err != nil {
		return nil, err
	}
	return document, s.trace(c)
}

// admit finds out who asks for what, and whether they may. Nobody learns which paths there are before
// it is known who asks.
func (s *server) admit(c *call, r *http.Request) error {
	found, notRouted := s.find(r)
	if err := straight(r); err != nil {
		return err
	}
	if found != nil && found.login {
		c.route = found
		return s.admitLogin(c, r)
	}
	who, err := s.authenticate(c, r)
	if err != nil {
		return err
	}
	c.who = who
	if notRouted != nil {
		return notRouted
	}
	c.route = found
	if !slices.ContainsFunc(found.roles, who.Has) {
		return refuse(attestd.ClassForbidden, fmt.Sprintf("%s needs role %s", found.action, anyOf(found.roles)),
			"ask somebody who has it: attestd operator ls")
	}
	if found.shared && !who.Sees(operator.AllTenants) {
		return refuse(attestd.ClassForbidden, found.action+" is not of one tenant: it needs all tenants",
			"ask somebody who may act for all tenants")
	}
	return nil
}

func anyOf(roles []operator.Role) string {
	var names []string
	for _, role := range roles {
		names = append(names, string(role))
	}
	return strings.Join(names, " or ")
}

// find returns the route of a request.
//
// Errors: 404 for a path that is in no row, 405 with Allow for a method that is not.
func (s *server) find(r *http.Request) (*route, error) {
	var allowed []string
	path, ok := strings.CutPrefix(r.URL.Path, Prefix)
	for i, row := range s.routes {
		// RawPath is set where the path was encoded in any but the plain way.
		if !ok || path != row.path || r.URL.RawPath != "" {
			continue
		}
		if r.Method == row.method {
			return &s.routes[i], nil
		}
		allowed = append(allowed, row.method)
	}
	if len(allowed) == 0 {
		return nil, edge.New(attestd.ClassUnsupported, "no such path",
			"paths are compared as they stand; the reference lists them").
			WithStatus(http.StatusNotFound, "Not found").Err()
	}
	p := edge.New(attestd.ClassUnsupported, "this path does not take that method",
		"use "+strings.Join(allowed, " or ")).WithStatus(http.StatusMethodNotAllowed, "Method not allowed")
	p.Allow = strings.Join(allowed, ", ")
	return nil, p.Err()
}

// take reads the body, where the route has one, and refuses one where it has none.
func (s *server) take(c *call, w http.ResponseWriter, r *http.Request) (done func(), err error) {
	nothing := func() {}
	if c.route.body == 0 {
		if r.ContentLength != 0 {
			return nil, malformed("this request takes no body", "leave the body out")
		}
		return nothing, nil
	}
	if _, err := edge.MediaType(r, problem.JSON); err != nil {
		return nil, err
	}
	if c.route.body > orderLimit {
		if !s.large.TryLock() {
			return nil, refuse(attestd.ClassRateLimited, "a long list is being read already", "try again in a second")
		}
		nothing = s.large.Unlock
	}
	body, release, err := s.bodies.Read(&edge, w, r, c.route.body)
	if err != nil {
		nothing()
		return nil, err
	}
	c.body = body
	return func() { release(); nothing() }, nil
}

// fail writes the answer to an error, and what is written down of it.
func (s *server) fail(c *call, w http.ResponseWriter, err error) int {
	p := problemOf(err)
	switch {
	case p.Status == http.StatusInternalServerError:
		p.ID = rand.Text()
		s.config.Logger.ErrorContext(c, "internal error", "action", c.action(), "id", p.ID,
			"err", attestd.Excerpt(err.Error(), 5000))
	case p.Status == http.StatusServiceUnavailable:
		s.config.Logger.ErrorContext(c, "could not decide", "action", c.action(), "class", string(p.Class),
			"err", attestd.Excerpt(err.Error(), 1000))
	default:
		s.config.Logger.InfoContext(c, "refused", "action", c.action(), "class", string(p.Class),
			"operator", c.who.Name, "source", c.source)
	}
	s.noteRefused(c, p)
	p.Write(w)
	return p.Status
}

func encode(document any) (any, error) {
	if whole, ok := document.(answer); ok {
		return whole, nil
	}
	content, err := json.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	return answer{media: "application/json", content: append(content, '\n')}, nil
}

func write(w http.ResponseWriter, a answer) {
	w.Header().Set("Content-Type", a.media)
	if a.name != "" {
		w.Header().Set("Content-Disposition", `attachment; filename="`+a.name+`"`)
	}
	// A caller that does not read its answer is its own affair.
	_, _ = w.Write(a.content)
}

// localNetwork returns the kind of socket that the request came through.
func localNetwork(r *http.Request) string {
	if address, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		return address.Network()
	}
	return ""
}
