package collateral

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/all"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// Limits of what is taken.
const (
	maxCertificate = 16 << 10
	// maxList fits a list of 100,000 entries.
	maxList   = 4 << 20
	maxNumber = 20 // RFC 5280, section 5.2.3
	// maxAhead is how far a vendor's clock may be ahead of ours.
	maxAhead = 5 * time.Minute
	// maxPath is how many certificates lead from an intermediate to its root.
	maxPath = 4
	// maxTried bounds the signatures that one object can make us verify.
	maxTried = 8
)

// issuer is a CA that objects can be signed by: one that is compiled in, or one that the store holds.
type issuer struct {
	certificate *x509.Certificate
	format      attestd.Format
	spki        [32]byte
	root        bool
	// line is AMD's name of the product line, as in "Milan"; empty for other vendors.
	line string
	// versioned says that it signs keys of single machines (AMD's ASK and ASVK), and kind which.
	kind Kind
	// signs is set of a key that signs Intel's documents, which is no CA.
	signs *pcs.Signer
}

// newIssuer describes a CA whose own signature was verified, or that is a root.
func newIssuer(certificate *x509.Certificate, format attestd.Format, root bool) *issuer {
	found := &issuer{
		certificate: certificate, format: format, root: root,
		spki: sha256.Sum256(certificate.RawSubjectPublicKeyInfo),
	}
	if format != attestd.FormatSEVSNP {
		return found
	}
	name := certificate.Subject.CommonName
	if line, is := strings.CutPrefix(name, "ARK-"); is && root {
		found.line = knownLine(line)
	} else if line, is := strings.CutPrefix(name, "SEV-VLEK-"); is && !root {
		found.line, found.kind = knownLine(line), VLEK
	} else if line, is := strings.CutPrefix(name, "SEV-"); is && !root {
		found.line, found.kind = knownLine(line), VCEK
	}
	return found
}

// compiledIn are the CAs that are compiled in: roots, and candidates with a signed path to one of them. They
// are the same for every store and take a while to verify.
var compiledIn = sync.OnceValues(func() ([]*issuer, error) {
	pinned, err := all.Issuers()
	if err != nil {
		return nil, err
	}
	var issuers []*issuer
	for _, one := range pinned {
		if one.Root {
			issuers = append(issuers, newIssuer(one.Certificate, one.Format, true))
		}
	}
	// Makers' chains have more than one level: once more for each.
	for range maxPath {
		for _, one := range pinned {
			if one.Root || holds(issuers, one.Certificate) {
				continue
			}
			if _, err := signer(issuers, one.Certificate, one.Format); err == nil {
				issuers = append(issuers, newIssuer(one.Certificate, one.Format, false))
			}
		}
	}
	return issuers, nil
})

// pinnedIssuers returns the CAs that are compiled in, and the roots that an operator named. The latter may
// be of any format, as they are for verifiers; one that is called like AMD's is one of AMD's, and so with AWS's and
// Intel's.
func pinnedIssuers(insecure []*x509.Certificate) ([]*issuer, error) {
	compiled, err := compiledIn()
	if err != nil {
		return nil, err
	}
	var issuers []*issuer
	for _, root := range insecure {
		if root == nil {
			continue
		}
		format := attestd.FormatTPM
		switch {
		case strings.HasPrefix(root.Subject.CommonName, "ARK-"):
			format = attestd.FormatSEVSNP
		case strings.HasSuffix(root.Subject.CommonName, awsSuffix):
			format = attestd.FormatNitro
		case root.Subject.CommonName == pcs.NameRoot:
			format = attestd.FormatTDX
		}
		issuers = append(issuers, newIssuer(root, format, true))
	}
	return append(issuers, compiled...), nil
}

func holds(issuers []*issuer, certificate *x509.Certificate) bool {
	for _, known := range issuers {
		if known.certificate.Equal(certificate) {
			return true
		}
	}
	return false
}

// signer returns the issuer whose signature a certificate carries. Names only say whom to try.
func signer(issuers []*issuer, certificate *x509.Certificate, format attestd.Format) (*issuer, error) {
	tried := 0
	for _, candidate := range issuers {
		if format != "" && candidate.format != format ||
			string(candidate.certificate.RawSubject) != string(certificate.RawIssuer) {
			continue
		}
		if tried++; tried > maxTried {
			break
		}
		if certificate.CheckSignatureFrom(candidate.certificate) == nil {
			return candidate, nil
		}
	}
	if tried == 0 {
		return nil, untrusted("issuer %q is not known", certificate.Issuer.CommonName)
	}
	return nil, untrusted("its signature is not that of %q", certificate.Issuer.CommonName)
}

