package tpm2

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

// Public is a TPMT_PUBLIC (Part 2, section 12.2.4) of an RSA or ECC key. The zero Public has no name
// and no key.
type Public struct {
	// Raw is the structure as it was read.
	Raw []byte
	// Type is AlgRSA or AlgECC.
	Type       uint16
	NameAlg    uint16
	Attributes uint32
	AuthPolicy []byte
	// Symmetric is the cipher with which a storage key protects its children; AlgNull for others.
	Symmetric Symmetric
	// Scheme is the one scheme of a key that has one; AlgNull for a key that leaves it open.
	Scheme Scheme
	// KeyBits and Exponent belong to RSA. Exponent is 65537 also where the structure has 0 for it.
	KeyBits  uint16
	Exponent uint32
	// Curve belongs to ECC.
	Curve uint16
	// Key is *rsa.PublicKey or *ecdsa.PublicKey; nil for a curve without an implementation here (all
	// but P-256, P-384 and P-521).
	Key crypto.PublicKey
}

// Symmetric is a TPMT_SYM_DEF_OBJECT (Part 2, section 11.1.7).
type Symmetric struct{ Algorithm, KeyBits, Mode uint16 }

// Scheme is a TPMT_RSA_SCHEME or TPMT_ECC_SCHEME (Part 2, sections 11.2.4.2 and 11.2.5.6). Hash is 0
// where the scheme has none.
type Scheme struct{ Algorithm, Hash uint16 }

// Has reports whether all of the attributes are set.
func (p Public) Has(attributes uint32) bool { return p.Attributes&attributes == attributes }

// ParsePublic reads a TPMT_PUBLIC that fills tpmt. Key types other than RSA and ECC are refused.
func ParsePublic(tpmt []byte) (Public, error) {
	c := &cursor{data: tpmt, structure: "TPMT_PUBLIC"}
	p := Public{Raw: tpmt[:len(tpmt):len(tpmt)]}
	p.Type = c.u16("type")
	if c.fault == nil && p.Type != AlgRSA && p.Type != AlgECC {
		c.failAs(ReasonAlgorithm, 0, "a key of type "+AlgorithmName(p.Type))
	}
	p.NameAlg = c.u16("nameAlg")
	if c.fault == nil && digestSize(p.NameAlg) == 0 {
		c.failAs(ReasonAlgorithm, 2, "nameAlg "+AlgorithmName(p.NameAlg))
	}
	p.Attributes = c.u32("objectAttributes")
	if p.Attributes&reservedAttributes != 0 {
		c.fail(4, fmt.Sprintf("reserved attribute bits 0x%08x", p.Attributes&reservedAttributes))
	}
	start := c.off
	p.AuthPolicy = c.sized(64, "authPolicy")
	if c.fault == nil && len(p.AuthPolicy) != 0 && len(p.AuthPolicy) != digestSize(p.NameAlg) {
		c.fail(start, fmt.Sprintf("authPolicy of %d bytes under %s", len(p.AuthPolicy),
			AlgorithmName(p.NameAlg)))
	}
	if c.fault == nil {
		p.parameters(c)
	}
	if err := c.end(); err != nil {
		return Public{}, err
	}
	return p, nil
}

// parameters reads TPMU_PUBLIC_PARMS and TPMU_PUBLIC_ID.
func (p *Public) parameters(c *cursor) {
	p.Symmetric.Algorithm = c.u16("symmetric")
	switch p.Symmetric.Algorithm {
	case AlgNull:
	case AlgAES: // no template of an endorsement key that is taken here has another
		p.Symmetric.KeyBits = c.u16("symmetric.keyBits")
		p.Symmetric.Mode = c.u16("symmetric.mode")
	default:
		c.failAs(ReasonAlgorithm, c.off-2, "symmetric "+AlgorithmName(p.Symmetric.Algorithm))
	}
	if p.Type == AlgRSA {
		p.rsaParameters(c)
	} else {
		p.eccParameters(c)
	}
}

func (p *Public) rsaParameters(c *cursor) {
	p.Scheme.Algorithm = c.u16("scheme")
	switch p.Scheme.Algorithm {
	case AlgNull, AlgRSAES:
	case AlgRSASSA, AlgRSAPSS, AlgOAEP:
		p.Scheme.Hash = c.hash("scheme.hashAlg")
	default:
		c.failAs(ReasonAlgorithm, c.off-2, "RSA scheme "+AlgorithmName(p.Scheme.Algorithm))
	}
	start := c.off
	p.KeyBits = c.u16("keyBits")
	switch p.KeyBits {
	case 1024, 2048, 3072, 4096:
	default:
		c.fail(start, fmt.Sprintf("an RSA key of %d bits", p.KeyBits))
	}
	// Part 2, section 12.2.3.5: "When zero, indicates that the exponent is the default of 2^16 + 1."
	if p.Exponent = c.u32("exponent"); p.Exponent == 0 {
		p.Exponent = 65537
	}
	start = c.off
	modulus := c.sized(512, "unique.rsa")
	if c.fault != nil {
		return
	}
	// A modulus of another length than keyBits says would be judged by the one and used by the other.
	if len(modulus)*8 != int(p.KeyBits) || modulus[0]&0x80 == 0 || modulus[len(modulus)-1]&1 == 0 {
		c.fail(start, fmt.Sprintf("a modulus that is no odd number of %d bits", p.KeyBits))
		return
	}
	p.Key = &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(p.Exponent)}
}

