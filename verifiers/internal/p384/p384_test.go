package p384_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	_ "crypto/sha256"
	_ "crypto/sha3"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"os"
	"strconv"
	"testing"

	"github.com/attestd/attestd/testvectors/wycheproof"
	"github.com/attestd/attestd/verifiers/internal/p384"
)

// ways verifies by every way there is: crypto/ecdsa, circl, a key that is new and one that has its
// table. They must agree.
type ways struct {
	public *ecdsa.PublicKey
	tabled p384.Key
}

func newWays(t *testing.T, public *ecdsa.PublicKey) ways {
	t.Helper()
	key, err := p384.NewKey(public)
	if err != nil {
		t.Fatal(err)
	}
	key.Precompute()
	return ways{public: public, tabled: key}
}

func (w ways) verify(t *testing.T, digest, r, s []byte) bool {
	t.Helper()
	fresh, err := p384.NewKey(w.public)
	if err != nil {
		t.Fatal(err)
	}
	once, tabled := fresh.Verify(digest, r, s), w.tabled.Verify(digest, r, s)
	standard := ecdsa.Verify(w.public, digest, new(big.Int).SetBytes(r), new(big.Int).SetBytes(s))
	peer := circlVerify(t, w.public, digest, r, s)
	if once != tabled || once != standard || once != peer {
		t.Errorf("%x: %x %x: new key %v, with its table %v, crypto/ecdsa %v, circl %v",
			digest, r, s, once, tabled, standard, peer)
	}
	return once && tabled
}

// TestWycheproof runs every published case for P-384 with a hash of the standard library, in both
// encodings and by every way. neg: 25
func TestWycheproof(t *testing.T) {
	// A hash is cut or padded to the curve's size as FIPS 186-5, section 6.4.2, step 2 has it; the
	// product refuses digests of another size and leaves that to nobody.
	hashes := map[string]crypto.Hash{
		"SHA-256": crypto.SHA256, "SHA-384": crypto.SHA384, "SHA-512": crypto.SHA512,
		"SHA3-384": crypto.SHA3_384, "SHA3-512": crypto.SHA3_512,
	}
	total := 0
	for name, split := range map[string]func([]byte) (r, s []byte, ok bool){
		"ecdsa_secp384r1_sha256_test.json":       splitDER,
		"ecdsa_secp384r1_sha384_test.json":       splitDER,
		"ecdsa_secp384r1_sha512_test.json":       splitDER,
		"ecdsa_secp384r1_sha3_384_test.json":     splitDER,
		"ecdsa_secp384r1_sha3_512_test.json":     splitDER,
		"ecdsa_secp384r1_sha384_p1363_test.json": splitPlain,
		"ecdsa_secp384r1_sha512_p1363_test.json": splitPlain,
		"ecdsa_secp384r1_webcrypto_test.json":    splitPlain,
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
			public, ok := parsed.(*ecdsa.PublicKey)
			if !ok || !hashes[group.Hash].Available() {
				t.Fatalf("%s: a group of %T with %s", name, parsed, group.Hash)
			}
			all := newWays(t, public)
			for _, test := range group.Cases {
				hash := hashes[group.Hash].New()
				hash.Write(test.Message)
				digest := hash.Sum(nil)
				digest = digest[:min(len(digest), p384.Size)]
				digest = append(make([]byte, p384.Size-len(digest)), digest...)
				r, s, ok := split(test.Signature)
				got := ok && all.verify(t, digest, r, s)
				cases++
				switch {
				case got && !test.Valid:
					t.Errorf("%s: case %d (%s) was accepted", name, test.ID, test.Comment)
				case !got && test.Valid:
					t.Errorf("%s: case %d (%s) was refused", name, test.ID, test.Comment)
				case got:
					valid++
				}
			}
		}
		if cases < 100 || valid < 50 || valid == cases {
			t.Errorf("%s: %d cases, %d valid: the file was not read", name, cases, valid)
		}
		total += cases
	}
	t.Logf("%d cases by four ways, no mismatch", total)
}

func splitPlain(sig []byte) (r, s []byte, ok bool) {
	if len(sig) != 2*p384.Size {
		return nil, nil, false
	}
	return sig[:p384.Size], sig[p384.Size:], true
}

