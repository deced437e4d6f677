package tpmtrust

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"time"

	"github.com/attestd/attestd"
)

// EKQuery is an EK certificate with what came beside it.
type EKQuery struct {
	// Certificate in DER, without the padding that a TPM's memory may have behind it.
	Certificate []byte
	// Intermediates are CA certificates that may be needed; those that are not are reported by
	// [EK.Used].
	Intermediates [][]byte
	// CRLs in DER, of any issuer of the path.
	CRLs [][]byte
	// At is the time as of which everything must be valid.
	At time.Time
}

// Protection is what stands between an attacker on the machine and a TPM's keys, as far as the root
// shows it.
type Protection string

// The protections there are. ProtectionHardware is a TPM maker's chip or firmware TPM;
// ProtectionVTPM a cloud's software outside of the guest.
const (
	ProtectionHardware Protection = "hardware"
	ProtectionVTPM     Protection = "vtpm"
	ProtectionUnknown  Protection = "unknown" // a root that was loaded by hand
)

// EK is what an EK certificate says, where somebody vouches for it.
type EK struct {
	// SPKI of the endorsement key, in DER. The credential must be made for this key and no other.
	SPKI []byte
	// Manufacturer is the TCG vendor id as letters ("STM"), or in hex where it is none; Model and
	// Version are the certificate's texts, Version without its "id:".
	Manufacturer, Model, Version string
	// CRL says how far revocation was looked at: CRLFresh, CRLStale or CRLMissing.
	CRL string
	// Expired says that the EK certificate itself has ended; every CA above it is valid.
	Expired bool
	// NotAfter is when it ends or ended.
	NotAfter time.Time
	// Insecure says that the path ends in a root that was loaded by hand.
	Insecure bool
	// Root is the common name of the path's root, Vendor whose it is, RootSHA256 its fingerprint.
	Root, Vendor string
	RootSHA256   [sha256.Size]byte
	Protection   Protection
	// Vulnerable says that an RSA modulus has the form that a faulty library gave it
	// (CVE-2017-15361): the private key can be computed from the public one.
	Vulnerable bool
	// Used has bit i set where Intermediates[i] is part of the path, for the first 32.
	Used uint32
	keep func()
}

// Keep has the Store remember what it read and verified. Certificates are public, so that anybody
// could fill the cache with one and what he likes beside it: call it once somebody answers for the
// rest of the evidence.
func (e *EK) Keep() { keep(e.keep) }

func keep(add func()) {
	if add != nil {
		add()
	}
}

// oidEKCertificate is tcg-kp-EKCertificate (TCG EK Credential Profile 2.5, section 3.5, "Extended
// Key Usage").
var oidEKCertificate = asn1.ObjectIdentifier{2, 23, 133, 8, 1}

// Endorsement says whether somebody vouches for an endorsement key. Nothing of the answer is shared
// with the query or with other answers.
func (s *Store) Endorsement(query EKQuery) (EK, *Fault) {
	if fault := checkSizes(query.Certificate, query.Intermediates, query.CRLs); fault != nil {
		return EK{}, fault
	}
	key := queryDigest(query.Certificate, query.Intermediates)
	known, ok := s.eks.Get(key)
	if !ok {
		var fault *Fault
		if known, fault = s.readEndorsement(query); fault != nil {
			return EK{}, fault
		}
	}
	ek := known.ek
	if !ok {
		at, answer := key, known // so that only a new one leaves the stack
		ek.keep = func() { s.eks.Add(at, answer) }
	}
	var fault *Fault
	if ek.Expired, fault = known.leaf.checkTimes(query.At); fault != nil {
		return EK{}, fault
	}
	if ek.CRL, fault = s.checkRevocation(known.leaf, query.CRLs, query.At); fault != nil {
		return EK{}, fault
	}
	ek.SPKI = append([]byte(nil), ek.SPKI...)
	return ek, nil
}

// readEndorsement does what depends on bytes alone: what costs little first, signatures last.
func (s *Store) readEndorsement(query EKQuery) (endorsement, *Fault) {
	certificate, err := parse(query.Certificate)
	if err != nil {
		return endorsement{}, refuse(ReasonEncoding, attestd.ClassMalformed,
			"an EK certificate that cannot be read", "X.509 in DER").because(err)
	}
	ek, fault := readEKProfile(certificate)
	if fault != nil {
		return endorsement{}, fault
	}
	leaf, fault := s.path(certificate, query.Intermediates)
	if fault != nil {
		return endorsement{}, fault
	}
	switch leaf.anchor.use {
	case useEndorsement:
		ek.Protection = ProtectionHardware
	case useGCE:
		ek.Protection = ProtectionVTPM
	case useAzure:
		return endorsement{}, refuse(ReasonChain, attestd.ClassChain,
			"an EK certificate below "+quote(leaf.anchor.certificate.Subject.CommonName),
			"one below a root for endorsement keys")
	default:
		ek.Protection = ProtectionUnknown
	}
	ek.Insecure, ek.Vendor = leaf.anchor.insecure, leaf.anchor.vendor
	ek.Root = attestd.Excerpt(leaf.anchor.certificate.Subject.CommonName, 64)
	ek.RootSHA256 = leaf.anchor.fingerprint()
	ek.Used = leaf.used(query.Intermediates)
	return endorsement{leaf: leaf, ek: ek}, nil
}