// untrusted is what no root vouches for.
func untrusted(format, foreign string) error {
	return &attestd.CallerError{
		Class: attestd.ClassCollateralInvalid,
		Hint: "get it from the vendor again; the certificate of an intermediate CA must be imported before, or " +
			"together with, what it signed",
		Err: fmt.Errorf(format, attestd.Excerpt(foreign, 80)),
	}
}

func invalid(hint, format string, args ...any) error {
	return &attestd.CallerError{
		Class: attestd.ClassCollateralInvalid, Hint: hint, Err: fmt.Errorf(format, args...),
	}
}

// authority is a verified certificate of an intermediate CA.
type authority struct {
	issuer *issuer // what it becomes
	der    []byte
}

// authenticCA verifies an intermediate CA at a time. Roots are never taken: they are compiled in.
func authenticCA(issuers []*issuer, der []byte, at time.Time) (*authority, error) {
	certificate, err := parseCertificate(der)
	if err != nil {
		return nil, err
	}
	if isSigner(certificate) {
		return newSigner(issuers, der, at)
	}
	above, err := signer(issuers, certificate, "")
	if err != nil {
		return nil, err
	}
	name := attestd.Excerpt(certificate.Subject.CommonName, 80)
	switch {
	case !certificate.BasicConstraintsValid || !certificate.IsCA,
		certificate.KeyUsage&x509.KeyUsageCertSign == 0:
		return nil, invalid("import CAs, lists and VCEKs or VLEKs", "%q is not a CA", name)
	case len(certificate.UnhandledCriticalExtensions) != 0:
		return nil, invalid("attestd may be too old for it", "%q has the critical extension %s", name,
			certificate.UnhandledCriticalExtensions[0])
	}
	if err := checkValidity(certificate, name, at); err != nil {
		return nil, err
	}
	found := newIssuer(certificate, above.format, false)
	if found.format == attestd.FormatSEVSNP && (!above.root || found.line == "" || found.line != above.line) {
		// An ASK of one line that another line's root signed would judge machines it must not.
		return nil, invalid("AMD publishes an ASK and an ASVK for each product line",
			"%q is not an ASK or ASVK of its root's product line", name)
	}
	return &authority{found, der}, nil
}

func parseCertificate(der []byte) (*x509.Certificate, error) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, unreadable("certificate", err)
	}
	return certificate, nil
}

// isSigner says whether a certificate is that of a key that signs Intel's documents, by its name.
func isSigner(certificate *x509.Certificate) bool {
	return !certificate.IsCA && certificate.Subject.CommonName == pcs.NameSigner
}

