package sevsnp

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/certpath"
	"github.com/attestd/attestd/verifiers/internal/rsapss"
)

// counter counts public-key verifications, and allows a call only so many of them.
type counter struct {
	total *atomic.Uint64
	left  int
}

var errBudget = errors.New("too many signatures to verify")

// take uses up one verification; false where none is left.
func (c *counter) take() bool {
	if c.left == 0 {
		return false
	}
	c.left--
	c.total.Add(1)
	return true
}

// verify reports whether issuer's key signed cert.
func (c *counter) verify(cert, issuer *x509.Certificate) bool {
	if !c.take() {
		return false
	}
	public, _ := issuer.PublicKey.(*rsa.PublicKey)
	key, err := rsapss.NewKey(public)
	if err != nil || cert.SignatureAlgorithm != x509.SHA384WithRSAPSS {
		return issuer.CheckSignature(
			cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil
	}
	digest := sha512.Sum384(cert.RawTBSCertificate)
	return key.Verify(digest[:], cert.Signature)
}

// search is the material of one verification.
type search struct {
	v     *Verifier
	at    time.Time
	kind  keyKind // of the key that the report says signed it
	table certTable
	given [][]byte
	crls  [][]byte
	// floors are the newest lists that were seen before.
	floors []attestd.CRLFloor
	// revocation is what lists say of the candidate that was accepted last.
	revocation revocation
	count      *counter
	asks       []*authority // below roots loaded by hand; filled on first use
	asked      bool
}

// admit returns the VCEK or VLEK in der if it chains to a root, from the cache where its bytes were
// seen before. Times are not part of it.
func (s *search) admit(der []byte) (*vcek, *fault) {
	digest := digestOf(der)
	if known, ok := s.v.cache.Get(digest); ok && known.kind == s.kind && s.stillGiven(known.issuer) {
		return known, nil
	}
	if len(der) > limits.certificate {
		return nil, refuseAs(checkChain, attestd.ClassTooLarge,
			fmt.Sprintf("a %s of %d bytes", s.kind, len(der)), fmt.Sprintf("at most %d", limits.certificate))
	}
	cert, err := x509.ParseCertificate(bytes.Clone(der))
	if err != nil {
		return nil, refuse(checkChain, "a "+s.kind.String()+" that is no certificate", "X.509 in DER").because(err)
	}
	if cert.SignatureAlgorithm != x509.SHA384WithRSAPSS {
		return nil, refuse(checkChain, s.kind.String()+" signed with "+cert.SignatureAlgorithm.String(),
			"SHA384-RSAPSS")
	}
	if !certpath.WholeBytes(cert) {
		return nil, refuse(checkChain, "a "+s.kind.String()+" whose signature is not whole bytes",
			"X.509 in DER")
	}
	issuer, bad := s.issuerOf(cert)
	if bad != nil {
		return nil, bad
	}
	known, bad := readVCEK(cert, s.kind, issuer)
	if bad != nil {
		return nil, bad
	}
	known.digest = digest
	s.v.cache.Add(digest, known)
	return known, nil
}

// stillGiven keeps the cache from changing answers: an ASK below a root that was loaded by hand is
// an endorsement, and must be given each time.
func (s *search) stillGiven(issuer *authority) bool {
	if !issuer.insecure || bytes.Equal(s.table.ask, issuer.ask.Raw) {
		return true
	}
	for _, der := range s.given {
		if bytes.Equal(der, issuer.ask.Raw) {
			return true
		}
	}
	return false
}

// issuerOf finds the authority over this kind of keys that signed cert. Names only choose whom to ask;
// the signature decides, so AMD's subject text on a self-made root gains nothing.
func (s *search) issuerOf(cert *x509.Certificate) (*authority, *fault) {
	named := false
	for _, issuers := range []func() []*authority{s.v.pinnedIssuers, s.insecureIssuers} {
		for _, issuer := range issuers() {
			if issuer.kind != s.kind || !bytes.Equal(cert.RawIssuer, issuer.ask.RawSubject) {
				continue
			}
			named = true
			if s.count.verify(cert, issuer.ask) {
				return issuer, nil
			}
		}
	}
	switch {
	case s.count.left == 0:
		return nil, refuseAs(checkChain, attestd.ClassTooLarge, "too many signatures to verify",
			fmt.Sprintf("at most %d", limits.signatures)).because(errBudget)
	case named:
		return nil, refuse(checkChain, "a "+s.kind.String()+" that "+cert.Issuer.CommonName+" did not sign",
			"a chain to a pinned AMD root")
	default:
		return nil, refuse(checkChain, fmt.Sprintf("a certificate issued by %q",
			attestd.Excerpt(cert.Issuer.CommonName, 40)), s.kind.issuers())
	}
}

// insecureIssuers returns the ASKs or ASVKs among the endorsements that a root loaded by hand has
// signed.
func (s *search) insecureIssuers() []*authority {
	if s.asked || len(s.v.insecure) == 0 {
		return s.asks
	}
	s.asked = true
	tried := 0
	for _, der := range append([][]byte{s.table.ask}, s.given...) {
		if len(der) == 0 || len(der) > limits.certificate || tried == limits.authorities ||
			isEndEntity(der) {
			continue
		}
		for name, ark := range s.v.insecure {
			// Cheap first: an ASK names its line and its issuer, and is not the root itself.
			if !bytes.Contains(der, []byte(s.kind.issuer(name))) || bytes.Equal(der, ark.Raw) ||
				!bytes.Contains(der, ark.RawSubject) {
				continue
			}
			tried++
			ask, err := x509.ParseCertificate(bytes.Clone(der))
			if err != nil || checkASK(ask, ark, name, s.kind, s.count) != nil {
				continue
			}
			s.asks = append(s.asks, &authority{
				line: name, kind: s.kind, ask: ask, ark: ark, insecure: true})
		}
	}
	return s.asks
}
