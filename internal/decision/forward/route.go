package forward

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/enforcer"
)

// Keys of the query. One that is none of them is refused, or a misspelt "privileged" would make a
// privileged route an ordinary one; so is one that stands twice.
const (
	keyProxy             = "proxy"
	keyAction            = "action"
	keyResourceType      = "resource_type"
	keyResourceID        = "resource_id"
	keyTenant            = "tenant"
	keyProject           = "project"
	keyDatasets          = "datasets"
	keyRing              = "ring"
	keyPrivileged        = "privileged"
	keyConnectivity      = "connectivity"
	keyCredential        = "credential"
	keyTokenHeader       = "token_header"
	keyCertificateHeader = "certificate_header"
	keySourceHeader      = "source_header"
)

// Keys returns the keys of the query, in the order of their documentation.
func Keys() []string {
	return []string{
		keyProxy, keyAction, keyResourceType, keyResourceID, keyTenant, keyProject, keyDatasets, keyRing,
		keyPrivileged, keyConnectivity, keyCredential, keyTokenHeader, keyCertificateHeader, keySourceHeader,
	}
}

// Kinds of credentials that a route can ask for.
const (
	credentialToken       = "token"
	credentialCertificate = "certificate"
)

// typeRoute is the type of a resource that is a path.
const typeRoute = "route"

// Limits of what a route may hold, in bytes and entries.
const (
	maxQuery    = 4 << 10
	maxText     = 512
	maxPath     = 1024
	maxDatasets = 64
)

// proxies are the proxies there are, with the headers in which each writes what it was asked. Which of
// them count is for the route to say: a proxy overwrites its own, and hands on the caller's others.
var proxies = map[string]struct{ method, uri string }{
	"nginx":   {"X-Original-Method", "X-Original-Uri"},
	"caddy":   {"X-Forwarded-Method", "X-Forwarded-Uri"},
	"traefik": {"X-Forwarded-Method", "X-Forwarded-Uri"},
}

// route is what a proxy's configuration says of a request.
type route struct {
	proxy, action string
	resource      decision.Resource
	connected     decision.Connectivity
	credential    string
	// token, certificate and source are names of headers.
	token, certificate, source string
}

// readRoute reads the query.
//
// Errors: plain ones, for whoever configures the proxy.
func readRoute(raw string) (route, error) {
	out := route{token: "Authorization", credential: credentialToken, connected: decision.ConnectivityUnknown}
	if len(raw) > maxQuery {
		return route{}, fmt.Errorf("the query has %d bytes, want at most %d", len(raw), maxQuery)
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return route{}, fmt.Errorf("the query cannot be read")
	}
	for key, list := range values {
		if len(list) != 1 || list[0] == "" || len(list[0]) > maxText {
			return route{}, fmt.Errorf("query %q stands %d times, want once with 1 to %d bytes",
				attestd.Excerpt(key, 40), len(list), maxText)
		}
		if err := out.take(key, list[0]); err != nil {
			return route{}, err
		}
	}
	switch {
	case out.proxy == "":
		return route{}, fmt.Errorf("query %s is missing: want nginx, caddy or traefik", keyProxy)
	case (out.resource.Type == "") != (out.resource.ID == ""):
		return route{}, fmt.Errorf("the query names one of %s and %s, want both or none",
			keyResourceType, keyResourceID)
	case (out.credential == credentialCertificate) != (out.certificate != ""):
		return route{}, fmt.Errorf("query %s=%s and %s go together",
			keyCredential, credentialCertificate, keyCertificateHeader)
	}
	return out, nil
}

