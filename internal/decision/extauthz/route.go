package extauthz

import (
	"fmt"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision/route"
)

// Keys of context_extensions beside those that every interface has.
const (
	keyKeepToken = "keep_token"
	keyLabels    = "labels"
)

// Keys returns the keys of context_extensions that are understood, in the order of their documentation.
func Keys() []string { return append(route.Keys(), keyKeepToken, keyLabels) }

// credentialXFCC is a certificate that another Envoy in front has verified.
const credentialXFCC = "xfcc"

// Limits of what a request may hold, in bytes and entries.
const (
	maxText   = route.MaxText
	maxLabels = 64
)

// configured is what the operator's configuration says of a request.
type configured struct {
	route.Route
	keepToken bool
	labels    string
}

// readRoute reads the extensions of one route.
//
// Errors: plain ones, for the operator.
func readRoute(extensions map[string]string) (configured, error) {
	out := configured{Route: route.New()}
	for key, value := range extensions {
		if err := out.take(key, value); err != nil {
			return configured{}, fmt.Errorf("context extension: %w", err)
		}
	}
	out.TokenHeader = strings.ToLower(out.TokenHeader)
	if out.TokenHeader != "authorization" && out.Credential != route.CredentialToken {
		return configured{}, fmt.Errorf("context extension: %s goes with %s=%s only",
			route.KeyTokenHeader, route.KeyCredential, route.CredentialToken)
	}
	if err := out.Whole(); err != nil {
		return configured{}, fmt.Errorf("context extensions: %w", err)
	}
	return out, nil
}

func (c *configured) take(key, value string) error {
	known, err := c.Take(key, value, route.CredentialToken, route.CredentialCertificate, credentialXFCC)
	switch {
	case known:
		return err
	case value == "" || len(value) > maxText:
		return fmt.Errorf("%q has %d bytes, want 1 to %d", attestd.Excerpt(key, 40), len(value), maxText)
	case key == keyKeepToken:
		c.keepToken, err = route.Bool(key, value)
	case key == keyLabels:
		c.labels = value
	default:
		err = fmt.Errorf("%q is none that attestd knows", attestd.Excerpt(key, 40))
	}
	return err
}
