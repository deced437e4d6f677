package tpmtrust_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // what is refused
	"crypto/x509"
	"io"
	"math/big"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
)

// TestASignatureHasOneSpelling: an ECDSA signature begins with two zero bits, so that it could be
// shifted by two and called two bits shorter. Both spellings verify with crypto/x509, and the
// second is one that nobody issued.
func TestASignatureHasOneSpelling(t *testing.T) {
	ca := authority(t, forge.TPMCAConfig{})
	raw := must(ca.EKCertificate(p256(t).Public(), forge.EKCertificateConfig{}))(t)
	certificate := must(x509.ParseCertificate(raw))(t)
	respelled := bytes.Clone(raw)
	signature := respelled[len(respelled)-len(certificate.Signature):]
	shifted := new(big.Int).Lsh(new(big.Int).SetBytes(signature), 2)
	shifted.FillBytes(signature)
	respelled[len(respelled)-len(signature)-1] = 2
	again := must(x509.ParseCertificate(respelled))(t)
	if !bytes.Equal(again.Signature, certificate.Signature) {
		t.Fatal("crypto/x509 reads another signature: this test is void")
	}
	_, fault := trusting(t, ca.Root).Endorsement(tpmtrust.EKQuery{
		Certificate: respelled, Intermediates: ca.Bundle(), At: forge.TPMTime,
	})
	wantFault(t, fault, attestd.ClassMalformed)
}

// TestSHA1VouchesForNobody: an intermediate and a leaf that are signed with SHA-1, rightly.
func TestSHA1VouchesForNobody(t *testing.T) {
	keys := map[string]*rsa.PrivateKey{}
	ca := authority(t, forge.TPMCAConfig{Key: func(role string) (crypto.Signer, error) {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		keys[role] = key
		return key, err
	}})
	raw := must(ca.EKCertificate(p256(t).Public(), forge.EKCertificateConfig{}))(t)
	s := trusting(t, ca.Root)
	for name, query := range map[string]tpmtrust.EKQuery{
		"leaf": {Certificate: withSHA1(t, raw, keys[forge.TPMIntermediate]), Intermediates: ca.Bundle()},
		"intermediate": {Certificate: raw, Intermediates: [][]byte{
			withSHA1(t, ca.Intermediate.Raw, keys[forge.TPMRoot]),
		}},
	} {
		query.At = forge.TPMTime
		_, fault := s.Endorsement(query)
		if fault == nil || fault.Class != attestd.ClassChain {
			t.Errorf("%s: %v", name, fault)
		}
	}
	query := tpmtrust.EKQuery{Certificate: raw, Intermediates: ca.Bundle(), At: forge.TPMTime}
	list := must(ca.CRL(forge.TPMCRLConfig{}))(t)
	for _, crls := range [][][]byte{nil, {list}} {
		query.CRLs = crls
		if _, fault := s.Endorsement(query); fault != nil {
			t.Errorf("with SHA-256: %v", fault)
		}
	}
	query.CRLs = [][]byte{bytes.ReplaceAll(list, sha256WithRSA, sha1WithRSA)}
	body := must(x509.ParseRevocationList(query.CRLs[0]))(t).RawTBSRevocationList
	signWithSHA1(t, query.CRLs[0], body, keys[forge.TPMIntermediate])
	_, fault := s.Endorsement(query)
	wantFault(t, fault, attestd.ClassCollateralInvalid)
}

// withSHA1 signs a certificate again, with SHA-1.
func withSHA1(t *testing.T, raw []byte, key *rsa.PrivateKey) []byte {
	t.Helper()
	out := bytes.ReplaceAll(raw, sha256WithRSA, sha1WithRSA)
	certificate := must(x509.ParseCertificate(out))(t)
	signWithSHA1(t, out, certificate.RawTBSCertificate, key)
	certificate = must(x509.ParseCertificate(out))(t)
	issuer := &x509.Certificate{PublicKey: key.Public(), PublicKeyAlgorithm: x509.RSA}
	if err := issuer.CheckSignature(certificate.SignatureAlgorithm, certificate.RawTBSCertificate,
		certificate.Signature); err != nil {
		t.Fatalf("crypto/x509 refuses it by itself: %v", err)
	}
	return out
}

// signWithSHA1 replaces the signature at the end of signed by one with SHA-1 over body.
func signWithSHA1(t *testing.T, signed, body []byte, key *rsa.PrivateKey) {
	t.Helper()
	digest := sha1.Sum(body) //nolint:gosec // what is refused
	signature := must(rsa.SignPKCS1v15(nil, key, crypto.SHA1, digest[:]))(t)
	copy(signed[len(signed)-len(signature):], signature)
}

// Object identifiers of signatures, in DER and of one length.
var (
	sha256WithRSA = []byte("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b")
	sha1WithRSA   = []byte("\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05")
)

