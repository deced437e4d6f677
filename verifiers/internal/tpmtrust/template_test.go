package tpmtrust_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"encoding/hex"
	"testing"

	gotpm "github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/internal/tpm2"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
)

// policies computes policy A and policy B of the TCG's templates from what the commands do to a
// policy digest (TPM 2.0 Library, Part 3, TPM2_PolicySecret, TPM2_PolicyAuthorizeNV and
// TPM2_PolicyOR).
func policies(hash crypto.Hash, alg uint16, index uint32) (a, b []byte) {
	sum := func(parts ...[]byte) []byte {
		digest := hash.New()
		for _, part := range parts {
			digest.Write(part)
		}
		return digest.Sum(nil)
	}
	u32 := func(value uint32) []byte { return binary.BigEndian.AppendUint32(nil, value) }
	u16 := func(value int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(value)) } //nolint:gosec // small
	zero := make([]byte, hash.Size())
	const policySecret, policyAuthorizeNV, policyOR, endorsement = 0x151, 0x192, 0x171, 0x4000000b
	a = sum(sum(zero, u32(policySecret), u32(endorsement)))

	// The index is empty space for a policy, written by whoever satisfies policy A: TPMS_NV_PUBLIC
	// with the attributes POLICYWRITE, WRITEALL, all four READs, NO_DA and WRITTEN.
	public := bytes.Join([][]byte{
		u32(index), u16(int(alg)), u32(0x220f1008), u16(len(a)), a, u16(hash.Size() + 2),
	}, nil)
	name := append(u16(int(alg)), sum(public)...)
	c := sum(zero, u32(policyAuthorizeNV), name)
	return a, sum(zero, u32(policyOR), a, c)
}

func endorsementKey(t testing.TB, config forge.TPMKeyConfig) tpm2.Public {
	t.Helper()
	config.Endorsement = true
	key := must(forge.NewTPMKey(config))(t)
	return must(tpm2.ParsePublic(key.Public))(t)
}

// high makes a key's template one of the high range.
func high(alg gotpm.TPMAlgID, policy []byte, bits uint16) func(*gotpm.TPMTPublic) {
	return func(public *gotpm.TPMTPublic) {
		public.NameAlg, public.AuthPolicy.Buffer = alg, policy
		public.ObjectAttributes.UserWithAuth = true
		cipher := gotpm.TPMTSymDefObject{
			Algorithm: gotpm.TPMAlgAES,
			KeyBits:   gotpm.NewTPMUSymKeyBits(gotpm.TPMAlgAES, gotpm.TPMKeyBits(bits)),
			Mode:      gotpm.NewTPMUSymMode(gotpm.TPMAlgAES, gotpm.TPMAlgCFB),
		}
		if ecc, err := public.Parameters.ECCDetail(); err == nil {
			ecc.Symmetric = cipher
			public.Parameters = gotpm.NewTPMUPublicParms(gotpm.TPMAlgECC, ecc)
			return
		}
		if parameters, err := public.Parameters.RSADetail(); err == nil {
			parameters.Symmetric = cipher
			public.Parameters = gotpm.NewTPMUPublicParms(gotpm.TPMAlgRSA, parameters)
		}
	}
}

// TestTemplatesAreTheTCGs builds every template with policies that are computed here, not copied.
func TestTemplatesAreTheTCGs(t *testing.T) {
	a256, b256 := policies(crypto.SHA256, tpm2.AlgSHA256, 0x01c07f01)
	_, b384 := policies(crypto.SHA384, tpm2.AlgSHA384, 0x01c07f02)
	_, b512 := policies(crypto.SHA512, tpm2.AlgSHA512, 0x01c07f03)
	if !bytes.Equal(a256, gotpm.RSAEKTemplate.AuthPolicy.Buffer) {
		t.Fatalf("policy A is computed as %x", a256)
	}
	for name, config := range map[string]forge.TPMKeyConfig{
		"L-1": {Bits: 2048},
		"L-2": {},
		"H-1": {Bits: 2048, Edit: high(gotpm.TPMAlgSHA256, b256, 128)},
		"H-2": {Edit: high(gotpm.TPMAlgSHA256, b256, 128)},
		"H-3": {Curve: elliptic.P384(), Edit: high(gotpm.TPMAlgSHA384, b384, 256)},
		"H-4": {Curve: elliptic.P521(), Edit: high(gotpm.TPMAlgSHA512, b512, 256)},
		"H-6": {Bits: 3072, Signer: public(3072), Edit: high(gotpm.TPMAlgSHA384, b384, 256)},
		"H-7": {Bits: 4096, Signer: public(4096), Edit: high(gotpm.TPMAlgSHA384, b384, 256)},
	} {
		if fault := tpmtrust.CheckEKTemplate(endorsementKey(t, config)); fault != nil {
			t.Errorf("%s: %v", name, fault)
		}
	}
}

