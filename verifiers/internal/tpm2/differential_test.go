package tpm2_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"math/big"
	"testing"

	reference "github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd/verifiers/internal/tpm2"
)

// compare reads a public area that we read with google/go-tpm, which must find the same in it.
func compare(t *testing.T, name string, data []byte, ours tpm2.Public) {
	t.Helper()
	theirs, err := reference.Unmarshal[reference.TPMTPublic](data)
	if err != nil {
		t.Errorf("%s: we read %x, go-tpm says %v", name, data, err)
		return
	}
	attributes := theirs.ObjectAttributes
	for _, row := range []struct {
		ours, theirs bool
	}{
		{ours.Has(tpm2.FixedTPM), attributes.FixedTPM},
		{ours.Has(tpm2.FixedParent), attributes.FixedParent},
		{ours.Has(tpm2.SensitiveDataOrigin), attributes.SensitiveDataOrigin},
		{ours.Has(tpm2.UserWithAuth), attributes.UserWithAuth},
		{ours.Has(tpm2.Restricted), attributes.Restricted},
		{ours.Has(tpm2.Decrypt), attributes.Decrypt},
		{ours.Has(tpm2.Sign), attributes.SignEncrypt},
		{ours.Type == tpm2.AlgRSA, theirs.Type == reference.TPMAlgRSA},
		{ours.NameAlg == tpm2.AlgSHA256, theirs.NameAlg == reference.TPMAlgSHA256},
	} {
		if row.ours != row.theirs {
			t.Errorf("%s: attributes, type or nameAlg differ: %x", name, data)
		}
	}
	if !bytes.Equal(ours.AuthPolicy, theirs.AuthPolicy.Buffer) {
		t.Errorf("%s: authPolicy %x, go-tpm has %x", name, ours.AuthPolicy, theirs.AuthPolicy.Buffer)
	}
	if theirs.Type == reference.TPMAlgRSA {
		compareRSA(t, name, theirs, ours)
	} else {
		compareECC(t, name, theirs, ours)
	}
}

func compareRSA(t *testing.T, name string, theirs *reference.TPMTPublic, ours tpm2.Public) {
	t.Helper()
	parameters, err := theirs.Parameters.RSADetail()
	unique, err2 := theirs.Unique.RSA()
	if err != nil || err2 != nil {
		t.Fatalf("%s: %v %v", name, err, err2)
	}
	key, ok := ours.Key.(*rsa.PublicKey)
	if !ok || key.N.Cmp(new(big.Int).SetBytes(unique.Buffer)) != 0 {
		t.Errorf("%s: another modulus", name)
	}
	if uint16(parameters.KeyBits) != ours.KeyBits ||
		uint16(parameters.Scheme.Scheme) != ours.Scheme.Algorithm ||
		uint16(parameters.Symmetric.Algorithm) != ours.Symmetric.Algorithm ||
		parameters.Exponent != 0 && parameters.Exponent != ours.Exponent {
		t.Errorf("%s: %+v, go-tpm has %+v", name, ours, parameters)
	}
}

func compareECC(t *testing.T, name string, theirs *reference.TPMTPublic, ours tpm2.Public) {
	t.Helper()
	parameters, err := theirs.Parameters.ECCDetail()
	unique, err2 := theirs.Unique.ECC()
	if err != nil || err2 != nil {
		t.Fatalf("%s: %v %v", name, err, err2)
	}
	if uint16(parameters.CurveID) != ours.Curve ||
		uint16(parameters.Scheme.Scheme) != ours.Scheme.Algorithm ||
		uint16(parameters.Symmetric.Algorithm) != ours.Symmetric.Algorithm {
		t.Errorf("%s: %+v, go-tpm has %+v", name, ours, parameters)
	}
	if key, ok := ours.Key.(*ecdsa.PublicKey); ok {
		point, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		x, y := point[1:1+len(point)/2], point[1+len(point)/2:]
		if new(big.Int).SetBytes(x).Cmp(new(big.Int).SetBytes(unique.X.Buffer)) != 0 ||
			new(big.Int).SetBytes(y).Cmp(new(big.Int).SetBytes(unique.Y.Buffer)) != 0 {
			t.Errorf("%s: another point", name)
		}
	}
}

