package eventlog

import (
	"crypto/sha256"
	"crypto/sha512"
)

// Bank is a bank of registers, by the number of its hash algorithm (TCG Algorithm Registry,
// TPM_ALG_ID).
type Bank uint16

// Banks that can be replayed. SHA-1 is not among them: whoever can make two firmware volumes with
// one digest has two machines with one quote.
const (
	SHA256 Bank = 0x000b
	SHA384 Bank = 0x000c
	SHA512 Bank = 0x000d
)

// algorithm is a digest algorithm that a log may list.
type algorithm struct {
	id   uint16
	size int
	name string
}

// algorithms of the TCG Algorithm Registry with their digest sizes. Those that are no Bank are only
// stepped over.
var algorithms = [...]algorithm{
	{0x0004, 20, "SHA1"}, {0x000b, 32, "SHA256"}, {0x000c, 48, "SHA384"}, {0x000d, 64, "SHA512"},
	{0x0012, 32, "SM3_256"}, {0x0027, 32, "SHA3_256"}, {0x0028, 48, "SHA3_384"},
	{0x0029, 64, "SHA3_512"},
}

func algorithmByID(id uint16) (algorithm, bool) {
	for _, one := range algorithms {
		if one.id == id {
			return one, true
		}
	}
	return algorithm{}, false
}

// Size returns the length of the bank's digests, 0 for a bank that cannot be replayed.
func (b Bank) Size() int {
	switch b {
	case SHA256:
		return 32
	case SHA384:
		return 48
	case SHA512:
		return 64
	default:
		return 0
	}
}

// String returns the algorithm's name, as in "SHA256".
func (b Bank) String() string {
	if one, known := algorithmByID(uint16(b)); known {
		return one.name
	}
	return hexName("bank 0x", uint32(b), 4)
}

// Sum appends the bank's digest of data to out; a bank that cannot be replayed has none.
func (b Bank) Sum(out, data []byte) []byte {
	switch b {
	case SHA256:
		sum := sha256.Sum256(data)
		return append(out, sum[:]...)
	case SHA384:
		sum := sha512.Sum384(data)
		return append(out, sum[:]...)
	case SHA512:
		sum := sha512.Sum512(data)
		return append(out, sum[:]...)
	default:
		return out
	}
}

// digest is room for a digest of any bank, so that hashing allocates nothing.
type digest [64]byte

// of writes the bank's digest of data into d and returns that part of it.
func (d *digest) of(bank Bank, data []byte) []byte { return bank.Sum(d[:0], data) }

// extend replaces the register's value by the digest of it and an event's digest (TPM 2.0 part 1,
// section 17.2). Both have the bank's size.
func (d *digest) extend(bank Bank, event []byte) {
	if bank == SHA256 { // nearly every quote's
		var joined [2 * sha256.Size]byte
		copy(joined[:sha256.Size], d[:])
		copy(joined[sha256.Size:], event)
		*(*[sha256.Size]byte)(d[:]) = sha256.Sum256(joined[:])
		return
	}
	var joined [2 * len(digest{})]byte
	size := bank.Size()
	copy(joined[:], d[:size])
	copy(joined[size:], event)
	bank.Sum(d[:0], joined[:2*size])
}

// hexName returns a number as prefix and hexadecimal digits.
func hexName(prefix string, number uint32, digits int) string {
	const hexDigits = "0123456789abcdef"
	out := []byte(prefix)
	for shift := (digits - 1) * 4; shift >= 0; shift -= 4 {
		out = append(out, hexDigits[number>>shift&0xf])
	}
	return string(out)
}
