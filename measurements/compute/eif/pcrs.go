package eif

import (
	"crypto/sha512"
	"fmt"
)

// PCR is a predicted register.
type PCR struct {
	Index int
	Value [sha512.Size384]byte
	// What it is made of, for people.
	What string
}

// PCRs returns the predicted registers: 0, 1 and 2, and 8 of a signed image. In an image that is
// not signed PCR8 is zero, which says nothing and is not returned.
func (i *Image) PCRs() []PCR {
	pcrs := []PCR{
		{0, i.pcr0(), "kernel, command line and all ramdisks"},
		{1, register(append([][]byte{i.kernel, i.line}, i.ramdisks[0])...),
			"kernel, command line and the first ramdisk"},
		{2, register(i.ramdisks[1:]...), "the ramdisks behind the first: the application"},
	}
	if len(i.ramdisks) == 1 {
		pcrs[2].What = "nothing: there is one ramdisk, so that this value is every such image's"
	}
	if i.Signer != nil {
		pcrs = append(pcrs, PCR{8, register(i.Signer.certificate), "the signer's certificate"})
	}
	return pcrs
}

func (i *Image) pcr0() [sha512.Size384]byte {
	return register(append([][]byte{i.kernel, i.line}, i.ramdisks...)...)
}

// register returns a PCR that was zero and was extended once, by the hash of all parts as one.
func register(parts ...[]byte) [sha512.Size384]byte {
	h := sha512.New384()
	for _, part := range parts {
		h.Write(part)
	}
	var before [sha512.Size384]byte
	return sha512.Sum384(h.Sum(before[:]))
}

func hex32(v uint32) string { return fmt.Sprintf("0x%08x", v) }
