package tpmtrust

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// Profiles of attestation key certificates.
const (
	ProfileGCE   = "gce"
	ProfileAzure = "azure-trusted-launch"
)

// AKQuery is an AK certificate with what came beside it; see [EKQuery].
type AKQuery struct {
	Certificate         []byte
	Intermediates, CRLs [][]byte
	At                  time.Time
}

// AK is what an AK certificate says, where a cloud vouches for it.
type AK struct {
	// Profile is ProfileGCE or ProfileAzure.
	Profile string
	// SPKI of the attestation key, in DER.
	SPKI []byte
	// InstanceID is the instance as its cloud numbers or names it.
	InstanceID string
	// Project, ProjectNumber, Zone and InstanceName are Google's and empty in other profiles.
	Project, ProjectNumber, Zone, InstanceName string
	// Machine is Azure's kind of virtual machine ("TrustedVM", "ConfidentialVM").
	Machine string
	// Protection is ProtectionVTPM for every profile: the key lives in software of the cloud,
	// outside of the guest and of any TEE that the guest may run in.
	Protection Protection
	// CRL, Expired, NotAfter, Insecure, Root, RootSHA256 and Used are as in [EK].
	CRL        string
	Expired    bool
	NotAfter   time.Time
	Insecure   bool
	Root       string
	RootSHA256 [sha256.Size]byte
	Used       uint32
	keep       func()
}

// Keep is [EK.Keep].
func (a *AK) Keep() { keep(a.keep) }

var (
	// oidInstanceInfo carries what Google says of an instance.
	oidInstanceInfo = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 21}
	// oidAIKCertificate is tcg-kp-AIKCertificate.
	oidAIKCertificate = asn1.ObjectIdentifier{2, 23, 133, 8, 3}
)

// azureMachines are the kinds of virtual machine in the names of Azure's AK certificates.
var azureMachines = []string{"TrustedVM", "ConfidentialVM"}

// AttestationKey says whether a cloud vouches for an attestation key. A path that ends in another
// cloud's root, or in a root for endorsement keys, vouches for none.
func (s *Store) AttestationKey(query AKQuery) (AK, *Fault) {
	if fault := checkSizes(query.Certificate, query.Intermediates, query.CRLs); fault != nil {
		return AK{}, fault
	}
	key := queryDigest(query.Certificate, query.Intermediates)
	known, ok := s.aks.Get(key)
	if !ok {
		var fault *Fault
		if known, fault = s.readAttestation(query); fault != nil {
			return AK{}, fault
		}
	}
	ak := known.ak
	if !ok {
		at, answer := key, known // so that only a new one leaves the stack
		ak.keep = func() { s.aks.Add(at, answer) }
	}
	var fault *Fault
	if ak.Expired, fault = known.leaf.checkTimes(query.At); fault != nil {
		return AK{}, fault
	}
	if ak.CRL, fault = s.checkRevocation(known.leaf, query.CRLs, query.At); fault != nil {
		return AK{}, fault
	}
	ak.SPKI = append([]byte(nil), ak.SPKI...)
	return ak, nil
}

func (s *Store) readAttestation(query AKQuery) (attestation, *Fault) {
	certificate, err := parse(query.Certificate)
	if err != nil {
		return attestation{}, refuse(ReasonEncoding, attestd.ClassMalformed,
			"an AK certificate that cannot be read", "X.509 in DER").because(err)
	}
	ak, wanted, fault := readAKProfile(certificate)
	if fault != nil {
		return attestation{}, fault
	}
	leaf, fault := s.path(certificate, query.Intermediates)
	if fault != nil {
		return attestation{}, fault
	}
	// A root vouches for what its owner knows: no maker's root for a cloud's instances, and no
	// cloud for another's.
	if leaf.anchor.use != wanted && !leaf.anchor.insecure {
		return attestation{}, refuse(ReasonChain, attestd.ClassChain, "an AK certificate of profile "+
			ak.Profile+" below "+quote(leaf.anchor.certificate.Subject.CommonName),
			"one below the root of that cloud")
	}
	ak.Insecure = leaf.anchor.insecure
	ak.Root = attestd.Excerpt(leaf.anchor.certificate.Subject.CommonName, 64)
	ak.RootSHA256 = leaf.anchor.fingerprint()
	ak.Used = leaf.used(query.Intermediates)
	return attestation{leaf: leaf, ak: ak}, nil
}

