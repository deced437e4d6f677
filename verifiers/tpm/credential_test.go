package tpm_test

import (
	"bytes"
	"errors"
	"testing"

	reference "github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tpm"
)

// neg: 83
func TestACredentialIsForTheNameThatWeCompute(t *testing.T) {
	w := theWorld(t)
	secret := bytes.Repeat([]byte{7}, tpm.SecretSize)
	for _, ek := range []string{"RSA EK", "ECC EK"} {
		ak := w.keys["ECDSA P-256"]
		made, err := tpm.MakeCredential(tpm.CredentialRequest{AKPublic: ak.Public,
			EKPublic: w.keys[ek].Public, Secret: secret, Entropy: make([]byte, tpm.EntropySize)})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(made.AKName, ak.Name) || made.EK != spki(t, w.keys[ek]) {
			t.Errorf("%s: made for %x under %x", ek, made.AKName, made.EK)
		}
		machine := forge.NewTPM(ak, w.keys[ek])
		got, err := machine.Activate(made.Blob, made.EncryptedSecret)
		if err != nil || !bytes.Equal(got, secret) {
			t.Errorf("%s: the TPM opened %x, %v", ek, got, err)
		}
		machine.AK = w.keys["another AK"]
		if got, err := machine.Activate(made.Blob, made.EncryptedSecret); err == nil {
			t.Errorf("%s: opened for another attestation key: %x", ek, got)
		}
	}
}

func TestKeysForWhichNoCredentialIsMade(t *testing.T) {
	w := theWorld(t)
	ordinary := w.keys["agent"]
	null, err := forge.NewTPMKey(forge.TPMKeyConfig{Edit: func(p *reference.TPMTPublic) {
		parameters, _ := p.Parameters.ECCDetail()
		parameters.Scheme = reference.TPMTECCScheme{}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ak, ek := w.keys["ECDSA P-256"].Public, w.keys["RSA EK"].Public
	for _, row := range []struct {
		name   string
		ak, ek []byte
		class  attestd.Class
	}{
		{"nothing", nil, ek, attestd.ClassMalformed},
		{"no endorsement key", ak, nil, attestd.ClassMalformed},
		{"a byte behind it", append(bytes.Clone(ak), 0), ek, attestd.ClassMalformed},
		{"a key that signs anything", ordinary.Public, ek, attestd.ClassKeyProperties},
		{"a key without a scheme", null.Public, ek, attestd.ClassKeyProperties},
		{"an endorsement key that signs", ak, ak, attestd.ClassKeyProperties},
		{"keys that were exchanged", ek, ak, attestd.ClassKeyProperties},
	} {
		_, err := tpm.MakeCredential(tpm.CredentialRequest{AKPublic: row.ak, EKPublic: row.ek,
			Secret: make([]byte, tpm.SecretSize), Entropy: make([]byte, tpm.EntropySize)})
		var caller *attestd.CallerError
		if !errors.As(err, &caller) || caller.Class != row.class || caller.Hint == "" {
			t.Errorf("%s: %v, want class %s", row.name, err, row.class)
		}
	}
	// neg: 84
	for _, size := range []int{0, 15, 31, 33} {
		if _, err := tpm.MakeCredential(tpm.CredentialRequest{AKPublic: ak, EKPublic: ek,
			Secret: make([]byte, size), Entropy: make([]byte, tpm.EntropySize)}); err == nil {
			t.Errorf("a secret of %d bytes", size)
		}
	}
	if _, err := tpm.MakeCredential(tpm.CredentialRequest{AKPublic: ak, EKPublic: ek,
		Secret: make([]byte, tpm.SecretSize)}); err == nil {
		t.Error("no entropy")
	}
}
