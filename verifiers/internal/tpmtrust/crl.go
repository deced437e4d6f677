package tpmtrust

import (
	"crypto/x509"
	"fmt"
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

// given is a CRL of a query. Nothing in its outline is believed yet.
type given struct {
	raw     []byte
	outline crl.Outline
	issuer  string // as nameText spells it
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
		outline, err := crl.Read(raw)
		if err != nil {
			return "", refuse(ReasonCRL, attestd.ClassCollateralInvalid,
				fmt.Sprintf("CRL %d, which cannot be read", index+1), "a CRL in DER").because(err)
		}
		lists[index] = given{raw: raw, outline: outline, issuer: nameText(outline.Issuer)}
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

// covered looks at one certificate. A serial number that is on a CRL of its issuer's is revoked,
// whatever distribution point the CRL is for: it is the issuer's name for this one certificate.
func (s *Store) covered(link *node, lists []given, at time.Time, left *int) (string, *Fault) {
	issuer := link.issuer.certificate
	name := nameText(issuer.RawSubject)
	state := CRLMissing
	for index := range lists {
		if lists[index].issuer != name {
			continue
		}
		list, fault := s.list(issuer, lists[index], left)
		if fault != nil {
			return "", fault
		}
		if list.Unusable != nil {
			return "", refuse(ReasonCRL, attestd.ClassCollateralInvalid,
				"a CRL of "+quote(issuer.Subject.CommonName),
				"a complete CRL of its issuer's own").because(list.Unusable)
		}
		if list.Revokes(link.certificate.SerialNumber) {
			return "", refuse(ReasonRevoked, attestd.ClassRevokedCert,
				describe(link.certificate)+" on the CRL of "+quote(issuer.Subject.CommonName),
				"one that is not revoked")
		}
		switch {
		case !list.IsFor(link.certificate):
		case list.Covers(link.certificate, at):
			state = CRLFresh
		case state == CRLMissing:
			state = CRLStale
		}
	}
	return state, nil
}

// list returns the verified form of a CRL.
func (s *Store) list(issuer *x509.Certificate, one given, left *int) (*crl.List, *Fault) {
	// What is known counts too: an answer must not depend on what was asked before.
	if *left == 0 {
		return nil, refuse(ReasonCRL, attestd.ClassTooLarge, "more CRLs to verify",
			fmt.Sprintf("at most %d", limits.signatures))
	}
	*left--
	key := crl.NewIssuer(issuer)
	if known := s.crls.Get(key, one.raw); known != nil {
		return known, nil
	}
	list, err := s.verifyList(issuer, one.outline)
	if err != nil {
		return nil, refuse(ReasonCRL, attestd.ClassCollateralInvalid,
			"a CRL in the name of "+quote(issuer.Subject.CommonName),
			"one that it signed").because(err)
	}
	s.crls.Add(key, list)
	return list, nil
}

func (s *Store) verifyList(issuer *x509.Certificate, outline crl.Outline) (*crl.List, error) {
	algorithm := &x509.Certificate{SignatureAlgorithm: outline.Algorithm()}
	if err := checkAlgorithm(algorithm, issuer); err != nil {
		return nil, err
	}
	s.count()
	return outline.Verified(issuer)
}