// compareAttest does the same for an attestation.
func compareAttest(t *testing.T, data []byte, ours tpm2.Attest) {
	t.Helper()
	theirs, err := reference.Unmarshal[reference.TPMSAttest](data)
	if err != nil {
		t.Errorf("we read %x, go-tpm says %v", data, err)
		return
	}
	clock := theirs.ClockInfo
	if uint16(theirs.Type) != ours.Type || clock.Clock != ours.Clock ||
		clock.ResetCount != ours.ResetCount || clock.RestartCount != ours.RestartCount ||
		bool(clock.Safe) != ours.Safe || theirs.FirmwareVersion != ours.Firmware ||
		!bytes.Equal(theirs.QualifiedSigner.Buffer, ours.QualifiedSigner) ||
		!bytes.Equal(theirs.ExtraData.Buffer, ours.ExtraData) {
		t.Errorf("%+v, go-tpm has %+v", ours, theirs)
	}
	if quote, err := theirs.Attested.Quote(); err == nil {
		if !bytes.Equal(quote.PCRDigest.Buffer, ours.PCRDigest) ||
			len(quote.PCRSelect.PCRSelections) != len(ours.PCRs.Banks()) {
			t.Errorf("%+v, go-tpm has %+v", ours, quote)
			return
		}
		for i, bank := range ours.PCRs.Banks() {
			other := quote.PCRSelect.PCRSelections[i]
			bits := uint32(0)
			for n, part := range other.PCRSelect {
				bits |= uint32(part) << (8 * n)
			}
			if uint16(other.Hash) != bank.Bank || bits != bank.PCRs {
				t.Errorf("bank %d is %+v, go-tpm has %+v", i, bank, other)
			}
		}
	}
	if certify, err := theirs.Attested.Certify(); err == nil &&
		(!bytes.Equal(certify.Name.Buffer, ours.Name) ||
			!bytes.Equal(certify.QualifiedName.Buffer, ours.QualifiedName)) {
		t.Errorf("%+v, go-tpm has %+v", ours, certify)
	}
}

// compareSignature does the same for a signature.
func compareSignature(t *testing.T, data []byte, ours tpm2.Signature) {
	t.Helper()
	theirs, err := reference.Unmarshal[reference.TPMTSignature](data)
	if err != nil {
		t.Errorf("we read %x, go-tpm says %v", data, err)
		return
	}
	if uint16(theirs.SigAlg) != ours.Scheme {
		t.Errorf("scheme %x, go-tpm has %x", ours.Scheme, theirs.SigAlg)
	}
	for _, union := range []func() (*reference.TPMSSignatureRSA, error){
		theirs.Signature.RSASSA, theirs.Signature.RSAPSS,
	} {
		if rsa, err := union(); err == nil &&
			(uint16(rsa.Hash) != ours.Hash || !bytes.Equal(rsa.Sig.Buffer, ours.RSA)) {
			t.Errorf("%+v, go-tpm has %+v", ours, rsa)
		}
	}
	if ecc, err := theirs.Signature.ECDSA(); err == nil && (uint16(ecc.Hash) != ours.Hash ||
		!bytes.Equal(ecc.SignatureR.Buffer, ours.R) || !bytes.Equal(ecc.SignatureS.Buffer, ours.S)) {
		t.Errorf("%+v, go-tpm has %+v", ours, ecc)
	}
}

// FuzzPublic: what we read go-tpm reads too, and finds the same in it.
func FuzzPublic(f *testing.F) {
	all, err := kinds()
	if err != nil {
		f.Fatal(err)
	}
	for _, key := range all {
		f.Add(key.Public)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		public, err := tpm2.ParsePublic(data)
		if !bytes.Equal(before, data) {
			t.Fatal("the input was written to")
		}
		if err != nil {
			return
		}
		compare(t, "fuzzed", data, public)
		if _, strong := tpm2.Hash(public.NameAlg); strong != (public.Name() != nil) {
			t.Fatal("a Name without a digest, or a digest without a Name")
		}
		if _, err := public.SPKI(); (err == nil) != (public.Key != nil) {
			t.Fatalf("a key without SPKI: %v", err)
		}
	})
}

// FuzzAttest: the same for attestations, and for signatures, which share the reader.
func FuzzAttest(f *testing.F) {
	seeds, err := attestations()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		if attest, err := tpm2.ParseAttest(data); err == nil {
			compareAttest(t, data, attest)
		}
		if signature, err := tpm2.ParseSignature(data); err == nil {
			compareSignature(t, data, signature)
		}
		if !bytes.Equal(before, data) {
			t.Fatal("the input was written to")
		}
	})
}
