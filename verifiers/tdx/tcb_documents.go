package tdx

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/trail"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// clockSkew is how far the clock that judges may be behind Intel's: a document that was fetched in the
// second in which it was made must not be called one from the future.
const clockSkew = 5 * time.Minute

const (
	wantDocument = "whole, signed by Intel's TCB signing key, of this time, and not put back"
	wantSigner   = "a TCB signing key that the root of the PCK certified"
)

// readDocuments finds the TCB information of the platform and the identity of the enclave, and who
// signed them.
func (p *platform) readDocuments(t *trail.Trail, out *tcbFacts) ([]*authenticSigner, *fault) {
	out.collateral = stateMissing
	infos, identities, bad := p.documents()
	if bad != nil {
		return nil, bad
	}
	if len(infos)+len(identities) == 0 {
		t.NotApplicable(checkSigner, "no document was given; the policy judges that as collateral")
		t.NotApplicable(checkCollateral, "no document was given; the policy judges that as collateral")
		return nil, nil
	}
	signers, bad := p.signers()
	if bad != nil {
		return nil, bad
	}
	if len(signers) == 0 {
		const why = "no certificate of the TCB signing key was given; the policy judges that as collateral"
		t.NotApplicable(checkSigner, why)
		t.NotApplicable(checkCollateral, why)
		return nil, nil
	}
	info, bad := p.newest(infos, pcs.SubjectOfTCBInfo(p.pck.FMSPC), signers)
	if bad != nil {
		return nil, bad
	}
	identity, bad := p.newest(identities, pcs.SubjectOfIdentity, signers)
	if bad != nil {
		return nil, bad
	}
	var used []*authenticSigner
	stale := false
	for _, one := range [...]*givenDocument{info, identity} {
		if one == nil {
			continue
		}
		valid, bad := p.signersInTime(one)
		if bad != nil {
			return nil, bad
		}
		used = append(used, valid...)
		stale = stale || p.input.At.After(one.Head().NextUpdate)
	}
	if info != nil {
		out.info, _ = info.Document.(*pcs.TCBInfo)
	}
	if identity != nil {
		out.identity, _ = identity.Document.(*pcs.Identity)
	}
	t.Pass(checkSigner, wantSigner, wantSigner)
	t.Pass(checkCollateral, wantDocument, wantDocument)
	switch {
	case info == nil || identity == nil:
	case stale:
		out.collateral = stateStale
	default:
		out.collateral = stateFresh
	}
	return used, nil
}

// documents picks those that say that they are about the platform and about the enclave, each once, by
// a look at their bytes: with those of sixty families given, only two are read.
func (p *platform) documents() (infos, identities [][]byte, bad *fault) {
	given := p.input.Endorsements.Documents
	if len(given) > collateralLimits.documents {
		return nil, nil, refuseAs(checkCollateral, attestd.ClassTooLarge,
			fmt.Sprintf("%d documents", len(given)), fmt.Sprintf("at most %d", collateralLimits.documents))
	}
	total := 0
	for _, raw := range given {
		if total += len(raw); total > collateralLimits.bytes {
			return nil, nil, refuseAs(checkCollateral, attestd.ClassTooLarge, "larger documents",
				fmt.Sprintf("at most %d bytes together", collateralLimits.bytes))
		}
		list := &identities
		switch pcs.KindOf(raw) {
		case pcs.KindTCBInfo:
			if !pcs.IsAbout(raw, p.pck.FMSPC) {
				continue
			}
			list = &infos
		case pcs.KindIdentity:
		default:
			return nil, nil, refuse(checkCollateral, "a document of no known kind", wantDocument)
		}
		if isAmong(*list, raw) {
			continue
		}
		if len(*list) == collateralLimits.ofOne {
			return nil, nil, refuseAs(checkCollateral, attestd.ClassTooLarge,
				"more documents about one subject", fmt.Sprintf("at most %d", collateralLimits.ofOne))
		}
		*list = append(*list, raw)
	}
	return infos, identities, nil
}

func isAmong(list [][]byte, one []byte) bool {
	for _, other := range list {
		if bytes.Equal(other, one) {
			return true
		}
	}
	return false
}

