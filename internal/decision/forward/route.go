package forward

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/decision/route"
)

// Keys of the query beside those that every interface has. One that is unknown is refused, and so is one
// that stands twice.
const (
	keyProxy             = "proxy"
	keyCertificateHeader = "certificate_header"
	keySourceHeader      = "source_header"
)

// Keys returns the keys of the query, in the order of their documentation.
func Keys() []string {
	return append(append([]string{keyProxy}, route.Keys()...), keyCertificateHeader, keySourceHeader)
}

const maxQuery = 4 << 10

// proxies are the proxies there are, with the headers in which each writes what it was asked. Which of
// them count is for the route to say: a proxy overwrites its own, and hands on the caller's others.
var proxies = map[string]struct{ method, uri string }{
	"nginx":   {"X-Original-Method", "X-Original-Uri"},
	"caddy":   {"X-Forwarded-Method", "X-Forwarded-Uri"},
	"traefik": {"X-Forwarded-Method", "X-Forwarded-Uri"},
}

// configured is what a proxy's configuration says of a request.
type configured struct {
	route.Route
	proxy string
	// certificate and source are names of headers.
	certificate, source string
}

// readRoute reads the query.
//
// Errors: plain ones, for whoever configures the proxy.
func readRoute(raw string) (configured, error) {
	out := configured{Route: route.New()}
	out.Credential = route.CredentialToken
	if len(raw) > maxQuery {
		return configured{}, fmt.Errorf("the query has %d bytes, want at most %d", len(raw), maxQuery)
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return configured{}, fmt.Errorf("the query cannot be read")
	}
	for key, list := range values {
		if len(list) != 1 || list[0] == "" || len(list[0]) > route.MaxText {
			return configured{}, fmt.Errorf("query %q stands %d times, want once with 1 to %d bytes",
				attestd.Excerpt(key, 40), len(list), route.MaxText)
		}
		if err := out.take(key, list[0]); err != nil {
			return configured{}, fmt.Errorf("query: %w", err)
		}
	}
	if err := out.Whole(); err != nil {
		return configured{}, fmt.Errorf("query: %w", err)
	}
	switch {
	case out.proxy == "":
		return configured{}, fmt.Errorf("query %s is missing: want nginx, caddy or traefik", keyProxy)
	case (out.Credential == route.CredentialCertificate) != (out.certificate != ""):
		return configured{}, fmt.Errorf("query %s=%s and %s go together",
			route.KeyCredential, route.CredentialCertificate, keyCertificateHeader)
	}
	out.TokenHeader, err = ownHeader(out.TokenHeader)
	return out, err
}

func (c *configured) take(key, value string) error {
	known, err := c.Take(key, value, route.CredentialToken, route.CredentialCertificate)
	switch {
	case known:
		return err
	case key == keyProxy:
		if _, known := proxies[value]; !known {
			err = fmt.Errorf("%s is %q, want nginx, caddy or traefik", key, attestd.Excerpt(value, 40))
		}
		c.proxy = value
	case key == keyCertificateHeader:
		c.certificate, err = ownHeader(value)
	case key == keySourceHeader:
		c.source, err = ownHeader(value)
	default:
		err = fmt.Errorf("%q is none that attestd knows", attestd.Excerpt(key, 40))
	}
	return err
}

// ownHeader returns a name as net/http has it, and refuses the header that the proxy itself is known by.
func ownHeader(name string) (string, error) {
	canonical := http.CanonicalHeaderKey(name)
	if canonical == enforcer.HeaderToken {
		return "", fmt.Errorf("header %s is the proxy's own", canonical)
	}
	return canonical, route.HeaderName(name)
}

// fill takes the action and the resource from the request that the proxy was asked, where the route does
// not name them.
func (c *configured) fill(sent http.Header) error {
	names := proxies[c.proxy]
	if c.Action == "" {
		method, err := once(sent, names.method)
		if err != nil {
			return err
		}
		c.Action = route.Action(method)
	}
	target, err := once(sent, names.uri)
	if err != nil {
		return err
	}
	if err := route.Check(target); err != nil {
		return err
	}
	if c.Resource.Type == "" {
		path, err := route.Path(target)
		if err != nil {
			return err
		}
		c.Resource.Type, c.Resource.ID = route.Type, path
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