// readEKProfile demands what the TCG EK Credential Profile 2.5, section 3, demands of an EK
// certificate.
func readEKProfile(certificate *x509.Certificate) (EK, *Fault) {
	wrong := func(got, want string) (EK, *Fault) {
		return EK{}, refuse(ReasonCertificate, attestd.ClassChain, got, want)
	}
	// Without this, whoever has the key of one TPM could issue certificates for others.
	if certificate.IsCA || certificate.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return wrong("a certificate that may sign certificates or CRLs", "an end entity")
	}
	if oid := unknownCritical(certificate); oid != nil {
		return wrong("critical extension "+oid.String(), "none but those of an EK certificate")
	}
	if fault := checkEKKey(certificate); fault != nil {
		return EK{}, fault
	}
	// Without it, any certificate below a maker's root would be one of an EK: they issue others,
	// too.
	if !hasPurpose(certificate, oidEKCertificate) {
		return wrong("no extended key usage "+oidEKCertificate.String(), "that of an EK certificate")
	}
	identity, err := readIdentity(certificate)
	if err != nil {
		return EK{}, refuse(ReasonCertificate, attestd.ClassChain, "a subject alternative name that "+
			"does not name a TPM", "a directoryName with manufacturer, model and version").because(err)
	}
	ek := EK{
		SPKI: certificate.RawSubjectPublicKeyInfo, NotAfter: certificate.NotAfter,
		Manufacturer: identity.manufacturer, Model: identity.model, Version: identity.version,
	}
	if key, ok := certificate.PublicKey.(*rsa.PublicKey); ok {
		ek.Vulnerable = weakModulus(key.N)
	}
	return ek, nil
}

// checkEKKey: an EK only decrypts, so that its certificate says keyEncipherment for RSA and
// keyAgreement for ECC (section 3.5, "Key Usage").
func checkEKKey(certificate *x509.Certificate) *Fault {
	if err := CheckEndorsementKey(certificate.PublicKey); err != nil {
		return refuse(ReasonKey, attestd.ClassKeyProperties, err.Error(),
			"RSA from 2048 to 4096 bits with exponent 65537, or ECC on P-256, P-384 or P-521")
	}
	usage, name := x509.KeyUsageKeyEncipherment, "keyEncipherment"
	if _, ecc := certificate.PublicKey.(*ecdsa.PublicKey); ecc {
		usage, name = x509.KeyUsageKeyAgreement, "keyAgreement"
	}
	if certificate.KeyUsage&usage == 0 {
		return refuse(ReasonCertificate, attestd.ClassChain, "a key usage without "+name, name)
	}
	return nil
}

// CheckEndorsementKey says whether credentials may be made for a key of this kind and size.
func CheckEndorsementKey(public any) error {
	switch key := public.(type) {
	case *rsa.PublicKey:
		switch bits := key.N.BitLen(); {
		case bits != 2048 && bits != 3072 && bits != 4096:
			return fmt.Errorf("an RSA key of %d bits", bits)
		case key.E != 65537:
			return fmt.Errorf("an RSA key with exponent %d", key.E)
		}
		return nil
	case *ecdsa.PublicKey:
		switch bits := key.Curve.Params().BitSize; bits {
		case 256, 384, 521:
			return nil
		default:
			return fmt.Errorf("an ECC key on a curve of %d bits", bits)
		}
	default:
		return fmt.Errorf("a key that is neither RSA nor ECC on a NIST curve")
	}
}

// unknownCritical returns a critical extension that nobody here reads (RFC 5280, section 4.2: such
// a certificate must be refused). crypto/x509 reads name constraints and policies, too, and nothing
// here applies them.
func unknownCritical(certificate *x509.Certificate) asn1.ObjectIdentifier {
	for _, extension := range certificate.Extensions {
		if extension.Critical && !extension.Id.Equal(oidKeyUsage) &&
			!extension.Id.Equal(oidBasicConstraints) && !extension.Id.Equal(oidExtKeyUsage) &&
			!extension.Id.Equal(oidSubjectAltName) {
			return extension.Id
		}
	}
	return nil
}

// hasPurpose looks through the purposes that crypto/x509 does not know, which may be none.
func hasPurpose(certificate *x509.Certificate, purpose asn1.ObjectIdentifier) bool {
	for _, found := range certificate.UnknownExtKeyUsage {
		if found.Equal(purpose) {
			return true
		}
	}
	return false
}
