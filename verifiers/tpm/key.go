package tpm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/p384"
	"github.com/attestd/attestd/verifiers/internal/tpm2"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
)

// attestationKey is an attestation key with what is computed from it alone. It aliases nothing and
// never changes, so that one that was seen before can be used again; every check is made again.
type attestationKey struct {
	public tpm2.Public
	name   []byte
	// spki is the SHA-256 of the key's DER SubjectPublicKeyInfo.
	spki [sha256.Size]byte
	// endorsement and owner are the Qualified Names of a primary key in either hierarchy.
	endorsement, owner []byte
	// p384 is set for a key on that curve.
	p384 p384.Key
	// weak says that the modulus has the form of CVE-2017-15361.
	weak bool
}

// endorsementKey is the same for an endorsement key.
type endorsementKey struct {
	public tpm2.Public
	spki   [sha256.Size]byte
	weak   bool
}

// readEndorsementKey returns the endorsement key with that public area.
func (v *Verifier) readEndorsementKey(public []byte) (*endorsementKey, *fault) {
	digest := sha256.Sum256(public)
	if key, known := v.endorsementKeys.Get(digest); known {
		return key, nil
	}
	parsed, err := tpm2.ParsePublic(bytes.Clone(public))
	if err != nil {
		return nil, refuseAs(checkEKPublic, attestd.ClassMalformed, "", "one TPMT_PUBLIC").because(err)
	}
	key := &endorsementKey{public: parsed, weak: tpmtrust.WeakKey(parsed.Key)}
	if spki, err := parsed.SPKI(); err == nil {
		key.spki = sha256.Sum256(spki)
	}
	return key, nil
}

// readKey returns the attestation key with that public area.
func (v *Verifier) readKey(public []byte) (*attestationKey, *fault) {
	digest := sha256.Sum256(public)
	if key, known := v.keys.Get(digest); known {
		return key, nil
	}
	parsed, err := tpm2.ParsePublic(bytes.Clone(public))
	if err != nil {
		return nil, refuse(checkAKPublic, "", "one TPMT_PUBLIC of an RSA or ECC key").because(err)
	}
	key := &attestationKey{public: parsed, name: parsed.Name(), weak: tpmtrust.WeakKey(parsed.Key)}
	key.endorsement = tpm2.QualifiedName(tpm2.HierarchyEndorsement, key.name)
	key.owner = tpm2.QualifiedName(tpm2.HierarchyOwner, key.name)
	if spki, err := parsed.SPKI(); err == nil {
		key.spki = sha256.Sum256(spki)
	}
	if public, ok := parsed.Key.(*ecdsa.PublicKey); ok && parsed.Curve == tpm2.CurveP384 {
		if key.p384, err = p384.NewKey(public); err != nil {
			return nil, refuse(checkAKPublic, "", "a point of the curve").because(err)
		}
	}
	return key, nil
}

// remember keeps the keys and certificates of a quote whose signature is good: a sender without any
// key that somebody vouches for cannot fill the caches.
func (s *session) remember() {
	v := s.verifier
	if digest := sha256.Sum256(s.evidence.AKPublic); !v.keys.Contains(digest) {
		v.keys.Add(digest, s.quote.key)
	}
	if s.backing.certificate != nil {
		s.backing.certificate.Keep()
	}
	if s.backing.ak != nil {
		s.backing.ak.Keep()
	}
	if s.backing.key == nil {
		return
	}
	if digest := sha256.Sum256(s.evidence.EKPublic); !v.endorsementKeys.Contains(digest) {
		v.endorsementKeys.Add(digest, s.backing.key)
	}
}

const (
	// mustHave are the attributes of a key that speaks for its TPM alone (Part 2, section 8.3): made
	// inside (sensitiveDataOrigin), never to leave (fixedTPM, fixedParent), signing what the TPM
	// generated and no more (restricted, sign).
	mustHave = tpm2.FixedTPM | tpm2.FixedParent | tpm2.SensitiveDataOrigin | tpm2.Restricted | tpm2.Sign
	// mustNotHave: a key that also decrypts is none that TPM2_Quote takes as restricted; x509sign
	// would sign certificates; encryptedDuplication belongs to keys that leave.
	mustNotHave = tpm2.Decrypt | tpm2.X509Sign | tpm2.EncryptedDuplicate
)

const wantAttributes = "restricted, sign, fixedTPM, fixedParent, sensitiveDataOrigin, not decrypt"

// attributeProblem says what is wrong with an attestation key's attributes; empty for nothing.
func attributeProblem(public *tpm2.Public) string {
	if missing := mustHave &^ public.Attributes; missing != 0 {
		return "without " + attributeNames(missing)
	}
	if excess := mustNotHave & public.Attributes; excess != 0 {
		return "with " + attributeNames(excess)
	}
	return ""
}

