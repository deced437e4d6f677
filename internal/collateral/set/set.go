// Package set is vendors' collateral as it goes to those who judge evidence: one document for each
// format, in one form that has one digest.
//
// What comes in are certificates and revocation lists that were verified before they were stored, and
// the numbers of the newest lists that were ever seen. What is true of a Set that Parse returned: it is
// within the limits, and there is one way only to write it. What is not shown is anything about
// its certificates and lists: whoever judges verifies them again.
package set

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/attestd/attestd"
)

// Set is the collateral of one format.
type Set struct {
	// Certificates are intermediate CAs in DER. The certificates of single machines are not in it.
	Certificates [][]byte
	// CRLs in DER.
	CRLs [][]byte
	// Documents are signed statements that are neither, whole (see [attestd.Endorsements]).
	Documents [][]byte
	// Floors of revocation lists.
	Floors []attestd.CRLFloor
	// DocumentFloors of documents, one for each subject.
	DocumentFloors []attestd.DocumentFloor
}

// Limits of a set.
const (
	// MaxMembers bounds each of its lists.
	MaxMembers = 1 << 10
	// MaxBytes bounds the document. A revocation list of 100,000 entries has some 4 MB.
	MaxBytes = 8 << 20
	// MaxSubject bounds the subject of a floor, in bytes.
	MaxSubject = 128
)

// magic begins the document; its version is that of the form.
const magic = "attestd/collateral/v2\x00"

// Marshal returns the one form of s: its lists sorted, each member once and behind its length.
//
// Errors: where s is over the limits, or has a floor of a document that is none.
func (s Set) Marshal() ([]byte, error) {
	out := []byte(magic)
	floors := make([][]byte, len(s.Floors))
	for i, floor := range s.Floors {
		floors[i] = append(bytes.Clone(floor.Issuer[:]), floor.Number...)
	}
	subjects := make([][]byte, len(s.DocumentFloors))
	for i, floor := range s.DocumentFloors {
		if err := checkFloor(floor); err != nil {
			return nil, err
		}
		for _, other := range s.DocumentFloors[:i] {
			if other.Subject == floor.Subject && !sameFloor(other, floor) {
				return nil, fmt.Errorf("collateral has two floors of %q", floor.Subject)
			}
		}
		subjects[i] = appendFloor(nil, floor)
	}
	for _, list := range [][][]byte{s.Certificates, s.CRLs, s.Documents, floors, subjects} {
		list = slices.Clone(list)
		slices.SortFunc(list, bytes.Compare)
		list = slices.CompactFunc(list, bytes.Equal)
		if len(list) > MaxMembers {
			return nil, fmt.Errorf("collateral has %d members of one kind, want at most %d", len(list), MaxMembers)
		}
		out = binary.BigEndian.AppendUint32(out, uint32(len(list))) //nolint:gosec // bounded above
		for _, member := range list {
			if len(member) > MaxBytes {
				return nil, fmt.Errorf("collateral has a member of %d bytes", len(member))
			}
			out = binary.BigEndian.AppendUint32(out, uint32(len(member))) //nolint:gosec // bounded above
			out = append(out, member...)
		}
	}
	if len(out) > MaxBytes {
		return nil, fmt.Errorf("collateral has %d bytes, want at most %d", len(out), MaxBytes)
	}
	return out, nil
}

// Parse reads what Marshal wrote; a document without bytes is the empty Set. The Set aliases document.
//
// Errors: where document is anything that Marshal would not have written.
func Parse(document []byte) (Set, error) {
	if len(document) == 0 {
		return Set{}, nil
	}
	rest, ok := bytes.CutPrefix(document, []byte(magic))
	if !ok || len(document) > MaxBytes {
		return Set{}, errors.New("not a document of collateral")
	}
	var read Set
	var floors, subjects [][]byte
	for _, into := range []*[][]byte{
		&read.Certificates, &read.CRLs, &read.Documents, &floors, &subjects,
	} {
		var err error
		if *into, rest, err = members(rest); err != nil {
			return Set{}, err
		}
	}
	if len(rest) != 0 {
		return Set{}, errors.New("collateral goes on behind its end")
	}
	for _, one := range floors {
		if len(one) < sha256.Size || len(one) > sha256.Size+maxNumber ||
			len(one) > sha256.Size && one[sha256.Size] == 0 {
			return Set{}, errors.New("collateral has a floor that is none")
		}
		read.Floors = append(read.Floors, attestd.CRLFloor{
			Issuer: [32]byte(one[:sha256.Size]), Number: one[sha256.Size:],
		})
	}
	for _, one := range subjects {
		floor, err := parseFloor(one)
		if err != nil {
			return Set{}, err
		}
		if last := len(read.DocumentFloors) - 1; last >= 0 &&
			read.DocumentFloors[last].Subject == floor.Subject {
			return Set{}, errors.New("collateral has two floors of one subject")
		}
		read.DocumentFloors = append(read.DocumentFloors, floor)
	}
	return read, nil
}

// maxNumber is the longest CRL number in bytes (RFC 5280, section 5.2.3).
const maxNumber = 20

// members reads one list, which is sorted and has no member twice.
func members(rest []byte) (list [][]byte, after []byte, err error) {
	number := func() int {
		if len(rest) < 4 {
			err = errors.New("collateral ends early")
			return 0
		}
		value := binary.BigEndian.Uint32(rest)
		rest = rest[4:]
		return int(value)
	}
	count := number()
	if count > MaxMembers {
		return nil, nil, fmt.Errorf("collateral counts %d members, want at most %d", count, MaxMembers)
	}
	for range count {
		size := number()
		if err != nil || size > len(rest) || size == 0 {
			return nil, nil, errors.New("collateral ends early")
		}
		member := rest[:size:size]
		if len(list) > 0 && bytes.Compare(list[len(list)-1], member) >= 0 {
			return nil, nil, errors.New("collateral is not in its one order")
		}
		list, rest = append(list, member), rest[size:]
	}
	return list, rest, err
}
