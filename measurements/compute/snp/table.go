package snp

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/attestd/attestd/measurements/compute"
)

// guid is a GUID as it lies in memory: its first three fields in little-endian order (UEFI 2.10,
// appendix A).
type guid [16]byte

// mustGUID reads the usual notation; it is for constants only.
func mustGUID(text string) guid {
	var raw []byte
	for _, part := range [][2]int{{0, 8}, {9, 13}, {14, 18}, {19, 23}, {24, 36}} {
		piece, err := hex.DecodeString(text[part[0]:part[1]])
		if err != nil {
			panic("snp: a constant is no GUID: " + text)
		}
		raw = append(raw, piece...)
	}
	var id guid
	for at, from := range []int{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15} {
		id[at] = raw[from]
	}
	return id
}

// String returns the usual notation.
func (g guid) String() string {
	b := g[:]
	return hex.EncodeToString([]byte{b[3], b[2], b[1], b[0]}) + "-" +
		hex.EncodeToString([]byte{b[5], b[4]}) + "-" + hex.EncodeToString([]byte{b[7], b[6]}) + "-" +
		hex.EncodeToString(b[8:10]) + "-" + hex.EncodeToString(b[10:])
}

// GUIDs of OVMF's table (edk2, OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm).
var (
	footerGUID     = mustGUID("96b582de-1fb2-45f7-baea-a366c55a082d")
	resetBlockGUID = mustGUID("00f771de-1a7e-4fcb-890e-68c77e2fb44e")
	hashTableGUID  = mustGUID("7255371f-3a3b-4b04-927b-1da6efa8d454")
	metadataGUID   = mustGUID("dc886566-984a-4798-a75e-5585a7bf67cc")
)

// Sizes in the table. Each entry ends in its own length, which counts the whole entry, and its
// GUID.
const (
	tableEnd  = 32 // the reset vector behind the table
	entryTail = 2 + 16
	// maxEntries bounds the table: OVMF has five to eight entries.
	maxEntries = 64
)

// readTable returns the data of the table's entries. The table is read backwards from its footer.
func readTable(data []byte) (map[guid][]byte, error) {
	footer := len(data) - tableEnd - entryTail
	size, id := entryAt(data, footer)
	if id != footerGUID {
		return nil, compute.Malformed("an OVMF image, whose table ends 32 bytes before its end",
			"an image without that table")
	}
	if size < entryTail || size-entryTail > footer {
		return nil, compute.Malformed("a table inside the image", "a table of %d bytes", size)
	}
	rest := data[footer-(size-entryTail) : footer]
	entries := make(map[guid][]byte)
	for len(rest) > 0 {
		if len(rest) < entryTail {
			return nil, compute.Malformed("entries that fill the table", "%d bytes left over", len(rest))
		}
		size, id := entryAt(rest, len(rest)-entryTail)
		if size < entryTail || size > len(rest) {
			return nil, compute.Malformed("an entry inside the table", "entry %s of %d bytes", id, size)
		}
		if _, double := entries[id]; double {
			// Two readers could take one each.
			return nil, compute.Malformed("each entry once", "entry %s twice", id)
		}
		if len(entries) == maxEntries {
			return nil, compute.Malformed("64 entries at most", "a table of more")
		}
		entries[id] = rest[len(rest)-size : len(rest)-entryTail]
		rest = rest[:len(rest)-size]
	}
	return entries, nil
}

// entryAt reads length and GUID at an offset.
func entryAt(data []byte, at int) (int, guid) {
	var id guid
	copy(id[:], data[at+2:at+entryTail])
	return int(binary.LittleEndian.Uint16(data[at:])), id
}
