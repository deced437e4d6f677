package tpm

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"slices"
	"testing"

	"github.com/attestd/attestd/testvectors/wycheproof"
	"github.com/attestd/attestd/verifiers/internal/p384"
	"github.com/attestd/attestd/verifiers/internal/tpm2"
)

// otherSalts are the cases of RSA-PSS, by the hash of their files, that are good but for a salt of
// another length than the group's. They are accepted here, and nothing else that is invalid: TPM
// 2.0 Library, Part 1, annex B.7 leaves the length to the TPM.
var otherSalts = map[string][]int{
	"SHA-256": {67, 68, 69, 70, 71, 72},
	"SHA-384": {99, 100, 101, 102, 103, 104, 105},
	"SHA-512": {136, 137, 138, 139, 140, 141, 142},
}

// TestWycheproof runs published cases through the verification of quotes: every scheme, curve and
// modulus that a key may have. neg: 25
func TestWycheproof(t *testing.T) {
	ecdsaScheme, rsassa, rsapss := tpm2.AlgECDSA, tpm2.AlgRSASSA, tpm2.AlgRSAPSS
	for name, scheme := range map[string]uint16{
		"ecdsa_secp256r1_sha256_p1363_test.json": ecdsaScheme,
		"ecdsa_secp256r1_sha512_p1363_test.json": ecdsaScheme,
		"ecdsa_secp384r1_sha384_p1363_test.json": ecdsaScheme,
		"ecdsa_secp384r1_sha512_p1363_test.json": ecdsaScheme,
		"rsa_signature_2048_sha256_test.json":    rsassa,
		"rsa_signature_2048_sha384_test.json":    rsassa,
		"rsa_signature_2048_sha512_test.json":    rsassa,
		"rsa_signature_3072_sha256_test.json":    rsassa,
		"rsa_signature_3072_sha384_test.json":    rsassa,
		"rsa_signature_4096_sha256_test.json":    rsassa,
		"rsa_signature_4096_sha512_test.json":    rsassa,
		"rsa_pss_2048_sha256_mgf1_32_test.json":  rsapss,
		"rsa_pss_2048_sha384_mgf1_48_test.json":  rsapss,
		"rsa_pss_3072_sha256_mgf1_32_test.json":  rsapss,
		"rsa_pss_4096_sha256_mgf1_32_test.json":  rsapss,
		"rsa_pss_4096_sha384_mgf1_48_test.json":  rsapss,
		"rsa_pss_4096_sha512_mgf1_64_test.json":  rsapss,
	} {
		groups, err := wycheproof.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		cases, valid := 0, 0
		var salts []int
		for _, group := range groups {
			key := keyOf(t, scheme, group)
			for _, test := range group.Cases {
				signature, readable := signatureOf(key, test.Signature)
				got := readable && key.verify(test.Message, &signature)
				cases++
				if got {
					valid++
				}
				switch {
				case got && scheme == rsapss && !test.Valid &&
					slices.Contains(otherSalts[group.Hash], test.ID):
					salts = append(salts, test.ID)
				case got && !test.Valid && !test.Acceptable:
					t.Errorf("%s: case %d (%s) was accepted", name, test.ID, test.Comment)
				case !got && test.Valid:
					t.Errorf("%s: case %d (%s) was refused", name, test.ID, test.Comment)
				}
			}
		}
		if cases < 60 || valid < 5 || valid == cases {
			t.Errorf("%s: %d cases, %d accepted: the file was not read", name, cases, valid)
		}
		if scheme == rsapss && !slices.Equal(salts, otherSalts[groups[0].Hash]) {
			t.Errorf("%s: salts of another length in %v, want %v", name, salts, otherSalts[groups[0].Hash])
		}
		t.Logf("%s: %d cases, %d accepted, %d of them for a salt of another length",
			name, cases, valid, len(salts))
	}
}

func keyOf(t *testing.T, scheme uint16, group wycheproof.Group) *attestationKey {
	t.Helper()
	hashes := map[string]uint16{
		"SHA-256": tpm2.AlgSHA256, "SHA-384": tpm2.AlgSHA384, "SHA-512": tpm2.AlgSHA512,
	}
	parsed, err := x509.ParsePKIXPublicKey(group.Key)
	if err != nil {
		t.Fatal(err)
	}
	hash, known := hashes[group.Hash]
	if !known {
		t.Fatalf("a group with %s", group.Hash)
	}
	key := &attestationKey{public: tpm2.Public{
		Key: parsed, Scheme: tpm2.Scheme{Algorithm: scheme, Hash: hash},
	}}
	switch public := parsed.(type) {
	case *ecdsa.PublicKey:
		if public.Curve.Params().BitSize == 8*p384.Size {
			if key.p384, err = p384.NewKey(public); err != nil {
				t.Fatal(err)
			}
		}
	case *rsa.PublicKey:
	default:
		t.Fatalf("a group of %T", parsed)
	}
	return key
}

// signatureOf lays a signature out as a TPM does; false where a TPM's structure cannot hold it.
func signatureOf(key *attestationKey, raw []byte) (tpm2.Signature, bool) {
	out := tpm2.Signature{Scheme: key.public.Scheme.Algorithm, Hash: key.public.Scheme.Hash}
	if out.Scheme != tpm2.AlgECDSA {
		out.RSA = raw
		return out, true
	}
	// A TPM writes both numbers with their lengths, so that cases of a wrong length of the pair say
	// nothing of it.
	public, _ := key.public.Key.(*ecdsa.PublicKey)
	if len(raw) != 2*((public.Curve.Params().BitSize+7)/8) {
		return out, false
	}
	out.R, out.S = raw[:len(raw)/2], raw[len(raw)/2:]
	return out, true
}
