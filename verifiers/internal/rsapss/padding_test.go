package rsapss_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/binary"
	"math/big"
	"testing"

	"github.com/attestd/attestd/verifiers/internal/rsapss"
)

// encoding is EMSA-PSS (RFC 8017, section 9.1.1) written once more, with a place for each fault.
type encoding struct {
	salt, padding []byte
	separator     byte
	trailer       byte
	maskSeed      func(hash []byte) []byte
	prefix        []byte // of M': eight zeros
	highBit       bool   // the one beyond 4095
	maskedHighBit bool   // the same of the data before it is masked, which step 11 clears
	change        func(message []byte)
}

func (e encoding) of(digest []byte) []byte {
	sum := sha512.New384()
	sum.Write(e.prefix)
	sum.Write(digest)
	sum.Write(e.salt)
	hash := sum.Sum(nil)
	data := append(append(append([]byte(nil), e.padding...), e.separator), e.salt...)
	data = append(make([]byte, max(0, 463-len(data))), data...)
	if e.maskedHighBit {
		data[0] |= 0x80
	}
	seed := hash
	if e.maskSeed != nil {
		seed = e.maskSeed(hash)
	}
	var mask []byte
	for counter := uint32(0); len(mask) < len(data); counter++ {
		block := sha512.Sum384(binary.BigEndian.AppendUint32(append([]byte(nil), seed...), counter))
		mask = append(mask, block[:]...)
	}
	for index := range data {
		data[index] ^= mask[index]
	}
	data[0] &= 0x7f
	if e.highBit {
		data[0] |= 0x80
	}
	message := append(append(data, hash...), e.trailer)
	if e.change != nil {
		e.change(message)
	}
	return message
}

// TestOneFaultInThePadding signs encoded messages that are right but for one thing, which one step
// of RFC 8017, section 9.1.2 refuses and no other. crypto/rsa must say the same of each.
func TestOneFaultInThePadding(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 4096)
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsapss.NewKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha512.Sum384([]byte("one fault"))
	filled := func(size, at int, value byte) []byte {
		out := make([]byte, size)
		out[at] = value
		return out
	}
	flip := func(at int) func([]byte) { return func(message []byte) { message[at] ^= 1 } }
	for name, row := range map[string]struct {
		change func(*encoding)
		want   bool
	}{
		"nothing is wrong":           {func(*encoding) {}, true},
		"a bit that step 9 clears":   {func(e *encoding) { e.maskedHighBit = true }, true},
		"a salt of zeros":            {func(e *encoding) { e.salt = make([]byte, 48) }, true},
		"a salt that begins with 1":  {func(e *encoding) { e.salt[0] = 1 }, true},
		"the bit beyond 4095 is set": {func(e *encoding) { e.highBit = true }, false},
		"the trailer of ISO 9796-2":  {func(e *encoding) { e.trailer = 0xcc }, false},
		"no trailer":                 {func(e *encoding) { e.trailer = 0 }, false},
		"the separator is 0":         {func(e *encoding) { e.separator = 0 }, false},
		"the separator is 2":         {func(e *encoding) { e.separator = 2 }, false},
		"the separator is 0x81":      {func(e *encoding) { e.separator = 0x81 }, false},
		"the padding's first byte":   {func(e *encoding) { e.padding = filled(414, 0, 0x40) }, false},
		"the padding's second byte":  {func(e *encoding) { e.padding = filled(414, 1, 1) }, false},
		"the padding's last byte":    {func(e *encoding) { e.padding = filled(414, 413, 1) }, false},
		"a byte of salt less":        {func(e *encoding) { e.salt = e.salt[1:] }, false},
		"a byte of salt more":        {func(e *encoding) { e.salt = append(e.salt, 7) }, false},
		"no salt":                    {func(e *encoding) { e.salt = nil }, false},
		"the most salt":              {func(e *encoding) { e.salt = filled(462, 3, 3) }, false},
		"another prefix":             {func(e *encoding) { e.prefix = filled(8, 7, 1) }, false},
		"no prefix":                  {func(e *encoding) { e.prefix = nil }, false},
		"the hash is another":        {func(e *encoding) { e.change = flip(500) }, false},
		"the masked data is another": {func(e *encoding) { e.change = flip(462) }, false},
		"the mask's seed is the digest": {func(e *encoding) {
			e.maskSeed = func([]byte) []byte { return digest[:] }
		}, false},
		"masked by SHA-384 of half": {func(e *encoding) {
			e.maskSeed = func(hash []byte) []byte { return hash[:24] }
		}, false},
	} {
		message := new(big.Int)
		for tries := 0; ; tries++ { // until the number is below the modulus
			e := encoding{
				salt: make([]byte, 48), separator: 1, trailer: 0xbc, prefix: make([]byte, 8)}
			if _, err := rand.Read(e.salt); err != nil {
				t.Fatal(err)
			}
			row.change(&e)
			if e.padding == nil {
				e.padding = make([]byte, 463-1-len(e.salt))
			}
			if message.SetBytes(e.of(digest[:])).Cmp(private.N) < 0 {
				break
			}
			if tries > 1000 {
				t.Fatalf("%s: no such message is below the modulus", name)
			}
		}
		signature := decrypt(private, message)
		got := key.Verify(digest[:], signature)
		peer := standard(&private.PublicKey, digest[:], signature)
		if got != row.want || peer != row.want {
			t.Errorf("%s: %v, crypto/rsa says %v, want %v", name, got, peer, row.want)
		}
	}
}