func attributeNames(attributes uint32) string {
	var out []byte
	for _, row := range [...]struct {
		bit  uint32
		name string
	}{
		{tpm2.FixedTPM, "fixedTPM"}, {tpm2.StClear, "stClear"}, {tpm2.FixedParent, "fixedParent"},
		{tpm2.SensitiveDataOrigin, "sensitiveDataOrigin"}, {tpm2.UserWithAuth, "userWithAuth"},
		{tpm2.AdminWithPolicy, "adminWithPolicy"}, {tpm2.NoDA, "noDA"},
		{tpm2.EncryptedDuplicate, "encryptedDuplication"}, {tpm2.Restricted, "restricted"},
		{tpm2.Decrypt, "decrypt"}, {tpm2.Sign, "sign"}, {tpm2.X509Sign, "x509sign"},
		{tpm2.FirmwareLimited, "firmwareLimited"}, {tpm2.SVNLimited, "svnLimited"},
	} {
		if attributes&row.bit != 0 {
			if len(out) > 0 {
				out = append(out, ", "...)
			}
			out = append(out, row.name...)
		}
	}
	return string(out)
}

const wantAlgorithm = "RSA from 2048 bits, P-256 or P-384, with RSASSA, RSAPSS or ECDSA and SHA-256 or " +
	"better"

// algorithmProblem says what is wrong with an attestation key's algorithms; empty for nothing.
func algorithmProblem(public *tpm2.Public) string {
	if problem := strengthProblem(public); problem != "" {
		return problem
	}
	scheme := public.Scheme
	rsaScheme := scheme.Algorithm == tpm2.AlgRSASSA || scheme.Algorithm == tpm2.AlgRSAPSS
	switch {
	case public.Symmetric.Algorithm != tpm2.AlgNull:
		return "a cipher in a signing key"
	case public.Type == tpm2.AlgRSA && !rsaScheme, public.Type == tpm2.AlgECC &&
		scheme.Algorithm != tpm2.AlgECDSA:
		// With a NULL scheme each signature would choose its own.
		return "scheme " + tpm2.AlgorithmName(scheme.Algorithm)
	}
	if _, strong := tpm2.Hash(scheme.Hash); !strong {
		return "scheme with " + tpm2.AlgorithmName(scheme.Hash)
	}
	return ""
}

// strengthProblem says what is wrong with the strength of a key and its Name.
func strengthProblem(public *tpm2.Public) string {
	if _, strong := tpm2.Hash(public.NameAlg); !strong {
		return "nameAlg " + tpm2.AlgorithmName(public.NameAlg)
	}
	switch {
	case public.Type == tpm2.AlgRSA && public.KeyBits < 2048:
		return fmt.Sprintf("RSA of %d bits", public.KeyBits)
	case public.Type == tpm2.AlgRSA && public.Exponent != 65537:
		return fmt.Sprintf("RSA exponent %d", public.Exponent)
	case public.Type == tpm2.AlgECC && public.Curve != tpm2.CurveP256 && public.Curve != tpm2.CurveP384:
		return tpm2.CurveName(public.Curve)
	case public.Key == nil:
		return "a key that cannot be used"
	}
	return ""
}

// check makes the checks of the key alone.
func (k *attestationKey) check() *fault {
	if problem := attributeProblem(&k.public); problem != "" {
		return refuse(checkAKAttributes, problem, wantAttributes)
	}
	if problem := algorithmProblem(&k.public); problem != "" {
		return refuse(checkAKAlgorithm, problem, wantAlgorithm)
	}
	return nil
}

// schemeProblem says how a signature is not of the key's scheme. A signature that chose its own would
// be judged by the weakest there is.
func (k *attestationKey) schemeProblem(signature *tpm2.Signature) string {
	if signature.Scheme != k.public.Scheme.Algorithm || signature.Hash != k.public.Scheme.Hash {
		return tpm2.AlgorithmName(signature.Scheme) + " with " + tpm2.AlgorithmName(signature.Hash)
	}
	return ""
}

// verify reports whether the signature is the key's over message.
func (k *attestationKey) verify(message []byte, signature *tpm2.Signature) bool {
	hash, strong := tpm2.Hash(k.public.Scheme.Hash)
	if !strong || k.schemeProblem(signature) != "" {
		return false
	}
	var room [64]byte
	digest := sum(room[:0], hash, message)
	switch key := k.public.Key.(type) {
	case *rsa.PublicKey:
		if signature.Scheme == tpm2.AlgRSAPSS {
			// The salt's length is the TPM's choice: that of the digest, or the most that fits (Part 1,
			// annex B.7). It is no secret and adds no second reading, so that it is taken as it is.
			options := rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: hash}
			return rsa.VerifyPSS(key, hash, digest, signature.RSA, &options) == nil
		}
		return rsa.VerifyPKCS1v15(key, hash, digest, signature.RSA) == nil
	case *ecdsa.PublicKey:
		return k.verifyECDSA(key, digest, signature)
	default:
		return false
	}
}

