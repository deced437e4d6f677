package awsdoc

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/certpath"
	"github.com/attestd/attestd/verifiers/internal/crl"
	"github.com/attestd/attestd/verifiers/internal/p384"
)

// node is a certificate whose place in a chain was verified: every signature from a pinned root down
// to it, and everything about it that does not depend on the time. Nodes never change.
type node struct {
	// digest names the node: SHA-256 over its role, its issuer's digest and its exact bytes, so a node
	// is found again only below the same certificates in the same order.
	digest  [sha256.Size]byte
	key     p384.Key
	subject []byte // DER, for the names of what it issued
	room    int    // CA certificates that may still follow; -1 for any number
	window  window
	leaf    leaf
	above   *node // nil for a root
	listed  listed
}

// leaf is what is kept of a leaf certificate.
type leaf struct {
	commonName  string
	from, until time.Time
}

// window is the time in which a whole chain is valid, and whose limits they are.
type window struct {
	from, until   time.Time
	since, expiry string
}

// chain is a verified path from a root to a leaf.
type chain struct {
	leaf     *node
	insecure bool
	fresh    []*node // those that the cache did not have
}

func windowOf(certificate *x509.Certificate) window {
	name := subjectOf(certificate)
	return window{
		from: certificate.NotBefore, until: certificate.NotAfter, since: name, expiry: name,
	}
}

func (w window) within(inner window) window {
	if inner.from.Before(w.from) {
		inner.from, inner.since = w.from, w.since
	}
	if inner.until.After(w.until) {
		inner.until, inner.expiry = w.until, w.expiry
	}
	return inner
}

// check is RFC 5280 section 6.1.3 (a)(2) for every certificate of the chain, root included: one that
// expired may have a key that was given up, and a leaf lives 3 hours so that a stolen one is useless.
func (w window) check(at time.Time) *problem {
	switch {
	case at.Before(w.from):
		return &problem{
			check: checkValidity, got: at.UTC().Format(time.RFC3339),
			want: w.from.UTC().Format(time.RFC3339) + " or later, for " + w.since,
		}
	case at.After(w.until):
		return &problem{
			check: checkValidity, got: at.UTC().Format(time.RFC3339),
			want: w.until.UTC().Format(time.RFC3339) + " or earlier, for " + w.expiry,
		}
	default:
		return nil
	}
}

func subjectOf(certificate *x509.Certificate) string {
	return strconv.Quote(attestd.Excerpt(certificate.Subject.CommonName, 64))
}

const (
	roleCA   byte = 'C'
	roleLeaf byte = 'L'
)

func nodeDigest(role byte, issuer [sha256.Size]byte, der []byte) [sha256.Size]byte {
	var buffer [1 + sha256.Size + 1024]byte // limits.certificate is 1024
	input := append(buffer[:0], role)
	input = append(input, issuer[:]...)
	return sha256.Sum256(append(input, der...))
}

// checkBundle limits the certificates before one of them is parsed. The pinned root counts whether the
// bundle has it or not, so that no chain has more than 7 signatures to verify.
func (e *Engine) checkBundle(d *Document) *problem {
	wrong := func(got, want string) *problem {
		return &problem{check: checkBundleSize, got: got, want: want}
	}
	if d.BundleSize == 0 {
		return wrong("an empty cabundle", "1 certificate or more")
	}
	total := d.BundleSize + 1
	if e.anchorOf(d.Bundle[0]) == nil {
		total++
	}
	if total > limits.certificates {
		return wrong(strconv.Itoa(total)+" certificates from root to leaf",
			"at most "+strconv.Itoa(limits.certificates))
	}
	longest, shortest := len(d.Certificate), len(d.Certificate)
	for _, certificate := range d.Bundle[:d.BundleSize] {
		longest, shortest = max(longest, len(certificate)), min(shortest, len(certificate))
	}
	if shortest == 0 || longest > limits.certificate {
		return wrong("certificates of "+strconv.Itoa(shortest)+" to "+size(longest), "1 to 1024 bytes each")
	}
	return nil
}

