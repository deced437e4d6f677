package forge

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// TPMKey is a key of a TPM that is made of software. Its structures are written by google/go-tpm, so
// that a reader which misunderstands them in the same way as their writer cannot pass.
type TPMKey struct {
	// Template is what Public was written from.
	Template tpm2.TPMTPublic
	// Public is the TPMT_PUBLIC, and Name its Name.
	Public, Name []byte
	// Hierarchy and Parents are where the key hangs.
	Hierarchy tpm2.TPMHandle
	Parents   [][]byte
	// Signer is the private key.
	Signer       crypto.Signer
	scheme, hash tpm2.TPMAlgID
}

// TPMKeyConfig says how a key is made. The zero config is that of an attestation key as attestd makes
// them: ECDSA on P-256 with SHA-256, restricted, primary in the endorsement hierarchy.
type TPMKeyConfig struct {
	// Scheme is RSASSA, RSAPSS or ECDSA; Hash the digest that it signs; NameAlg that of the Name.
	Scheme, Hash, NameAlg tpm2.TPMAlgID
	// Bits of an RSA key (2048), Curve of an ECDSA key (P-256).
	Bits  int
	Curve elliptic.Curve
	// Endorsement makes an endorsement key by template L-1 (Bits set) or L-2, Ordinary a signing key
	// that is not restricted, as an agent's own.
	Endorsement, Ordinary bool
	// Hierarchy is the endorsement hierarchy unless set.
	Hierarchy tpm2.TPMHandle
	Parents   [][]byte
	// Edit changes the template before it is written.
	Edit func(*tpm2.TPMTPublic)
	// Signer is the private key; made anew where nil.
	Signer crypto.Signer
}

func (c *TPMKeyConfig) complete() {
	or := func(alg *tpm2.TPMAlgID, standard tpm2.TPMAlgID) {
		if *alg == 0 {
			*alg = standard
		}
	}
	if c.Endorsement && c.Bits != 0 {
		or(&c.Scheme, tpm2.TPMAlgRSASSA)
	}
	or(&c.Scheme, tpm2.TPMAlgECDSA)
	or(&c.Hash, tpm2.TPMAlgSHA256)
	or(&c.NameAlg, tpm2.TPMAlgSHA256)
	if c.Curve == nil {
		c.Curve = elliptic.P256()
	}
	if c.Bits == 0 {
		c.Bits = 2048
	}
	if c.Hierarchy == 0 {
		c.Hierarchy = tpm2.TPMRHEndorsement
	}
}

// NewTPMKey makes a key.
func NewTPMKey(config TPMKeyConfig) (*TPMKey, error) {
	config.complete()
	key := &TPMKey{Hierarchy: config.Hierarchy, Parents: config.Parents, Signer: config.Signer,
		scheme: config.Scheme, hash: config.Hash}
	var err error
	switch {
	case config.Signer != nil:
	case config.Scheme == tpm2.TPMAlgECDSA:
		key.Signer, err = ecdsa.GenerateKey(config.Curve, rand.Reader)
	default:
		key.Signer, err = rsa.GenerateKey(rand.Reader, config.Bits)
	}
	if err != nil {
		return nil, err
	}
	if key.Template, err = publicArea(config, key.Signer.Public()); err != nil {
		return nil, err
	}
	if config.Edit != nil {
		config.Edit(&key.Template)
	}
	key.Public = tpm2.Marshal(key.Template)
	if key.Name, err = tpmName(config.NameAlg, key.Public); err != nil {
		return nil, err
	}
	return key, nil
}

// publicArea writes the key into a template.
func publicArea(config TPMKeyConfig, public crypto.PublicKey) (tpm2.TPMTPublic, error) {
	out := tpm2.TPMTPublic{
		NameAlg: config.NameAlg,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true,
			Restricted: !config.Ordinary, SignEncrypt: true,
		},
	}
	var symmetric tpm2.TPMTSymDefObject
	if config.Endorsement {
		model := tpm2.RSAEKTemplate
		out.ObjectAttributes, out.AuthPolicy = model.ObjectAttributes, model.AuthPolicy
		symmetric = tpm2.TPMTSymDefObject{
			Algorithm: tpm2.TPMAlgAES,
			KeyBits:   tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, tpm2.TPMKeyBits(128)),
			Mode:      tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
		}
	}
	switch public := public.(type) {
	case *rsa.PublicKey:
		out.Type = tpm2.TPMAlgRSA
		parameters := &tpm2.TPMSRSAParms{Symmetric: symmetric,
			KeyBits: tpm2.TPMKeyBits(public.N.BitLen())} //nolint:gosec // a key of a test
		if !config.Endorsement {
			parameters.Scheme = RSAScheme(config.Scheme, config.Hash)
		}
		out.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, parameters)
		out.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA,
			&tpm2.TPM2BPublicKeyRSA{Buffer: public.N.Bytes()})
	case *ecdsa.PublicKey:
		out.Type = tpm2.TPMAlgECC
		parameters := &tpm2.TPMSECCParms{Symmetric: symmetric, CurveID: tpmCurve(public.Curve)}
		if !config.Endorsement {
			parameters.Scheme = ECDSAScheme(config.Hash)
		}
		out.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, parameters)
		point, err := public.Bytes()
		if err != nil {
			return out, err
		}
		point = point[1:] // 4 || x || y
		out.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: point[:len(point)/2]},
			Y: tpm2.TPM2BECCParameter{Buffer: point[len(point)/2:]},
		})
	default:
		return out, fmt.Errorf("no public area for a %T", public)
	}
	return out, nil
}

