package tdx

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/crl"
	"github.com/attestd/attestd/verifiers/internal/trail"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// revocation is what the lists that were given say of certificates none of which they revoke. The zero
// revocation is that of no list.
type revocation struct {
	state string
	// root and ca are the lists of the two issuers: the newest that covers the time, else the newest.
	root, ca *crl.List
}

// link is a certificate that must be on none of its issuer's lists.
type link struct {
	name string
	cert *x509.Certificate
}

const wantLists = "whole lists that the issuer signed, not put back"

// judgeLists looks for every certificate on the lists of its issuer: for the CA over the PCK and for the
// TCB signing keys on the root's, for the PCK on that CA's. The CA over single processors and the one
// over platforms have lists of their own, and one says nothing about the other's PCKs.
//
// What is on any authentic list counts, however old or new that list is. So whoever adds lists can only
// make the answer worse.
func (p *platform) judgeLists(t *trail.Trail, signers []*authenticSigner) (revocation, *fault) {
	out := revocation{state: stateMissing}
	if bad := tooManyLists(p.input.Endorsements.CRLs); bad != nil {
		return out, bad
	}
	above := []link{{"root", p.root}, {"CA over PCKs", p.ca}}
	for _, signer := range signers {
		above = append(above, link{"TCB signing key", signer.Certificate()})
	}
	var bad *fault
	var rootFresh, caFresh bool
	if out.root, rootFresh, bad = p.judgeIssuer(p.root, above); bad != nil {
		return out, p.passLists(t, bad)
	}
	if out.ca, caFresh, bad = p.judgeIssuer(p.ca, []link{{"PCK", p.leaf}}); bad != nil {
		return out, p.passLists(t, bad)
	}
	switch {
	case out.root == nil || out.ca == nil:
	case rootFresh && caFresh:
		out.state = stateFresh
	default:
		out.state = stateStale
	}
	if out.root == nil && out.ca == nil {
		const why = "no revocation list of the chain's issuers was given; the policy judges that as crl"
		t.NotApplicable(checkRevocationList, why)
		t.NotApplicable(checkRevoked, why)
		return out, nil
	}
	t.Pass(checkRevocationList, wantLists, wantLists)
	t.Pass(checkRevoked, "not on a list", wantNotRevoked)
	return out, nil
}

const wantNotRevoked = "no certificate of the chains on a list"

// passLists records that lists were in order where one of them revokes.
func (p *platform) passLists(t *trail.Trail, bad *fault) *fault {
	if bad.check == checkRevoked {
		t.Pass(checkRevocationList, wantLists, wantLists)
	}
	return bad
}

// judgeIssuer looks for certificates on the lists of their issuer, and returns the list to go by: nil for
// none, fresh where it covers the time.
func (p *platform) judgeIssuer(
	issuer *x509.Certificate, links []link,
) (use *crl.List, fresh bool, bad *fault) {
	lists, bad := p.listsOf(issuer)
	if bad != nil || len(lists) == 0 {
		return nil, false, bad
	}
	var newest, current *crl.List
	for _, list := range lists {
		for _, one := range links {
			if list.Revokes(one.cert.SerialNumber) {
				return nil, false, refuse(checkRevoked, fmt.Sprintf(
					"%s with serial number %x on the list of %s of %s", one.name, one.cert.SerialNumber,
					list.From.Format(time.DateOnly), issuer.Subject.CommonName), wantNotRevoked)
			}
		}
		newest = laterList(newest, list)
		covered := true
		for _, one := range links {
			covered = covered && list.Covers(one.cert, p.input.At)
		}
		if covered {
			current = laterList(current, list)
		}
	}
	if bad := p.checkListFloor(issuer, newest); bad != nil {
		return nil, false, bad
	}
	if current == nil {
		return newest, false, nil
	}
	return current, true, nil
}

// laterList returns the newer list. Intel gives every list the number 1, so that thisUpdate decides.
func laterList(one, other *crl.List) *crl.List {
	if one == nil {
		return other
	}
	if order := crl.CompareNumbers(other.Number, one.Number); order != 0 {
		if order > 0 {
			return other
		}
		return one
	}
	if other.From.After(one.From) {
		return other
	}
	return one
}

// checkListFloor demands that the newest list is not older than one that was seen before, by its number
// and, since Intel's never change, by its time.
func (p *platform) checkListFloor(issuer *x509.Certificate, newest *crl.List) *fault {
	anchors := p.input.Anchors
	if len(anchors.CRLFloors)+len(anchors.DocumentFloors) == 0 {
		return nil
	}
	put := func(want string) *fault {
		return refuse(checkRevocationList, "the list of "+newest.From.Format(time.RFC3339)+" of "+
			issuer.Subject.CommonName+" as the newest", want)
	}
	key := sha256.Sum256(issuer.RawSubjectPublicKeyInfo)
	for _, floor := range anchors.CRLFloors {
		if floor.Issuer == key &&
			crl.CompareNumbers(newest.Number, bytes.TrimLeft(floor.Number, "\x00")) < 0 {
			return put(fmt.Sprintf("none before number %x, which was seen", floor.Number))
		}
	}
	subject := pcs.SubjectOfCRL(issuer.RawSubjectPublicKeyInfo)
	for _, floor := range anchors.DocumentFloors {
		if floor.Subject == subject && newest.From.Before(floor.IssuedAt) {
			return put("none before that of " + floor.IssuedAt.UTC().Format(time.RFC3339) +
				", which was seen")
		}
	}
	return nil
}