// TestSwtpmsKeysAreOfTemplates: the public areas of the endorsement keys that swtpm 0.7 made, L-1
// and H-3.
func TestSwtpmsKeysAreOfTemplates(t *testing.T) {
	for name, text := range map[string]string{
		"RSA": "0001000b000300b20020837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa" +
			"000600800043001008000000000001" + "00" + swtpmModulus,
		"ECC": "0023000c000300f20030b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419ca" +
			"cb47ba09699646150f9fc000f3f80e12000601000043001000040010003046a3877a294cb1469ff90e85eeba" +
			"57db75bf1dbc4006c5a9c4c8c64502ad55f7d9e413f2cfb2187029588670c5034ab10030b72cd41b0de0f180" +
			"fff9f0ec03954f7b295a63e5009dd3fa2aeb01659343ac99d867cdbc9d743b156daafd7d8bb09673",
	} {
		public := must(tpm2.ParsePublic(must(hex.DecodeString(text))(t)))(t)
		if fault := tpmtrust.CheckEKTemplate(public); fault != nil {
			t.Errorf("%s: %v", name, fault)
		}
	}
}

const swtpmModulus = "ab649aff85c0b0c89ba6001f8e6ca23d4f63d4d84a9a3e37771efafa31e4b1ba697c1b0d1a75320e" +
	"72ff92e67df7e3fc908054f5dbaf378cd4c62551f7fa04f789dc230c823af3b68ff4a6a8672ce7d1de118e6c52807a0b" +
	"098aa9637a7948d573ca96ab50b141099ef26d501113e2acb5a1bc6ddc82e8bedca14046a9f02964bda340cb03d2f6f8" +
	"652fe1b932879aa09af6a1ca235c782f44a6a774ffe98633bdf840e09840c14c2105c1f546e74130f98ccadaab44bd4f" +
	"22188aa8ad7bd91bad7af87bd8b790cc0548ac74a73eae4a6ac87d29f9a25976748110e667b58068813515eb4322fb8b" +
	"d1ccb2c8fe8f94b4c72e7213382686c56044c93694c4fdcb"

// TestEndorsementKeysOutsideTheTemplates changes one thing a row. neg: 82
func TestEndorsementKeysOutsideTheTemplates(t *testing.T) {
	_, b256 := policies(crypto.SHA256, tpm2.AlgSHA256, 0x01c07f01)
	_, b384 := policies(crypto.SHA384, tpm2.AlgSHA384, 0x01c07f02)
	shared := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	change := func(edit func(*gotpm.TPMTPublic)) forge.TPMKeyConfig {
		return forge.TPMKeyConfig{Bits: 2048, Signer: shared, Edit: edit}
	}
	attribute := func(edit func(*gotpm.TPMAObject)) forge.TPMKeyConfig {
		return change(func(public *gotpm.TPMTPublic) { edit(&public.ObjectAttributes) })
	}
	for name, config := range map[string]forge.TPMKeyConfig{
		"not restricted":   attribute(func(a *gotpm.TPMAObject) { a.Restricted = false }),
		"signs":            attribute(func(a *gotpm.TPMAObject) { a.SignEncrypt = true }),
		"does not decrypt": attribute(func(a *gotpm.TPMAObject) { a.Decrypt = false }),
		"signs and does not decrypt": attribute(func(a *gotpm.TPMAObject) {
			a.SignEncrypt, a.Decrypt = true, false
		}),
		"may be duplicated":       attribute(func(a *gotpm.TPMAObject) { a.FixedTPM = false }),
		"may have another parent": attribute(func(a *gotpm.TPMAObject) { a.FixedParent = false }),
		"may have been imported":  attribute(func(a *gotpm.TPMAObject) { a.SensitiveDataOrigin = false }),
		"a password is enough":    attribute(func(a *gotpm.TPMAObject) { a.AdminWithPolicy = false }),
		"the low range with a password": attribute(func(a *gotpm.TPMAObject) {
			a.UserWithAuth = true
		}),
		"no policy": change(func(public *gotpm.TPMTPublic) { public.AuthPolicy.Buffer = nil }),
		"another policy": change(func(public *gotpm.TPMTPublic) {
			public.AuthPolicy.Buffer = bytes.Repeat([]byte{1}, 32)
		}),
		"policy B without the high range's attributes": change(func(public *gotpm.TPMTPublic) {
			public.AuthPolicy.Buffer = b256
		}),
		"no cipher": change(func(public *gotpm.TPMTPublic) {
			public.Parameters = gotpm.NewTPMUPublicParms(gotpm.TPMAlgRSA, &gotpm.TPMSRSAParms{KeyBits: 2048})
		}),
		"AES-256 in template L-1": change(func(public *gotpm.TPMTPublic) {
			policy := public.AuthPolicy.Buffer
			high(gotpm.TPMAlgSHA256, policy, 256)(public)
			public.ObjectAttributes.UserWithAuth = false
		}),
		"a name by SHA3-256": change(func(public *gotpm.TPMTPublic) {
			public.NameAlg = gotpm.TPMAlgSHA3256
		}),
		"an encryption scheme": change(func(public *gotpm.TPMTPublic) {
			parameters := must(public.Parameters.RSADetail())(t)
			parameters.Scheme = gotpm.TPMTRSAScheme{
				Scheme: gotpm.TPMAlgOAEP,
				Details: gotpm.NewTPMUAsymScheme(gotpm.TPMAlgOAEP,
					&gotpm.TPMSEncSchemeOAEP{HashAlg: gotpm.TPMAlgSHA256}),
			}
			public.Parameters = gotpm.NewTPMUPublicParms(gotpm.TPMAlgRSA, parameters)
		}),
		"SHA-384 for a key of SHA-256's size": {Bits: 2048, Signer: shared,
			Edit: high(gotpm.TPMAlgSHA384, b384, 256)},
		// neg: 59
		"RSA of 1024 bits": {Bits: 1024, Signer: public(1024)},
		"RSA with exponent 3": change(func(public *gotpm.TPMTPublic) {
			parameters := must(public.Parameters.RSADetail())(t)
			parameters.Exponent = 3
			public.Parameters = gotpm.NewTPMUPublicParms(gotpm.TPMAlgRSA, parameters)
		}),
		"P-384 by template L-2": {Curve: elliptic.P384()},
	} {
		fault := tpmtrust.CheckEKTemplate(endorsementKey(t, config))
		if fault == nil || fault.Class != attestd.ClassKeyProperties {
			t.Errorf("%s: %v", name, fault)
		}
	}
	signing := must(forge.NewTPMKey(forge.TPMKeyConfig{}))(t)
	fault := tpmtrust.CheckEKTemplate(must(tpm2.ParsePublic(signing.Public))(t))
	wantFault(t, fault, attestd.ClassKeyProperties)
	fault = tpmtrust.CheckEKTemplate(tpm2.Public{})
	if wantFault(t, fault, attestd.ClassKeyProperties); fault.Want != "the key of a TCG EK template" {
		t.Errorf("got %q", fault.Want)
	}
}