// readAKProfile reads a certificate by the profile that its shape shows, and says which root it
// needs.
func readAKProfile(certificate *x509.Certificate) (AK, use, *Fault) {
	wrong := func(err error) (AK, use, *Fault) {
		return AK{}, "", refuse(ReasonCertificate, attestd.ClassChain,
			"an AK certificate that "+err.Error(), "one of Google's or Azure's virtual TPMs")
	}
	ak := AK{
		SPKI: certificate.RawSubjectPublicKeyInfo, NotAfter: certificate.NotAfter,
		Protection: ProtectionVTPM,
	}
	switch {
	case certificate.IsCA || certificate.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return wrong(errors.New("may sign certificates or CRLs"))
	case certificate.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return wrong(errors.New("has no key usage digitalSignature"))
	}
	if oid := unknownCritical(certificate); oid != nil {
		return wrong(errors.New("has the critical extension " + oid.String()))
	}
	if err := checkAttestationKey(certificate.PublicKey); err != nil {
		return AK{}, "", refuse(ReasonKey, attestd.ClassKeyProperties, err.Error(),
			"RSA of 2048 bits or more, or ECC on P-256 or P-384")
	}
	if value, ok := instanceInfo(certificate); ok {
		ak.Profile = ProfileGCE
		fault := ak.readInstance(certificate, value)
		return ak, useGCE, fault
	}
	if err := ak.readAzure(certificate); err != nil {
		return wrong(err)
	}
	ak.Profile = ProfileAzure
	return ak, useAzure, nil
}

func checkAttestationKey(public any) error {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < 2048 || bits > 4096 || key.E != 65537 {
			return fmt.Errorf("an RSA key of %d bits with exponent %d", bits, key.E)
		}
		return nil
	case *ecdsa.PublicKey:
		if bits := key.Curve.Params().BitSize; bits != 256 && bits != 384 {
			return fmt.Errorf("an ECC key on a curve of %d bits", bits)
		}
		return nil
	default:
		return errors.New("a key that is neither RSA nor ECC on a NIST curve")
	}
}

func instanceInfo(certificate *x509.Certificate) ([]byte, bool) {
	for _, extension := range certificate.Extensions {
		if extension.Id.Equal(oidInstanceInfo) {
			return extension.Value, true
		}
	}
	return nil, false
}

// readInstance reads Google's instance information: zone, project number, project, instance number,
// instance name and, in [0], security properties with [0] a version and [1] whether the virtual TPM
// is of production. A test instance's keys are known to people who test.
func (a *AK) readInstance(certificate *x509.Certificate, value []byte) *Fault {
	malformed := func(err error) *Fault {
		return refuse(ReasonCertificate, attestd.ClassChain, "instance information that cannot be read",
			"what Google's AK certificates carry").because(err)
	}
	var errs [7]error
	var info der
	var project, instance uint64
	production := false
	info, errs[0] = der(value).only(tagSequence)
	a.Zone, errs[1] = info.text()
	project, errs[2] = info.number()
	a.Project, errs[3] = info.text()
	instance, errs[4] = info.number()
	a.InstanceName, errs[5] = info.text()
	production, errs[6] = readSecurity(info)
	a.ProjectNumber = strconv.FormatUint(project, 10)
	a.InstanceID = strconv.FormatUint(instance, 10)
	switch err := cmp.Or(errs[:]...); {
	case err != nil:
		return malformed(err)
	case !production:
		return refuse(ReasonCertificate, attestd.ClassPlatform, "a virtual TPM that is not of production",
			"isProduction")
	// The subject says the instance a second time, or nothing at all (2021); two that differ would be
	// two readers' choice.
	case certificate.Subject.CommonName != a.InstanceID && len(certificate.Subject.Names) != 0:
		return malformed(fmt.Errorf("instance %s in a certificate for %s", a.InstanceID,
			quote(certificate.Subject.CommonName)))
	}
	return nil
}

func readSecurity(info der) (production bool, err error) {
	if len(info) == 0 {
		return false, nil
	}
	wrapped, err := info.only(0xa0)
	properties, bad := wrapped.only(tagSequence)
	if err = cmp.Or(err, bad); err != nil {
		return false, err
	}
	for last := -1; len(properties) > 0; {
		tag, inner, err := properties.next()
		if err != nil || int(tag) <= last {
			return false, errDER
		}
		last = int(tag)
		switch {
		case tag == 0xa0:
			_, err = inner.number()
		case tag == 0xa1:
			production, err = inner.boolean()
		case tag > 0xa1 && tag <= 0xbe: // properties whose meaning Google has not published
			_, _, err = inner.next()
		default:
			err = errDER
		}
		if err != nil || len(inner) != 0 {
			return false, errDER
		}
	}
	return production, nil
}

// readAzure reads the name that Azure gives an AK certificate: the machine's id and its kind.
func (a *AK) readAzure(certificate *x509.Certificate) error {
	if !hasPurpose(certificate, oidAIKCertificate) {
		return errors.New("has neither Google's instance information nor the extended key usage " +
			oidAIKCertificate.String())
	}
	id, rest, _ := strings.Cut(certificate.Subject.CommonName, ".")
	for _, machine := range azureMachines {
		if rest != machine+".Azure.windows.net" {
			continue
		}
		if id == "" || len(id) > 64 || strings.Trim(id, "0123456789abcdefABCDEF-") != "" {
			break
		}
		a.InstanceID, a.Machine = id, machine
		return nil
	}
	return fmt.Errorf("is for %s", quote(certificate.Subject.CommonName))
}
