package route

import (
	"errors"
	"fmt"
	"net/http"
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