func (k *attestationKey) verifyECDSA(
	key *ecdsa.PublicKey, digest []byte, signature *tpm2.Signature,
) bool {
	size := (key.Curve.Params().BitSize + 7) / 8
	if len(signature.R) > size || len(signature.S) > size {
		return false
	}
	if len(digest) == p384.Size && size == p384.Size {
		var r, s [p384.Size]byte
		copy(r[p384.Size-len(signature.R):], signature.R)
		copy(s[p384.Size-len(signature.S):], signature.S)
		return k.p384.Verify(digest, r[:], s[:])
	}
	var room [2 * (3 + 66)]byte
	return ecdsa.VerifyASN1(key, digest, asn1Signature(room[:0], signature))
}

// asn1Signature appends the signature as Ecdsa-Sig-Value (RFC 3279, section 2.2.3) to out.
func asn1Signature(out []byte, signature *tpm2.Signature) []byte {
	out = append(out, 0x30, 0)
	for _, number := range [2][]byte{signature.R, signature.S} {
		number = bytes.TrimLeft(number, "\x00")
		length := byte(len(number)) //nolint:gosec // at most 66
		if len(number) == 0 || number[0]&0x80 != 0 {
			out = append(out, 2, length+1, 0)
		} else {
			out = append(out, 2, length)
		}
		out = append(out, number...)
	}
	out[1] = byte(len(out) - 2) //nolint:gosec // two numbers of at most 48 bytes: see strengthProblem
	return out
}

// algorithm names the key for people.
func (k *attestationKey) algorithm() string {
	name := fmt.Sprintf("RSA-%d", k.public.KeyBits)
	if k.public.Type == tpm2.AlgECC {
		name = tpm2.CurveName(k.public.Curve)
	}
	return tpm2.AlgorithmName(k.public.Scheme.Algorithm) + " " + name + " " +
		tpm2.AlgorithmName(k.public.Scheme.Hash)
}

// hierarchy returns where the key hangs by its Qualified Name: "endorsement" or "owner"; empty where
// the signer named is another. parents are Names, from the primary key down; nothing vouches for them
// but the digest.
func (k *attestationKey) hierarchy(signer []byte, parents [][]byte) string {
	endorsement, owner := k.endorsement, k.owner
	if len(parents) > 0 {
		names := append(append(make([][]byte, 0, len(parents)+1), parents...), k.name)
		endorsement = tpm2.QualifiedName(tpm2.HierarchyEndorsement, names...)
		owner = tpm2.QualifiedName(tpm2.HierarchyOwner, names...)
	}
	switch {
	case endorsement != nil && bytes.Equal(signer, endorsement):
		return hierarchyEndorsement
	case owner != nil && bytes.Equal(signer, owner):
		return hierarchyOwner
	default:
		return ""
	}
}

const (
	hierarchyEndorsement = "endorsement"
	hierarchyOwner       = "owner"
)

// contains reports whether a key's SPKI digest is in a list that an operator wrote.
func contains(list [][32]byte, digest [32]byte) bool {
	for _, one := range list {
		if one == digest {
			return true
		}
	}
	return false
}

// certifiedKeyProblem says what is wrong with a key that is to be called resident.
func certifiedKeyProblem(public *tpm2.Public) string {
	const want = tpm2.FixedTPM | tpm2.FixedParent | tpm2.SensitiveDataOrigin | tpm2.Sign
	if missing := want &^ public.Attributes; missing != 0 {
		return "a key without " + attributeNames(missing)
	}
	if public.Has(tpm2.Restricted) {
		return "a restricted key, which signs what its TPM made and nothing else"
	}
	return strengthProblem(public)
}

// sum appends the digest of message to out: SHA-256, SHA-384 or SHA-512, which are all that
// tpm2.Hash gives. It makes no hash.Hash, which would be allocated, and message with it.
func sum(out []byte, hash crypto.Hash, message []byte) []byte {
	switch hash {
	case crypto.SHA256:
		digest := sha256.Sum256(message)
		return append(out, digest[:]...)
	case crypto.SHA384:
		digest := sha512.Sum384(message)
		return append(out, digest[:]...)
	case crypto.SHA512:
		digest := sha512.Sum512(message)
		return append(out, digest[:]...)
	default:
		return out
	}
}