// anchorOf returns the root whose bytes these are, nil where it is none.
func (e *Engine) anchorOf(der []byte) *root {
	for index := range e.roots {
		if bytes.Equal(der, e.roots[index].der) {
			return &e.roots[index]
		}
	}
	return nil
}

// findRoot returns the anchor of a bundle and the certificates below it, leaf last.
func (e *Engine) findRoot(d *Document) (*root, [][]byte, *problem) {
	certificates := append(make([][]byte, 0, limits.certificates), d.Bundle[:d.BundleSize]...)
	certificates = append(certificates, d.Certificate)
	if anchor := e.anchorOf(certificates[0]); anchor != nil {
		return anchor, certificates[1:], nil
	}
	first, err := x509.ParseCertificate(certificates[0])
	if err != nil {
		return nil, nil, malformedCertificate(1, err)
	}
	// A bundle without its root is complete if the pinned root issued its first certificate. One that
	// brings a root of its own is not: anybody can copy a name and a key id onto another key.
	if !bytes.Equal(first.RawSubject, first.RawIssuer) {
		for index := range e.roots {
			if bytes.Equal(first.RawIssuer, e.roots[index].subject) {
				return &e.roots[index], certificates, nil
			}
		}
	}
	digest := sha256.Sum256(certificates[0])
	return nil, nil, &problem{
		check: checkRoot,
		got:   fmt.Sprintf("first certificate %s, SHA-256 %x", subjectOf(first), digest[:8]),
		want:  "the pinned root, or a certificate that it issued",
	}
}

// malformedCertificate names a certificate by its place below the root, so that the answer is the same
// whatever of the chain was known before.
func malformedCertificate(place int, err error) *problem {
	return &problem{
		check: checkCertificates, got: "certificate " + strconv.Itoa(place) + " below the root not readable",
		want: "X.509 version 3 in DER", err: errors.New(attestd.Excerpt(err.Error(), 120)),
	}
}

// findChain verifies the chain of d as of at. What the cache knows costs no signature and no parsing;
// its time is checked on every call.
func (e *Engine) findChain(d *Document, at time.Time) (chain, *problem) {
	anchor, certificates, found := e.findRoot(d)
	if found != nil {
		return chain{}, found
	}
	var digests [8][sha256.Size]byte
	above := anchor.node.digest
	for index, der := range certificates {
		role := roleCA
		if index == len(certificates)-1 {
			role = roleLeaf
		}
		digests[index] = nodeDigest(role, above, der)
		above = digests[index]
	}
	known, parent := 0, anchor.node
	for index := len(certificates); index > 0; index-- {
		cache := e.authorities
		if index == len(certificates) {
			cache = e.leaves
		}
		if cached, ok := cache.Get(digests[index-1]); ok {
			known, parent = index, cached
			break
		}
	}
	if known == len(certificates) {
		if found := parent.window.check(at); found != nil {
			return chain{}, found
		}
		return chain{leaf: parent, insecure: anchor.insecure}, nil
	}
	fresh, found := e.extend(parent, known, certificates, digests[:], at)
	if found != nil {
		return chain{}, found
	}
	return chain{leaf: fresh[len(fresh)-1], insecure: anchor.insecure, fresh: fresh}, nil
}