// splitDER accepts nothing but the one DER encoding of a signature.
func splitDER(sig []byte) (r, s []byte, ok bool) {
	var pair struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(sig, &pair)
	if err != nil || len(rest) != 0 {
		return nil, nil, false
	}
	if pair.R.Sign() <= 0 || pair.S.Sign() <= 0 || pair.R.BitLen() > 384 || pair.S.BitLen() > 384 {
		return nil, nil, false
	}
	again, err := asn1.Marshal(pair)
	if err != nil || string(again) != string(sig) {
		return nil, nil, false
	}
	r, s = pair.R.FillBytes(make([]byte, p384.Size)), pair.S.FillBytes(make([]byte, p384.Size))
	return r, s, true
}

// rounds is how many random signatures are compared; ATTESTD_P384_ROUNDS raises it for a soak.
func rounds(t *testing.T) int {
	t.Helper()
	if text := os.Getenv("ATTESTD_P384_ROUNDS"); text != "" {
		count, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return count
	}
	if testing.Short() {
		return 200
	}
	return 5000
}

// TestAgreesWithTheStandardLibrary compares good signatures and spoilt ones with crypto/ecdsa, two
// comparisons a round.
func TestAgreesWithTheStandardLibrary(t *testing.T) {
	var private *ecdsa.PrivateKey
	var all ways
	accepted := 0
	for round := range rounds(t) {
		if round%50 == 0 {
			var err error
			if private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
				t.Fatal(err)
			}
			all = newWays(t, &private.PublicKey)
		}
		digest := sha512.Sum384(strconv.AppendInt(nil, int64(round), 10))
		r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		rb, sb := r.FillBytes(make([]byte, 48)), s.FillBytes(make([]byte, 48))
		if !all.verify(t, digest[:], rb, sb) {
			t.Fatalf("round %d: a good signature was refused", round)
		}
		accepted++
		bit := round % (3 * 384)
		switch target := bit / 384; target {
		case 0:
			digest[bit%384/8] ^= 1 << (bit % 8)
		case 1:
			rb[bit%384/8] ^= 1 << (bit % 8)
		default:
			sb[bit%384/8] ^= 1 << (bit % 8)
		}
		if all.verify(t, digest[:], rb, sb) || t.Failed() {
			t.Fatalf("round %d: a spoilt signature was accepted, or the ways differ", round)
		}
	}
	t.Logf("%d good signatures accepted and as many spoilt ones refused by all ways", accepted)
}

// TestExceptionalPoints builds signatures whose two scalar products meet, cancel or vanish, where a
// careless addition formula goes wrong: for a key d*G with tiny or negative d, and chosen scalars
// u and v, the signature is r = x(u*G + v*Q), s = r/v, e = u*s.
func TestExceptionalPoints(t *testing.T) {
	curve := elliptic.P384()
	n := curve.Params().N
	small := []int64{1, 2, 3, 5, 8, 15, 16, 17, 32, 64, 127, 129}
	scalars := make([]*big.Int, 0, 2*len(small))
	for _, value := range small {
		scalars = append(scalars, big.NewInt(value), new(big.Int).Sub(n, big.NewInt(value)))
	}
	cases, infinite := 0, 0
	for _, d := range []int64{1, 2, 16, -1, -3} {
		secret := new(big.Int).Mod(big.NewInt(d), n)
		private, err := ecdsa.ParseRawPrivateKey(curve, secret.FillBytes(make([]byte, 48)))
		if err != nil {
			t.Fatal(err)
		}
		all := newWays(t, &private.PublicKey)
		for _, u := range scalars {
			for _, v := range scalars {
				// k = u + v*d is the discrete logarithm of u*G + v*Q.
				k := new(big.Int).Mul(v, secret)
				k.Add(k, u).Mod(k, n)
				r := big.NewInt(1)
				if k.Sign() == 0 {
					infinite++ // the sum is at infinity: no r may pass
				} else if r, err = abscissa(k); err != nil {
					t.Fatal(err)
				}
				s := new(big.Int).ModInverse(v, n)
				s.Mul(s, r).Mod(s, n)
				e := new(big.Int).Mul(u, s)
				e.Mod(e, n)
				digest := e.FillBytes(make([]byte, 48))
				rb, sb := r.FillBytes(make([]byte, 48)), s.FillBytes(make([]byte, 48))
				want := ecdsa.Verify(&private.PublicKey, digest, r, s)
				if want != (k.Sign() != 0) {
					t.Fatalf("d=%d u=%v v=%v: the case is built wrongly", d, u, v)
				}
				if got := all.verify(t, digest, rb, sb); got != want {
					t.Errorf("d=%d u=%v v=%v: got %v, want %v", d, u, v, got, want)
				}
				cases++
			}
		}
	}
	t.Logf("%d exceptional cases, %d of them at infinity, no mismatch", cases, infinite)
	if infinite == 0 {
		t.Error("no case reached infinity")
	}
}

