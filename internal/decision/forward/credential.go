package forward

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/route"
)

// Limits of credentials. What they hold is looked at by whoever verifies them.
const (
	maxToken        = 8 << 10
	maxCertificates = 32 << 10
	maxChain        = 8
)

// credentialOf returns what the caller shows; shown says that it showed something, though it may be
// nothing that can be read.
//
// Errors: plain ones that quote no credential.
func credentialOf(
	says *configured, sent http.Header, vouches bool,
) (out decision.Credential, shown bool, err error) {
	if says.source != "" {
		out.Source = sourceOf(sent.Values(says.source))
	}
	if says.Credential == route.CredentialCertificate {
		values := sent.Values(says.certificate)
		switch {
		case len(values) == 0 || len(values) == 1 && values[0] == "":
			return out, false, nil // a proxy with optional client certificates sends an empty header
		case !vouches:
			return out, true, errors.New("the enforcement point may not vouch for certificates")
		case len(values) != 1 || len(values[0]) > maxCertificates:
			return out, true, fmt.Errorf("the header with the certificate stands %d times, want once with "+
				"at most %d bytes", len(values), maxCertificates)
		}
		out.Chain, err = chainOf(values[0])
		return out, true, err
	}
	values := sent.Values(says.TokenHeader)
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return out, false, nil
	}
	if len(values) != 1 {
		return out, true, fmt.Errorf("the header with the token stands %d times", len(values))
	}
	scheme, token, found := strings.Cut(values[0], " ")
	if !found && says.TokenHeader != "Authorization" { // a header of its own has the token alone
		scheme, token = "Bearer", values[0]
	}
	switch {
	case !strings.EqualFold(scheme, "Bearer"):
		return out, true, errors.New("the header with the token has no bearer token (RFC 6750, section 2.1)")
	case token == "" || len(token) > maxToken || strings.ContainsAny(token, " ,"):
		return out, true, fmt.Errorf("the header has no single token of 1 to %d bytes", maxToken)
	}
	out.Token = token
	return out, true, nil
}

// chainOf reads certificates as proxies write them into a header: PEM that was escaped as in a URL
// (nginx's $ssl_client_escaped_cert), or DER in base64 with commas between, which may be escaped as well
// (Caddy's certificate_der_base64, Traefik's X-Forwarded-Tls-Client-Cert).
func chainOf(value string) ([]*x509.Certificate, error) {
	if strings.Contains(value, "%") {
		// Not QueryUnescape: it makes spaces of the + in base64.
		unescaped, err := url.PathUnescape(value)
		if err != nil {
			return nil, errors.New("the certificate is not escaped as in a URL")
		}
		value = unescaped
	}
	var ders [][]byte
	if strings.HasPrefix(value, "-----BEGIN") {
		for rest := []byte(value); len(rest) != 0; {
			var block *pem.Block
			block, rest = pem.Decode(rest)
			if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) != 0 {
				return nil, errors.New("the certificate is not PEM")
			}
			ders = append(ders, block.Bytes)
		}
	} else {
		for text := range strings.SplitSeq(value, ",") {
			der, err := base64.StdEncoding.Strict().DecodeString(text)
			if err != nil {
				return nil, errors.New("the certificate is neither escaped PEM nor DER in base64")
			}
			ders = append(ders, der)
		}
	}
	if len(ders) > maxChain {
		return nil, fmt.Errorf("got %d certificates, want at most %d", len(ders), maxChain)
	}
	chain := make([]*x509.Certificate, 0, len(ders))
	for _, der := range ders {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, errors.New("the certificate cannot be read")
		}
		chain = append(chain, certificate)
	}
	return chain, nil
}

// sourceOf returns the address that the proxy saw: the last of a list, which it added itself.
func sourceOf(values []string) netip.Addr {
	if len(values) != 1 {
		return netip.Addr{}
	}
	list := strings.Split(values[0], ",")
	address, err := netip.ParseAddr(strings.TrimSpace(list[len(list)-1]))
	if err != nil {
		return netip.Addr{}
	}
	return address.Unmap().WithZone("")
}
