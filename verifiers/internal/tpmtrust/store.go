package tpmtrust

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/certpath"
	"github.com/attestd/attestd/verifiers/internal/crl"
)

// Config says how a Store is made.
type Config struct {
	// InsecureRoots are roots that were loaded by hand. Paths that end in one say so.
	InsecureRoots []*x509.Certificate
	// Count is called once per public-key verification; nil for nobody who counts.
	Count func()
	// CacheSize is how many verified leaves are kept; 0 for 4,096.
	CacheSize int
}

// Store holds roots and what was verified before. It may be used by many at once. The cache saves
// signatures and never changes an answer: it is asked with every byte that the answer depends on,
// and validity and revocation are looked at on every call.
type Store struct {
	anchors map[string][]*node
	count   func()
	links   *lru.Cache[[sha256.Size]byte, struct{}]
	eks     *lru.Cache[[sha256.Size]byte, endorsement]
	aks     *lru.Cache[[sha256.Size]byte, attestation]
	crls    *crl.Cache
}

type endorsement struct {
	leaf *node
	ek   EK
}

type attestation struct {
	leaf *node
	ak   AK
}

// New returns a Store.
//
// Errors: a [*attestd.CallerError] of class CONFIG, where the pinned roots are not those of the
// table or an insecure root is no certificate authority that signs itself.
func New(config Config) (*Store, error) {
	pinned, err := pinnedNodes()
	if err != nil {
		return nil, err
	}
	s := &Store{anchors: make(map[string][]*node, len(pinned)), count: config.Count}
	if s.count == nil {
		s.count = func() {}
	}
	for name, nodes := range pinned {
		s.anchors[name] = slices.Clone(nodes)
	}
	for _, root := range config.InsecureRoots {
		own, err := ownCopy(root)
		if err != nil {
			return nil, &attestd.CallerError{
				Class: attestd.ClassConfig, Hint: "load the self-signed root of a TPM maker", Err: err,
			}
		}
		s.anchor(&anchor{certificate: own, vendor: "insecure root", insecure: true})
	}
	return s, s.makeCaches(config.CacheSize)
}

// ownCopy reads an insecure root anew, so that nobody changes it later.
func ownCopy(root *x509.Certificate) (*x509.Certificate, error) {
	if root == nil {
		return nil, errors.New("an insecure root is nil")
	}
	own, err := x509.ParseCertificate(append([]byte(nil), root.Raw...))
	if err == nil {
		err = checkInsecure(own)
	}
	if err != nil {
		return nil, fmt.Errorf("insecure root %s: %w", quote(root.Subject.CommonName), err)
	}
	return own, nil
}

// anchor adds a root. Pinned ones come first: one that is loaded by hand as well stays pinned.
func (s *Store) anchor(a *anchor) {
	name := nameText(a.certificate.RawSubject)
	s.anchors[name] = append(s.anchors[name], a.node())
}

func (a *anchor) node() *node {
	return &node{certificate: a.certificate, anchor: a, room: certpath.Length(a.certificate)}
}

// pinnedNodes are the pinned roots by name, and builtIn the compiled-in CA certificates. Both are read
// once in a process and never leave this package, so that nobody changes what all Stores share. The
// latter wait until a path first needs one: reading some hundred certificates takes milliseconds
// that a process without TPMs would pay for nothing.
var (
	pinnedNodes = sync.OnceValues(func() (map[string][]*node, error) {
		roots, err := Pinned()
		if err != nil {
			return nil, err
		}
		out := make(map[string][]*node, len(roots))
		for _, root := range roots {
			if err := checkAuthority(root.Certificate); err != nil {
				return nil, notPinned(err)
			}
			name := nameText(root.Certificate.RawSubject)
			out[name] = append(out[name], (&anchor{
				certificate: root.Certificate, vendor: root.Vendor, use: use(root.Use),
			}).node())
		}
		return out, nil
	})
	builtIn = sync.OnceValue(func() map[string][]*x509.Certificate {
		certificates, err := Intermediates()
		if err != nil {
			return nil // no candidates: paths that need one are refused; a test reads all of them
		}
		out := make(map[string][]*x509.Certificate, len(certificates))
		for _, certificate := range certificates {
			subject := nameText(certificate.RawSubject)
			out[subject] = append(out[subject], certificate)
		}
		return out
	})
)

