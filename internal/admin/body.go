package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// Limits of bodies, by what they can hold.
const (
	// orderLimit is for a few short texts.
	orderLimit = 16 << 10
	// policyLimit is for a policy and its reference values in base64.
	policyLimit = 8 << 20
	// importLimit is for a list of 100,000 machines in base64.
	importLimit = 48 << 20
	// allBodies bounds the bodies of all requests: two of the largest.
	allBodies = 2 * importLimit
)

// jsonDepth is the nesting of the deepest request: an object with a list.
const jsonDepth = 2

// decode reads the body of a call strictly: every key is known, none stands twice, nothing follows.
func decode[T any](c *call) (document T, err error) {
	limits := strict.JSONLimits{Bytes: c.route.body, Depth: jsonDepth}
	if err := strict.DecodeJSON(c.body, limits, &document); err != nil {
		return document, malformed(err.Error(), "compare the body with the reference; every key is checked")
	}
	return document, nil
}

// maxQuery bounds the text of a query and of one value in it.
const (
	maxQuery = 8 << 10
	maxValue = 2 << 10
)

// query returns the parameters of the URL, each of which must be among known and stand once.
func query(r *http.Request, known []string) (map[string]string, error) {
	hint := "this request takes no query parameters"
	if len(known) != 0 {
		hint = "known query parameters: " + strings.Join(known, ", ")
	}
	if len(r.URL.RawQuery) > maxQuery {
		return nil, refuse(attestd.ClassTooLarge, "the query is too long", hint)
	}
	parsed, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, malformed("the query cannot be read", hint)
	}
	values := make(map[string]string, len(parsed))
	for name, given := range parsed {
		switch {
		case !slices.Contains(known, name):
			return nil, malformed(fmt.Sprintf("unknown query parameter %q", attestd.Excerpt(name, 40)), hint)
		case len(given) != 1:
			return nil, malformed(fmt.Sprintf("query parameter %q stands more than once", name), hint)
		case given[0] == "":
			return nil, malformed(fmt.Sprintf("query parameter %q is empty", name), "give it a value, or leave it out")
		case len(given[0]) > maxValue || !plain(given[0]):
			return nil, malformed(fmt.Sprintf("query parameter %q is longer than %d bytes, or not plain text",
				name, maxValue), hint)
		}
		values[name] = given[0]
	}
	return values, nil
}
