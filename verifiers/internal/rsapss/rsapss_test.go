package rsapss_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"math/big"
	"os"
	"strconv"
	"testing"

	"github.com/attestd/attestd/testvectors/wycheproof"
	"github.com/attestd/attestd/verifiers/internal/rsapss"
)

var options = rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA384}

func standard(public *rsa.PublicKey, digest, signature []byte) bool {
	return rsa.VerifyPSS(public, crypto.SHA384, digest, signature, &options) == nil
}

// TestWycheproof runs every published case for keys of 4096 bits: those of another hash, mask or
// salt must all be refused.
func TestWycheproof(t *testing.T) {
	for name, fits := range map[string]bool{
		"rsa_pss_4096_sha384_mgf1_48_test.json": true,
		"rsa_pss_4096_sha256_mgf1_32_test.json": false,
		"rsa_pss_4096_sha512_mgf1_32_test.json": false,
		"rsa_pss_4096_sha512_mgf1_64_test.json": false,
	} {
		groups, err := wycheproof.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		cases, valid := 0, 0
		for _, group := range groups {
			parsed, err := x509.ParsePKIXPublicKey(group.Key)
			if err != nil {
				t.Fatal(err)
			}
			public, ok := parsed.(*rsa.PublicKey)
			if !ok {
				t.Fatalf("%s: a group of %T", name, parsed)
			}
			key, err := rsapss.NewKey(public)
			if err != nil {
				t.Fatal(err)
			}
			for _, test := range group.Cases {
				digest := sha512.Sum384(test.Message)
				got := key.Verify(digest[:], test.Signature)
				want := fits && test.Valid
				cases++
				if got {
					valid++
				}
				if got && !want || !got && want {
					t.Errorf("%s: case %d (%s): %v, want %v",
						name, test.ID, test.Comment, got, want)
				}
				if peer := standard(public, digest[:], test.Signature); got != peer {
					t.Errorf("%s: case %d: %v, crypto/rsa says %v", name, test.ID, got, peer)
				}
			}
		}
		if cases < 30 || fits && valid < 30 {
			t.Errorf("%s: %d cases, %d valid: the file was not read", name, cases, valid)
		}
		t.Logf("%s: %d cases, %d valid, no mismatch", name, cases, valid)
	}
}

// rounds is how many signatures are compared; ATTESTD_RSA_ROUNDS raises it for a soak.
func rounds(t *testing.T) int {
	t.Helper()
	if text := os.Getenv("ATTESTD_RSA_ROUNDS"); text != "" {
		count, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return count
	}
	return 600
}

// TestAgreesWithTheStandardLibrary builds encoded messages with one fault each and signs them as
// they are, so that what is judged is the padding and not the arithmetic alone.
func TestAgreesWithTheStandardLibrary(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 4096)
	if err != nil {
		t.Fatal(err)
	}
	key, err := rsapss.NewKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha512.Sum384([]byte("message"))
	good, err := rsa.SignPSS(rand.Reader, private, crypto.SHA384, digest[:], &options)
	if err != nil {
		t.Fatal(err)
	}
	exponent := big.NewInt(int64(private.E))
	encoded := new(big.Int).Exp(new(big.Int).SetBytes(good), exponent, private.N)
	if !key.Verify(digest[:], good) {
		t.Fatal("a good signature was refused")
	}
	// A padded message with one bit changed, taken for a signature, has a padding that fits
	// nowhere; one changed in the signature likewise. Changes of the digest leave the padding
	// whole.
	accepted := 0
	for round := range rounds(t) {
		signature, sum := append([]byte(nil), good...), digest
		switch round % 4 {
		case 0:
			sum[round/4%48] ^= 1 << (round % 8)
		case 1:
			signature[round/4%512] ^= 1 << (round % 8)
		case 2:
			changed := new(big.Int).SetBit(encoded, round%4096, 1-encoded.Bit(round%4096))
			if changed.Cmp(private.N) >= 0 {
				continue
			}
			signature = decrypt(private, changed)
		default:
			sum = sha512.Sum384(strconv.AppendInt(nil, int64(round), 10))
			if signature, err = rsa.SignPSS(rand.Reader, private, crypto.SHA384, sum[:],
				&rsa.PSSOptions{SaltLength: 46 + round/4%4}); err != nil {
				t.Fatal(err)
			}
		}
		got, want := key.Verify(sum[:], signature), standard(&private.PublicKey, sum[:], signature)
		if got != want {
			t.Fatalf("round %d: %v, crypto/rsa says %v", round, got, want)
		}
		if got {
			accepted++
		}
	}
	if accepted == 0 {
		t.Error("no signature was good")
	}
	t.Logf("%d good signatures among %d, no difference", accepted, rounds(t))
}

// decrypt is m^d mod n, by the Chinese remainder theorem.
func decrypt(private *rsa.PrivateKey, m *big.Int) []byte {
	p, q := private.Primes[0], private.Primes[1]
	mp := new(big.Int).Exp(m, private.Precomputed.Dp, p)
	mq := new(big.Int).Exp(m, private.Precomputed.Dq, q)
	h := mp.Sub(mp, mq)
	h.Mul(h, private.Precomputed.Qinv).Mod(h, p)
	h.Mul(h, q).Add(h, mq)
	return h.FillBytes(make([]byte, 512))
}

func TestOtherKeysAreRefused(t *testing.T) {
	power := func(size uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), size) }
	odd := new(big.Int).SetBit(power(4095), 0, 1)
	for name, public := range map[string]*rsa.PublicKey{
		"nil": nil, "empty": {}, "exponent 1": {N: odd, E: 1}, "exponent 3": {N: odd, E: 3},
		"even":      {N: power(4095), E: 65537},
		"4095 bits": {N: new(big.Int).Sub(power(4095), big.NewInt(1)), E: 65537},
		"4097 bits": {N: new(big.Int).SetBit(power(4096), 0, 1), E: 65537},
		"negative":  {N: new(big.Int).Neg(odd), E: 65537},
	} {
		if _, err := rsapss.NewKey(public); err == nil {
			t.Errorf("a key was made: %s", name)
		}
	}
	if _, err := rsapss.NewKey(&rsa.PublicKey{N: odd, E: 65537}); err != nil {
		t.Error(err)
	}
}

func BenchmarkVerify(b *testing.B) {
	private, _ := rsa.GenerateKey(rand.Reader, 4096)
	key, _ := rsapss.NewKey(&private.PublicKey)
	digest := sha512.Sum384([]byte("benchmark"))
	signature, _ := rsa.SignPSS(rand.Reader, private, crypto.SHA384, digest[:], &options)
	for name, verify := range map[string]func() bool{
		"attestd":    func() bool { return key.Verify(digest[:], signature) },
		"crypto-rsa": func() bool { return standard(&private.PublicKey, digest[:], signature) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !verify() {
					b.Fatal("refused")
				}
			}
		})
	}
}
