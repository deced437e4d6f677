package extauthz

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
)

// Keys of context_extensions: what a route says about the requests that take it. A key that is none of
// them is refused, or a misspelt "privileged" would make a privileged route an ordinary one.
const (
	keyAction       = "action"
	keyResourceType = "resource_type"
	keyResourceID   = "resource_id"
	keyTenant       = "tenant"
	keyProject      = "project"
	keyDatasets     = "datasets"
	keyRing         = "ring"
	keyPrivileged   = "privileged"
	keyConnectivity = "connectivity"
	keyCredential   = "credential"
	keyTokenHeader  = "token_header"
	keyKeepToken    = "keep_token"
	keyLabels       = "labels"
)

// Keys returns the keys of context_extensions that are understood, in the order of their documentation.
func Keys() []string {
	return []string{
		keyAction, keyResourceType, keyResourceID, keyTenant, keyProject, keyDatasets, keyRing,
		keyPrivileged, keyConnectivity, keyCredential, keyTokenHeader, keyKeepToken, keyLabels,
	}
}

// Kinds of credentials that a route can ask for.
const (
	credentialToken       = "token"
	credentialCertificate = "certificate"
	credentialXFCC        = "xfcc"
)

// typeRoute is the type of a resource that is a path.
const typeRoute = "route"

// Limits of what a request may hold, in bytes and entries.
const (
	maxText     = 512
	maxPath     = 1024
	maxDatasets = 64
	maxLabels   = 64
)

// route is what the operator's configuration says of a request.
type route struct {
	action     string
	resource   decision.Resource
	connected  decision.Connectivity
	credential string
	header     string
	keepToken  bool
	labels     string
}

// readRoute reads the extensions of one route.
//
// Errors: plain ones, for the operator.
func readRoute(extensions map[string]string) (route, error) {
	out := route{header: "authorization", connected: decision.ConnectivityUnknown}
	for key, value := range extensions {
		if value == "" || len(value) > maxText {
			return route{}, fmt.Errorf("context extension %q has %d bytes, want 1 to %d",
				attestd.Excerpt(key, 40), len(value), maxText)
		}
		if err := out.take(key, value); err != nil {
			return route{}, err
		}
	}
	if out.header != "authorization" && out.credential != credentialToken {
		return route{}, fmt.Errorf("context extension %q goes with %s=%s only",
			keyTokenHeader, keyCredential, credentialToken)
	}
	if (out.resource.Type == "") != (out.resource.ID == "") {
		return route{}, fmt.Errorf("context extensions name one of %s and %s, want both or none",
			keyResourceType, keyResourceID)
	}
	return out, nil
}

func (r *route) take(key, value string) (err error) {
	switch key {
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
	case keyLabels:
		r.labels = value
	case keyDatasets:
		r.resource.Datasets, err = readDatasets(value)
	case keyPrivileged:
		r.resource.Privileged, err = readBool(key, value)
	case keyKeepToken:
		r.keepToken, err = readBool(key, value)
	case keyConnectivity:
		r.connected, err = readConnectivity(value)
	case keyTokenHeader:
		r.header, err = strings.ToLower(value), checkHeaderName(value)
	case keyCredential:
		r.credential = value
		if !slices.Contains([]string{credentialToken, credentialCertificate, credentialXFCC}, value) {
			err = fmt.Errorf("context extension %q is %q, want token, certificate or xfcc",
				key, attestd.Excerpt(value, 40))
		}
	default:
		err = fmt.Errorf("context extension %q is none that attestd knows", attestd.Excerpt(key, 40))
	}
	return err
}

func readBool(key, value string) (bool, error) {
	if value != "true" && value != "false" {
		return false, fmt.Errorf("context extension %q is %q, want true or false",
			key, attestd.Excerpt(value, 40))
	}
	return value == "true", nil
}

func readConnectivity(value string) (decision.Connectivity, error) {
	given := decision.Connectivity(value)
	switch given {
	case decision.ConnectivityUnknown, decision.ConnectivityAirGapped, decision.ConnectivityConnected:
		return given, nil
	default:
		return "", fmt.Errorf("connectivity is %q, want unknown, air-gapped or connected",
			attestd.Excerpt(value, 40))
	}
}

// readDatasets reads ID, or ID=CLASS+CLASS, with commas between.
func readDatasets(value string) ([]decision.Dataset, error) {
	var out []decision.Dataset
	for one := range strings.SplitSeq(value, ",") {
		id, classes, classified := strings.Cut(strings.TrimSpace(one), "=")
		if id == "" || classified && classes == "" || len(out) == maxDatasets {
			return nil, fmt.Errorf("datasets are %q, want at most %d of ID or ID=CLASS+CLASS, with commas between",
				attestd.Excerpt(value, 80), maxDatasets)
		}
		dataset := decision.Dataset{ID: id}
		if classified {
			dataset.Classification = strings.Split(classes, "+")
		}
		if slices.Contains(dataset.Classification, "") {
			return nil, fmt.Errorf("dataset %q has an empty class", attestd.Excerpt(id, 80))
		}
		out = append(out, dataset)
	}
	return out, nil
}

// checkHeaderName refuses what is no field name of RFC 9110 section 5.1, and pseudo headers.
func checkHeaderName(name string) error {
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && c != '-' && c != '_' {
			return fmt.Errorf("%q is not the name of a header", attestd.Excerpt(name, 40))
		}
	}
	return nil
}

// pathID returns the path of a request as the id of a resource: without its query, which holds what
// callers look for, and only in the one spelling that policies can be written about.
func pathID(target string) (string, error) {
	path, _, _ := strings.Cut(target, "?")
	path, _, _ = strings.Cut(path, "#")
	switch {
	case !strings.HasPrefix(path, "/") || len(path) > maxPath:
		return "", fmt.Errorf("path has %d bytes, want a / and at most %d", len(path), maxPath)
	case strings.Contains(path, "//"), strings.ContainsAny(path, "%\\;"), strings.Contains(path+"/", "/../"),
		strings.Contains(path+"/", "/./"):
		// What reads this path behind us can read it otherwise; a policy about it would be about another.
		return "", fmt.Errorf("path has a second spelling (//, . or .., %%, \\ or ;); name the resource by " +
			"context extensions, or normalize it in Envoy")
	}
	return path, nil
}

// httpAction returns what a method is, where the route does not say what the request does.
func httpAction(method string) string {
	switch method {
	case "GET", "HEAD", "OPTIONS":
		return decision.ActionHTTPRead
	default:
		return decision.ActionHTTPWrite
	}
}
