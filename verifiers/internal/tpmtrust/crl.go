package tpmtrust

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/crl"
)

// How far revocation was looked at, for a whole path: the worst of its certificates.
const (
	CRLFresh   = "fresh"   // a CRL that covers the time, for every certificate below the root
	CRLStale   = "stale"   // CRLs for all of them, and one that does not cover the time
	CRLMissing = "missing" // none for one of them
)

// revocations is a CRL whose signature by its issuer was verified.
type revocations struct {
	from, until time.Time
	serials     map[string]struct{}
	points      []string // those that it is for alone; none for every certificate of the issuer
	err         error    // why it cannot be used, although it is its issuer's
}

var (
	oidDeltaCRL          = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
)

// given is a CRL of a query, with the parsed form where it was needed.
type given struct {
	raw    []byte
	issuer string
}

// checkRevocation looks for every certificate of the path below the root. One that is on a CRL is
// refused however old the CRL is: what was revoked stays so. A CRL that carries the issuer's name
// and not its signature is refused, since somebody made it up; CRLs of others are left alone.
func (s *Store) checkRevocation(leaf *node, crls [][]byte, at time.Time) (string, *Fault) {
	if len(crls) == 0 {
		return CRLMissing, nil
	}
	lists := make([]given, len(crls))
	for index, raw := range crls {
		name, err := crlIssuer(raw)
		if err != nil {
			return "", refuse(ReasonCRL, attestd.ClassCollateralInvalid,
				fmt.Sprintf("CRL %d, which cannot be read", index+1), "a CRL in DER").because(err)
		}
		lists[index] = given{raw: raw, issuer: name}
	}
	state := CRLFresh
	left := limits.signatures
	for link := leaf; link.issuer != nil; link = link.issuer {
		covered, fault := s.covered(link, lists, at, &left)
		if fault != nil {
			return "", fault
		}
		if covered == CRLMissing || covered == CRLStale && state == CRLFresh {
			state = covered
		}
	}
	return state, nil
}

// covered looks at one certificate.
func (s *Store) covered(link *node, lists []given, at time.Time, left *int) (string, *Fault) {
	issuer := link.issuer.certificate
	name := nameText(issuer.RawSubject)
	state := CRLMissing
	for index := range lists {
		if lists[index].issuer != name {
			continue
		}
		list, fault := s.list(issuer, lists[index].raw, left)
		if fault != nil {
			return "", fault
		}
		if list.err != nil {
			return "", refuse(ReasonCRL, attestd.ClassCollateralInvalid, "a CRL of "+
				quote(issuer.Subject.CommonName), "a complete CRL of its issuer's own").because(list.err)
		}
		if !list.isFor(link.certificate) {
			continue
		}
		if _, revoked := list.serials[link.certificate.SerialNumber.String()]; revoked {
			return "", refuse(ReasonRevoked, attestd.ClassRevokedCert,
				describe(link.certificate)+" on the CRL of "+quote(issuer.Subject.CommonName),
				"one that is not revoked")
		}
		// A list from after the time says more than one of it, until the certificate expires (RFC
		// 5280, section 3.3).
		expiry := link.certificate.NotAfter
		if !at.After(list.until) && (!list.from.After(at) || !list.from.After(expiry)) {
			state = CRLFresh
		} else if state == CRLMissing {
			state = CRLStale
		}
	}
	return state, nil
}

// list returns the verified form of a CRL.
func (s *Store) list(issuer *x509.Certificate, raw []byte, left *int) (*revocations, *Fault) {
	invalid := func(err error) *Fault {
		return refuse(ReasonCRL, attestd.ClassCollateralInvalid,
			"a CRL in the name of "+quote(issuer.Subject.CommonName), "one that it signed").because(err)
	}
	// RFC 5280 section 6.3.3 (f): "verify that the issuer's key usage has the cRLSign bit".
	if issuer.KeyUsage&x509.KeyUsageCRLSign == 0 {
		return nil, invalid(errors.New("the issuer's key usage has no cRLSign"))
	}
	if *left == 0 {
		return nil, refuse(ReasonCRL, attestd.ClassTooLarge, "more CRLs to verify",
			fmt.Sprintf("at most %d", limits.signatures))
	}
	*left--
	key := queryDigest(issuer.RawSubjectPublicKeyInfo, [][]byte{raw})
	if known, ok := s.crls.Get(key); ok {
		return known, nil
	}
	parsed, err := x509.ParseRevocationList(append([]byte(nil), raw...))
	if err != nil {
		return nil, invalid(errors.New(attestd.Excerpt(err.Error(), 120)))
	}
	if err := checkListAlgorithm(parsed, issuer); err != nil {
		return nil, invalid(err)
	}
	s.count()
	if issuer.CheckSignature(parsed.SignatureAlgorithm, parsed.RawTBSRevocationList,
		parsed.Signature) != nil {
		return nil, invalid(errors.New("its signature is not the issuer's"))
	}
	list := readList(parsed)
	s.crls.Add(key, list)
	return list, nil
}

func checkListAlgorithm(list *x509.RevocationList, issuer *x509.Certificate) error {
	return checkAlgorithm(&x509.Certificate{SignatureAlgorithm: list.SignatureAlgorithm}, issuer)
}

func readList(parsed *x509.RevocationList) *revocations {
	list := &revocations{from: parsed.ThisUpdate, until: parsed.NextUpdate}
	if parsed.NextUpdate.IsZero() {
		list.until = parsed.ThisUpdate // without a next update nothing says that it is current
	}
	for _, extension := range parsed.Extensions {
		switch {
		case extension.Id.Equal(oidDeltaCRL):
			list.err = errors.New("it is a delta CRL")
		case extension.Id.Equal(oidDistributionPoint):
			list.points, list.err = crl.Points(extension.Value)
		case extension.Critical:
			list.err = fmt.Errorf("critical extension %s", extension.Id)
		}
		if list.err != nil {
			return list
		}
	}
	list.serials = make(map[string]struct{}, len(parsed.RevokedCertificateEntries))
	for _, entry := range parsed.RevokedCertificateEntries {
		for _, extension := range entry.Extensions {
			// A critical entry extension is certificateIssuer: the serial would be another CA's.
			if extension.Critical {
				list.err = fmt.Errorf("critical entry extension %s", extension.Id)
				return list
			}
		}
		list.serials[entry.SerialNumber.String()] = struct{}{}
	}
	return list
}

// isFor is RFC 5280 section 6.3.3 (b) (2): a CRL for one distribution point says something of
// certificates that name it.
func (r *revocations) isFor(certificate *x509.Certificate) bool {
	if len(r.points) == 0 {
		return true
	}
	for _, point := range certificate.CRLDistributionPoints {
		if slices.Contains(r.points, strings.TrimSpace(point)) {
			return true
		}
	}
	return false
}

// crlIssuer reads the issuer's name off the front of a CertificateList without reading the entries,
// of which there may be many.
func crlIssuer(raw []byte) (string, error) {
	outline, err := crl.Read(raw)
	return nameText(outline.Issuer), err
}