// TestNamesAreComparedAsText: the leaf spells its issuer as UTF8String where the issuer has a
// PrintableString, as certificates of AMD do. The other way round, a name that differs in a letter
// is another, and costs no signature.
func TestNamesAreComparedAsText(t *testing.T) {
	ca := authority(t, forge.TPMCAConfig{})
	plain := ca.Intermediate
	renamed := *plain
	renamed.RawSubject = bytes.Replace(plain.RawSubject, []byte{0x13, 25}, []byte{0x0c, 25}, 1)
	if bytes.Equal(renamed.RawSubject, plain.RawSubject) {
		t.Fatalf("no PrintableString in %x", plain.RawSubject)
	}
	ca.Intermediate = &renamed
	raw := must(ca.EKCertificate(p256(t).Public(), forge.EKCertificateConfig{}))(t)
	_, fault := trusting(t, ca.Root).Endorsement(tpmtrust.EKQuery{
		Certificate: raw, Intermediates: [][]byte{plain.Raw}, At: forge.TPMTime,
	})
	if fault != nil {
		t.Error(fault)
	}

	count := 0
	s := store(t, tpmtrust.Config{
		InsecureRoots: []*x509.Certificate{ca.Root}, Count: func() { count++ },
	})
	cousin := must(ca.Issue(&x509.Certificate{
		SerialNumber: big.NewInt(77), Subject: ca.Root.Subject, NotBefore: ca.Root.NotBefore,
		NotAfter: ca.Root.NotAfter, IsCA: true, BasicConstraintsValid: true, MaxPathLen: -1,
		KeyUsage: x509.KeyUsageCertSign,
	}, p256(t).Public()))(t)
	ek, fault := s.Endorsement(tpmtrust.EKQuery{
		Certificate: raw, Intermediates: [][]byte{cousin, plain.Raw}, At: forge.TPMTime,
	})
	if fault != nil || count != 2 || ek.Used != 2 {
		t.Errorf("%v, %d signatures, want 2, used %b", fault, count, ek.Used)
	}
}

// TestWeakAuthorities: intermediates whose keys are too weak to sign with, and which did. neg: 59
func TestWeakAuthorities(t *testing.T) {
	for name, make := range map[string]func() (crypto.Signer, error){
		"ECDSA on P-224":      func() (crypto.Signer, error) { return ecdsaKey(t, elliptic.P224()), nil },
		"RSA of 1024 bits":    func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 1024) },
		"RSA with exponent 3": func() (crypto.Signer, error) { return newCube(t), nil },
	} {
		ca := authority(t, forge.TPMCAConfig{Key: func(role string) (crypto.Signer, error) {
			if role == forge.TPMRoot {
				return nil, nil
			}
			return make()
		}})
		raw := must(ca.EKCertificate(p256(t).Public(), forge.EKCertificateConfig{}))(t)
		_, fault := trusting(t, ca.Root).Endorsement(tpmtrust.EKQuery{
			Certificate: raw, Intermediates: ca.Bundle(), At: forge.TPMTime,
		})
		if fault == nil || fault.Class != attestd.ClassChain {
			t.Errorf("%s: %v", name, fault)
		}
	}
}

// cube signs with an RSA key whose public exponent is 3; crypto/rsa makes none.
type cube struct{ n, d *big.Int }

func newCube(t *testing.T) cube {
	t.Helper()
	three, one := big.NewInt(3), big.NewInt(1)
	for {
		p, q := must(rand.Prime(rand.Reader, 1024))(t), must(rand.Prime(rand.Reader, 1024))(t)
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		if d := new(big.Int).ModInverse(three, phi); d != nil {
			return cube{n: p.Mul(p, q), d: d}
		}
	}
}

func (c cube) Public() crypto.PublicKey { return &rsa.PublicKey{N: c.n, E: 3} }

// Sign is RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, section 8.2.1).
func (c cube) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	info := append([]byte{
		0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
		0x00, 0x04, 0x20,
	}, digest...)
	padded := bytes.Repeat([]byte{0xff}, 256)
	padded[0], padded[1], padded[255-len(info)] = 0, 1, 0
	copy(padded[256-len(info):], info)
	return new(big.Int).Exp(new(big.Int).SetBytes(padded), c.d, c.n).FillBytes(make([]byte, 256)), nil
}

// TestAnIntermediateWithoutRoom: the root allows any number of CAs, and the one below it none.
func TestAnIntermediateWithoutRoom(t *testing.T) {
	for _, room := range []bool{true, false} {
		ca := authority(t, forge.TPMCAConfig{Edit: func(role string, c *x509.Certificate) {
			if role == forge.TPMIntermediate && room {
				c.MaxPathLen, c.MaxPathLenZero = -1, false
			}
		}})
		key := p256(t)
		below := authority(t, forge.TPMCAConfig{Name: "Below", Key: func(string) (crypto.Signer, error) {
			return key, nil
		}})
		sub := must(ca.EKCertificate(key.Public(), forge.EKCertificateConfig{
			Edit: func(c *x509.Certificate) {
				*c = x509.Certificate{
					SerialNumber: c.SerialNumber, NotBefore: c.NotBefore, NotAfter: c.NotAfter,
					Subject: below.Intermediate.Subject, IsCA: true, BasicConstraintsValid: true,
					MaxPathLen: -1, KeyUsage: x509.KeyUsageCertSign,
				}
			},
		}))(t)
		_, fault := trusting(t, ca.Root).Endorsement(tpmtrust.EKQuery{
			Certificate:   must(below.EKCertificate(p256(t).Public(), forge.EKCertificateConfig{}))(t),
			Intermediates: [][]byte{sub, ca.Intermediate.Raw}, At: forge.TPMTime,
		})
		if room && fault != nil {
			t.Errorf("with room: %v", fault)
		} else if !room {
			wantFault(t, fault, attestd.ClassChain)
		}
	}
}
