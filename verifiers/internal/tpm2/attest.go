package tpm2

import (
	"fmt"
	"math/bits"
)

// Attest is a TPMS_ATTEST (Part 2, section 10.12.12) of type quote or certify.
type Attest struct {
	// Raw is the structure as it was read; a signature is made over it.
	Raw []byte
	// Type is TypeQuote or TypeCertify.
	Type uint16
	// QualifiedSigner is the Qualified Name of the key that signed.
	QualifiedSigner []byte
	// ExtraData is what the caller of the TPM had signed with it.
	ExtraData []byte
	// Clock in milliseconds, ResetCount, RestartCount and Safe are TPMS_CLOCK_INFO (section 10.11.1).
	Clock                    uint64
	ResetCount, RestartCount uint32
	Safe                     bool
	// Firmware is the vendor's version number.
	Firmware uint64
	// PCRs and PCRDigest belong to a quote (TPMS_QUOTE_INFO, section 10.12.4).
	PCRs      Selections
	PCRDigest []byte
	// Name and QualifiedName belong to a certified object (TPMS_CERTIFY_INFO, section 10.12.3).
	Name, QualifiedName []byte
}

// Selections are the PCRs that a quote selects, in its order of banks (TPML_PCR_SELECTION, section
// 10.9.7). No bank stands in it twice.
type Selections struct {
	banks [maxBanks]Selection
	count int
}

// Selection are PCRs of one bank: bit n is PCR n.
type Selection struct {
	Bank uint16
	PCRs uint32
}

// maxBanks is how many digest algorithms the TCG has given numbers to, and one more.
const maxBanks = 8

// Banks returns the selected banks in their order. It aliases s.
func (s *Selections) Banks() []Selection { return s.banks[:s.count] }

// Count returns how many PCRs are selected in all banks.
func (s *Selections) Count() int {
	count := 0
	for _, bank := range s.Banks() {
		count += bits.OnesCount32(bank.PCRs)
	}
	return count
}

// ParseAttest reads a TPMS_ATTEST of type quote or certify that fills attest.
func ParseAttest(attest []byte) (Attest, error) {
	c := &cursor{data: attest, structure: "TPMS_ATTEST"}
	a := Attest{Raw: attest[:len(attest):len(attest)]}
	// Part 2, section 10.12.12: "magic: the indication that this structure was created by a TPM".
	// Without this line a key that signs anything could sign a quote that no TPM made.
	if magic := c.u32("magic"); c.fault == nil && magic != Magic {
		c.failAs(ReasonMagic, 0, fmt.Sprintf("magic 0x%08x", magic))
	}
	a.Type = c.u16("type")
	a.QualifiedSigner = c.name("qualifiedSigner")
	// TPM2B_DATA holds at most a TPMT_HA (section 10.4.3): 2 bytes and a digest.
	a.ExtraData = c.sized(66, "extraData")
	a.Clock = c.u64("clock")
	a.ResetCount = c.u32("resetCount")
	a.RestartCount = c.u32("restartCount")
	a.Safe = c.yesNo("safe")
	a.Firmware = c.u64("firmwareVersion")
	switch a.Type {
	case TypeQuote:
		a.PCRs.read(c)
		a.PCRDigest = c.sized(64, "pcrDigest")
	case TypeCertify:
		a.Name = c.name("name")
		a.QualifiedName = c.name("qualifiedName")
	default:
		c.failAs(ReasonType, 4, fmt.Sprintf("type 0x%04x", a.Type))
	}
	if err := c.end(); err != nil {
		return Attest{}, err
	}
	return a, nil
}

// name reads a TPM2B_NAME that holds a digest. A handle in its place, or nothing, names no key.
func (c *cursor) name(what string) []byte {
	start := c.off
	name := c.sized(2+64, what)
	if c.fault != nil {
		return nil
	}
	if len(name) < 2 || digestSize(uint16(name[0])<<8|uint16(name[1])) != len(name)-2 ||
		len(name) == 2 {
		c.fail(start, fmt.Sprintf("%s of %d bytes is no Name", what, len(name)))
		return nil
	}
	return name
}

// yesNo reads a TPMI_YES_NO (section 9.2), which has two values.
func (c *cursor) yesNo(what string) bool {
	value := c.u8(what)
	if value > 1 {
		c.fail(c.off-1, fmt.Sprintf("%s is %d", what, value))
	}
	return value == 1
}

// A platform has 24 PCRs (PC Client Platform TPM Profile, section 4.6), so that a bitmap has 3 bytes;
// where an implementation has room for 32, it has 4.
const (
	minSelect, maxSelect = 3, 4
	platformPCRs         = 24
)

// read reads a TPML_PCR_SELECTION. A bank that stands twice would have two meanings: its PCRs twice in
// the digest, or the union.
func (s *Selections) read(c *cursor) {
	start := c.off
	count := c.u32("count")
	if c.fault == nil && count > maxBanks {
		c.fail(start, fmt.Sprintf("%d PCR banks", count))
	}
	for range count {
		start = c.off
		bank := Selection{Bank: c.u16("hash")}
		size := int(c.u8("sizeofSelect"))
		if c.fault == nil && (size < minSelect || size > maxSelect) {
			c.fail(start, fmt.Sprintf("a PCR bitmap of %d bytes", size))
		}
		for i, part := range c.take(size, "pcrSelect") {
			bank.PCRs |= uint32(part) << (8 * i)
		}
		switch {
		case c.fault != nil:
			return
		case digestSize(bank.Bank) == 0:
			c.failAs(ReasonAlgorithm, start, "PCR bank of "+AlgorithmName(bank.Bank))
		case bank.PCRs>>platformPCRs != 0:
			c.fail(start, "a PCR beyond 23")
		case s.has(bank.Bank):
			c.fail(start, "PCR bank "+AlgorithmName(bank.Bank)+" stands twice")
		}
		s.banks[s.count] = bank
		s.count++
	}
}

func (s *Selections) has(bank uint16) bool {
	for _, other := range s.Banks() {
		if other.Bank == bank {
			return true
		}
	}
	return false
}
