package sevsnp

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
)

// limits bound what hostile input can cost. An honest extended report has about 8 KiB and one VCEK.
var limits = struct {
	evidence     int // bytes of report and table
	tableEntries int
	endorsements int // certificates beside the evidence
	certificates int // bytes of all of them together
	certificate  int // bytes of one that is parsed; AMD's have 1,300 to 1,700
	candidates   int // VCEKs for exactly this chip and TCB
	authorities  int // ASKs below a root that was loaded by hand
	flood        int // certificates beside the evidence that are too many to be honest
	signatures   int // public-key verifications in one call
}{
	// A certificate can take 55 times its size to parse (alternative names of one letter, measured):
	// candidates and authorities together stay below a mebibyte.
	evidence: reportSize + 64<<10, tableEntries: 16, endorsements: 256, certificates: 1 << 20,
	certificate: 3 << 10, candidates: 3, authorities: 2, flood: 9, signatures: 8,
}

// hwidObject and cspObject are the DER of the object identifiers of the extensions that only VCEKs
// and only VLEKs have: HWID and CSP_ID.
var (
	hwidObject = []byte{0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01, 0x04}
	cspObject  = []byte{0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01, 0x05}
)

// isEndEntity says that the certificate is a VCEK's or a VLEK's by its bytes.
func isEndEntity(der []byte) bool {
	return bytes.Contains(der, hwidObject) || bytes.Contains(der, cspObject)
}

// candidates returns the certificates that may be of the report's key, found by searching bytes: a
// hundred certificates must cost less than one verification. Nothing is believed here. Where a
// certificate names this chip and this TCB only such ones are returned, each once, and fit is true;
// else the nearest one, so that its refusal says what is wrong with it.
func (r report) candidates(certs certTable, given [][]byte) (found [][]byte, fit bool, bad *fault) {
	if bad := tooMany(given); bad != nil {
		return nil, false, bad
	}
	var exact [][]byte
	var sameChip, other, otherKind []byte
	consider := func(der []byte, like resemblance) *fault {
		switch like {
		case sameChipAndTCB:
			for _, seen := range exact {
				if bytes.Equal(seen, der) {
					return nil
				}
			}
			if len(exact) == limits.candidates {
				return refuse(checkEndorsements, "more certificates for this key and TCB",
					fmt.Sprintf("at most %d", limits.candidates))
			}
			exact = append(exact, der)
		case sameChipOnly:
			if sameChip == nil {
				sameChip = der
			}
		case someVCEK:
			if other == nil {
				other = der
			}
		case wrongKind:
			if otherKind == nil {
				otherKind = der
			}
		}
		return nil
	}
	if embedded := certs.signer(r.kind()); embedded != nil {
		// The evidence itself says that this is its key: if nothing better is given, it is judged. The
		// first is never one too many.
		consider(embedded, max(someVCEK, r.resemblance(embedded)))
	} else if instead := certs.signer(r.kind().other()); instead != nil {
		// A table is read as the same certificate beside the evidence would be.
		consider(instead, wrongKind)
	}
	for _, der := range given {
		if bad := consider(der, r.resemblance(der)); bad != nil {
			return nil, false, bad
		}
	}
	switch {
	case exact != nil:
		return exact, true, nil
	case sameChip != nil:
		return [][]byte{sameChip}, false, nil
	case other != nil:
		return [][]byte{other}, false, nil
	case otherKind != nil:
		return [][]byte{otherKind}, false, nil
	default:
		return nil, false, nil
	}
}

// contradicts returns what a certificate that does not fit says against the report, before anything is
// known about who signed it. Whoever signed it, it is not this report's VCEK; refusing it here keeps
// a flood of other chips' certificates cheaper than one honest verification. Without a flood the
// chain is looked at first, since a stranger's signature is the worse news. It never accepts: what it
// does not understand goes the whole way.
func (r report) contradicts(der []byte) *fault {
	if len(der) > limits.certificate {
		return nil
	}
	cert, err := x509.ParseCertificate(bytes.Clone(der))
	if err != nil {
		return nil
	}
	stated, bad := readVCEK(cert, r.kind(), nil)
	if bad != nil {
		return nil
	}
	if bad := checkChip(r, stated); bad != nil {
		return bad
	}
	return checkTCBAgrees(r, stated)
}

func tooMany(given [][]byte) *fault {
	if len(given) > limits.endorsements {
		return refuse(checkEndorsements, fmt.Sprintf("%d certificates", len(given)),
			fmt.Sprintf("at most %d", limits.endorsements))
	}
	total := 0
	for _, der := range given {
		total += len(der)
	}
	if total > limits.certificates {
		return refuse(checkEndorsements, fmt.Sprintf("certificates of %d bytes", total),
			fmt.Sprintf("at most %d", limits.certificates))
	}
	return nil
}

type resemblance uint8

const (
	noVCEK    resemblance = iota
	wrongKind             // a VCEK where a VLEK signed, or the other way round
	someVCEK
	sameChipOnly
	sameChipAndTCB
)

// resemblance says how near the certificate comes to the report's VCEK, by its bytes alone.
func (r report) resemblance(der []byte) resemblance {
	if len(der) > limits.certificate {
		return noVCEK
	}
	if !bytes.Contains(der, r.kind().object()) {
		if isEndEntity(der) {
			return wrongKind
		}
		return noVCEK
	}
	if r.namesChip() && !bytes.Contains(der, r.chipID()) {
		return someVCEK
	}
	reported := r.tcb(offReportedTCB)
	levels := [...]struct{ arc, value uint8 }{
		{9, reported.fmc}, // Turin's certificates alone have it
		{1, reported.bootloader}, {2, reported.tee}, {3, reported.snp}, {8, reported.microcode},
	}
	wanted := levels[1:]
	if reported.turin {
		wanted = levels[:]
	}
	for _, level := range wanted {
		// OBJECT IDENTIFIER 1.3.6.1.4.1.3704.1.3.arc, OCTET STRING { INTEGER value }
		pattern := [...]byte{0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01, 0x03, level.arc,
			0x04, 0x03, 0x02, 0x01, level.value, 0}
		used := pattern[:17]
		if level.value >= 0x80 {
			pattern[13], pattern[15], pattern[16], pattern[17] = 0x04, 0x02, 0x00, level.value
			used = pattern[:]
		}
		if !bytes.Contains(der, used) {
			return sameChipOnly
		}
	}
	return sameChipAndTCB
}

// digestOf is the name of a certificate in the cache.
func digestOf(der []byte) [sha256.Size]byte { return sha256.Sum256(der) }
