package forge

import (
	"crypto"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"math/big"
	"time"
)

// awsCA is one of an authority's certificates with its key.
type awsCA struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// Distribution points of the lists of root and region, in the shape of published certificates.
const (
	AWSRootPoint     = "http://aws-nitro-enclaves-crl.s3.amazonaws.com/crl/root.crl"
	AWSRegionalPoint = "http://crl-us-east-2-aws-nitro-enclaves.s3.us-east-2.amazonaws.com/" +
		"crl/region.crl"
)

// AWSPoints lets certificates name the distribution points that published ones name: the region's
// and the zone's certificate have one, the instance's and the leaf none. It fits AWSOptions.Alter.
func AWSPoints(role string, template *x509.Certificate) {
	switch role {
	case AWSRegional:
		template.CRLDistributionPoints = []string{AWSRootPoint}
	case AWSZonal:
		template.CRLDistributionPoints = []string{AWSRegionalPoint}
	}
}

// AWSCRLConfig says what a revocation list says. The zero config is the root's list 1, which
// revokes nothing and is good for a week around the authority's time.
type AWSCRLConfig struct {
	// Issuer is the role of the CA that issues it; empty for the root.
	Issuer string
	// Impostor signs with another authority's key of that role.
	Impostor *AWS
	// Number of the list; 1 where zero.
	Number int64
	// Serials of revoked certificates: those of a chain count from 1 at the root.
	Serials []int64
	// At is when it was issued; a day before the authority's time where zero.
	At time.Time
	// Edit changes the template before it is signed.
	Edit func(*x509.RevocationList)
	// Rewrite changes the contents of the TBSCertList before they are signed again.
	Rewrite func([]byte) []byte
}

// CRL issues a revocation list.
func (a *AWS) CRL(config AWSCRLConfig) ([]byte, error) {
	if config.Issuer == "" {
		config.Issuer = AWSRoot
	}
	if config.At.IsZero() {
		config.At = a.at.AddDate(0, 0, -1)
	}
	template := &x509.RevocationList{
		Number: big.NewInt(max(1, config.Number)), ThisUpdate: config.At,
		NextUpdate: config.At.AddDate(0, 0, 7),
	}
	for _, serial := range config.Serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: config.At})
	}
	if config.Edit != nil {
		config.Edit(template)
	}
	issuer, signer := a.cas[config.Issuer], a.cas[config.Issuer].key
	if config.Impostor != nil {
		signer = config.Impostor.cas[config.Issuer].key
	}
	if issuer.certificate == nil {
		return nil, fmt.Errorf("forge list: no certificate has the role %q", config.Issuer)
	}
	// Go's writer refuses an issuer without cRLSign, and one whose key is not the signer's. What a
	// reader says to such lists is for tests to see.
	named := *issuer.certificate
	named.PublicKey, named.KeyUsage = signer.Public(), named.KeyUsage|x509.KeyUsageCRLSign
	if len(named.SubjectKeyId) == 0 {
		named.SubjectKeyId = []byte{1}
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, &named, signer)
	if err != nil {
		return nil, fmt.Errorf("forge list: %w", err)
	}
	if config.Rewrite == nil {
		return der, nil
	}
	return rewrittenList(der, config.Rewrite, func(tbs []byte) ([]byte, error) {
		digest := sha512.Sum384(tbs)
		return signer.Sign(rand.Reader, digest[:], crypto.SHA384)
	})
}
