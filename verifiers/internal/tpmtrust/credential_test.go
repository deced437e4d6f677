package tpmtrust_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"io"
	"math/big"
	"sync"
	"testing"

	gotpm "github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/internal/tpm2"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
)

// machine is the private half of an endorsement key, as a TPM has it.
type machine struct {
	name    string
	public  tpm2.Public
	private crypto.Signer
	hash    crypto.Hash
	cipher  gotpm.TPMTSymDefObject
}

// large is made once: it takes seconds.
var large = sync.OnceValue(func() func(testing.TB) *rsa.PrivateKey {
	return must(rsa.GenerateKey(rand.Reader, 3072))
})

func machines(t testing.TB) []machine {
	t.Helper()
	_, b384 := policies(crypto.SHA384, tpm2.AlgSHA384, 0x01c07f02)
	_, b512 := policies(crypto.SHA512, tpm2.AlgSHA512, 0x01c07f03)
	var out []machine
	for _, row := range []struct {
		name   string
		signer crypto.Signer
		hash   crypto.Hash
		config forge.TPMKeyConfig
	}{
		{"RSA-2048", must(rsa.GenerateKey(rand.Reader, 2048))(t), crypto.SHA256, forge.TPMKeyConfig{Bits: 2048}},
		{"RSA-3072", large()(t), crypto.SHA384,
			forge.TPMKeyConfig{Bits: 3072, Edit: high(gotpm.TPMAlgSHA384, b384, 256)}},
		{"P-256", ecdsaKey(t, elliptic.P256()), crypto.SHA256, forge.TPMKeyConfig{}},
		{"P-384", ecdsaKey(t, elliptic.P384()), crypto.SHA384,
			forge.TPMKeyConfig{Curve: elliptic.P384(), Edit: high(gotpm.TPMAlgSHA384, b384, 256)}},
		{"P-521", ecdsaKey(t, elliptic.P521()), crypto.SHA512,
			forge.TPMKeyConfig{Curve: elliptic.P521(), Edit: high(gotpm.TPMAlgSHA512, b512, 256)}},
	} {
		row.config.Signer, row.config.Endorsement = row.signer, true
		key := must(forge.NewTPMKey(row.config))(t)
		public := must(tpm2.ParsePublic(key.Public))(t)
		if fault := tpmtrust.CheckEKTemplate(public); fault != nil {
			t.Fatal(fault)
		}
		one := machine{name: row.name, public: public, private: row.signer, hash: row.hash}
		if parameters, err := key.Template.Parameters.RSADetail(); err == nil {
			one.cipher = parameters.Symmetric
		} else {
			one.cipher = must(key.Template.Parameters.ECCDetail())(t).Symmetric
		}
		out = append(out, one)
	}
	return out
}

// seed opens an encrypted secret the way a TPM does, with go-tpm's derivation.
func (m machine) seed(t testing.TB, encrypted []byte) []byte {
	t.Helper()
	if key, ok := m.private.(*rsa.PrivateKey); ok {
		return must(rsa.DecryptOAEP(m.hash.New(), nil, key, encrypted, []byte("IDENTITY\x00")))(t)
	}
	ephemeral := must(gotpm.Unmarshal[gotpm.TPMSECCPoint](encrypted))(t)
	key := must(m.private.(*ecdsa.PrivateKey).ECDH())(t)
	point := append([]byte{4}, append(ephemeral.X.Buffer, ephemeral.Y.Buffer...)...)
	z := must(key.ECDH(must(key.Curve().NewPublicKey(point))(t)))(t)
	mine := key.PublicKey().Bytes()[1:]
	return gotpm.KDFe(m.hash, z, "IDENTITY", ephemeral.X.Buffer, mine[:len(mine)/2], m.hash.Size()*8)
}

// Encapsulate, NameAlg and SymmetricParameters let go-tpm make the same credential from the same
// seed.
type known struct {
	machine
	secret, ciphertext []byte
}

