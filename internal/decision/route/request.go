package route

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/attestd/attestd/internal/decision"
)

// Type is the type of a resource that is a path.
const Type = "route"

const maxPath = 1024

// Action returns what a method does, where the route does not say what the request does. What is not
// known to only read may write.
func Action(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return decision.ActionHTTPRead
	default:
		return decision.ActionHTTPWrite
	}
}

// Check refuses a target that the proxy and what is behind it could read as two paths, for a route that
// names its resource: the proxy chose the route by one reading, and hands on the other.
//
// Errors: plain ones, for whoever configures the proxy.
func Check(target string) error {
	path, _, _ := strings.Cut(target, "?")
	path, _, _ = strings.Cut(path, "#")
	lower := strings.ToLower(path)
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "//") || strings.ContainsAny(path, `\;`) ||
		strings.Contains(path+"/", "/../") || strings.Contains(path+"/", "/./") ||
		slices.ContainsFunc(ambiguous, func(one string) bool { return strings.Contains(lower, one) }) ||
		strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return errors.New(`the path has a second spelling (//, . or .., \, ;, or an escaped ., /, \, % or ;)`)
	}
	return nil
}

// ambiguous are the escapes of what separates or ends the parts of a path.
var ambiguous = []string{"%2e", "%2f", "%5c", "%25", "%3b", "%00"}

// Path returns the path of a request as the id of a resource: without its query, which holds what callers
// look for, and only in the one spelling that policies can be written about.
//
// Errors: plain ones, for whoever configures the proxy.
func Path(target string) (string, error) {
	path, _, _ := strings.Cut(target, "?")
	path, _, _ = strings.Cut(path, "#")
	if !strings.HasPrefix(path, "/") || len(path) > maxPath {
		return "", fmt.Errorf("the path has %d bytes, want a / and at most %d", len(path), maxPath)
	}
	visible := !strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r > '~' })
	if !visible || strings.Contains(path, "//") || strings.ContainsAny(path, `%\;`) ||
		strings.Contains(path+"/", "/../") || strings.Contains(path+"/", "/./") {
		// What is behind the proxy can read such a path otherwise; a policy about it would be about another.
		return "", errors.New(`the path has a second spelling (//, . or .., %, \ or ;) or is not ASCII; ` +
			"name the resource in the configuration of the route, or normalize it in the proxy")
	}
	return path, nil
}