func (s *Store) makeCaches(size int) error {
	if size <= 0 {
		size = limits.cachedNodes
	}
	var errs [3]error // each where a size is not above 0
	s.links, errs[0] = lru.New[[sha256.Size]byte, struct{}](2 * size)
	s.eks, errs[1] = lru.New[[sha256.Size]byte, endorsement](size)
	s.aks, errs[2] = lru.New[[sha256.Size]byte, attestation](size)
	s.crls = crl.NewCache(limits.cachedCRLs, limits.cachedCRLs*limits.crl)
	return cmp.Or(errs[:]...)
}

// Kept returns how many certificates are remembered.
func (s *Store) Kept() int { return s.eks.Len() + s.aks.Len() }

// queryDigest names a question about a leaf: its bytes and those of every certificate beside it.
func queryDigest(leaf []byte, given [][]byte) [sha256.Size]byte {
	digest := sha256.New()
	var length [4]byte
	write := func(data []byte) {
		length[0], length[1] = byte(len(data)>>24), byte(len(data)>>16)
		length[2], length[3] = byte(len(data)>>8), byte(len(data))
		digest.Write(length[:])
		digest.Write(data)
	}
	write(leaf)
	for _, certificate := range given {
		write(certificate)
	}
	return [sha256.Size]byte(digest.Sum(nil))
}

// checkSizes bounds a question before a byte of it is read.
func checkSizes(leaf []byte, given, crls [][]byte) *Fault {
	tooLarge := func(got, want string) *Fault {
		return refuse(ReasonSize, attestd.ClassTooLarge, got, want)
	}
	switch {
	case len(leaf) == 0:
		return refuse(ReasonEncoding, attestd.ClassMalformed, "no certificate", "X.509 in DER")
	case len(leaf) > limits.certificate:
		return tooLarge(fmt.Sprintf("a certificate of %d bytes", len(leaf)),
			fmt.Sprintf("at most %d", limits.certificate))
	case len(given) > limits.intermediates:
		return tooLarge(fmt.Sprintf("%d intermediate certificates", len(given)),
			fmt.Sprintf("at most %d", limits.intermediates))
	case len(crls) > limits.crls:
		return tooLarge(fmt.Sprintf("%d CRLs", len(crls)), fmt.Sprintf("at most %d", limits.crls))
	}
	for _, der := range given {
		if len(der) > limits.certificate {
			return tooLarge(fmt.Sprintf("an intermediate certificate of %d bytes", len(der)),
				fmt.Sprintf("at most %d", limits.certificate))
		}
	}
	for _, der := range crls {
		if len(der) > limits.crl {
			return tooLarge(fmt.Sprintf("a CRL of %d bytes", len(der)),
				fmt.Sprintf("at most %d", limits.crl))
		}
	}
	return nil
}

// checkTimes is RFC 5280 section 6.1.3 (a)(2) for every CA of the path, the root included. The
// leaf's own end is returned instead of being refused: many TPMs outlive their EK certificate, and
// whether that matters is the policy's to say. A leaf that is not valid yet has no such excuse.
func (n *node) checkTimes(at time.Time) (expired bool, fault *Fault) {
	for link := n; link != nil; link = link.issuer {
		certificate := link.certificate
		early, late := at.Before(certificate.NotBefore), at.After(certificate.NotAfter)
		switch {
		case late && link == n:
			expired = true
		case early || late:
			return false, refuse(ReasonTime, attestd.ClassCertTime,
				fmt.Sprintf("%s at %s", describe(certificate), at.UTC().Format(time.RFC3339)),
				fmt.Sprintf("a time from %s to %s", certificate.NotBefore.UTC().Format(time.RFC3339),
					certificate.NotAfter.UTC().Format(time.RFC3339)))
		}
	}
	return expired, nil
}