func (k known) Encapsulate(io.Reader, string) (secret, ciphertext []byte, err error) {
	return k.secret, k.ciphertext, nil
}
func (k known) NameAlg() gotpm.TPMAlgID                      { return gotpm.TPMAlgID(k.public.NameAlg) }
func (k known) SymmetricParameters() *gotpm.TPMTSymDefObject { return &k.cipher }

func entropy(fill byte) []byte { return bytes.Repeat([]byte{fill}, tpmtrust.EntropySize) }

// TestCredentialsAreWhatGoTPMMakes opens each encrypted secret with the private key and lets go-tpm
// make the rest from what was inside: the blobs must be the same to the byte.
func TestCredentialsAreWhatGoTPMMakes(t *testing.T) {
	ak := must(forge.NewTPMKey(forge.TPMKeyConfig{}))(t)
	secret := []byte("a secret of thirty-two bytes....")
	for _, m := range machines(t) {
		made, err := tpmtrust.MakeCredential(tpmtrust.CredentialInput{
			AK: must(tpm2.ParsePublic(ak.Public))(t), EK: m.public, Secret: secret, Entropy: entropy(7),
		})
		if err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		seed := m.seed(t, made.EncryptedSecret)
		blob, _, err := gotpm.CreateCredential(rand.Reader, known{m, seed, nil}, ak.Name, secret)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(blob, made.Blob) {
			t.Errorf("%s: blob %x, go-tpm's %x", m.name, made.Blob, blob)
		}
		// For another key's Name the blob is another: its HMAC would not hold in the TPM. neg: 83
		other := must(forge.NewTPMKey(forge.TPMKeyConfig{}))(t)
		blob, _, err = gotpm.CreateCredential(rand.Reader, known{m, seed, nil}, other.Name, secret)
		if err != nil || bytes.Equal(blob, made.Blob) {
			t.Errorf("%s: the same credential for another key (%v)", m.name, err)
		}
	}
}

// TestSeedsComeFromEntropyAlone: the isolated worker has no randomness of its own, so that the same
// entropy must make the same credential, and other entropy another.
func TestSeedsComeFromEntropyAlone(t *testing.T) {
	ak := must(tpm2.ParsePublic(must(forge.NewTPMKey(forge.TPMKeyConfig{}))(t).Public))(t)
	for _, m := range machines(t) {
		create := func(entropy []byte) tpmtrust.Credential {
			return must(tpmtrust.MakeCredential(tpmtrust.CredentialInput{
				AK: ak, EK: m.public, Secret: make([]byte, 32), Entropy: entropy,
			}))(t)
		}
		first, again, other := create(entropy(1)), create(entropy(1)), create(entropy(2))
		if !bytes.Equal(first.Blob, again.Blob) ||
			!bytes.Equal(first.EncryptedSecret, again.EncryptedSecret) {
			t.Errorf("%s: two credentials from the same entropy", m.name)
		}
		if bytes.Equal(first.Blob, other.Blob) ||
			bytes.Equal(first.EncryptedSecret, other.EncryptedSecret) {
			t.Errorf("%s: entropy is not used", m.name)
		}
		// Every byte of the entropy counts.
		for _, index := range []int{0, 31, 63} {
			changed := entropy(1)
			changed[index] ^= 1
			if bytes.Equal(create(changed).EncryptedSecret, first.EncryptedSecret) {
				t.Errorf("%s: byte %d of the entropy is not used", m.name, index)
			}
		}
		seed := m.seed(t, first.EncryptedSecret)
		if len(seed) != m.hash.Size() || bytes.Equal(seed, m.seed(t, other.EncryptedSecret)) ||
			bytes.Contains(first.EncryptedSecret, seed) || bytes.Contains(first.Blob, seed) {
			t.Errorf("%s: seed %x", m.name, seed)
		}
	}
}

