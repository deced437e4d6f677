package awsdoc

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/crl"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// How far revocation was looked at (fact crl): the worst of the certificates that name a
// distribution point. In published chains these are the region's and the zone's. The instance's and
// the leaf name none: nobody lists them, and they live for a day and for 3 hours.
const (
	CRLFresh   = "fresh"   // lists for all of them, none of which a newer one was due to replace
	CRLStale   = "stale"   // lists for all of them, and for one of them none that covers the time
	CRLMissing = "missing" // none for one of them, or none of them names a distribution point
)

// crlLimits bound what revocation lists can cost.
var crlLimits = struct {
	lists      int // beside the evidence: a few for each of AWS's regions
	bytes      int // of all of them together
	signatures int // one for each list of the chain's CAs; one that was verified before costs none
	cached     int
}{lists: 256, bytes: 16 << 20, signatures: 16, cached: 64}

// listed is what of a certificate is compared with lists.
type listed struct {
	serial *big.Int
	points []string
	until  time.Time
	// issuer is the certificate as an issuer of lists; the zero Issuer for a leaf.
	issuer crl.Issuer
}

func listedOf(certificate *x509.Certificate) listed {
	return listed{
		serial: certificate.SerialNumber, points: certificate.CRLDistributionPoints,
		until: certificate.NotAfter,
	}
}

// signedList is a list with the CA of the chain that signed it.
type signedList struct {
	list   *crl.List
	issuer *node
}

// verifyRevocation looks for every certificate of the chain on its issuer's lists. What is on any
// authentic list counts, however old or new the list is and whatever distribution point it is for:
// a serial number is its issuer's name for one certificate (RFC 5280, section 4.1.2.2). So whoever
// adds lists can only make the answer worse.
func (e *Engine) verifyRevocation(
	steps *trail.Trail, path chain, input attestd.Input,
) (state string, err error) {
	absent := func(why string) (string, error) {
		steps.NotApplicable(e.profile.id(checkRevocation), why)
		steps.NotApplicable(e.profile.id(checkRevoked), why)
		return CRLMissing, nil
	}
	if len(input.Endorsements.CRLs) == 0 {
		return absent("no revocation list was given; the policy judges that as crl")
	}
	lists, found := e.listsOf(path, input.Endorsements.CRLs)
	if found == nil {
		found = checkFloors(lists, input.Anchors.CRLFloors)
	}
	if found != nil {
		return "", e.reject(steps, found)
	}
	if len(lists) == 0 {
		return absent("no list of the chain's CAs was given; the policy judges that as crl")
	}
	steps.Pass(e.profile.id(checkRevocation), strconv.Itoa(len(lists))+" of the chain's CAs", "")
	if found := findRevoked(path, lists); found != nil {
		return "", e.reject(steps, found)
	}
	steps.Pass(e.profile.id(checkRevoked), "not on a list", "")
	return stateOf(path, lists, input.At), nil
}

// listsOf returns the lists of the chain's CAs among those that were given, each once. Lists of
// others are left alone.
func (e *Engine) listsOf(path chain, given [][]byte) ([]signedList, *problem) {
	total := 0
	for _, raw := range given {
		total += len(raw)
	}
	if len(given) > crlLimits.lists || total > crlLimits.bytes {
		return nil, &problem{
			check: checkRevocation, class: attestd.ClassTooLarge,
			got:  strconv.Itoa(len(given)) + " lists of " + size(total),
			want: fmt.Sprintf("at most %d of %d bytes", crlLimits.lists, crlLimits.bytes),
		}
	}
	var lists []signedList
	left := crlLimits.signatures
	for index, raw := range given {
		signed, found := e.listOf(path, raw, index, &left)
		if found != nil {
			return nil, found
		}
		known := signed.list == nil
		for _, other := range lists {
			known = known || other.list == signed.list
		}
		if !known {
			lists = append(lists, signed)
		}
	}
	return lists, nil
}

// listOf returns a list with the CA of the chain that signed it, and neither for a list of others.
// One that carries a CA's name and not its signature was made up.
func (e *Engine) listOf(path chain, raw []byte, index int, left *int) (signedList, *problem) {
	invalid := func(err error) *problem {
		return &problem{
			check: checkRevocation, got: "list " + strconv.Itoa(index+1) + " of those given",
			want: "a whole list that the CA in its name signed", err: err,
		}
	}
	outline, err := crl.Read(raw)
	if err != nil {
		return signedList{}, invalid(err)
	}
	var failed error
	for issuer := path.leaf.above; issuer != nil; issuer = issuer.above {
		if !bytes.Equal(issuer.subject, outline.Issuer) {
			continue
		}
		// What is known counts, too: an answer must not depend on what was asked before.
		if *left--; *left < 0 {
			return signedList{}, &problem{
				check: checkRevocation, class: attestd.ClassTooLarge,
				got:  "more lists of the chain's CAs",
				want: "at most " + strconv.Itoa(crlLimits.signatures),
			}
		}
		if known := e.lists.Get(issuer.listed.issuer, raw); known != nil {
			return signedList{known, issuer}, nil
		}
		list, err := e.verifyList(outline, issuer.listed.issuer.Certificate())
		if err != nil {
			failed = err
			continue
		}
		if err := usable(list); err != nil {
			return signedList{}, invalid(err)
		}
		e.lists.Add(issuer.listed.issuer, list)
		return signedList{list, issuer}, nil
	}
	if failed != nil && !e.ofNamesake(path, outline) {
		return signedList{}, invalid(failed)
	}
	return signedList{}, nil
}