// abscissa returns x(k*G) mod n.
func abscissa(k *big.Int) (*big.Int, error) {
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P384(), k.FillBytes(make([]byte, 48)))
	if err != nil {
		return nil, err
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	x := new(big.Int).SetBytes(point[1:49])
	return x.Mod(x, elliptic.P384().Params().N), nil
}

// TestInputsOutOfRangeAreRefused: neg: 25
func TestInputsOutOfRangeAreRefused(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := p384.NewKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha512.Sum384([]byte("in range"))
	r, s, err := ecdsa.Sign(rand.Reader, private, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	n := elliptic.P384().Params().N
	fill := func(value *big.Int) []byte { return value.FillBytes(make([]byte, 48)) }
	zero, order := make([]byte, 48), fill(n)
	all := fill(new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 384), big.NewInt(1)))
	if !key.Verify(digest[:], fill(r), fill(s)) {
		t.Fatal("the good signature was refused")
	}
	for name, got := range map[string]bool{
		"r is zero":            key.Verify(digest[:], zero, fill(s)),
		"s is zero":            key.Verify(digest[:], fill(r), zero),
		"r is the order":       key.Verify(digest[:], order, fill(s)),
		"s is the order":       key.Verify(digest[:], fill(r), order),
		"r is above the order": key.Verify(digest[:], all, fill(s)),
		"r has 47 bytes":       key.Verify(digest[:], fill(r)[1:], fill(s)),
		"s has 49 bytes":       key.Verify(digest[:], fill(r), append(fill(s), 0)),
		"the digest is empty":  key.Verify(nil, fill(r), fill(s)),
		"the digest is longer": key.Verify(append(digest[:], 0), fill(r), fill(s)),
		"the key is zero":      p384.Key{}.Verify(digest[:], fill(r), fill(s)),
	} {
		if got {
			t.Errorf("accepted although %s", name)
		}
	}
	// Points off the curve can be made by hand only, by the fields that are there for old callers.
	// crypto/ecdsa panics where they are missing.
	//lint:ignore SA1019 as above
	off := &ecdsa.PublicKey{Curve: elliptic.P384(), X: big.NewInt(1), Y: big.NewInt(1)}
	//lint:ignore SA1019 as above
	zeroPoint := &ecdsa.PublicKey{Curve: elliptic.P384(), X: new(big.Int), Y: new(big.Int)}
	//lint:ignore SA1019 as above
	half := &ecdsa.PublicKey{Curve: elliptic.P384(), X: big.NewInt(1)}
	// The base point again, by coordinates that are the same modulo p.
	params := elliptic.P384().Params()
	at := func(x *big.Int) *ecdsa.PublicKey {
		//lint:ignore SA1019 as above
		return &ecdsa.PublicKey{Curve: elliptic.P384(), X: x, Y: params.Gy}
	}
	negative := at(new(big.Int).Sub(params.Gx, params.P))
	long := at(new(big.Int).Add(params.Gx, new(big.Int).Lsh(params.P, 16)))
	small := aSmallX(params) // so small that x + p still has 384 bits
	smallBeyond := new(big.Int).Add(small[0], params.P)
	//lint:ignore SA1019 as above
	beyond := &ecdsa.PublicKey{Curve: elliptic.P384(), X: smallBeyond, Y: small[1]}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, public := range map[string]*ecdsa.PublicKey{
		"nil": nil, "off the curve": off, "(0, 0)": zeroPoint,
		"P-256": &p256.PublicKey, "empty": {},
		"no coordinates": {Curve: elliptic.P384()}, "x alone": half, "a negative x": negative,
		"x beyond p": beyond, "x of 400 bits": long,
	} {
		if _, err := p384.NewKey(public); err == nil {
			t.Errorf("a key was made of %s", name)
		}
	}
}

// aSmallX returns the point of the curve whose x is the least that is not 0.
func aSmallX(params *elliptic.CurveParams) [2]*big.Int {
	for x := big.NewInt(1); ; x.Add(x, big.NewInt(1)) {
		y := new(big.Int).Exp(x, big.NewInt(3), params.P)
		y.Sub(y, new(big.Int).Mul(x, big.NewInt(3))).Add(y, params.B).Mod(y, params.P)
		if y.ModSqrt(y, params.P) != nil {
			return [2]*big.Int{x, y}
		}
	}
}