// extend verifies the certificates behind the known ones, below parent: everything that costs little for all of them, and only
// then the signatures, so that a hostile chain is refused before it costs one.
func (e *Engine) extend(
	parent *node, known int, certificates [][]byte, digests [][sha256.Size]byte, at time.Time,
) ([]*node, *problem) {
	certificates, digests = certificates[known:], digests[known:]
	parsed := make([]*x509.Certificate, len(certificates))
	for index, der := range certificates {
		if index < len(certificates)-1 {
			der = bytes.Clone(der) // an issuer of lists is kept whole, and it aliases what it was read from
		}
		certificate, err := x509.ParseCertificate(der)
		if err == nil && certificate.Version != 3 {
			err = fmt.Errorf("version %d", certificate.Version)
		}
		if err != nil {
			return nil, malformedCertificate(known+index+1, err)
		}
		parsed[index] = certificate
	}
	fresh := make([]*node, len(parsed))
	above := parent
	for index, certificate := range parsed {
		key, err := newKey(certificate.PublicKey)
		if err != nil {
			return nil, &problem{
				check: checkKey, got: "certificate " + subjectOf(certificate), want: "a P-384 key", err: err,
			}
		}
		fresh[index] = &node{
			digest: digests[index], key: key, subject: bytes.Clone(certificate.RawSubject),
			window: above.window.within(windowOf(certificate)),
			above:  above, listed: listedOf(certificate),
		}
		above = fresh[index]
	}
	if found := above.window.check(at); found != nil {
		return nil, found
	}
	above = parent
	for index, certificate := range parsed {
		isLeaf := index == len(parsed)-1
		if err := checkPlace(above, certificate, isLeaf); err != nil {
			return nil, chainProblem(certificate, err)
		}
		fresh[index].room = certpath.RoomBelow(above.room, certificate)
		above = fresh[index]
	}
	above = parent
	for index, certificate := range parsed {
		if !e.signatures.verifyMessage(above.key, certificate.RawTBSCertificate, certificate.Signature) {
			return nil, chainProblem(certificate, errors.New("its signature is not its issuer's"))
		}
		if above = fresh[index]; index < len(parsed)-1 {
			above.listed.issuer = crl.NewIssuer(certificate)
			above.key.Precompute() // what it signed comes next, and other leaves later
		}
	}
	last := parsed[len(parsed)-1]
	above.leaf = leaf{
		commonName: strings.Clone(last.Subject.CommonName), from: last.NotBefore, until: last.NotAfter,
	}
	return fresh, nil
}

func chainProblem(certificate *x509.Certificate, err error) *problem {
	return &problem{
		check: checkChain, got: "certificate " + subjectOf(certificate),
		want: "a place below the one before it", err: err,
	}
}

var (
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
)

// checkPlace is what RFC 5280 section 6.1 and NSM section 3.2.3 demand of a certificate below its
// issuer, but for time and signature.
func checkPlace(issuer *node, certificate *x509.Certificate, isLeaf bool) error {
	if certificate.SignatureAlgorithm != x509.ECDSAWithSHA384 {
		return fmt.Errorf("signed with %s, want ECDSA-SHA384", certificate.SignatureAlgorithm)
	}
	// RFC 5280 section 6.1.3 (a)(4). This keeps the order, too: a stranger or a bundle the wrong way
	// round has other names.
	if !bytes.Equal(certificate.RawIssuer, issuer.subject) {
		return errors.New("its issuer is not the certificate before it")
	}
	// RFC 5280 section 4.2: a critical extension that is not understood must reject. Those that
	// crypto/x509 reads and nobody here enforces, such as name constraints, are not understood.
	for _, extension := range certificate.Extensions {
		if extension.Critical && !extension.Id.Equal(oidKeyUsage) &&
			!extension.Id.Equal(oidBasicConstraints) {
			return fmt.Errorf("critical extension %s", extension.Id)
		}
	}
	// A certificate that names itself as its issuer stands above others, never below: a second copy of
	// the root would be another spelling of the same chain.
	if bytes.Equal(certificate.RawSubject, certificate.RawIssuer) {
		return errors.New("it is self-issued and stands below the root")
	}
	if isLeaf {
		return checkLeaf(certificate)
	}
	switch {
	case !certificate.BasicConstraintsValid || !certificate.IsCA:
		return errors.New("it is no CA and stands above another certificate")
	case certificate.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("its key usage has no keyCertSign")
	case issuer.room == 0:
		return errors.New("the path is longer than a certificate above allows")
	}
	return nil
}

// checkLeaf: a leaf that may sign certificates would be an issuer that the document brought along.
func checkLeaf(certificate *x509.Certificate) error {
	switch {
	case certificate.IsCA || certpath.Length(certificate) >= 0:
		return errors.New("the leaf is a CA or has a path length")
	case certificate.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return errors.New("the leaf's key usage has no digitalSignature")
	case certificate.KeyUsage&x509.KeyUsageCertSign != 0:
		return errors.New("the leaf's key usage has keyCertSign")
	}
	return nil
}
