package sevsnp

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/crl"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// crlLimits bound what revocation lists can cost. AMD publishes one of 900 bytes for each line.
var crlLimits = struct {
	lists  int // beside the evidence
	bytes  int // of all of them together
	ofOne  int // of one ARK, each of which costs a signature
	number int // bytes of a CRL number: AMD counts up from 1
	cached int
}{lists: 64, bytes: 16 << 20, ofOne: 4, number: 8, cached: 32}

// newListCache makes the cache of verified lists.
func newListCache() *crl.Cache { return crl.NewCache(crlLimits.cached, crlLimits.bytes) }

// What the lists that were given say of the time (fact crl).
const (
	crlFresh   = "fresh"   // one of them covers the time, or is from after it
	crlStale   = "stale"   // none of them does
	crlMissing = "missing" // there is none of the chain's ARK
)

// revocation is what the lists that were given say of a chain none of whose certificates they
// revoke. The zero revocation is that of no list.
type revocation struct {
	state string
	// list is the newest of those that cover the time; where none does, the newest.
	list *crl.List
}

// checkRevocation looks for every certificate of the chain on the ARK's lists: AMD's ARK signs one
// list for all that it stands over, ASK and ASVK; these two have no right to sign lists (AMD 57230
// rev 0.50, chapter 4). A key of a chip or of a cloud on the list is refused too, although its
// issuer is not the ARK: nobody lists it there by accident.
//
// What is on any authentic list counts, however old or new that list is. So whoever adds lists to
// the evidence can only make the answer worse.
func (s *search) checkRevocation(_ report, key *vcek) *fault {
	s.revocation = revocation{state: crlMissing}
	lists, bad := s.listsOf(key.issuer)
	if bad != nil || len(lists) == 0 {
		return bad
	}
	ark := key.issuer.ark
	var newest, current *crl.List
	for _, list := range lists {
		for _, link := range [...]struct {
			name string
			cert *x509.Certificate
		}{{"ARK", ark}, {key.kind.role(), key.issuer.ask}, {key.kind.String(), key.cert}} {
			if list.Revokes(link.cert.SerialNumber) {
				return refuse(checkRevoked, fmt.Sprintf("%s with serial number %06x on %s of %s",
					link.name, link.cert.SerialNumber, listName(list), ark.Subject.CommonName),
					"no certificate of the chain on a list")
			}
		}
		if newest == nil || crl.CompareNumbers(list.Number, newest.Number) > 0 {
			newest = list
		}
		if list.Covers(key.issuer.ask, s.at) &&
			(current == nil || crl.CompareNumbers(list.Number, current.Number) > 0) {
			current = list
		}
	}
	if bad := s.checkFloor(ark, newest); bad != nil {
		return bad
	}
	s.revocation = revocation{state: crlFresh, list: current}
	if current == nil {
		s.revocation = revocation{state: crlStale, list: newest}
	}
	return nil
}

// checkFloor demands that the newest list is not older than one that was seen before: somebody who
// took the newer one away would bring a revoked key back.
func (s *search) checkFloor(ark *x509.Certificate, newest *crl.List) *fault {
	if len(s.floors) == 0 {
		return nil
	}
	issuer := sha256.Sum256(ark.RawSubjectPublicKeyInfo)
	for _, floor := range s.floors {
		// A floor that was written with leading zeros is still that number.
		number := bytes.TrimLeft(floor.Number, "\x00")
		if floor.Issuer == issuer && crl.CompareNumbers(newest.Number, number) < 0 {
			return refuse(checkRevocationList,
				listName(newest)+" of "+ark.Subject.CommonName+" as the newest",
				"none before list "+new(big.Int).SetBytes(number).String()+", which was seen")
		}
	}
	return nil
}

// listsOf returns the lists of the ARK among those that were given, each once. Lists of others are
// left alone, but not in the evidence's own table: there they would be bytes that nobody vouches
// for.
func (s *search) listsOf(issuer *authority) ([]*crl.List, *fault) {
	if len(s.crls) == 0 && s.table.crl == nil {
		return nil, nil
	}
	if bad := tooManyLists(s.crls); bad != nil {
		return nil, bad
	}
	name := crl.NewIssuer(issuer.ark)
	var found []*crl.List
	take := func(raw []byte, where string) (mine bool, bad *fault) {
		list, mine, bad := s.listOf(issuer, name, raw, where)
		if bad != nil || !mine {
			return mine, bad
		}
		for _, seen := range found {
			if seen == list {
				return true, nil
			}
		}
		if len(found) == crlLimits.ofOne {
			return true, refuseAs(checkRevocationList, attestd.ClassTooLarge, "more lists of "+
				issuer.ark.Subject.CommonName, fmt.Sprintf("at most %d", crlLimits.ofOne))
		}
		found = append(found, list)
		return true, nil
	}
	if s.table.crl != nil {
		mine, bad := take(s.table.crl, "the table's list")
		if bad != nil {
			return nil, bad
		}
		if !mine {
			return nil, refuse(checkRevocationList, "the table's list is of another issuer",
				"a list of "+issuer.ark.Subject.CommonName)
		}
	}
	for index, raw := range s.crls {
		if _, bad := take(raw, "list "+strconv.Itoa(index+1)+" of those given"); bad != nil {
			return nil, bad
		}
	}
	return found, nil
}

