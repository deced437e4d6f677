package tpm2

import (
	"crypto"
	_ "crypto/sha256" // Name digests: SHA-256
	_ "crypto/sha512" // Name digests: SHA-384, SHA-512
	"fmt"
)

// Algorithm identifiers (Part 2, section 6.3, TPM_ALG_ID).
const (
	AlgRSA       uint16 = 0x0001
	AlgTDES      uint16 = 0x0003
	AlgSHA1      uint16 = 0x0004
	AlgAES       uint16 = 0x0006
	AlgMGF1      uint16 = 0x0007
	AlgKeyedHash uint16 = 0x0008
	AlgSHA256    uint16 = 0x000b
	AlgSHA384    uint16 = 0x000c
	AlgSHA512    uint16 = 0x000d
	AlgNull      uint16 = 0x0010
	AlgSM3       uint16 = 0x0012
	AlgSM4       uint16 = 0x0013
	AlgRSASSA    uint16 = 0x0014
	AlgRSAES     uint16 = 0x0015
	AlgRSAPSS    uint16 = 0x0016
	AlgOAEP      uint16 = 0x0017
	AlgECDSA     uint16 = 0x0018
	AlgECDH      uint16 = 0x0019
	AlgECDAA     uint16 = 0x001a
	AlgSM2       uint16 = 0x001b
	AlgECSchnorr uint16 = 0x001c
	AlgECMQV     uint16 = 0x001d
	AlgKDF1A     uint16 = 0x0020 // KDF1_SP800_56A
	AlgKDF2      uint16 = 0x0021
	AlgKDF1B     uint16 = 0x0022 // KDF1_SP800_108
	AlgECC       uint16 = 0x0023
	AlgSymCipher uint16 = 0x0025
	AlgCamellia  uint16 = 0x0026
	AlgSHA3x256  uint16 = 0x0027
	AlgSHA3x384  uint16 = 0x0028
	AlgSHA3x512  uint16 = 0x0029
	AlgCTR       uint16 = 0x0040
	AlgOFB       uint16 = 0x0041
	AlgCBC       uint16 = 0x0042
	AlgCFB       uint16 = 0x0043
	AlgECB       uint16 = 0x0044
)

// Curves (Part 2, section 6.4, TPM_ECC_CURVE).
const (
	CurveP192 uint16 = 0x0001
	CurveP224 uint16 = 0x0002
	CurveP256 uint16 = 0x0003
	CurveP384 uint16 = 0x0004
	CurveP521 uint16 = 0x0005
)

// Attributes of an object (Part 2, section 8.3, TPMA_OBJECT). Bits 8, 9 and 19 are named in later
// revisions and read here, so that newer keys are refused or accepted for what they are.
const (
	FixedTPM            uint32 = 1 << 1
	StClear             uint32 = 1 << 2
	FixedParent         uint32 = 1 << 4
	SensitiveDataOrigin uint32 = 1 << 5
	UserWithAuth        uint32 = 1 << 6
	AdminWithPolicy     uint32 = 1 << 7
	FirmwareLimited     uint32 = 1 << 8
	SVNLimited          uint32 = 1 << 9
	NoDA                uint32 = 1 << 10
	EncryptedDuplicate  uint32 = 1 << 11
	Restricted          uint32 = 1 << 16
	Decrypt             uint32 = 1 << 17
	Sign                uint32 = 1 << 18
	X509Sign            uint32 = 1 << 19

	reservedAttributes = ^(FixedTPM | StClear | FixedParent | SensitiveDataOrigin | UserWithAuth |
		AdminWithPolicy | FirmwareLimited | SVNLimited | NoDA | EncryptedDuplicate | Restricted |
		Decrypt | Sign | X509Sign)
)

// Permanent handles of hierarchies (Part 2, section 7.4, TPM_RH).
const (
	HierarchyOwner       uint32 = 0x40000001
	HierarchyEndorsement uint32 = 0x4000000b
)

// Magic is TPM_GENERATED_VALUE (Part 2, section 6.2): a restricted key signs nothing that begins
// with it unless the TPM made it.
const Magic uint32 = 0xff544347

// Structure tags of attestations (Part 2, section 6.9, TPM_ST).
const (
	TypeCertify uint16 = 0x8017
	TypeQuote   uint16 = 0x8018
)

// Hash returns the digest algorithm with that identifier, and whether it is one that is strong enough
// to stand under a Name, a signature or a PCR bank: SHA-256, SHA-384 or SHA-512.
func Hash(alg uint16) (crypto.Hash, bool) {
	switch alg {
	case AlgSHA256:
		return crypto.SHA256, true
	case AlgSHA384:
		return crypto.SHA384, true
	case AlgSHA512:
		return crypto.SHA512, true
	default:
		return 0, false
	}
}

// digestSize returns the size of a digest, also of algorithms that are only read; 0 for unknown.
func digestSize(alg uint16) int {
	switch alg {
	case AlgSHA1:
		return 20
	case AlgSHA256, AlgSM3, AlgSHA3x256:
		return 32
	case AlgSHA384, AlgSHA3x384:
		return 48
	case AlgSHA512, AlgSHA3x512:
		return 64
	default:
		return 0
	}
}

var algorithmNames = map[uint16]string{
	AlgRSA: "RSA", AlgSHA1: "SHA1", AlgSHA256: "SHA256", AlgSHA384: "SHA384", AlgSHA512: "SHA512",
	AlgSM3: "SM3_256", AlgSHA3x256: "SHA3_256", AlgSHA3x384: "SHA3_384", AlgSHA3x512: "SHA3_512",
	AlgNull: "NULL", AlgRSASSA: "RSASSA", AlgRSAES: "RSAES", AlgRSAPSS: "RSAPSS", AlgOAEP: "OAEP",
	AlgECDSA: "ECDSA", AlgECDH: "ECDH", AlgECDAA: "ECDAA", AlgSM2: "SM2", AlgECSchnorr: "ECSCHNORR",
	AlgECMQV: "ECMQV", AlgECC: "ECC", AlgAES: "AES", AlgCFB: "CFB", AlgKeyedHash: "KEYEDHASH",
	AlgSymCipher: "SYMCIPHER",
}

// AlgorithmName names an algorithm for people: its TCG name, or its number.
func AlgorithmName(alg uint16) string {
	if name, ok := algorithmNames[alg]; ok {
		return name
	}
	return fmt.Sprintf("algorithm 0x%04x", alg)
}

// CurveName names a curve for people.
func CurveName(curve uint16) string {
	switch curve {
	case CurveP192:
		return "P-192"
	case CurveP224:
		return "P-224"
	case CurveP256:
		return "P-256"
	case CurveP384:
		return "P-384"
	case CurveP521:
		return "P-521"
	default:
		return fmt.Sprintf("curve 0x%04x", curve)
	}
}