// verifyList makes one public-key operation.
func (e *Engine) verifyList(outline crl.Outline, issuer *x509.Certificate) (*crl.List, error) {
	// As with certificates: AWS signs with ECDSA-SHA384 alone.
	if algorithm := outline.Algorithm(); algorithm != x509.ECDSAWithSHA384 {
		return nil, fmt.Errorf("signed with %s, want ECDSA-SHA384", algorithm)
	}
	e.signatures.made.Add(1)
	return outline.Verified(issuer)
}

// ofNamesake reports whether another root of the same name signed the list: AWS's own root and one
// that was loaded by hand carry one name, and both have lists.
func (e *Engine) ofNamesake(path chain, outline crl.Outline) bool {
	own := path.leaf
	for own.above != nil {
		own = own.above
	}
	for index := range e.roots {
		other := &e.roots[index]
		if other.node == own || !bytes.Equal(other.subject, outline.Issuer) {
			continue
		}
		if _, err := e.verifyList(outline, other.node.listed.issuer.Certificate()); err == nil {
			return true
		}
	}
	return false
}

// usable demands a list that is understood whole and has a number.
func usable(list *crl.List) error {
	if list.Number == nil && list.Unusable == nil {
		return errors.New("it has no CRL number")
	}
	return list.Unusable
}

// checkFloors demands that no issuer's newest list is older than one that was seen before: somebody
// who took the newer one away would bring a revoked key back. Lists for one distribution point are
// counted each for itself, and floors are of the issuer's complete list (RFC 5280, section 5.2.3).
func checkFloors(lists []signedList, floors []attestd.CRLFloor) *problem {
	for _, floor := range floors {
		// A floor that was written with leading zeros is still that number.
		number := bytes.TrimLeft(floor.Number, "\x00")
		var newest *signedList
		for index := range lists {
			one := &lists[index]
			if one.list.Points != nil || spkiOf(one.issuer) != floor.Issuer {
				continue
			}
			if newest == nil || crl.CompareNumbers(one.list.Number, newest.list.Number) > 0 {
				newest = one
			}
		}
		if newest != nil && crl.CompareNumbers(newest.list.Number, number) < 0 {
			return &problem{
				check: checkRevocation, got: listName(*newest) + " as the newest",
				want: "none before list " + new(big.Int).SetBytes(number).String() +
					", which was seen",
			}
		}
	}
	return nil
}

func spkiOf(issuer *node) [sha256.Size]byte {
	return sha256.Sum256(issuer.listed.issuer.Certificate().RawSubjectPublicKeyInfo)
}

func listName(one signedList) string {
	return "list " + new(big.Int).SetBytes(one.list.Number).String() + " of " +
		subjectOf(one.issuer.listed.issuer.Certificate())
}

// findRevoked looks for every certificate on its issuer's lists, and for the root on its own.
func findRevoked(path chain, lists []signedList) *problem {
	for link := path.leaf; link != nil; link = link.above {
		issuer := link.above
		if issuer == nil {
			issuer = link
		}
		for _, one := range lists {
			if one.issuer == issuer && one.list.Revokes(link.listed.serial) {
				return &problem{
					check: checkRevoked,
					got:   fmt.Sprintf("serial number %x on %s", link.listed.serial, listName(one)),
					want:  "no certificate of the chain on a list",
				}
			}
		}
	}
	return nil
}

// stateOf says how far the lists go for a chain none of whose certificates they revoke.
func stateOf(path chain, lists []signedList, at time.Time) string {
	state := ""
	for link := path.leaf; link.above != nil; link = link.above {
		if len(link.listed.points) == 0 {
			continue
		}
		certificate := &x509.Certificate{
			CRLDistributionPoints: link.listed.points, NotAfter: link.listed.until,
		}
		found := CRLMissing
		for _, one := range lists {
			switch {
			case one.issuer != link.above || !one.list.IsFor(certificate):
			case one.list.Covers(certificate, at):
				found = CRLFresh
			case found == CRLMissing:
				found = CRLStale
			}
		}
		switch {
		case found == CRLMissing:
			return CRLMissing
		case state != CRLStale:
			state = found
		}
	}
	if state == "" {
		return CRLMissing
	}
	return state
}