func tooManyLists(given [][]byte) *fault {
	if len(given) > crlLimits.lists {
		return refuseAs(checkRevocationList, attestd.ClassTooLarge,
			fmt.Sprintf("%d revocation lists", len(given)),
			fmt.Sprintf("at most %d", crlLimits.lists))
	}
	total := 0
	for _, raw := range given {
		total += len(raw)
	}
	if total > crlLimits.bytes {
		return refuseAs(checkRevocationList, attestd.ClassTooLarge,
			fmt.Sprintf("revocation lists of %d bytes", total),
			fmt.Sprintf("at most %d", crlLimits.bytes))
	}
	return nil
}

// listOf returns the list in raw if it is the ARK's. A list that carries the ARK's name and not its
// signature was made up, or is another product's under this one's name.
func (s *search) listOf(
	issuer *authority, name crl.Issuer, raw []byte, where string,
) (list *crl.List, mine bool, bad *fault) {
	if known := s.v.lists.Get(name, raw); known != nil {
		return known, true, nil
	}
	invalid := func(err error) *fault {
		return refuse(checkRevocationList, where+": "+attestd.Excerpt(err.Error(), 120),
			"a whole list that "+issuer.ark.Subject.CommonName+" signed")
	}
	outline, err := crl.Read(raw)
	if err != nil {
		return nil, false, invalid(err)
	}
	if !bytes.Equal(outline.Issuer, issuer.ark.RawSubject) {
		return nil, false, nil
	}
	if algorithm := outline.Algorithm(); algorithm != x509.SHA384WithRSAPSS {
		return nil, true, invalid(fmt.Errorf("signed with %s, want SHA384-RSAPSS", algorithm))
	}
	if list, bad = s.verifyList(issuer.ark, outline, invalid); bad != nil {
		if bad.err == nil && s.ofNamesake(issuer, outline) {
			return nil, false, nil
		}
		return nil, true, bad
	}
	if err := wholeList(list); err != nil {
		return nil, true, invalid(err)
	}
	s.v.lists.Add(name, list)
	return list, true, nil
}

func (s *search) verifyList(
	ark *x509.Certificate, outline crl.Outline, invalid func(error) *fault,
) (*crl.List, *fault) {
	if !s.count.take() {
		return nil, refuseAs(checkRevocationList, attestd.ClassTooLarge,
			"too many signatures to verify",
			fmt.Sprintf("at most %d", limits.signatures)).because(errBudget)
	}
	list, err := outline.Verified(ark)
	if err != nil {
		return nil, invalid(err)
	}
	return list, nil
}

// ofNamesake reports whether another root of the same name signed the list: in a laboratory AMD's
// own ARK and one that was loaded by hand carry one name, and both have lists.
func (s *search) ofNamesake(issuer *authority, outline crl.Outline) bool {
	arks := []*x509.Certificate{s.v.insecure[issuer.line]}
	for _, pinned := range s.v.pinned {
		arks = append(arks, pinned.ark)
	}
	var asked *x509.Certificate
	for _, ark := range arks {
		if ark == nil || ark == asked || ark.Equal(issuer.ark) ||
			!bytes.Equal(ark.RawSubject, outline.Issuer) || !s.count.take() {
			continue
		}
		if _, err := outline.Verified(ark); err == nil {
			return true
		}
		asked = ark
	}
	return false
}

// wholeList demands a list of everything that the ARK revoked, with a number: from a part of it
// nobody can conclude that a certificate was not revoked (RFC 5280, sections 5.2.3 to 5.2.5).
func wholeList(list *crl.List) error {
	switch {
	case list.Unusable != nil:
		return list.Unusable
	case list.Points != nil:
		return errors.New("it is for one distribution point alone")
	case list.Number == nil:
		return errors.New("it has no CRL number")
	case len(list.Number) > crlLimits.number:
		return fmt.Errorf("its CRL number has %d bytes", len(list.Number))
	default:
		return nil
	}
}

// number returns the list's number, which wholeList bounds.
func number(list *crl.List) uint64 {
	var full [8]byte
	copy(full[len(full)-len(list.Number):], list.Number)
	return binary.BigEndian.Uint64(full[:])
}

func listName(list *crl.List) string { return "list " + strconv.FormatUint(number(list), 10) }

// pass records the two checks of lists, which are not those of a candidate alone.
func (r revocation) pass(t *trail.Trail, key *vcek) {
	name := key.issuer.ark.Subject.CommonName
	if r.list == nil {
		why := "no revocation list of " + name + " was given; the policy judges that as crl"
		t.NotApplicable(checkRevocationList, why)
		t.NotApplicable(checkRevoked, why)
		return
	}
	t.Pass(checkRevocationList, listName(r.list)+" of "+name+" until "+
		r.list.Until.Format(time.DateOnly), "a whole list that "+name+" signed")
	t.Pass(checkRevoked, "not on a list", "no certificate of the chain on a list")
}

// facts adds what a policy judges.
func (r revocation) facts(add adder) {
	add("crl", attestd.Text(r.state))
	add("crl_stale", attestd.Bool(r.state == crlStale))
	if r.list == nil {
		add("crl_number", attestd.NotVisible())
		add("crl_next_update", attestd.NotVisible())
		return
	}
	add("crl_number", attestd.Uint(number(r.list)))
	add("crl_next_update", attestd.Time(r.list.Until))
}
