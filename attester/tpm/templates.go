package tpm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/google/go-tpm/tpm2"
)

// endorsementKind is a kind of endorsement key (TCG EK Credential Profile for TPM Family 2.0, version
// 2.5, sections 2.2.1.4 and B.3 to B.4): where the maker leaves the certificate, and the template
// that makes the key again from the seed.
type endorsementKind struct {
	name        string
	certificate uint32 // NV index
	handle      uint32 // where the key persists if we make it
	// template is nil for a kind that is used only where the key persists already.
	template *tpm2.TPMTPublic
}

// endorsementKinds are in the order in which they are looked for: the keys that nearly every TPM has
// first.
func endorsementKinds() []endorsementKind {
	rsa, ecc := tpm2.RSAEKTemplate, tpm2.ECCEKTemplate
	p384 := highTemplate()
	return []endorsementKind{
		{name: "RSA 2048 (L-1)", certificate: 0x01c00002, handle: 0x81010001, template: &rsa},
		{name: "ECC P-256 (L-2)", certificate: 0x01c0000a, handle: 0x81010002, template: &ecc},
		{name: "ECC P-384 (H-3)", certificate: 0x01c00016, handle: 0x81010016, template: &p384},
		{name: "RSA 2048 (H-1)", certificate: 0x01c00012},
		{name: "ECC P-256 (H-2)", certificate: 0x01c00014},
		{name: "RSA 3072 (H-6)", certificate: 0x01c0001c},
		{name: "RSA 4096 (H-7)", certificate: 0x01c0001e},
	}
}

// chainIndices are where a maker leaves the certificates above the EK certificates (EK Credential
// Profile, version 2.5, section 2.2.1.5.2).
const firstChainIndex, lastChainIndex = 0x01c00100, 0x01c001ff

// highPolicy is PolicyB for SHA-384 (EK Credential Profile, version 2.5, section B.6.5): the
// endorsement hierarchy's secret, or what an NV index of the maker names.
const highPolicy = "b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419ca" +
	"cb47ba09699646150f9fc000f3f80e12"

// highTemplate is template H-3, an ECC P-384 key.
func highTemplate() tpm2.TPMTPublic {
	policy, err := hex.DecodeString(highPolicy)
	if err != nil {
		panic(err) // a constant
	}
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA384,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true,
			AdminWithPolicy: true, Restricted: true, Decrypt: true,
		},
		AuthPolicy: tpm2.TPM2BDigest{Buffer: policy},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Symmetric: tpm2.TPMTSymDefObject{
				Algorithm: tpm2.TPMAlgAES,
				KeyBits:   tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, tpm2.TPMKeyBits(256)),
				Mode:      tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
			},
			CurveID: tpm2.TPMECCNistP384,
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
	}
}

// attestationTemplate makes the attestation key: ECC P-256, and restricted, so that it signs nothing
// but what the TPM itself states (TPM 2.0 Library, Part 1, revision 1.59, section 23.2).
func attestationTemplate() tpm2.TPMTPublic {
	return signingTemplate(true, tpm2.TPMTECCScheme{
		Scheme: tpm2.TPMAlgECDSA,
		Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA,
			&tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
	})
}

// keyTemplate makes the key of an agent: ECC P-256, which signs what it is told to.
func keyTemplate() tpm2.TPMTPublic {
	return signingTemplate(false, tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgNull})
}

func signingTemplate(restricted bool, scheme tpm2.TPMTECCScheme) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true,
			NoDA: true, Restricted: restricted, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Symmetric: tpm2.TPMTSymDefObject{Algorithm: tpm2.TPMAlgNull},
			Scheme:    scheme, CurveID: tpm2.TPMECCNistP256,
			KDF: tpm2.TPMTKDFScheme{Scheme: tpm2.TPMAlgNull},
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
	}
}

// matches reports whether a public area is what the template makes, whatever the key is.
func matches(public, template tpm2.TPMTPublic) bool {
	public.Unique = template.Unique
	return public.Type == template.Type && bytes.Equal(tpm2.Marshal(public), tpm2.Marshal(template))
}

// primaryName is the Qualified Name of a primary key of the hierarchy (Part 1, section 16, "Names"):
// only a key directly below it has it.
func primaryName(hierarchy tpm2.TPMHandle, name []byte) []byte {
	digest := sha256.Sum256(append(binary.BigEndian.AppendUint32(nil, uint32(hierarchy)), name...))
	return append(binary.BigEndian.AppendUint16(nil, uint16(tpm2.TPMAlgSHA256)), digest[:]...)
}