func checkValidity(certificate *x509.Certificate, name string, at time.Time) error {
	switch {
	case certificate.NotBefore.After(at.Add(maxAhead)):
		return invalid("look at this machine's clock", "%q is valid from %s on", name,
			certificate.NotBefore.UTC().Format(time.RFC3339))
	case certificate.NotAfter.Before(at):
		return invalid("get its successor from the vendor", "%q was valid until %s", name,
			certificate.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

func unreadable(what string, err error) error {
	return invalid("get it from the vendor again, in DER or PEM", "a %s that cannot be read: %s", what,
		attestd.Excerpt(err.Error(), 120))
}

// revocationList is a verified revocation list.
type revocationList struct {
	row listRow
	der []byte
}

// authenticList verifies a revocation list. One whose time has passed is taken: what it revokes stays
// revoked, and that it is stale is told.
func authenticList(issuers []*issuer, der []byte, at time.Time) (*revocationList, error) {
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, unreadable("revocation list", err)
	}
	by, err := listSigner(issuers, parsed)
	if err != nil {
		return nil, err
	}
	name := attestd.Excerpt(by.certificate.Subject.CommonName, 80)
	if by.format == attestd.FormatNitro && parsed.SignatureAlgorithm != x509.ECDSAWithSHA384 {
		return nil, invalid("AWS signs with ECDSA-SHA384; report it to AWS", "the list of %q: signed with %s",
			name, parsed.SignatureAlgorithm)
	}
	scope, err := checkList(parsed)
	if err != nil {
		return nil, invalid("import the issuer's complete list", "the list of %q: %w", name, err)
	}
	if parsed.ThisUpdate.After(at.Add(maxAhead)) {
		return nil, invalid("look at this machine's clock", "the list of %q is of %s, which is yet to come",
			name, parsed.ThisUpdate.UTC().Format(time.RFC3339))
	}
	body, whole := sha256.Sum256(parsed.RawTBSRevocationList), sha256.Sum256(der)
	return &revocationList{der: der, row: listRow{
		Format: by.format, Issuer: hex.EncodeToString(by.spki[:]), IssuerName: name, Scope: scope,
		Number: hex.EncodeToString(parsed.Number.Bytes()),
		From:   parsed.ThisUpdate.UTC(), Until: parsed.NextUpdate.UTC(),
		Body: hex.EncodeToString(body[:]), SHA256: hex.EncodeToString(whole[:]), Bytes: len(der),
		Entries: len(parsed.RevokedCertificateEntries),
	}}, nil
}

// listSigner returns the issuer that signed a list. Of AMD's it is the root: an ASK signs none
// (AMD 57230, chapter on the revocation list).
func listSigner(issuers []*issuer, parsed *x509.RevocationList) (*issuer, error) {
	tried := 0
	for _, candidate := range issuers {
		if string(candidate.certificate.RawSubject) != string(parsed.RawIssuer) {
			continue
		}
		if tried++; tried > maxTried {
			break
		}
		// CheckSignatureFrom demands cRLSign of the issuer (RFC 5280, section 6.3.3 (f)).
		if parsed.CheckSignatureFrom(candidate.certificate) != nil {
			continue
		}
		if candidate.format == attestd.FormatSEVSNP && !candidate.root {
			return nil, invalid("import the list of the ARK", "a list of %q, which is no root of AMD's",
				attestd.Excerpt(parsed.Issuer.CommonName, 80))
		}
		return candidate, nil
	}
	if tried == 0 {
		return nil, untrusted("issuer %q is not known", parsed.Issuer.CommonName)
	}
	return nil, untrusted("its signature is not that of %q", parsed.Issuer.CommonName)
}

// checkList refuses lists that do not speak for all certificates of their issuer and returns the scope.
func checkList(parsed *x509.RevocationList) (scope string, err error) {
	switch {
	case parsed.Number == nil:
		// RFC 5280, section 5.2.3: conforming issuers "MUST include this extension in all CRLs". Without
		// it nothing keeps an older list from coming back.
		return "", errors.New("it has no number")
	case parsed.Number.Sign() < 0 || len(parsed.Number.Bytes()) > maxNumber:
		return "", errors.New("its number is none")
	case parsed.NextUpdate.IsZero() || !parsed.NextUpdate.After(parsed.ThisUpdate):
		return "", errors.New("nothing says until when it is current")
	}
	for _, extension := range parsed.Extensions {
		switch {
		case extension.Id.Equal(oidDelta):
			return "", errors.New("it is a delta")
		case extension.Id.Equal(oidPoint):
			if scope, err = readScope(extension.Value); err != nil {
				return "", err
			}
		case extension.Critical:
			return "", fmt.Errorf("critical extension %s", extension.Id)
		}
	}
	for _, entry := range parsed.RevokedCertificateEntries {
		for _, extension := range entry.Extensions {
			// It is certificateIssuer (section 5.3.3): the serial would be another CA's.
			if extension.Critical {
				return "", fmt.Errorf("critical extension %s of an entry", extension.Id)
			}
		}
	}
	return scope, nil
}

// follows says whether a list may come after the newest that was seen of its issuer and scope, and
// whether it changes anything.
func (l *revocationList) follows(last listRow) (changes bool, err error) {
	hint := "this is an older list than one that was imported before: get the current one"
	number := strings.Compare(padded(l.row.Number), padded(last.Number))
	switch {
	case number < 0:
		return false, invalid(hint, "the list of %q has number %s, and %s was seen already", last.IssuerName,
			decimal(l.row.Number), decimal(last.Number))
	case l.row.From.Before(last.From):
		return false, invalid(hint, "the list of %q is of %s, and one of %s was seen already", last.IssuerName,
			l.row.From.Format(time.RFC3339), last.From.Format(time.RFC3339))
	case number == 0 && l.row.From.Equal(last.From) && l.row.Body != last.Body:
		// RFC 5280, section 5.2.3: two lists of one scope must not have one number.
		return false, invalid("report it to the vendor: its key may have signed for two audiences",
			"the list of %q has number and date of another one that was seen", last.IssuerName)
	}
	// The signature of the same list may be another one: RSA-PSS draws a salt.
	return l.row.Body != last.Body, nil
}
