package sevsnp

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// authority is an ASK or an ASVK with the ARK above it, both checked: what may issue a VCEK or a
// VLEK.
type authority struct {
	line     line
	kind     keyKind
	ask, ark *x509.Certificate
	insecure bool
}

// rsaBits is the size of AMD's signing keys (AMD 57230 rev 0.50).
const rsaBits = 4096

// checkAuthorityKey demands what every ARK and ASK must be. A certificate that may not sign
// certificates, or a short key, must not become an issuer because its name fits.
func checkAuthorityKey(cert *x509.Certificate) error {
	key, ok := cert.PublicKey.(*rsa.PublicKey)
	switch {
	case !ok || key.N.BitLen() != rsaBits:
		return errors.New("key is not RSA of 4096 bits")
	case cert.SignatureAlgorithm != x509.SHA384WithRSAPSS:
		return fmt.Errorf("signature algorithm %s, want SHA384-RSAPSS", cert.SignatureAlgorithm)
	case !cert.BasicConstraintsValid || !cert.IsCA:
		return errors.New("not a certificate authority")
	case cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("key usage does not allow signing certificates")
	case len(cert.UnhandledCriticalExtensions) != 0:
		return fmt.Errorf("unknown critical extension %v", cert.UnhandledCriticalExtensions[0])
	default:
		return nil
	}
}

// checkARK demands a self-signed root of the line, and says so with one signature verification.
func checkARK(ark *x509.Certificate, name line, count *counter) error {
	if err := checkAuthorityKey(ark); err != nil {
		return fmt.Errorf("ARK: %w", err)
	}
	if ark.Subject.CommonName != "ARK-"+string(name) || !bytes.Equal(ark.RawIssuer, ark.RawSubject) {
		return fmt.Errorf("ARK is not the self-signed ARK-%s", name)
	}
	if !count.verify(ark, ark) {
		return errors.New("ARK is not signed by itself")
	}
	return nil
}

// checkASK demands that ark issued ask for the same line and for this kind of keys. An ASVK's name on
// an ASK would let a cloud's keys speak for chips.
func checkASK(ask, ark *x509.Certificate, name line, kind keyKind, count *counter) error {
	if err := checkAuthorityKey(ask); err != nil {
		return fmt.Errorf("%s: %w", kind.role(), err)
	}
	if ask.Subject.CommonName != kind.issuer(name) || !bytes.Equal(ask.RawIssuer, ark.RawSubject) {
		return fmt.Errorf("%s is not %s issued by ARK-%s", kind.role(), kind.issuer(name), name)
	}
	if !count.verify(ask, ark) {
		return fmt.Errorf("%s is not signed by ARK-%s", kind.role(), name)
	}
	return nil
}

// outsideValidity returns the certificate of the chain that is not valid at the time, if any.
func outsideValidity(at time.Time, key *vcek) (string, *x509.Certificate) {
	for _, link := range [...]struct {
		name string
		cert *x509.Certificate
	}{{key.kind.String(), key.cert}, {key.kind.role(), key.issuer.ask}, {"ARK", key.issuer.ark}} {
		if at.Before(link.cert.NotBefore) || at.After(link.cert.NotAfter) {
			return link.name, link.cert
		}
	}
	return "", nil
}

// pinnedAuthorities opens and checks AMD's certificates behind the wall.
func pinnedAuthorities(chains []pinnedChain, count *counter) ([]*authority, error) {
	var out []*authority
	arks := make(map[line]*x509.Certificate) // each is verified once
	for _, pinned := range chains {
		ask, ark, err := pinned.certificates()
		if err != nil {
			return nil, err
		}
		if known := arks[pinned.line]; known != nil && known.Equal(ark) {
			ark = known
		} else if err := checkARK(ark, pinned.line, count); err != nil {
			return nil, notPinned(pinned.line, err)
		}
		arks[pinned.line] = ark
		if err := checkASK(ask, ark, pinned.line, pinned.kind, count); err != nil {
			return nil, notPinned(pinned.line, err)
		}
		out = append(out, &authority{line: pinned.line, kind: pinned.kind, ask: ask, ark: ark})
	}
	return out, nil
}

// insecureRoots picks the AMD-shaped roots out of those that were loaded by hand; roots of other
// vendors stand in the same list and belong to other verifiers.
func insecureRoots(roots []*x509.Certificate, count *counter) (map[line]*x509.Certificate, error) {
	out := make(map[line]*x509.Certificate)
	for _, root := range roots {
		for _, name := range lines {
			if root == nil || root.Subject.CommonName != "ARK-"+string(name) {
				continue
			}
			if _, double := out[name]; double {
				return nil, fmt.Errorf("two insecure roots are called ARK-%s", name)
			}
			ark, err := x509.ParseCertificate(bytes.Clone(root.Raw))
			if err != nil {
				return nil, err
			}
			if err := checkARK(ark, name, count); err != nil {
				return nil, err
			}
			out[name] = ark
		}
	}
	return out, nil
}
