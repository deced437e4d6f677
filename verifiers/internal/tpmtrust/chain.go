package tpmtrust

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strconv"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/certpath"
)

// node is a certificate with the verified path above it. Nodes never change.
type node struct {
	certificate *x509.Certificate
	issuer      *node   // nil for an anchor
	anchor      *anchor // where the path ends
	room        int     // CA certificates that may still follow; -1 for any number
}

var (
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidNameConstraints  = asn1.ObjectIdentifier{2, 5, 29, 30}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
)

// search is the building of one path.
type search struct {
	store *Store
	given []candidate
	// state of a CA certificate in this search, by its bytes: being resolved, or without a path.
	state map[string]bool
	left  int   // signatures that may still be verified
	spent bool  // one more was wanted than are allowed
	last  error // why the last candidate was none
}

// candidate is a certificate that came along, with its subject as [nameText] spells it.
type candidate struct {
	name        string
	certificate *x509.Certificate
}

// path verifies the leaf's path to a root. Every certificate that stands in given may be a part of
// it, and need not.
func (s *Store) path(leaf *x509.Certificate, given [][]byte) (*node, *Fault) {
	q := &search{store: s, state: make(map[string]bool), left: limits.signatures}
	for _, raw := range given {
		// One that cannot be read vouches for nobody; whether it may be there is the caller's to
		// say.
		if certificate, err := parse(raw); err == nil {
			q.given = append(q.given, candidate{nameText(certificate.RawSubject), certificate})
		}
	}
	issuer := q.issuerOf(leaf, false)
	switch {
	case issuer != nil:
		return &node{certificate: leaf, issuer: issuer, anchor: issuer.anchor}, nil
	case q.spent:
		return nil, refuse(ReasonChain, attestd.ClassTooLarge, "more signatures on the way to a root",
			"at most "+strconv.Itoa(limits.signatures))
	default:
		return nil, refuse(ReasonChain, attestd.ClassChain, describe(leaf)+", issued by "+
			quote(leaf.Issuer.CommonName), "a path to a pinned root of a TPM maker").because(q.last)
	}
}

// issuerOf returns the first CA with the issuer's name whose key made the certificate's signature
// and that has a path itself: roots first, then what was given, then what is compiled in. Names
// choose whom to ask; the signature decides.
func (q *search) issuerOf(certificate *x509.Certificate, isCA bool) *node {
	name := nameText(certificate.RawIssuer)
	for _, root := range q.store.anchors[name] {
		if q.issued(root, certificate, isCA) {
			return root
		}
	}
	ask := func(ca *x509.Certificate) *node {
		if issuer := q.authority(ca); issuer != nil && q.issued(issuer, certificate, isCA) {
			return issuer
		}
		return nil
	}
	for _, given := range q.given {
		if given.name == name {
			if issuer := ask(given.certificate); issuer != nil {
				return issuer
			}
		}
	}
	for _, known := range builtIn()[name] {
		if issuer := ask(known); issuer != nil {
			return issuer
		}
	}
	if q.last == nil {
		q.last = fmt.Errorf("no certificate of %s", quote(certificate.Issuer.CommonName))
	}
	return nil
}

// authority returns the node of a CA certificate, nil where it has no path. A certificate is
// resolved once in a search, so that a bundle of certificates that name each other ends.
func (q *search) authority(certificate *x509.Certificate) *node {
	if q.state[string(certificate.Raw)] {
		return nil
	}
	q.state[string(certificate.Raw)] = true
	if err := checkAuthority(certificate); err != nil {
		q.last = fmt.Errorf("%s: %w", describe(certificate), err)
		return nil
	}
	issuer := q.issuerOf(certificate, true)
	if issuer == nil {
		return nil
	}
	delete(q.state, string(certificate.Raw)) // it has a path, and may be asked for again
	return &node{
		certificate: certificate, issuer: issuer, anchor: issuer.anchor,
		room: certpath.RoomBelow(issuer.room, certificate),
	}
}