var signerName = []byte(pcs.NameSigner)

// signers returns the TCB signing keys among the certificates that were given, below any root that is
// known here. A certificate that carries the name and ends elsewhere is refused where no other is good:
// who made it wanted documents of his own to count.
func (p *platform) signers() ([]*authenticSigner, *fault) {
	var out []*authenticSigner
	var first *fault
	var seen [][]byte
	for _, der := range p.input.Endorsements.Certificates {
		if len(der) > limits.certificate || !bytes.Contains(der, signerName) || isAmong(seen, der) {
			continue
		}
		// Those that are remembered count too: what was asked before must not change the answer.
		if len(seen) == collateralLimits.signers {
			return nil, refuseAs(checkSigner, attestd.ClassTooLarge,
				"more certificates of TCB signing keys", fmt.Sprintf("at most %d", collateralLimits.signers))
		}
		seen = append(seen, der)
		if known, ok := p.v.collateral.signers.get(der); ok {
			out = append(out, &known)
			continue
		}
		found, bad := p.signerOf(der)
		if bad != nil {
			if first == nil {
				first = bad
			}
			continue
		}
		p.v.collateral.signers.add(der, *found)
		out = append(out, found)
	}
	if len(out) == 0 && first != nil {
		return nil, first
	}
	return out, nil
}

func (p *platform) signerOf(der []byte) (*authenticSigner, *fault) {
	cert, err := x509.ParseCertificate(bytes.Clone(der))
	if err != nil {
		return nil, refuse(checkSigner, "a certificate that is none", wantSigner).because(err)
	}
	for _, root := range append([]*x509.Certificate{p.root}, p.v.roots...) {
		if root == p.root && err != nil {
			continue // it was asked first
		}
		if !p.count.take() {
			return nil, spent(checkSigner)
		}
		var signer *pcs.Signer
		if signer, err = pcs.NewSigner(cert, root); err == nil {
			return &authenticSigner{Signer: signer, root: root}, nil
		}
	}
	return nil, refuse(checkSigner, attestd.Excerpt(err.Error(), 120), wantSigner)
}

// signersInTime returns those certificates of the document's key that are valid at the time, or when a
// later document was made. All of them count from there on: whichever is revoked, the key is.
func (p *platform) signersInTime(document *givenDocument) ([]*authenticSigner, *fault) {
	at := p.input.At
	if issued := document.Head().IssuedAt; issued.After(at) {
		at = issued
	}
	var valid []*authenticSigner
	for _, signer := range document.signers {
		cert := signer.Certificate()
		if !at.Before(cert.NotBefore) && !at.After(cert.NotAfter) {
			valid = append(valid, signer)
		}
	}
	if len(valid) == 0 {
		cert := document.signers[0].Certificate()
		return nil, refuseAs(checkSigner, attestd.ClassCertTime, "a TCB signing key valid from "+
			cert.NotBefore.UTC().Format(time.RFC3339)+" to "+cert.NotAfter.UTC().Format(time.RFC3339),
			"valid at "+at.UTC().Format(time.RFC3339))
	}
	return valid, nil
}

// givenDocument is an authentic document with those of the certificates given that the root of the PCK
// issued for the key that signed it; never none.
type givenDocument struct {
	authenticDocument
	signers []*authenticSigner
}

// newest returns the newest of the documents that are authentic under the root of the PCK; nil for
// none. It refuses where one of them is not what it should be, all of them are from after the time, or
// the newest of the others is older than one that was seen before.
//
// Recorded evidence is judged by the newest, also where that was made after the time that it is judged
// at: it says more, not less. Where evidence is judged as of now, a document from the future says that
// the clock is wrong, and then nothing that was found fresh is.
func (p *platform) newest(
	candidates [][]byte, subject string, signers []*authenticSigner,
) (*givenDocument, *fault) {
	var newest, usable *givenDocument
	for _, raw := range candidates {
		document, bad := p.authentic(raw, signers)
		if bad != nil {
			return nil, bad
		}
		if document == nil {
			continue
		}
		if bad := p.checkSubject(document, subject); bad != nil {
			return nil, bad
		}
		newest = later(newest, document)
		future := document.Head().IssuedAt.After(p.input.At.Add(clockSkew)) && !p.wasSeen(document.Head())
		if !future || p.input.Demand.IsRecorded() {
			usable = later(usable, document)
		}
	}
	if newest == nil {
		return nil, nil
	}
	if usable == nil {
		return nil, refuse(checkCollateral, subject+" of "+
			newest.Head().IssuedAt.Format(time.RFC3339)+", which is in the future",
			"made by "+p.input.At.UTC().Format(time.RFC3339))
	}
	return usable, p.checkDocumentFloor(usable.Head())
}