// TestWeakFirmware asks about both ends of every range. neg: 78
func TestWeakFirmware(t *testing.T) {
	version := func(major, minor uint64) uint64 { return major<<48 | minor<<32 | 0x1234_5678 }
	for _, row := range []struct {
		maker        string
		major, minor uint64
		vulnerable   bool
	}{
		{"IFX", 4, 33, true}, {"IFX", 4, 34, false}, {"IFX", 4, 40, true}, {"IFX", 4, 42, true},
		{"IFX", 4, 43, false}, {"IFX", 5, 0, true}, {"IFX", 5, 61, true}, {"IFX", 5, 62, false},
		{"IFX", 6, 42, true}, {"IFX", 6, 43, false}, {"IFX", 7, 61, true}, {"IFX", 7, 62, false},
		{"IFX", 7, 63, false}, {"IFX", 7, 85, false}, {"IFX", 133, 32, true}, {"IFX", 133, 33, false},
		{"IFX", 15, 21, false}, {"STM", 71, 12, true}, {"STM", 71, 16, false}, {"STM", 73, 4, true},
		{"STM", 73, 20, false}, {"STM", 74, 16, true}, {"STM", 74, 64, false}, {"STM", 1, 258, false},
	} {
		vulnerable, known := tpmtrust.FirmwareVulnerable(row.maker, version(row.major, row.minor))
		if vulnerable != row.vulnerable || !known {
			t.Errorf("%s %d.%d: %t, known %t", row.maker, row.major, row.minor, vulnerable, known)
		}
	}
	for _, maker := range []string{"", "NTC", "ifx", "IBM"} {
		if vulnerable, known := tpmtrust.FirmwareVulnerable(maker, version(5, 0)); vulnerable || known {
			t.Errorf("%s: %t, known %t", maker, vulnerable, known)
		}
	}
}

// publicOnly is a key that nobody has: a public half is all that a template needs, and large keys
// take seconds to make.
type publicOnly struct {
	crypto.Signer
	key *rsa.PublicKey
}

func public(bits int) publicOnly { return publicOnly{key: &rsa.PublicKey{N: modulus(bits), E: 65537}} }

func (p publicOnly) Public() crypto.PublicKey { return p.key }

func ecdsaKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	return must(ecdsa.GenerateKey(curve, rand.Reader))(t)
}
