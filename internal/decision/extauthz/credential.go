package extauthz

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/route"
)

// Limits of credentials. What they hold is looked at by whoever verifies them.
const (
	maxToken        = 8 << 10
	maxCertificates = 32 << 10
	maxChain        = 8
	headerXFCC      = "x-forwarded-client-cert"
)

// errConfigured is about routes and rights, which callers have no part in.
var errConfigured = errors.New("the route's credential cannot be taken")

// credentialOf returns what the caller shows. Where the route does not say what counts, exactly one kind
// may be there: else the caller would choose which of two identities a decision is about.
//
// Errors: plain ones that quote no credential.
func credentialOf(
	attributes *authv3.AttributeContext, sent headers, says configured, mayVouch bool,
) (decision.Credential, error) {
	out := decision.Credential{Source: sourceOf(attributes.GetSource().GetAddress())}
	certificate := attributes.GetSource().GetCertificate()
	_, tokens := sent.get(says.TokenHeader)
	kind := says.Credential
	if kind == "" {
		switch {
		case certificate != "" && tokens != 0:
			return out, fmt.Errorf("%w: there are a token and a certificate; say which counts by context "+
				"extension %s", errConfigured, route.KeyCredential)
		case certificate != "":
			kind = route.CredentialCertificate
		default:
			kind = route.CredentialToken
		}
	}
	var err error
	switch {
	case kind == route.CredentialToken:
		out.Token, err = tokenOf(sent, says.TokenHeader)
	case !mayVouch:
		err = fmt.Errorf("%w: the enforcement point may not vouch for certificates", errConfigured)
	case kind == credentialXFCC:
		out.Chain, err = forwardedChain(sent)
		if err == nil {
			err = ownChain(out.Chain, certificate)
		}
	default:
		out.Chain, err = chainOf(certificate)
	}
	return out, err
}

// tokenOf reads a bearer token (RFC 6750 section 2.1); from a header of its own it may stand alone. No
// token is no error: nobody is identified then, and that is a decision.
func tokenOf(sent headers, header string) (string, error) {
	value, times := sent.get(header)
	if times == 0 {
		return "", nil
	}
	scheme, token, found := strings.Cut(value, " ")
	if !found && header != "authorization" {
		scheme, token = "Bearer", value
	}
	switch {
	case times != 1:
		return "", fmt.Errorf("header %s stands %d times", header, times)
	case !strings.EqualFold(scheme, "Bearer"):
		return "", fmt.Errorf("header %s has no bearer token", header)
	case token == "" || len(token) > maxToken || strings.ContainsAny(token, " ,") || !isVisible(token):
		return "", fmt.Errorf("header %s has no single token of 1 to %d bytes", header, maxToken)
	}
	return token, nil
}

// ownChain refuses a forwarded chain that is not of this connection: with another setting than SANITIZE_SET
// Envoy hands on what the caller wrote into the header.
func ownChain(forwarded []*x509.Certificate, certificate string) error {
	if len(forwarded) == 0 {
		return nil
	}
	peer, err := chainOf(certificate)
	switch {
	case err != nil:
		return err
	case len(peer) == 0:
		return fmt.Errorf("%w: set include_peer_certificate with %s=%s", errConfigured, route.KeyCredential,
			credentialXFCC)
	case !peer[0].Equal(forwarded[0]):
		return fmt.Errorf("header %s is not of the certificate of the connection", headerXFCC)
	}
	return nil
}

// chainOf reads the certificate of the peer: PEM, URL-encoded. Envoy sends the leaf alone; where there
// are intermediate authorities, [forwardedChain] has them.
func chainOf(encoded string) ([]*x509.Certificate, error) {
	if encoded == "" {
		return nil, nil
	}
	if len(encoded) > maxCertificates {
		return nil, fmt.Errorf("certificate has %d bytes, want at most %d", len(encoded), maxCertificates)
	}
	// Not QueryUnescape: it makes spaces of the + in base64.
	text, err := url.PathUnescape(encoded)
	if err != nil {
		return nil, errors.New("certificate is not URL-encoded")
	}
	var out []*x509.Certificate
	rest := []byte(text)
	for len(rest) != 0 {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("certificate is not PEM")
		}
		if block.Type != "CERTIFICATE" || len(block.Headers) != 0 || len(out) == maxChain {
			return nil, fmt.Errorf("certificate is not PEM of at most %d CERTIFICATE blocks", maxChain)
		}
		parsed, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate cannot be read: %s", attestd.Excerpt(err.Error(), 120))
		}
		out = append(out, parsed)
	}
	return out, nil
}

// forwardedChain reads the header that Envoy makes where forward_client_cert_details is SANITIZE_SET and
// set_current_client_cert_details has chain: key=value pairs with semicolons between, an element for
// each proxy with commas between (Envoy, HTTP header manipulation, x-forwarded-client-cert). Only one
// element is taken: of several, the first were added by somebody whom nobody authenticated.
func forwardedChain(sent headers) ([]*x509.Certificate, error) {
	value, times := sent.get(headerXFCC)
	if times == 0 {
		return nil, nil
	}
	if times != 1 || len(value) > maxCertificates {
		return nil, fmt.Errorf("header %s stands %d times with %d bytes, want once and at most %d",
			headerXFCC, times, len(value), maxCertificates)
	}
	var chain, leaf string
	pairs, err := splitXFCC(value)
	if err != nil {
		return nil, err
	}
	for _, pair := range pairs {
		key, content, _ := strings.Cut(pair, "=")
		into := &leaf
		switch strings.ToLower(key) {
		case "chain":
			into = &chain
		case "cert":
		default:
			continue
		}
		if *into != "" {
			return nil, fmt.Errorf("header %s has %s twice", headerXFCC, strings.ToLower(key))
		}
		*into = strings.Trim(content, `"`)
	}
	if chain == "" {
		chain = leaf
	}
	if chain == "" {
		return nil, fmt.Errorf("header %s has neither Chain nor Cert", headerXFCC)
	}
	return chainOf(chain)
}

// splitXFCC returns the pairs of the only element of the header. Values can be quoted, with \" in them.
func splitXFCC(value string) ([]string, error) {
	var out []string
	quoted, start := false, 0
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			return nil, fmt.Errorf("header %s has several elements, want Envoy's own alone: "+
				"forward_client_cert_details: SANITIZE_SET", headerXFCC)
		case c == ';' && !quoted:
			out, start = append(out, value[start:i]), i+1
		}
	}
	if quoted || start > len(value) {
		return nil, fmt.Errorf("header %s has a quote that does not end", headerXFCC)
	}
	return append(out, value[start:]), nil
}

// sourceOf returns the address that the caller connected from; the zero one where it has none.
func sourceOf(address *corev3.Address) netip.Addr {
	out, err := netip.ParseAddr(address.GetSocketAddress().GetAddress())
	if err != nil {
		return netip.Addr{}
	}
	return out.Unmap().WithZone("")
}