func later(one, other *givenDocument) *givenDocument {
	if one == nil {
		return other
	}
	if head := other.Head(); one.Head().Before(head.Evaluation, head.IssuedAt) {
		return other
	}
	return one
}

// authentic returns the document that one of the signers signed; nil where the root of the PCK certified
// none whose key that is.
func (p *platform) authentic(raw []byte, signers []*authenticSigner) (*givenDocument, *fault) {
	found, known := p.v.collateral.documents.get(raw)
	// The cache changes no answer: a certificate for the key must be given each time.
	known = known && len(signersWith(signers, found.key, nil)) != 0
	if !known {
		document, err := pcs.Parse(raw)
		if err != nil {
			return nil, refuse(checkCollateral, attestd.Excerpt(err.Error(), 160), wantDocument)
		}
		for _, signer := range signers {
			if !p.count.take() {
				return nil, spent(checkCollateral)
			}
			if document.SignedBy(signer.Signer) == nil {
				found, known = authenticDocument{document, signer.key()}, true
				p.v.collateral.documents.add(raw, found)
				break
			}
		}
		if !known {
			return nil, refuse(checkCollateral,
				document.Head().Subject+" that the TCB signing key did not sign", wantDocument)
		}
	}
	own := signersWith(signers, found.key, p.root)
	if len(own) == 0 {
		return nil, nil
	}
	return &givenDocument{found, own}, nil
}

// signersWith returns those of the signers that have the key, below that root; nil for any root.
func signersWith(given []*authenticSigner, key []byte, root *x509.Certificate) []*authenticSigner {
	var out []*authenticSigner
	for _, one := range given {
		if (root == nil || one.root == root) && bytes.Equal(one.key(), key) {
			out = append(out, one)
		}
	}
	return out
}

// checkSubject demands what a look at the bytes only promised.
func (p *platform) checkSubject(document *givenDocument, subject string) *fault {
	if got := document.Head().Subject; got != subject {
		return refuse(checkCollateral, got, subject)
	}
	if info, is := document.Document.(*pcs.TCBInfo); is && info.PCEID != p.pck.PCEID {
		return refuse(checkCollateral, fmt.Sprintf("TCB information for PCEID %x", info.PCEID),
			fmt.Sprintf("PCEID %x, as the PCK has it", p.pck.PCEID))
	}
	return nil
}

// wasSeen reports whether a document of its date, or a later one, was seen before: then it is not the
// clock that is wrong, but evidence of an earlier day that is judged once more.
func (p *platform) wasSeen(head pcs.Header) bool {
	for _, floor := range p.input.Anchors.DocumentFloors {
		if floor.Subject == head.Subject && !head.IssuedAt.After(floor.IssuedAt) {
			return true
		}
	}
	return false
}

// checkDocumentFloor demands that the newest document is not older than one that was seen before:
// somebody who put an old one back would make a platform pass that is behind.
func (p *platform) checkDocumentFloor(head pcs.Header) *fault {
	for _, floor := range p.input.Anchors.DocumentFloors {
		if floor.Subject == head.Subject && head.Before(floor.Evaluation, floor.IssuedAt) {
			return refuse(checkCollateral, fmt.Sprintf("%s number %d of %s as the newest", head.Subject,
				head.Evaluation, head.IssuedAt.Format(time.RFC3339)), fmt.Sprintf(
				"none before number %d of %s, which was seen", floor.Evaluation,
				floor.IssuedAt.UTC().Format(time.RFC3339)))
		}
	}
	return nil
}
