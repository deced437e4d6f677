package forge

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"time"
)

// IntelCA names one of the three authorities that sign revocation lists.
type IntelCA int

// The authorities.
const (
	IntelRootCA IntelCA = iota
	IntelProcessorCA
	IntelPlatformCA
)

// IntelCRLConfig says what a revocation list says. The zero config is list 1 of the root, which revokes
// nothing and is valid for 30 days from the day before IntelTime.
type IntelCRLConfig struct {
	CA IntelCA
	// Serials of revoked certificates.
	Serials []int64
	// At is when it was issued, Next when another is due.
	At, Next time.Time
	// Signer signs it with its key, in the name of this one's.
	Signer *Intel
	// Edit changes the template.
	Edit func(*x509.RevocationList)
	// Rewrite changes the contents of the TBSCertList before they are signed.
	Rewrite func([]byte) []byte
}

// CRL issues a revocation list. Intel gives all of them the number 1.
func (i *Intel) CRL(config IntelCRLConfig) ([]byte, error) {
	template := &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: config.At, NextUpdate: config.Next,
		SignatureAlgorithm: x509.ECDSAWithSHA256,
	}
	if config.At.IsZero() {
		template.ThisUpdate = IntelTime.AddDate(0, 0, -1)
	}
	if config.Next.IsZero() {
		template.NextUpdate = template.ThisUpdate.AddDate(0, 0, 30)
	}
	for _, serial := range config.Serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{
				SerialNumber: big.NewInt(serial), RevocationTime: template.ThisUpdate,
			})
	}
	if config.Edit != nil {
		config.Edit(template)
	}
	signer := i
	if config.Signer != nil {
		signer = config.Signer
	}
	issuer, key := i.authority(config.CA)
	_, by := signer.authority(config.CA)
	if signer != i {
		// CreateRevocationList compares the key with the issuer's: the impostor's list is made in its own
		// name, which has the same text.
		issuer, key = signer.authority(config.CA)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, issuer, key)
	if err != nil || config.Rewrite == nil {
		return der, err
	}
	return rewrittenList(der, config.Rewrite, func(tbs []byte) ([]byte, error) {
		digest := sha256.Sum256(tbs)
		return ecdsa.SignASN1(rand.Reader, by, digest[:])
	})
}

func (i *Intel) authority(ca IntelCA) (*x509.Certificate, *ecdsa.PrivateKey) {
	switch ca {
	case IntelProcessorCA:
		return i.Processor, i.processorKey
	case IntelPlatformCA:
		return i.Platform, i.platformKey
	default:
		return i.Root, i.rootKey
	}
}

// IntelCollateral is everything that a verifier needs of an authority for one platform.
type IntelCollateral struct {
	Certificates, CRLs, Documents [][]byte
}

// Collateral returns fresh collateral for the platforms of the TCB information: the signer's and the
// root's certificate, the lists of all three authorities, the TCB information and the identity.
func (i *Intel) Collateral(tcb TCBInfoConfig, identity IdentityConfig) (IntelCollateral, error) {
	out := IntelCollateral{Certificates: [][]byte{i.Signing.Raw, i.Root.Raw}}
	for _, ca := range [...]IntelCA{IntelRootCA, IntelProcessorCA, IntelPlatformCA} {
		list, err := i.CRL(IntelCRLConfig{CA: ca, At: tcb.Issued, Next: tcb.Next})
		if err != nil {
			return IntelCollateral{}, err
		}
		out.CRLs = append(out.CRLs, list)
	}
	info, err := i.TCBInfo(tcb)
	if err != nil {
		return IntelCollateral{}, err
	}
	qe, err := i.Identity(identity)
	out.Documents = [][]byte{info, qe}
	return out, err
}
