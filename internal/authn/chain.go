package authn

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/subject"
)

// Bounds of a chain.
const (
	maxChain       = 5
	maxCertificate = 16 << 10
)

// verifyChain checks an X509-SVID (X509-SVID sections 4 and 5) with the bundle of its own trust domain.
func verifyChain(chain []*x509.Certificate, with *kept, digest string, at time.Time) (decision.Who, *fault) {
	leaf := chain[0]
	// The id is the library's reading of exactly one URI among the names.
	id, verified, err := x509svid.Verify(chain, with.x509, x509svid.WithTime(at))
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired, at.Before(leaf.NotBefore),
		!at.Before(leaf.NotAfter):
		return decision.Who{}, &fault{
			code: decision.CodeExpired, detail: "the certificate is valid until " + leaf.NotAfter.UTC().Format(time.RFC3339),
		}
	case err != nil || len(verified) == 0:
		return decision.Who{}, unknown("the certificate does not chain to the bundle of %s", with.domain)
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return decision.Who{}, unknown("the certificate's key signs nothing")
	case len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) != 0 &&
		!slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		return decision.Who{}, unknown("the certificate is not a client's")
	case id.Path() == "":
		return decision.Who{}, unknown("the certificate names no workload")
	}
	ends := leaf.NotAfter
	for _, one := range verified[0] {
		if one.NotAfter.Before(ends) {
			ends = one.NotAfter
		}
	}
	return decision.Who{
		ID: subject.ID(id.String()), TrustDomain: id.TrustDomain().Name(), Method: decision.MethodX509,
		IssuedAt: leaf.NotBefore.UTC(), Expires: ends.UTC(), Credential: digest, VerifiedAt: at,
	}, nil
}

// certificatesOf reads certificates in PEM, and nothing else.
func certificatesOf(document []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		block, rest := pem.Decode(document)
		if block == nil {
			if len(out) == 0 {
				return nil, errors.New("no certificate in PEM")
			}
			return out, nil
		}
		if block.Type != "CERTIFICATE" || len(out) >= maxKeys {
			return nil, errors.New("something else than certificates, or too many")
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("a certificate that cannot be read")
		}
		out, document = append(out, certificate), rest
	}
}