func (r *route) take(key, value string) (err error) {
	switch key {
	case keyProxy:
		if _, known := proxies[value]; !known {
			err = fmt.Errorf("query %s is %q, want nginx, caddy or traefik", key, attestd.Excerpt(value, 40))
		}
		r.proxy = value
	case keyAction:
		r.action = value
	case keyResourceType:
		r.resource.Type = value
	case keyResourceID:
		r.resource.ID = value
	case keyTenant:
		r.resource.Tenant = value
	case keyProject:
		r.resource.Project = value
	case keyRing:
		r.resource.Ring = value
	case keyDatasets:
		r.resource.Datasets, err = readDatasets(value)
	case keyPrivileged:
		if value != "true" && value != "false" {
			err = fmt.Errorf("query %s is %q, want true or false", key, attestd.Excerpt(value, 40))
		}
		r.resource.Privileged = value == "true"
	case keyConnectivity:
		r.connected = decision.Connectivity(value)
		if !slices.Contains([]decision.Connectivity{
			decision.ConnectivityUnknown, decision.ConnectivityAirGapped, decision.ConnectivityConnected,
		}, r.connected) {
			err = fmt.Errorf("query %s is %q, want unknown, air-gapped or connected",
				key, attestd.Excerpt(value, 40))
		}
	case keyCredential:
		r.credential = value
		if value != credentialToken && value != credentialCertificate {
			err = fmt.Errorf("query %s is %q, want token or certificate", key, attestd.Excerpt(value, 40))
		}
	case keyTokenHeader:
		r.token, err = readHeaderName(value)
	case keyCertificateHeader:
		r.certificate, err = readHeaderName(value)
	case keySourceHeader:
		r.source, err = readHeaderName(value)
	default:
		err = fmt.Errorf("query %q is none that attestd knows", attestd.Excerpt(key, 40))
	}
	return err
}

// readDatasets reads ID, or ID=CLASS+CLASS, with commas between. A plus of a query has to be written as
// %2B: as it stands it is a space, and a space is taken for the same.
func readDatasets(value string) ([]decision.Dataset, error) {
	var out []decision.Dataset
	for one := range strings.SplitSeq(value, ",") {
		id, classes, classified := strings.Cut(strings.TrimSpace(one), "=")
		dataset := decision.Dataset{ID: id}
		if classified {
			dataset.Classification = strings.FieldsFunc(classes, func(r rune) bool {
				return r == '+' || r == ' '
			})
		}
		if id == "" || classified && len(dataset.Classification) == 0 || len(out) == maxDatasets {
			return nil, fmt.Errorf(
				"datasets are %q, want at most %d of ID or ID=CLASS+CLASS, with commas between", attestd.Excerpt(value, 80), maxDatasets)
		}
		out = append(out, dataset)
	}
	return out, nil
}

// readHeaderName refuses what is no field name of RFC 9110 section 5.1, and the header that the proxy
// itself is known by.
func readHeaderName(name string) (string, error) {
	for _, c := range []byte(name) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && c != '-' && c != '_' {
			return "", fmt.Errorf("%q is not the name of a header", attestd.Excerpt(name, 40))
		}
	}
	canonical := http.CanonicalHeaderKey(name)
	if canonical == enforcer.HeaderToken {
		return "", fmt.Errorf("header %s is the proxy's own", canonical)
	}
	return canonical, nil
}

// fill takes the action and the resource from the request that the proxy was asked, where the route does
// not name them.
func (r *route) fill(sent http.Header) error {
	names := proxies[r.proxy]
	if r.action == "" {
		method, err := once(sent, names.method)
		if err != nil {
			return err
		}
		switch method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
			r.action = decision.ActionHTTPRead
		default: // also what nobody knows: a method that is not known to only read may write
			r.action = decision.ActionHTTPWrite
		}
	}
	if r.resource.Type == "" {
		target, err := once(sent, names.uri)
		if err != nil {
			return err
		}
		path, err := pathOf(target)
		if err != nil {
			return err
		}
		r.resource.Type, r.resource.ID = typeRoute, path
	}
	return nil
}

func once(sent http.Header, name string) (string, error) {
	values := sent.Values(name)
	if len(values) != 1 || values[0] == "" {
		return "", fmt.Errorf("header %s stands %d times, want once: the proxy has to set it", name, len(values))
	}
	return values[0], nil
}

// pathOf returns the path of a request as the id of a resource: without its query, which holds what
// callers look for, and only in the one spelling that policies can be written about.
func pathOf(target string) (string, error) {
	path, _, _ := strings.Cut(target, "?")
	path, _, _ = strings.Cut(path, "#")
	if !strings.HasPrefix(path, "/") || len(path) > maxPath {
		return "", fmt.Errorf("the path has %d bytes, want a / and at most %d", len(path), maxPath)
	}
	visible := !strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r > '~' })
	if !visible || strings.Contains(path, "//") || strings.ContainsAny(path, `%\;`) ||
		strings.Contains(path+"/", "/../") || strings.Contains(path+"/", "/./") {
		// What is behind the proxy can read such a path otherwise; a policy about it would be about another.
		return "", fmt.Errorf(`the path has a second spelling (//, . or .., %%, \ or ;); name the resource ` +
			"in the query of the route")
	}
	return path, nil
}
