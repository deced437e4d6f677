package api

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/problem"
	"github.com/attestd/attestd/internal/strict"
)

// Media types of request bodies.
const (
	mediaJSON  = problem.JSON
	mediaCBOR  = "application/cbor"
	mediaBytes = "application/octet-stream"
)

// Limits bound what one caller and all callers together can make us hold.
type Limits struct {
	// JSONBody and RawBody are the most bytes of one body.
	JSONBody, RawBody int
	// AllBodies is the most bytes of all bodies that are being read or answered.
	AllBodies int64
}

// jsonDepth is the nesting of the deepest request: an object, endorsements, certificates.
const jsonDepth = 3

// body returns the body, which must not be empty, and a function that must be called when it is no
// longer held.
func (s *server) body(w http.ResponseWriter, r *http.Request, limit int) ([]byte, func(), error) {
	body, done, err := s.bodies.Read(&edge, w, r, limit)
	if err == nil && len(body) == 0 {
		done()
		return nil, nil, malformed("the request has no body", "send evidence in the body")
	}
	return body, done, err
}

// decode reads a JSON body strictly into the pointer into.
func decode(body []byte, limit int, into any) error {
	err := strict.DecodeJSON(body, strict.JSONLimits{Bytes: limit, Depth: jsonDepth}, into)
	if err != nil {
		return malformed(err.Error(), "compare the body with docs/api.md; every key is checked")
	}
	return nil
}

// query returns the parameters of the URL, each of which must be among known and stand once.
func query(r *http.Request, known ...string) (map[string]string, error) {
	hint := "this request takes no query parameters"
	if len(known) != 0 {
		hint = "known query parameters: " + strings.Join(known, ", ")
	}
	parsed, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, malformed("the query cannot be read", hint)
	}
	values := make(map[string]string, len(known))
	for _, name := range known {
		if given, ok := parsed[name]; ok {
			if len(given) != 1 {
				return nil, malformed(fmt.Sprintf("query parameter %q stands more than once", name), hint)
			}
			if given[0] == "" {
				return nil, malformed(fmt.Sprintf("query parameter %q is empty", name), "give it a value, or leave it out")
			}
			values[name] = given[0]
			delete(parsed, name)
		}
	}
	for name := range parsed {
		return nil, malformed(fmt.Sprintf("unknown query parameter %q", attestd.Excerpt(name, 40)), hint)
	}
	return values, nil
}
