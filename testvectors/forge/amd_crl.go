package forge

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"time"
)

// AMDCRLConfig says what a revocation list of an ARK says. The zero config is list 1, which revokes
// nothing and is valid for a year around AMDTime.
type AMDCRLConfig struct {
	// Number of the list; 1 where zero.
	Number int64
	// Serials of revoked certificates.
	Serials []int64
	// At is when it was issued; half a year before AMDTime where zero. The next one is due a year
	// later.
	At time.Time
	// Signer signs it with its ARK's key, in the name of this one's.
	Signer *AMD
	// Edit changes the template.
	Edit func(*x509.RevocationList)
	// Rewrite changes the contents of the TBSCertList before they are signed.
	Rewrite func([]byte) []byte
}

// CRL issues a revocation list of the ARK's.
func (a *AMD) CRL(config AMDCRLConfig) ([]byte, error) {
	template := &x509.RevocationList{
		Number: big.NewInt(max(1, config.Number)), ThisUpdate: config.At,
		SignatureAlgorithm: x509.SHA384WithRSAPSS,
	}
	if config.At.IsZero() {
		template.ThisUpdate = AMDTime.AddDate(0, -6, 0)
	}
	template.NextUpdate = template.ThisUpdate.AddDate(1, 0, 0)
	for _, serial := range config.Serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{
				SerialNumber: big.NewInt(serial), RevocationTime: template.ThisUpdate,
			})
	}
	if config.Edit != nil {
		config.Edit(template)
	}
	key := a.arkKey
	if config.Signer != nil {
		key = config.Signer.arkKey
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.ARK, key)
	if err != nil || config.Rewrite == nil {
		return der, err
	}
	return rewrittenList(der, config.Rewrite, func(tbs []byte) ([]byte, error) {
		digest := sha512.Sum384(tbs)
		return rsa.SignPSS(rand.Reader, key, crypto.SHA384, digest[:],
			&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	})
}

// rewrittenList changes the signed part of a list and signs it again.
func rewrittenList(
	der []byte, change func([]byte) []byte, sign func(tbs []byte) ([]byte, error),
) ([]byte, error) {
	var list struct {
		TBS       asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &list); err != nil {
		return nil, err
	}
	tbs := DER(0x30, change(bytes.Clone(list.TBS.Bytes)))
	signature, err := sign(tbs)
	if err != nil {
		return nil, err
	}
	list.TBS = asn1.RawValue{FullBytes: tbs}
	list.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	return asn1.Marshal(list)
}
