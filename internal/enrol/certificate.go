package enrol

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Bounds of one certificate.
const (
	maxCertificate = 64 << 10 // bytes
	minRSA, maxRSA = 2048, 4096
)

// oidEK is the extended key usage of an EK certificate (TCG EK Credential Profile 2.5, section
// 3.2.16); oidOAEP names RSA keys of older ones (RFC 8017, appendix A.2.1).
var (
	oidEK   = asn1.ObjectIdentifier{2, 23, 133, 8, 1}
	oidOAEP = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 7}
	oidRSA  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
)

// der is one certificate of a list.
type der struct {
	raw   []byte
	place string
}

// certificates splits a list into certificates: PEM blocks, or DER one behind the other.
func (l *list) certificates(document []byte) (found []der) {
	if !bytes.Contains(document, []byte("-----BEGIN ")) {
		return l.concatenated(document)
	}
	for rest := document; ; {
		block, behind := pem.Decode(rest)
		if block == nil {
			// What pem.Decode skips as it looks for a block may be one that was cut.
			if bytes.Contains(rest, []byte("-----BEGIN ")) {
				l.problem(fmt.Sprintf("certificate %d", len(found)+1), "is a PEM block that cannot be read")
			}
			return found
		}
		place := fmt.Sprintf("certificate %d", len(found)+1)
		if skipped := rest[:len(rest)-len(behind)]; bytes.Count(skipped, []byte("-----BEGIN ")) != 1 {
			l.problem(place, "a PEM block before it cannot be read")
		}
		if !strings.HasSuffix(block.Type, "CERTIFICATE") {
			l.problem(place, "a PEM block of type %q, want CERTIFICATE", attestd.Excerpt(block.Type, 40))
		}
		found = append(found, der{raw: block.Bytes, place: place})
		rest = behind
	}
}

func (l *list) concatenated(document []byte) (found []der) {
	for rest := document; len(rest) > 0; {
		place := fmt.Sprintf("certificate %d", len(found)+1)
		var value asn1.RawValue
		behind, err := asn1.Unmarshal(rest, &value)
		if err != nil {
			l.problem(place, "is neither PEM nor DER")
			return nil
		}
		found = append(found, der{raw: value.FullBytes, place: place})
		rest = behind
	}
	return found
}

// endorsement is an EK certificate as far as ownership needs it.
type endorsement struct {
	certificate *x509.Certificate
	// key is the SHA-256 of the key's SubjectPublicKeyInfo, as attestd writes it.
	key [sha256.Size]byte
}

// endorsementKeys reads EK certificates. Their chains are not looked at: the list is the operator's
// word, and evidence of the TPM has to show a chain of its own.
func (l *list) endorsementKeys(document []byte) {
	for _, item := range l.certificates(document) {
		ek, err := readEndorsement(item.raw)
		if err != nil {
			l.problem(item.place, "%s", attestd.Excerpt(err.Error(), 160))
			continue
		}
		l.add(Entry{
			Key:   subject.Key{Kind: KindInstance, Value: "ek:" + hex.EncodeToString(ek.key[:])},
			Label: label(ek.certificate.Subject.CommonName), place: item.place,
		})
	}
}

func readEndorsement(raw []byte) (endorsement, error) {
	if len(raw) > maxCertificate {
		return endorsement{}, fmt.Errorf("has %d bytes, want at most %d", len(raw), maxCertificate)
	}
	certificate, err := x509.ParseCertificate(raw)
	if err != nil {
		return endorsement{}, fmt.Errorf("is no certificate: %w", err)
	}
	isEK := false
	for _, usage := range certificate.UnknownExtKeyUsage {
		isEK = isEK || usage.Equal(oidEK)
	}
	if certificate.IsCA || !isEK {
		// A server's or an authority's certificate would enrol a key that no TPM has, and the machine
		// that was meant would not be ours.
		return endorsement{}, fmt.Errorf("is not of an endorsement key (no extended key usage %s)", oidEK)
	}
	key, err := keyDigest(certificate.RawSubjectPublicKeyInfo)
	return endorsement{certificate: certificate, key: key}, err
}

// keyDigest returns the SHA-256 of a key as the TPM itself shows it. Older EK certificates name
// RSAES-OAEP in the key; evidence names the bare key.
func keyDigest(spki []byte) (digest [sha256.Size]byte, err error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if rest, err := asn1.Unmarshal(spki, &info); err != nil || len(rest) > 0 {
		return digest, errors.New("has a key that cannot be read")
	}
	if info.Algorithm.Algorithm.Equal(oidOAEP) {
		info.Algorithm = pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue}
		if spki, err = asn1.Marshal(info); err != nil {
			return digest, fmt.Errorf("key: %w", err)
		}
	}
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return digest, fmt.Errorf("key: %w", err)
	}
	switch key := public.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA {
			return digest, fmt.Errorf("has an RSA key of %d bits, want %d to %d", bits, minRSA, maxRSA)
		}
	case *ecdsa.PublicKey:
	default:
		return digest, errors.New("has a key that is neither RSA nor ECC")
	}
	canonical, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return digest, fmt.Errorf("key: %w", err)
	}
	return sha256.Sum256(canonical), nil
}