// RSAScheme returns the scheme of an RSA key: RSASSA or RSAPSS.
func RSAScheme(scheme, hash tpm2.TPMAlgID) tpm2.TPMTRSAScheme {
	if scheme == tpm2.TPMAlgRSAPSS {
		return tpm2.TPMTRSAScheme{Scheme: scheme,
			Details: tpm2.NewTPMUAsymScheme(scheme, &tpm2.TPMSSigSchemeRSAPSS{HashAlg: hash})}
	}
	return tpm2.TPMTRSAScheme{Scheme: scheme,
		Details: tpm2.NewTPMUAsymScheme(scheme, &tpm2.TPMSSigSchemeRSASSA{HashAlg: hash})}
}

// ECDSAScheme returns the scheme of an ECC key.
func ECDSAScheme(hash tpm2.TPMAlgID) tpm2.TPMTECCScheme {
	return tpm2.TPMTECCScheme{Scheme: tpm2.TPMAlgECDSA,
		Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: hash})}
}

func tpmCurve(curve elliptic.Curve) tpm2.TPMECCCurve {
	switch curve {
	case elliptic.P224():
		return tpm2.TPMECCNistP224
	case elliptic.P256():
		return tpm2.TPMECCNistP256
	case elliptic.P384():
		return tpm2.TPMECCNistP384
	default:
		return tpm2.TPMECCNistP521
	}
}

// tpmName computes a Name (TPM 2.0 Library, Part 1, section 16).
func tpmName(alg tpm2.TPMAlgID, public []byte) ([]byte, error) {
	hash, err := alg.Hash()
	if err != nil {
		return nil, err
	}
	digest := hash.New()
	digest.Write(public)
	return digest.Sum(binary.BigEndian.AppendUint16(nil, uint16(alg))), nil
}

// QualifiedName computes the key's Qualified Name along its parents.
func (k *TPMKey) QualifiedName() []byte {
	chain := binary.BigEndian.AppendUint32(nil, uint32(k.Hierarchy))
	for _, name := range append(append([][]byte{}, k.Parents...), k.Name) {
		alg := tpm2.TPMAlgID(binary.BigEndian.Uint16(name))
		hash, err := alg.Hash()
		if err != nil {
			return name // an algorithm that is to be refused
		}
		digest := hash.New()
		digest.Write(chain)
		digest.Write(name)
		chain = digest.Sum(append([]byte{}, name[:2]...))
	}
	return chain
}

// SPKI returns the public key as DER SubjectPublicKeyInfo.
func (k *TPMKey) SPKI() ([]byte, error) { return x509.MarshalPKIXPublicKey(k.Signer.Public()) }

// Sign returns the TPMT_SIGNATURE of message by the key's scheme.
func (k *TPMKey) Sign(message []byte) ([]byte, error) {
	signature, err := k.signature(message)
	if err != nil {
		return nil, err
	}
	return tpm2.Marshal(signature), nil
}

func (k *TPMKey) signature(message []byte) (tpm2.TPMTSignature, error) {
	out := tpm2.TPMTSignature{SigAlg: k.scheme}
	hash, err := k.hash.Hash()
	if err != nil {
		return out, err
	}
	digest := hash.New()
	digest.Write(message)
	if k.scheme == tpm2.TPMAlgECDSA {
		private, ok := k.Signer.(*ecdsa.PrivateKey)
		if !ok {
			return out, errors.New("an ECDSA scheme on another key")
		}
		r, s, err := ecdsa.Sign(rand.Reader, private, digest.Sum(nil))
		if err != nil {
			return out, err
		}
		size := (private.Curve.Params().BitSize + 7) / 8
		out.Signature = tpm2.NewTPMUSignature(k.scheme, &tpm2.TPMSSignatureECC{Hash: k.hash,
			SignatureR: tpm2.TPM2BECCParameter{Buffer: r.FillBytes(make([]byte, size))},
			SignatureS: tpm2.TPM2BECCParameter{Buffer: s.FillBytes(make([]byte, size))}})
		return out, nil
	}
	var options crypto.SignerOpts = hash
	if k.scheme == tpm2.TPMAlgRSAPSS {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	signed, err := k.Signer.Sign(rand.Reader, digest.Sum(nil), options)
	if err != nil {
		return out, err
	}
	out.Signature = tpm2.NewTPMUSignature(k.scheme, &tpm2.TPMSSignatureRSA{Hash: k.hash,
		Sig: tpm2.TPM2BPublicKeyRSA{Buffer: signed}})
	return out, nil
}
