package route

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
)

// Keys that a route can hold by any interface.
const (
	KeyAction       = "action"
	KeyResourceType = "resource_type"
	KeyResourceID   = "resource_id"
	KeyTenant       = "tenant"
	KeyProject      = "project"
	KeyDatasets     = "datasets"
	KeyRing         = "ring"
	KeyPrivileged   = "privileged"
	KeyConnectivity = "connectivity"
	KeyCredential   = "credential"
	KeyTokenHeader  = "token_header"
)

// Keys returns them in the order of their documentation.
func Keys() []string {
	return []string{
		KeyAction, KeyResourceType, KeyResourceID, KeyTenant, KeyProject, KeyDatasets, KeyRing, KeyPrivileged,
		KeyConnectivity, KeyCredential, KeyTokenHeader,
	}
}

// Kinds of credentials that a route can ask for.
const (
	CredentialToken       = "token"
	CredentialCertificate = "certificate"
)

// MaxText is how many bytes a value may have.
const MaxText = 512

const maxDatasets = 64

// Route is what a configuration says of a request. The zero value says nothing; [New] has the defaults.
type Route struct {
	Action     string
	Resource   decision.Resource
	Connected  decision.Connectivity
	Credential string
	// TokenHeader is the name of a header as it was written.
	TokenHeader string
}

// New returns the route of a configuration that says nothing.
func New() Route {
	return Route{TokenHeader: "Authorization", Connected: decision.ConnectivityUnknown}
}

// Take reads one key. One that is none of [Keys] is not known: the interface has it, or it is refused, or a
// misspelt "privileged" would make a privileged route an ordinary one. The credentials are those that the
// interface can hand on.
//
// Errors: plain ones, for whoever configures the proxy.
func (r *Route) Take(key, value string, credentials ...string) (known bool, err error) {
	if !slices.Contains(Keys(), key) {
		return false, nil
	}
	if value == "" || len(value) > MaxText {
		return true, fmt.Errorf("%s has %d bytes, want 1 to %d", key, len(value), MaxText)
	}
	switch key {
	case KeyAction:
		r.Action = value
	case KeyResourceType:
		r.Resource.Type = value
	case KeyResourceID:
		r.Resource.ID = value
	case KeyTenant:
		r.Resource.Tenant = value
	case KeyProject:
		r.Resource.Project = value
	case KeyRing:
		r.Resource.Ring = value
	case KeyDatasets:
		r.Resource.Datasets, err = datasets(value)
	case KeyPrivileged:
		r.Resource.Privileged, err = Bool(key, value)
	case KeyConnectivity:
		r.Connected, err = Connectivity(value)
	case KeyTokenHeader:
		r.TokenHeader, err = value, HeaderName(value)
	case KeyCredential:
		if r.Credential = value; !slices.Contains(credentials, value) {
			err = fmt.Errorf("%s is %q, want %s", key, attestd.Excerpt(value, 40), strings.Join(credentials, " or "))
		}
	}
	return true, err
}

// Whole refuses a route that names half of a resource.
func (r *Route) Whole() error {
	if (r.Resource.Type == "") != (r.Resource.ID == "") {
		return fmt.Errorf("one of %s and %s is named, want both or none", KeyResourceType, KeyResourceID)
	}
	return nil
}

// Bool reads true or false.
func Bool(key, value string) (bool, error) {
	if value != "true" && value != "false" {
		return false, fmt.Errorf("%s is %q, want true or false", key, attestd.Excerpt(value, 40))
	}
	return value == "true", nil
}

// Connectivity reads how the resource is connected.
func Connectivity(value string) (decision.Connectivity, error) {
	given := decision.Connectivity(value)
	switch given {
	case decision.ConnectivityUnknown, decision.ConnectivityAirGapped, decision.ConnectivityConnected:
		return given, nil
	default:
		return "", fmt.Errorf("%s is %q, want unknown, air-gapped or connected",
			KeyConnectivity, attestd.Excerpt(value, 40))
	}
}

// datasets reads ID, or ID=CLASS+CLASS, with commas between. The plus of a query that is not written as
// %2B arrives as a space, which is taken for the same.
func datasets(value string) ([]decision.Dataset, error) {
	var out []decision.Dataset
	for one := range strings.SplitSeq(value, ",") {
		id, classes, classified := strings.Cut(strings.TrimSpace(one), "=")
		dataset := decision.Dataset{ID: id}
		if classified {
			dataset.Classification = strings.Split(strings.ReplaceAll(classes, " ", "+"), "+")
		}
		if id == "" || slices.Contains(dataset.Classification, "") || len(out) == maxDatasets {
			return nil, fmt.Errorf("%s are %q, want at most %d of ID or ID=CLASS+CLASS, with commas between",
				KeyDatasets, attestd.Excerpt(value, 80), maxDatasets)
		}
		out = append(out, dataset)
	}
	return out, nil
}

// HeaderName refuses what is no name of a header that proxies hand on: letters, digits, - and _, which is
// less than RFC 9110 section 5.1 has, and no pseudo header.
func HeaderName(name string) error {
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && c != '-' && c != '_' {
			return fmt.Errorf("%q is not the name of a header", attestd.Excerpt(name, 40))
		}
	}
	return nil
}