func (p *Public) eccParameters(c *cursor) {
	p.Scheme.Algorithm = c.u16("scheme")
	switch p.Scheme.Algorithm {
	case AlgNull:
	case AlgECDSA, AlgECDH, AlgECDAA: // no other is used by a key that evidence may name
		p.Scheme.Hash = c.hash("scheme.hashAlg")
		if p.Scheme.Algorithm == AlgECDAA {
			c.u16("scheme.count")
		}
	default:
		c.failAs(ReasonAlgorithm, c.off-2, "ECC scheme "+AlgorithmName(p.Scheme.Algorithm))
	}
	p.Curve = c.u16("curveID")
	// No command uses the KDF of TPMS_ECC_PARMS (Part 2, section 12.2.3.6), and keys leave it empty.
	if kdf := c.u16("kdf"); c.fault == nil && kdf != AlgNull {
		c.failAs(ReasonAlgorithm, c.off-2, "KDF "+AlgorithmName(kdf))
	}
	start := c.off
	x := c.sized(66, "unique.ecc.x")
	y := c.sized(66, "unique.ecc.y")
	if c.fault != nil {
		return
	}
	curve := goCurve(p.Curve)
	if curve == nil {
		return
	}
	key, err := point(curve, x, y)
	if err != nil {
		c.fail(start, "unique.ecc: "+err.Error())
		return
	}
	p.Key = key
}

// hash reads the digest algorithm of a scheme.
func (c *cursor) hash(name string) uint16 {
	alg := c.u16(name)
	if c.fault == nil && digestSize(alg) == 0 {
		c.failAs(ReasonAlgorithm, c.off-2, name+" "+AlgorithmName(alg))
	}
	return alg
}

func goCurve(curve uint16) elliptic.Curve {
	switch curve {
	case CurveP256:
		return elliptic.P256()
	case CurveP384:
		return elliptic.P384()
	case CurveP521:
		return elliptic.P521()
	default:
		return nil
	}
}

// point returns the key with these coordinates. Some TPMs leave out leading zeros, so that shorter
// coordinates are read too: the Name covers the structure as it stands, whatever its spelling.
func point(curve elliptic.Curve, x, y []byte) (*ecdsa.PublicKey, error) {
	size := (curve.Params().BitSize + 7) / 8
	if len(x) == 0 || len(y) == 0 || len(x) > size || len(y) > size {
		return nil, fmt.Errorf("coordinates of %d and %d bytes on a curve of %d", len(x), len(y), size)
	}
	var buffer [1 + 2*66]byte
	encoded := buffer[:1+2*size]
	encoded[0] = 4
	copy(encoded[1+size-len(x):], x)
	copy(encoded[1+2*size-len(y):], y)
	key, err := ecdsa.ParseUncompressedPublicKey(curve, encoded)
	if err != nil {
		return nil, errors.New("a point that is not on the curve")
	}
	return key, nil
}

// Name returns the object's Name, nameAlg and the digest of the whole structure (Part 1, section 16,
// "Names"); nil for the zero Public and where nameAlg is no algorithm that [Hash] takes. It is
// computed from the bytes and never taken from whoever sent them.
func (p Public) Name() []byte {
	hash, ok := Hash(p.NameAlg)
	if !ok || len(p.Raw) == 0 {
		return nil
	}
	digest := hash.New()
	digest.Write(p.Raw)
	name := make([]byte, 2, 2+hash.Size())
	binary.BigEndian.PutUint16(name, p.NameAlg)
	return digest.Sum(name)
}

// SPKI returns the key as DER SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
//
// Errors: where there is no Key.
func (p Public) SPKI() ([]byte, error) {
	if p.Key == nil {
		return nil, fmt.Errorf("no public key for %s on %s", AlgorithmName(p.Type), CurveName(p.Curve))
	}
	return x509.MarshalPKIXPublicKey(p.Key)
}

// QualifiedName returns the Qualified Name of an object: nameAlg || H(QN of the parent || Name), from
// the hierarchy's handle down (Part 1, section 16.3). names are the Names of the ancestors from the
// primary object down, the object's own last; each digest is that of the object it names. It returns
// nil where a Name is not of an algorithm that [Hash] takes, or there is none.
func QualifiedName(hierarchy uint32, names ...[]byte) []byte {
	if len(names) == 0 {
		return nil
	}
	// "The Qualified Name of a hierarchy is its handle."
	qualified := binary.BigEndian.AppendUint32(nil, hierarchy)
	for _, name := range names {
		hash, ok := nameHash(name)
		if !ok {
			return nil
		}
		digest := hash.New()
		digest.Write(qualified)
		digest.Write(name)
		qualified = digest.Sum(bytes.Clone(name[:2]))
	}
	return qualified
}

// nameHash returns the digest algorithm of a Name, and whether the Name has its size.
func nameHash(name []byte) (crypto.Hash, bool) {
	if len(name) < 2 {
		return 0, false
	}
	hash, ok := Hash(binary.BigEndian.Uint16(name))
	return hash, ok && len(name) == 2+hash.Size()
}