// listsOf returns the issuer's lists among those that were given, each once. Lists of others are left
// alone.
func (p *platform) listsOf(issuer *x509.Certificate) ([]*crl.List, *fault) {
	given := p.input.Endorsements.CRLs
	if len(given) == 0 {
		return nil, nil
	}
	name := crl.NewIssuer(issuer)
	var found []*crl.List
next:
	for index, raw := range given {
		list, bad := p.listOf(name, raw, "list "+strconv.Itoa(index+1)+" of those given")
		if bad != nil {
			return nil, bad
		}
		if list == nil {
			continue
		}
		for _, seen := range found {
			if seen == list {
				continue next
			}
		}
		if len(found) == collateralLimits.ofIssuer {
			return nil, refuseAs(checkRevocationList, attestd.ClassTooLarge, "more lists of "+
				issuer.Subject.CommonName, fmt.Sprintf("at most %d", collateralLimits.ofIssuer))
		}
		found = append(found, list)
	}
	return found, nil
}

func tooManyLists(given [][]byte) *fault {
	total := 0
	for _, raw := range given {
		total += len(raw)
	}
	if len(given) <= collateralLimits.lists && total <= collateralLimits.listBytes {
		return nil
	}
	return refuseAs(checkRevocationList, attestd.ClassTooLarge,
		fmt.Sprintf("%d revocation lists of %d bytes", len(given), total),
		fmt.Sprintf("at most %d of %d bytes", collateralLimits.lists, collateralLimits.listBytes))
}

// listOf returns the list in raw if it is the issuer's; nil for another's. A list that carries the
// issuer's name and not its signature was made up.
func (p *platform) listOf(issuer crl.Issuer, raw []byte, where string) (*crl.List, *fault) {
	if known := p.v.collateral.lists.Get(issuer, raw); known != nil {
		return known, nil
	}
	cert := issuer.Certificate()
	invalid := func(err error) *fault {
		return refuse(checkRevocationList, where+": "+attestd.Excerpt(err.Error(), 120),
			"a whole list that "+cert.Subject.CommonName+" signed")
	}
	outline, err := crl.Read(raw)
	if err != nil {
		return nil, invalid(err)
	}
	if !bytes.Equal(outline.Issuer, cert.RawSubject) {
		return nil, nil
	}
	if algorithm := outline.Algorithm(); algorithm != x509.ECDSAWithSHA256 {
		return nil, invalid(fmt.Errorf("signed with %s, want ECDSA-SHA256", algorithm))
	}
	if !p.count.take() {
		return nil, spent(checkRevocationList)
	}
	list, err := outline.Verified(cert)
	if err != nil {
		if p.ofNamesake(cert, outline) {
			return nil, nil
		}
		if p.count.left == 0 {
			return nil, spent(checkRevocationList) // what was not looked at must not be called bad
		}
		return nil, invalid(err)
	}
	if err := wholeList(list); err != nil {
		return nil, invalid(err)
	}
	p.v.collateral.lists.Add(issuer, list)
	return list, nil
}

// ofNamesake reports whether another authority of the same name signed the list: in a laboratory Intel's
// own and those that were loaded by hand carry one name, and all have lists.
func (p *platform) ofNamesake(issuer *x509.Certificate, outline crl.Outline) bool {
	if len(p.v.roots) == 1 {
		return false
	}
	others := append([]*x509.Certificate{p.v.platform}, p.v.roots...)
	for _, der := range p.input.Endorsements.Certificates {
		if len(der) > limits.certificate || !bytes.Contains(der, outline.Issuer) ||
			len(others) > len(p.v.roots)+collateralLimits.signers {
			continue
		}
		cert, err := x509.ParseCertificate(bytes.Clone(der))
		if err == nil && p.isCA(cert) {
			others = append(others, cert)
		}
	}
	for _, other := range others {
		if other.Equal(issuer) || !bytes.Equal(other.RawSubject, outline.Issuer) || !p.count.take() {
			continue
		}
		if _, err := outline.Verified(other); err == nil {
			return true
		}
	}
	return false
}

// isCA reports whether one of the roots that are known here stands over a CA over PCKs.
func (p *platform) isCA(cert *x509.Certificate) bool {
	for _, root := range p.v.roots {
		if p.count.take() && pcs.CheckCA(cert, root) == nil {
			return true
		}
	}
	return false
}

// wholeList demands a list of everything that the issuer revoked, with a number: from a part of it
// nobody can conclude that a certificate was not revoked (RFC 5280, sections 5.2.3 to 5.2.5).
func wholeList(list *crl.List) error {
	switch {
	case list.Unusable != nil:
		return list.Unusable
	case list.Points != nil:
		return errors.New("it is for one distribution point alone")
	case list.Number == nil:
		return errors.New("it has no CRL number")
	default:
		return nil
	}
}

// earliest returns when the first of the lists was made, and when the first newer one is due.
func (r revocation) earliest() (issued, next time.Time, any bool) {
	for _, list := range [...]*crl.List{r.root, r.ca} {
		if list == nil {
			continue
		}
		if !any || list.From.Before(issued) {
			issued = list.From
		}
		if !any || list.Until.Before(next) {
			next = list.Until
		}
		any = true
	}
	return issued, next, any
}