// issued reports whether issuer's key signed the certificate and whether it may stand there.
func (q *search) issued(issuer *node, certificate *x509.Certificate, isCA bool) bool {
	if isCA && issuer.room == 0 {
		q.last = fmt.Errorf("%s allows no CA below it", describe(issuer.certificate))
		return false
	}
	if err := checkAlgorithm(certificate, issuer.certificate); err != nil {
		q.last = fmt.Errorf("%s: %w", describe(certificate), err)
		return false
	}
	// What is known counts too: an answer must not depend on what was asked before.
	if q.left == 0 {
		q.spent = true
		return false
	}
	q.left--
	if !q.store.verified(certificate, issuer.certificate) {
		q.last = fmt.Errorf("%s is not signed by the key of %s", describe(certificate),
			describe(issuer.certificate))
		return false
	}
	return true
}

// verified verifies one signature, unless the same key was seen to have made the same one.
func (s *Store) verified(certificate, issuer *x509.Certificate) bool {
	key := queryDigest(issuer.RawSubjectPublicKeyInfo, [][]byte{certificate.Raw})
	if _, known := s.links.Get(key); known {
		return true
	}
	s.count()
	if issuer.CheckSignature(certificate.SignatureAlgorithm, certificate.RawTBSCertificate,
		certificate.Signature) != nil {
		return false
	}
	s.links.Add(key, struct{}{})
	return true
}

// checkAlgorithm allows the signatures of issuer's kind of key over SHA-2. SHA-1 is left out on
// purpose: with chosen prefixes (Leurent and Peyrin, "SHA-1 is a Shambles", 2020) one signed
// certificate becomes two. crypto/x509 itself would take it here.
func checkAlgorithm(certificate, issuer *x509.Certificate) error {
	switch certificate.SignatureAlgorithm {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS:
		if issuer.PublicKeyAlgorithm == x509.RSA {
			return nil
		}
	case x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512:
		if issuer.PublicKeyAlgorithm == x509.ECDSA {
			return nil
		}
	default:
		return fmt.Errorf("signed with %s, want RSA or ECDSA with SHA-2", certificate.SignatureAlgorithm)
	}
	return fmt.Errorf("signed with %s, and the issuer has an %s key", certificate.SignatureAlgorithm,
		issuer.PublicKeyAlgorithm)
}

// parse reads a certificate from its own copy of the bytes.
func parse(raw []byte) (*x509.Certificate, error) {
	certificate, err := x509.ParseCertificate(bytes.Clone(raw))
	if err != nil {
		return nil, errors.New(attestd.Excerpt(err.Error(), 120))
	}
	if !certpath.WholeBytes(certificate) {
		return nil, errors.New("its signature is not whole bytes")
	}
	return certificate, nil
}

// nameText spells a Name for comparison by the attributes' texts (RFC 5280, section 7.1): vendors
// have issued certificates whose issuer is the CA's name in another string type.
func nameText(raw []byte) string {
	var sequence pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &sequence); err != nil || len(rest) != 0 {
		return string(raw)
	}
	return sequence.String()
}

// used marks which of the given certificates are part of the path, each at its first place.
func (n *node) used(given [][]byte) uint32 {
	var mask uint32
	for link := n.issuer; link != nil; link = link.issuer {
		for index, raw := range given {
			if bytes.Equal(raw, link.certificate.Raw) {
				mask |= 1 << index
				break
			}
		}
	}
	return mask
}

// fingerprint is the SHA-256 of the anchor.
func (a *anchor) fingerprint() [sha256.Size]byte { return sha256.Sum256(a.certificate.Raw) }

// describe names a certificate for people: TPMs' own often have no subject.
func describe(certificate *x509.Certificate) string {
	if certificate.Subject.CommonName == "" {
		return "a certificate without a subject name"
	}
	return "certificate " + quote(certificate.Subject.CommonName)
}

func quote(text string) string { return strconv.Quote(attestd.Excerpt(text, 64)) }
