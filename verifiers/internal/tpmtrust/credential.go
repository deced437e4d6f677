package tpmtrust

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"

	"github.com/attestd/attestd/verifiers/internal/tpm2"
)

// EntropySize is how many random bytes a credential takes.
const EntropySize = 64

// CredentialInput is what a credential is made of.
type CredentialInput struct {
	// AK is the key that the credential is for; its Name is computed from it.
	AK tpm2.Public
	// EK is the key that it is encrypted to. Its attributes are the caller's to check.
	EK tpm2.Public
	// Secret is what only the TPM with both keys can return: 16 bytes or more, and no more than the
	// digest of the EK's name algorithm.
	Secret []byte
	// Entropy is EntropySize random bytes that are used for nothing else. They are an argument
	// because credentials are made where there is no other source of randomness.
	Entropy []byte
}

// Credential is a TPM2B_ID_OBJECT's and a TPM2B_ENCRYPTED_SECRET's buffer, each without its size
// field.
type Credential struct{ Blob, EncryptedSecret []byte }

// MakeCredential does in software what TPM2_MakeCredential does (TPM 2.0 Library, revision 01.59,
// Part 1, section 24, "Credential Protection", and annexes B.10.4 and C.6.4). The same input makes
// the same credential.
//
// Errors: where a key is none for which a credential can be made, or secret or entropy have a size
// that will not do.
func MakeCredential(input CredentialInput) (Credential, error) {
	hash, ok := tpm2.Hash(input.EK.NameAlg)
	name := input.AK.Name()
	switch {
	case !ok:
		return Credential{}, fmt.Errorf("endorsement key with name algorithm %s",
			tpm2.AlgorithmName(input.EK.NameAlg))
	case name == nil:
		return Credential{}, fmt.Errorf("attestation key with name algorithm %s",
			tpm2.AlgorithmName(input.AK.NameAlg))
	case len(input.Entropy) != EntropySize:
		return Credential{}, fmt.Errorf("%d bytes of entropy, want %d", len(input.Entropy), EntropySize)
	case len(input.Secret) < 16 || len(input.Secret) > hash.Size():
		return Credential{}, fmt.Errorf("secret of %d bytes, want 16 to %d", len(input.Secret), hash.Size())
	}
	if err := CheckEndorsementKey(input.EK.Key); err != nil {
		return Credential{}, fmt.Errorf("endorsement key: %w", err)
	}
	seed, encrypted, err := share(hash, input.EK, input.Entropy)
	if err != nil {
		return Credential{}, err
	}
	blob, err := seal(hash, input.EK.Symmetric, seed, name, input.Secret)
	if err != nil {
		return Credential{}, err
	}
	return Credential{Blob: blob, EncryptedSecret: encrypted}, nil
}

// identity is the label of credentials (Part 1, section 24.4). RSA-OAEP takes it with the zero byte
// at its end (annex B.4), the key derivations add one themselves.
const identityLabel = "IDENTITY"

// share makes a seed and encrypts it so that the endorsement key's owner can find it again.
func share(hash crypto.Hash, ek tpm2.Public, entropy []byte) (seed, encrypted []byte, err error) {
	switch key := ek.Key.(type) {
	case *rsa.PublicKey:
		seed = expand(entropy, "seed", hash.Size())
		// Unlike its neighbours, EncryptOAEP draws from the reader that it is given, and from it
		// alone; a test pins that.
		padding := bytes.NewReader(expand(entropy, "padding", hash.Size()))
		encrypted, err = rsa.EncryptOAEP(hash.New(), padding, key, seed, []byte(identityLabel+"\x00"))
		if err == nil && padding.Len() != 0 {
			err = errors.New("OAEP left entropy unused")
		}
		return seed, encrypted, err
	case *ecdsa.PublicKey:
		return shareECC(hash, key, entropy)
	default:
		return nil, nil, errors.New("endorsement key is neither RSA nor ECC")
	}
}

// shareECC is one-pass Diffie-Hellman with an ephemeral key (annex C.6.4).
func shareECC(hash crypto.Hash, key *ecdsa.PublicKey, entropy []byte) (seed, encrypted []byte, err error) {
	public, err := key.ECDH()
	if err != nil {
		return nil, nil, err
	}
	ephemeral, err := public.Curve().NewPrivateKey(scalar(key.Curve.Params().N, entropy))
	if err != nil {
		return nil, nil, err
	}
	z, err := ephemeral.ECDH(public)
	if err != nil {
		return nil, nil, err
	}
	x, y := coordinates(ephemeral.PublicKey())
	theirs, _ := coordinates(public)
	seed = kdfE(hash, z, identityLabel, x, theirs)
	return seed, append(sized(x), sized(y)...), nil
}

