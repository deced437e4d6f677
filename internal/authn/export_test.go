package authn

import (
	"crypto/x509"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// WebSource is an https_web source that trusts these roots in place of the machine's.
func WebSource(domain spiffeid.TrustDomain, url string, roots *x509.CertPool) Source {
	return &endpoint{domain: domain, url: url, roots: roots}
}
