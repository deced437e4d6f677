package sevsnp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"fmt"
)

// The certificate table that a host returns to an extended guest request: entries of a GUID, an
// offset and a length, ended by an entry of zeros, then the certificates (AMD 56421, SNP Extended
// Guest Request). Offsets count from the start of the table.
const (
	tableEntrySize = 24
	guidSize       = 16
	hostPage       = 4096
)

// What a table may hold. An entry of any other kind is refused, so that nothing in the evidence
// goes unread without a word.
var (
	guidVCEK = guid("63da758de6644564adc5f4b93be8accd")
	guidVLEK = guid("a8074bc2a25a483eaae639c045a0b8a1")
	guidASK  = guid("4ab7b379bbac4fe4a02f05aef327c782")
	guidARK  = guid("c0b406a4a803495297433fb6014cd0ae")
	guidCRL  = guid("92f81bc358114d3d97ffd19f88dc67ea")
	// guidExtra is what google/go-sev-guest's client adds: eight bytes about the machine, which
	// nobody signed and which are not read here.
	guidExtra = guid("ecae0c0f950243b1afa20ae2e0d565b6")
)

var knownGUIDs = map[[guidSize]byte]bool{
	guidVCEK: true, guidVLEK: true, guidASK: true, guidARK: true, guidCRL: true, guidExtra: true,
}

// certTable are the certificates of a table and its revocation list as DER; absent ones are nil.
type certTable struct{ vcek, vlek, ask, ark, crl []byte }

// signer is the entry for this kind of key.
func (t certTable) signer(kind keyKind) []byte {
	if kind == kindVLEK {
		return t.vlek
	}
	return t.vcek
}

type tableEntry struct {
	kind          [guidSize]byte
	offset, until int
}

// parseTable reads the bytes behind a report.
func parseTable(data []byte) (certTable, *fault) {
	entries, bad := tableEntries(data)
	if bad != nil {
		return certTable{}, bad
	}
	if bad := tableCovered(data, entries); bad != nil {
		return certTable{}, bad
	}
	var out certTable
	for _, entry := range entries {
		into := map[[guidSize]byte]*[]byte{
			guidVCEK: &out.vcek, guidVLEK: &out.vlek, guidASK: &out.ask, guidARK: &out.ark,
			guidCRL: &out.crl,
		}
		if field, wanted := into[entry.kind]; wanted {
			armour, most, what := "CERTIFICATE", limits.certificate, "one certificate"
			if entry.kind == guidCRL {
				armour, most, what = "X509 CRL", limits.evidence, "one revocation list"
			}
			der, ok := plainDER(data[entry.offset:entry.until], armour, most)
			if !ok {
				return certTable{}, refuse(checkTable, "entry "+hex.EncodeToString(entry.kind[:])+
					" is neither DER nor one plain PEM block", what)
			}
			*field = der
		}
	}
	return out, nil
}

func tableEntries(data []byte) ([]tableEntry, *fault) {
	var entries []tableEntry
	for at := 0; ; at += tableEntrySize {
		if len(data)-at < tableEntrySize {
			return nil, refuse(checkTable, fmt.Sprintf("%d bytes behind the report", len(data)),
				"nothing, or a table that an entry of zeros ends")
		}
		raw := data[at : at+tableEntrySize]
		if allBytes(raw, 0) {
			if len(entries) == 0 {
				// Otherwise a report and the same report with 24 zeros would be two evidences.
				return nil, refuse(checkTable, "a table without entries", "nothing, or some entry")
			}
			return checkedEntries(entries, at+tableEntrySize)
		}
		if len(entries) == limits.tableEntries {
			return nil, refuse(checkTable, "too many entries",
				fmt.Sprintf("at most %d", limits.tableEntries))
		}
		// As 64-bit numbers offset and length cannot wrap around.
		offset := uint64(binary.LittleEndian.Uint32(raw[guidSize:]))
		until := offset + uint64(binary.LittleEndian.Uint32(raw[guidSize+4:]))
		if until > uint64(len(data)) || until == offset {
			return nil, refuse(checkTable, fmt.Sprintf("entry %d spans bytes %d to %d of %d",
				len(entries), offset, until, len(data)), "some bytes inside the table")
		}
		entry := tableEntry{offset: int(offset), until: int(until)} //nolint:gosec // <= len(data)
		copy(entry.kind[:], raw)
		entries = append(entries, entry)
	}
}

// checkedEntries refuses unknown and repeated kinds, and entries that reach into the header or into
// each other: two readers would take different certificates from such a table.
func checkedEntries(entries []tableEntry, header int) ([]tableEntry, *fault) {
	for i, entry := range entries {
		if !knownGUIDs[entry.kind] {
			return nil, refuse(checkTable, "entry of kind "+hex.EncodeToString(entry.kind[:]),
				"VCEK, VLEK, ASK, ARK or CRL")
		}
		if entry.offset < header {
			return nil, refuse(checkTable, fmt.Sprintf("entry %d starts inside the header", i),
				fmt.Sprintf("at byte %d or later", header))
		}
		for _, other := range entries[:i] {
			if other.kind == entry.kind {
				return nil, refuse(checkTable, "kind "+hex.EncodeToString(entry.kind[:])+" twice", "once")
			}
			if entry.offset < other.until && other.offset < entry.until {
				return nil, refuse(checkTable, fmt.Sprintf("entry %d overlaps another", i), "no overlap")
			}
		}
	}
	return entries, nil
}

// tableCovered demands that bytes outside the entries are zero and that they only fill up the last
// host page, so that nothing can be smuggled along under the report's name.
func tableCovered(data []byte, entries []tableEntry) *fault {
	covered := make([]bool, len(data))
	end := (len(entries) + 1) * tableEntrySize
	for at := range end {
		covered[at] = true
	}
	for _, entry := range entries {
		for at := entry.offset; at < entry.until; at++ {
			covered[at] = true
		}
		end = max(end, entry.until)
	}
	for at, b := range data {
		if b != 0 && !covered[at] {
			return refuse(checkTable, fmt.Sprintf("byte %d is not zero and in no entry", at), "zero")
		}
	}
	if len(data) != end && len(data)%hostPage != 0 {
		return refuse(checkTable, fmt.Sprintf("%d bytes behind the last entry", len(data)-end),
			"none, or zeros up to a page of 4096 bytes")
	}
	return nil
}

// plainDER returns the DER of an entry, of about most bytes where it is PEM. AMD's tools load DER; hosts
// that load what AMD's KDS serves as cert_chain hand out PEM. PEM must be written in the one plain
// way, because everything in it that decoders skip would be bytes that nobody vouches for.
func plainDER(entry []byte, armour string, most int) ([]byte, bool) {
	if entry[0] == 0x30 {
		return entry, true
	}
	if len(entry) > 2*most { // armour adds a third
		return nil, false
	}
	block, rest := pem.Decode(entry)
	if block == nil || len(rest) != 0 || len(block.Headers) != 0 || block.Type != armour {
		return nil, false
	}
	plain := pem.EncodeToMemory(block)
	if !bytes.Equal(bytes.TrimSuffix(plain, []byte("\n")), bytes.TrimSuffix(entry, []byte("\n"))) {
		return nil, false
	}
	return block.Bytes, true
}

func guid(text string) (out [guidSize]byte) {
	if n, err := hex.Decode(out[:], []byte(text)); n != guidSize || err != nil {
		panic("guid " + text)
	}
	return out
}