// scalar maps entropy to 1..n-1 with 128 bits more than needed, so that no value is likelier than
// another by more than 2^-128 (NIST SP 800-56A Rev. 3, section 5.6.1.2.1).
func scalar(n *big.Int, entropy []byte) []byte {
	size := (n.BitLen() + 7) / 8
	value := new(big.Int).SetBytes(expand(entropy, "ephemeral", size+16))
	value.Mod(value, new(big.Int).Sub(n, big.NewInt(1)))
	return value.Add(value, big.NewInt(1)).FillBytes(make([]byte, size))
}

func coordinates(key *ecdh.PublicKey) (x, y []byte) {
	point := key.Bytes()[1:] // 4 || x || y
	return point[:len(point)/2], point[len(point)/2:]
}

// seal is Part 1, section 24.4 and 24.5: the secret, with its size, encrypted under a key that
// depends on the AK's Name, and an HMAC over both.
func seal(hash crypto.Hash, symmetric tpm2.Symmetric, seed, name, secret []byte) ([]byte, error) {
	if symmetric.Algorithm != tpm2.AlgAES || symmetric.Mode != tpm2.AlgCFB {
		return nil, errors.New("endorsement key does not protect with AES in CFB mode")
	}
	block, err := aes.NewCipher(kdfA(hash, seed, "STORAGE", name, int(symmetric.KeyBits)))
	if err != nil {
		return nil, err
	}
	sealed := sized(secret)
	encryptCFB(block, sealed)
	mac := hmac.New(hash.New, kdfA(hash, seed, "INTEGRITY", nil, 8*hash.Size()))
	mac.Write(sealed)
	mac.Write(name)
	return append(sized(mac.Sum(nil)), sealed...), nil
}

// encryptCFB encrypts in place, with feedback of whole blocks (NIST SP 800-38A, section 6.3). The
// initialization vector is zero: each key is used once.
func encryptCFB(block cipher.Block, data []byte) {
	stream := make([]byte, block.BlockSize())
	for len(data) > 0 {
		block.Encrypt(stream, stream)
		n := subtle.XORBytes(data, data, stream[:min(len(data), len(stream))])
		copy(stream, data[:n])
		data = data[n:]
	}
}

// sized returns a TPM2B of the bytes.
func sized(data []byte) []byte {
	out := make([]byte, 2, 2+len(data))
	binary.BigEndian.PutUint16(out, uint16(len(data))) //nolint:gosec // at most 66 bytes
	return append(out, data...)
}

// kdfA is Part 1, section 11.4.10.2: a counter-mode KDF of NIST SP 800-108 over HMAC.
func kdfA(hash crypto.Hash, key []byte, label string, context []byte, bits int) []byte {
	var out []byte
	for counter := uint32(1); len(out)*8 < bits; counter++ {
		mac := hmac.New(hash.New, key)
		mac.Write(binary.BigEndian.AppendUint32(nil, counter))
		mac.Write(append([]byte(label), 0))
		mac.Write(context)
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(bits))) //nolint:gosec // at most 512
		out = mac.Sum(out)
	}
	return out[:bits/8]
}

// kdfE is Part 1, section 11.4.10.3: the concatenation KDF of NIST SP 800-56A, for one digest.
func kdfE(hash crypto.Hash, z []byte, use string, partyU, partyV []byte) []byte {
	digest := hash.New()
	digest.Write([]byte{0, 0, 0, 1})
	digest.Write(z)
	digest.Write(append([]byte(use), 0))
	digest.Write(partyU)
	digest.Write(partyV)
	return digest.Sum(nil)
}

// expand draws independent bytes from the entropy, one purpose after the other (RFC 5869, section
// 2.3, with the entropy as the pseudorandom key).
func expand(entropy []byte, purpose string, size int) []byte {
	var out, block []byte
	for counter := byte(1); len(out) < size; counter++ {
		mac := hmac.New(sha512.New, entropy)
		mac.Write(block)
		mac.Write([]byte("attestd credential " + purpose))
		mac.Write([]byte{counter})
		block = mac.Sum(nil)
		out = append(out, block...)
	}
	return out[:size]
}