// TestEphemeralKeysAreOfTheCurve looks at the points of many credentials.
func TestEphemeralKeysAreOfTheCurve(t *testing.T) {
	for _, m := range machines(t) {
		if m.public.Type != tpm2.AlgECC {
			continue
		}
		curve := must(m.private.(*ecdsa.PrivateKey).ECDH())(t).Curve()
		for index := range 64 {
			_, encrypted, err := tpmtrust.Share(m.public, entropy(byte(index)))
			if err != nil {
				t.Fatal(err)
			}
			if !onCurve(curve, encrypted) {
				t.Fatalf("%s: point %x", m.name, encrypted)
			}
		}
	}
}

func onCurve(curve ecdh.Curve, encrypted []byte) bool {
	size := int(binary.BigEndian.Uint16(encrypted))
	if len(encrypted) != 2*(2+size) {
		return false
	}
	point := append([]byte{4}, encrypted[2:2+size]...)
	_, err := curve.NewPublicKey(append(point, encrypted[4+size:]...))
	return err == nil
}

// TestCredentialsThatAreNotMade: input that would make one without a secret in it, or for a key
// that nobody can use.
func TestCredentialsThatAreNotMade(t *testing.T) {
	m := machines(t)[0]
	ak := must(tpm2.ParsePublic(must(forge.NewTPMKey(forge.TPMKeyConfig{}))(t).Public))(t)
	good := tpmtrust.CredentialInput{AK: ak, EK: m.public, Secret: make([]byte, 32), Entropy: entropy(1)}
	if _, err := tpmtrust.MakeCredential(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*tpmtrust.CredentialInput){
		"no attestation key":            func(i *tpmtrust.CredentialInput) { i.AK = tpm2.Public{} },
		"no endorsement key":            func(i *tpmtrust.CredentialInput) { i.EK = tpm2.Public{} },
		"an endorsement key of no kind": func(i *tpmtrust.CredentialInput) { i.EK.Key = nil },
		"an endorsement key without a cipher": func(i *tpmtrust.CredentialInput) {
			i.EK.Symmetric = tpm2.Symmetric{Algorithm: tpm2.AlgNull}
		},
		"Camellia":             func(i *tpmtrust.CredentialInput) { i.EK.Symmetric.Algorithm = tpm2.AlgCamellia },
		"AES in another mode":  func(i *tpmtrust.CredentialInput) { i.EK.Symmetric.Mode = tpm2.AlgOFB },
		"a cipher of 17 bits":  func(i *tpmtrust.CredentialInput) { i.EK.Symmetric.KeyBits = 17 },
		"a secret of 15 bytes": func(i *tpmtrust.CredentialInput) { i.Secret = i.Secret[:15] },
		"a secret of 33 bytes": func(i *tpmtrust.CredentialInput) { i.Secret = make([]byte, 33) },
		"no entropy":           func(i *tpmtrust.CredentialInput) { i.Entropy = nil },
		"63 bytes of entropy":  func(i *tpmtrust.CredentialInput) { i.Entropy = i.Entropy[:63] },
		"SHA-1 names":          func(i *tpmtrust.CredentialInput) { i.EK.NameAlg = tpm2.AlgSHA1 },
		"SHA-1 name of the AK": func(i *tpmtrust.CredentialInput) { i.AK.NameAlg = tpm2.AlgSHA1 },
		"an RSA key of 1024 bits": func(i *tpmtrust.CredentialInput) {
			i.EK.Key = &rsa.PublicKey{N: modulus(1024), E: 65537}
		},
		"a point that is not on its curve": func(i *tpmtrust.CredentialInput) {
			//lint:ignore SA1019 no other form holds a point that is not on its curve
			i.EK.Key = &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}
		},
		"an RSA key of 512 bits": func(i *tpmtrust.CredentialInput) { i.EK.Key = &rsa.PublicKey{N: modulus(512), E: 65537} },
	} {
		input := good
		change(&input)
		made, err := tpmtrust.MakeCredential(input)
		if err == nil || made.Blob != nil || made.EncryptedSecret != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
