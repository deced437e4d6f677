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
	fill := func(size, at int, value byte) []byte {
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
		"the padding's first byte":   {func(e *encoding) { e.padding = fill(414, 0, 0x40) }, false},
		"the padding's second byte":  {func(e *encoding) { e.padding = fill(414, 1, 1) }, false},
		"the padding's last byte":    {func(e *encoding) { e.padding = fill(414, 413, 1) }, false},
		"a byte of salt less":        {func(e *encoding) { e.salt = e.salt[1:] }, false},
		"a byte of salt more":        {func(e *encoding) { e.salt = append(e.salt, 7) }, false},
		"no salt":                    {func(e *encoding) { e.salt = nil }, false},
		"the most salt":              {func(e *encoding) { e.salt = fill(462, 3, 3) }, false},
		"another prefix":             {func(e *encoding) { e.prefix = fill(8, 7, 1) }, false},
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

// TestInputsOutOfRangeAreRefused: each is the good signature in another spelling, or good for an
// input that must not be taken at all.
func TestInputsOutOfRangeAreRefused(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 4096)
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsapss.NewKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(digest []byte) []byte {
		message := new(big.Int)
		for again := true; again; again = message.Cmp(private.N) >= 0 {
			e := encoding{salt: make([]byte, 48), padding: make([]byte, 414), separator: 1,
				trailer: 0xbc, prefix: make([]byte, 8)}
			if _, err := rand.Read(e.salt); err != nil {
				t.Fatal(err)
			}
			message.SetBytes(e.of(digest))
		}
		return decrypt(private, message)
	}
	digest := sha512.Sum384([]byte("in range"))
	good := sign(digest[:])
	// s+n has 512 bytes too where s is less than 2^4096-n.
	room := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 4096), private.N)
	small := good
	for tries := 0; new(big.Int).SetBytes(small).Cmp(room) >= 0; tries++ {
		if tries == 200 { // so near to 2^4096 is one modulus in a hundred: another
			tries = 0
			if private, err = rsa.GenerateKey(rand.Reader, 4096); err != nil {
				t.Fatal(err)
			}
			if key, err = rsapss.NewKey(&private.PublicKey); err != nil {
				t.Fatal(err)
			}
			room.Sub(new(big.Int).Lsh(big.NewInt(1), 4096), private.N)
			good = sign(digest[:])
		}
		small = sign(digest[:])
	}
	second := new(big.Int).Add(new(big.Int).SetBytes(small), private.N).Bytes()
	if !key.Verify(digest[:], good) || !key.Verify(digest[:], small) || len(second) != 512 {
		t.Fatal("a good signature was refused")
	}
	longer, less := append(digest[:48:48], 1), new(big.Int).Sub(private.N, big.NewInt(1))
	number := func(n *big.Int) []byte { return n.FillBytes(make([]byte, 512)) }
	for name, got := range map[string]bool{
		"a zero key":             rsapss.Key{}.Verify(digest[:], good),
		"s+n":                    key.Verify(digest[:], second),
		"a zero before it":       key.Verify(digest[:], append([]byte{0}, good...)),
		"a zero behind it":       key.Verify(digest[:], append(good[:512:512], 0)),
		"a byte less":            key.Verify(digest[:], good[1:]),
		"signed, of 47 bytes":    key.Verify(digest[:47], sign(digest[:47])),
		"signed, of 49 bytes":    key.Verify(longer, sign(longer)),
		"signed, of no bytes":    key.Verify(nil, sign(nil)),
		"the modulus":            key.Verify(digest[:], number(private.N)),
		"the modulus less one":   key.Verify(digest[:], number(less)),
		"zero":                   key.Verify(digest[:], make([]byte, 512)),
		"one":                    key.Verify(digest[:], number(big.NewInt(1))),
		"none":                   key.Verify(digest[:], nil),
		"that of another digest": key.Verify(make([]byte, 48), good),
	} {
		if got {
			t.Errorf("%s was accepted", name)
		}
	}
}
