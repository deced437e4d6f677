package forge

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rsa"
	"encoding/binary"
	"errors"

	"github.com/google/go-tpm/tpm2"
)

// Activate does what TPM2_ActivateCredential does (TPM 2.0 Library, Part 1, section 24): it returns
// the secret of a credential for the TPM's attestation key under its endorsement key. blob is a
// TPMS_ID_OBJECT, encrypted the buffer of a TPM2B_ENCRYPTED_SECRET.
//
// Errors: where the credential is for another key or another TPM, or was changed.
func (t *TPM) Activate(blob, encrypted []byte) ([]byte, error) {
	hash, err := t.EK.Template.NameAlg.Hash()
	if err != nil {
		return nil, err
	}
	seed, err := t.EK.seed(encrypted)
	if err != nil {
		return nil, err
	}
	mac, sealed, err := cutTPM2B(blob)
	if err != nil {
		return nil, err
	}
	want := hmac.New(hash.New, tpm2.KDFa(hash, seed, "INTEGRITY", nil, nil, 8*hash.Size()))
	want.Write(sealed)
	want.Write(t.AK.Name)
	if !hmac.Equal(mac, want.Sum(nil)) {
		return nil, errors.New("the credential's integrity value is another key's")
	}
	block, err := aes.NewCipher(tpm2.KDFa(hash, seed, "STORAGE", t.AK.Name, nil, 128))
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(sealed))
	//lint:ignore SA1019 CFB is what TPMs use, behind an HMAC (Part 1, section 24.4)
	cipher.NewCFBDecrypter(block, make([]byte, aes.BlockSize)).XORKeyStream(plain, sealed)
	secret, rest, err := cutTPM2B(plain)
	if err == nil && len(rest) != 0 {
		err = errors.New("the credential holds more than a secret")
	}
	return secret, err
}

// seed finds the seed again that was encrypted to the key.
func (k *TPMKey) seed(encrypted []byte) ([]byte, error) {
	hash, err := k.Template.NameAlg.Hash()
	if err != nil {
		return nil, err
	}
	switch private := k.Signer.(type) {
	case *rsa.PrivateKey:
		return rsa.DecryptOAEP(hash.New(), nil, private, encrypted, []byte("IDENTITY\x00"))
	case *ecdsa.PrivateKey:
		point, err := tpm2.Unmarshal[tpm2.TPMSECCPoint](encrypted)
		if err != nil {
			return nil, err
		}
		own, err := private.ECDH()
		if err != nil {
			return nil, err
		}
		uncompressed := append(append([]byte{4}, point.X.Buffer...), point.Y.Buffer...)
		theirs, err := own.Curve().NewPublicKey(uncompressed)
		if err != nil {
			return nil, err
		}
		z, err := own.ECDH(theirs)
		if err != nil {
			return nil, err
		}
		public := own.PublicKey().Bytes()[1:] // 4 || x || y
		x := public[:len(public)/2]
		return tpm2.KDFe(hash, z, "IDENTITY", point.X.Buffer, x, 8*hash.Size()), nil
	default:
		return nil, errors.New("an endorsement key that is neither RSA nor ECC")
	}
}

func cutTPM2B(data []byte) (buffer, rest []byte, err error) {
	if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
		return nil, nil, errors.New("a TPM2B is cut off")
	}
	size := 2 + int(binary.BigEndian.Uint16(data))
	return data[2:size], data[size:], nil
}
