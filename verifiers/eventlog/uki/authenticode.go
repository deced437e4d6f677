package uki

import (
	"hash"
)

// Authenticode writes what an image's digest is over to h and returns the digest (Microsoft,
// "Windows Authenticode Portable Executable Signature Format", March 2008, "Calculating the PE
// Image Hash"; the TCG PC Client Platform Firmware Profile 1.05 r23, section 10.4.1, has firmware
// measure that): headers without the checksum and the entry of the certificate table, the sections
// as they lie in the file, and what follows them without the certificates.
func (i *Image) Authenticode(h hash.Hash) []byte {
	h.Write(i.data[:i.checksum])
	if i.entry == 0 {
		h.Write(i.data[i.checksum+4 : i.headers])
	} else {
		h.Write(i.data[i.checksum+4 : i.entry])
		h.Write(i.data[i.entry+8 : i.headers])
	}
	sum := i.headers
	for _, section := range i.inFileOrder() {
		h.Write(section.raw)
		sum += len(section.raw)
	}
	// The format counts bytes, it does not look where the last section ends.
	if end := len(i.data) - len(i.table); end > sum {
		h.Write(i.data[sum:end])
	}
	return h.Sum(nil)
}
