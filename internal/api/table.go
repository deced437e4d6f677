package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/attestd/attestd"
)

// route is one row of the table of routes.
type route struct {
	method, path string
	// name is the route's label in metrics and logs.
	name  string
	serve func(s *server, w http.ResponseWriter, r *http.Request) error
	// about is what /openapi.json says of it.
	about operation
}

// idPlace is the one part of a path that varies, written {id} in the table.
const idPlace = "id"

// routes is every request there is. Paths are compared as they came: nothing is cleaned, decoded
// twice or redirected, so that what a proxy in front compared is what is served.
func routes() []route {
	return []route{
		{http.MethodPost, "/v1/challenges", "challenges", (*server).challenge, aboutChallenges()},
		{http.MethodPost, "/v1/verify", "verify", (*server).verify, aboutVerify()},
		{
			http.MethodPost, "/v1/verify-recorded", "verify-recorded", (*server).verifyRecorded,
			aboutRecorded(),
		},
		{http.MethodPost, "/v1/svid", "svid", (*server).svid, aboutSVID()},
		{http.MethodGet, "/v1/appraisals/{id}", "appraisals", (*server).appraisal, aboutAppraisal()},
		{http.MethodGet, "/v1/appraisals/{id}/ear", "ear", (*server).ear, aboutEAR()},
		{http.MethodGet, "/v1/keys", "keys", (*server).keys, aboutKeys()},
		{http.MethodGet, "/.well-known/jwks.json", "jwks", (*server).resultKeys, aboutResultKeys()},
		{http.MethodPost, newSessionPath, "veraison-new", (*server).newSession, aboutNewSession()},
		{http.MethodPost, sessionPath, "veraison-evidence", (*server).answerSession, aboutAnswerSession()},
		{http.MethodGet, sessionPath, "veraison-session", (*server).showSession, aboutShowSession()},
		{http.MethodDelete, sessionPath, "veraison-delete", (*server).deleteSession, aboutDeleteSession()},
		{
			http.MethodGet, "/.well-known/veraison/verification", "veraison", (*server).discovery,
			aboutDiscovery(),
		},
		{http.MethodGet, "/openapi.json", "openapi", (*server).openAPI, aboutOpenAPI()},
		{http.MethodGet, "/healthz", "healthz", (*server).health, aboutHealth("The process runs.")},
		{
			http.MethodGet, "/readyz", "readyz", (*server).readyz,
			aboutHealth("The store takes writes, the clock is sound, a self-test is rejected.", 503),
		},
		{http.MethodGet, "/metrics", "metrics", (*server).serveMetrics, aboutMetrics()},
	}
}

// matches reports whether a path is one of a row's, and what stands in the place of {id}.
func (r *route) matches(path string) (id string, ok bool) {
	before, after, varies := strings.Cut(r.path, "{"+idPlace+"}")
	if !varies {
		return "", path == r.path
	}
	rest, ok := strings.CutPrefix(path, before)
	if !ok {
		return "", false
	}
	id, ok = strings.CutSuffix(rest, after)
	return id, ok && id != "" && !strings.Contains(id, "/")
}

// find returns the route of a request, and leaves what varies in its path as the value "id".
//
// Errors: 404 for a path that is in no row, 405 with Allow for a method that is not.
func (s *server) find(r *http.Request) (*route, error) {
	var allowed []string
	for i := range s.routes {
		row := &s.routes[i]
		id, ok := row.matches(r.URL.Path)
		if !ok || r.URL.RawPath != "" {
			continue
		}
		if r.Method == row.method || row.method == http.MethodGet && r.Method == http.MethodHead {
			r.SetPathValue(idPlace, id)
			return row, nil
		}
		allowed = append(allowed, row.method)
	}
	if len(allowed) == 0 {
		return nil, edge.New(attestd.ClassUnsupported, "no such path",
			"docs/api.md lists the paths; they are compared as they stand").
			WithStatus(http.StatusNotFound, "Not found").Err()
	}
	if slices.Contains(allowed, http.MethodGet) {
		allowed = append(allowed, http.MethodHead)
	}
	p := edge.New(attestd.ClassUnsupported, "this path does not take that method",
		"use "+strings.Join(allowed, " or ")).WithStatus(http.StatusMethodNotAllowed, "Method not allowed")
	p.Allow = strings.Join(allowed, ", ")
	return nil, p.Err()
}
