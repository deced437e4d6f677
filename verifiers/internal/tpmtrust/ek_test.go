package tpmtrust_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
)

func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func authority(t testing.TB, config forge.TPMCAConfig) *forge.TPMCA {
	t.Helper()
	return must(forge.NewTPMCA(config))(t)
}

func p256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
}

// trusting returns a store in which the authority's root was loaded by hand.
func trusting(t testing.TB, roots ...*x509.Certificate) *tpmtrust.Store {
	t.Helper()
	return store(t, tpmtrust.Config{InsecureRoots: roots})
}

func wantFault(t *testing.T, fault *tpmtrust.Fault, class attestd.Class) {
	t.Helper()
	if fault == nil {
		t.Fatalf("accepted, want %s", class)
	}
	if fault.Class != class || fault.Got == "" || fault.Want == "" || fault.Reason == "" {
		t.Errorf("got %s (%v), want %s", fault.Class, fault, class)
	}
}

// TestForgedEndorsement shows that what the rows below break is what is wrong with them: unbroken,
// RSA and ECC keys are vouched for, with their SPKI, and as insecure.
func TestForgedEndorsement(t *testing.T) {
	ecc := p256(t)
	encrypting := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	for name, row := range map[string]struct {
		ca  forge.TPMCAConfig
		key crypto.PublicKey
		ek  forge.EKCertificateConfig
	}{
		"ECC key below an ECDSA authority": {forge.TPMCAConfig{}, ecc.Public(), forge.EKCertificateConfig{}},
		"RSA key below an RSA authority": {forge.TPMCAConfig{RSA: true}, encrypting.Public(),
			forge.EKCertificateConfig{Apart: true}},
		"directly below the root": {forge.TPMCAConfig{}, ecc.Public(),
			forge.EKCertificateConfig{Below: forge.TPMRoot}},
		"a name that is not critical": {forge.TPMCAConfig{}, ecc.Public(),
			forge.EKCertificateConfig{Edit: func(c *x509.Certificate) {
				c.ExtraExtensions[0].Critical = false
			}}},
	} {
		t.Run(name, func(t *testing.T) {
			ca := authority(t, row.ca)
			raw := must(ca.EKCertificate(row.key, row.ek))(t)
			given := ca.Bundle()
			ek, fault := trusting(t, ca.Root).Endorsement(tpmtrust.EKQuery{
				Certificate: raw, Intermediates: given, At: forge.TPMTime,
			})
			if fault != nil {
				t.Fatal(fault)
			}
			spki := must(x509.MarshalPKIXPublicKey(row.key))(t)
			if !bytes.Equal(ek.SPKI, spki) || !ek.Insecure || ek.Protection != tpmtrust.ProtectionUnknown {
				t.Errorf("%+v", ek)
			}
			if ek.Manufacturer != "STM" || ek.Model != "ST33TEST" || ek.Version != "00010102" {
				t.Errorf("%+v", ek)
			}
			if wantUsed := uint32(1); row.ek.Below == "" && ek.Used != wantUsed ||
				row.ek.Below != "" && ek.Used != 0 {
				t.Errorf("used %b", ek.Used)
			}
		})
	}
}

// TestEndorsementIsNotVouchedFor breaks one property a row. The certificate is otherwise good, and
// its root was loaded by hand.
func TestEndorsementIsNotVouchedFor(t *testing.T) {
	key := p256(t)
	edit := func(change func(*x509.Certificate)) forge.EKCertificateConfig {
		return forge.EKCertificateConfig{Edit: change}
	}
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	for name, row := range map[string]struct {
		ek    forge.EKCertificateConfig
		key   crypto.PublicKey
		class attestd.Class
	}{
		// neg: 81
		"no subject alternative name": {forge.EKCertificateConfig{SAN: []byte{}}, nil, attestd.ClassChain},
		"a directory name that is a number": {
			forge.EKCertificateConfig{SAN: forge.DER(0x30, forge.DER(0xa4, []byte{2, 1, 0}))}, nil,
			attestd.ClassChain},
		"two directory names": {
			forge.EKCertificateConfig{SAN: forge.DER(0x30, append(forge.TPMName("id:53544D20"),
				forge.TPMName("id:49465800")...))}, nil, attestd.ClassChain},
		"a DNS name for the TPM's": {
			forge.EKCertificateConfig{SAN: forge.DER(0x30, forge.DER(0x82, []byte("tpm.example")))}, nil,
			attestd.ClassChain},
		"two manufacturers": {forge.EKCertificateConfig{SAN: names(
			attribute(1, "id:53544D20"), attribute(1, "id:49465800"), attribute(2, "model"),
			attribute(3, "id:00010102"),
		)}, nil, attestd.ClassChain},
		"a text with more behind it": {forge.EKCertificateConfig{SAN: names(
			attribute(1, "id:53544D20", 5, 0), attribute(2, "model"), attribute(3, "id:00010102"),
		)}, nil, attestd.ClassChain},
		"no manufacturer": {forge.EKCertificateConfig{Manufacturer: "-"}, nil, attestd.ClassChain},
		"no model":        {forge.EKCertificateConfig{Model: "-"}, nil, attestd.ClassChain},
		"no version":      {forge.EKCertificateConfig{Version: "-"}, nil, attestd.ClassChain},
		"a manufacturer in clear": {
			forge.EKCertificateConfig{Manufacturer: "STM"}, nil, attestd.ClassChain},
		"a manufacturer of three bytes": {
			forge.EKCertificateConfig{Manufacturer: "id:53544D"}, nil, attestd.ClassChain},
		"a model with a newline": {forge.EKCertificateConfig{Model: "ST\n33"}, nil, attestd.ClassChain},
		"no extended key usage": {edit(func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }), nil,
			attestd.ClassChain},
		"an extended key usage that is empty": {edit(func(c *x509.Certificate) {
			c.UnknownExtKeyUsage = nil
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{
				Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: []byte{0x30, 0x00},
			})
		}), nil, attestd.ClassChain},
		"the purpose of an AK": {edit(func(c *x509.Certificate) {
			c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 3}}
		}), nil, attestd.ClassChain},

		"a certificate authority": {edit(func(c *x509.Certificate) { c.IsCA = true }), nil,
			attestd.ClassChain},
		"a key that signs certificates": {edit(func(c *x509.Certificate) {
			c.KeyUsage |= x509.KeyUsageCertSign
		}), nil, attestd.ClassChain},
		"a key that only signs": {edit(func(c *x509.Certificate) {
			c.KeyUsage = x509.KeyUsageDigitalSignature
		}), nil, attestd.ClassChain},
		"an unknown critical extension": {edit(func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{
				Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0},
			})
		}), nil, attestd.ClassChain},
		"not valid yet": {edit(func(c *x509.Certificate) {
			c.NotBefore = forge.TPMTime.AddDate(0, 0, 1)
		}), nil, attestd.ClassCertTime},

		// neg: 59
		"RSA of 1024 bits":    {forge.EKCertificateConfig{}, small(t).Public(), attestd.ClassKeyProperties},
		"RSA with exponent 3": {forge.EKCertificateConfig{}, exponent3(t), attestd.ClassKeyProperties},
		"ECC on P-224": {forge.EKCertificateConfig{},
			must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))(t).Public(), attestd.ClassKeyProperties},
	} {
		t.Run(name, func(t *testing.T) {
			ca := authority(t, forge.TPMCAConfig{})
			public := row.key
			if public == nil {
				public = key.Public()
			}
			raw := must(ca.EKCertificate(public, row.ek))(t)
			ek, fault := trusting(t, ca.Root).Endorsement(tpmtrust.EKQuery{
				Certificate: raw, Intermediates: ca.Bundle(), At: forge.TPMTime,
			})
			wantFault(t, fault, row.class)
			if len(ek.SPKI) != 0 || ek.Manufacturer != "" {
				t.Errorf("data beside a fault: %+v", ek)
			}
		})
	}
}

// attribute is one attribute of a TPM's name, with what stands behind its text.
func attribute(arc byte, text string, behind ...byte) []byte {
	value := append([]byte{6, 5, 0x67, 0x81, 5, 2, arc}, forge.DER(12, []byte(text))...)
	return forge.DER(0x31, forge.DER(0x30, append(value, behind...)))
}

func names(attributes ...[]byte) []byte {
	return forge.DER(0x30, forge.DER(0xa4, forge.DER(0x30, bytes.Join(attributes, nil))))
}

// exponent3 is a public key with exponent 3; crypto/rsa makes none.
func exponent3(t testing.TB) *rsa.PublicKey {
	key := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	return &rsa.PublicKey{N: key.N, E: 3}
}

// TestEndorsementFromElsewhere: certificates whose chain does not end in a root of this store.
// neg: 79, 87
func TestEndorsementFromElsewhere(t *testing.T) {
	key := p256(t)
	swtpm := authority(t, forge.TPMCAConfig{Name: "swtpm-localca"})
	raw := must(swtpm.EKCertificate(key.Public(), forge.EKCertificateConfig{}))(t)
	query := tpmtrust.EKQuery{
		Certificate: raw, Intermediates: append(swtpm.Bundle(), swtpm.Root.Raw), At: forge.TPMTime,
	}
	// A software TPM's authority is nobody without having been loaded by hand, root or no root
	// beside it.
	_, fault := store(t, tpmtrust.Config{}).Endorsement(query)
	wantFault(t, fault, attestd.ClassChain)

	// The same names over another key: names choose whom to ask, signatures decide.
	impostor := authority(t, forge.TPMCAConfig{Name: "swtpm-localca"})
	_, fault = trusting(t, impostor.Root).Endorsement(query)
	wantFault(t, fault, attestd.ClassChain)
	vendor := slices.IndexFunc(must(tpmtrust.PinnedRoots())(t), func(c *x509.Certificate) bool {
		return c.Subject.CommonName == "Nuvoton TPM Root CA 2111"
	})
	copied := must(tpmtrust.PinnedRoots())(t)[vendor]
	copycat := authority(t, forge.TPMCAConfig{Edit: func(role string, template *x509.Certificate) {
		if role == forge.TPMRoot {
			template.RawSubject, template.SubjectKeyId = copied.RawSubject, copied.SubjectKeyId
		}
	}})
	_, fault = store(t, tpmtrust.Config{}).Endorsement(tpmtrust.EKQuery{
		Certificate:   must(copycat.EKCertificate(key.Public(), forge.EKCertificateConfig{}))(t),
		Intermediates: append(copycat.Bundle(), copycat.Root.Raw), At: forge.TPMTime,
	})
	wantFault(t, fault, attestd.ClassChain)

	// Its own intermediate is missing, and nothing fetches it.
	_, fault = trusting(t, swtpm.Root).Endorsement(tpmtrust.EKQuery{Certificate: raw, At: forge.TPMTime})
	wantFault(t, fault, attestd.ClassChain)

	// A bit of the signature.
	flipped := bytes.Clone(raw)
	flipped[len(flipped)-1] ^= 1
	_, fault = trusting(t, swtpm.Root).Endorsement(tpmtrust.EKQuery{
		Certificate: flipped, Intermediates: swtpm.Bundle(), At: forge.TPMTime,
	})
	wantFault(t, fault, attestd.ClassChain)
}

// TestAuthoritiesThatMayNotIssue: a path through a certificate that is no CA, ended, or has no
// room.
func TestAuthoritiesThatMayNotIssue(t *testing.T) {
	key := p256(t)
	intermediate := func(change func(*x509.Certificate)) forge.TPMCAConfig {
		return forge.TPMCAConfig{Edit: func(role string, template *x509.Certificate) {
			if role == forge.TPMIntermediate {
				change(template)
			}
		}}
	}
	for name, row := range map[string]struct {
		ca    forge.TPMCAConfig
		class attestd.Class
	}{
		"an intermediate that is no CA": {intermediate(func(c *x509.Certificate) {
			c.IsCA, c.MaxPathLen, c.MaxPathLenZero = false, -1, false
		}), attestd.ClassChain},
		"an intermediate without keyCertSign": {intermediate(func(c *x509.Certificate) {
			c.KeyUsage = x509.KeyUsageCRLSign
		}), attestd.ClassChain},
		"an intermediate with name constraints": {intermediate(func(c *x509.Certificate) {
			c.PermittedDNSDomains = []string{"example.com"}
		}), attestd.ClassChain},
		"an intermediate with an unknown critical extension": {intermediate(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true,
				Value: []byte{5, 0}}}
		}), attestd.ClassChain},
		"a root that allows no CA below it": {forge.TPMCAConfig{
			Edit: func(role string, template *x509.Certificate) {
				if role == forge.TPMRoot {
					template.MaxPathLen, template.MaxPathLenZero = 0, true
				}
			}}, attestd.ClassChain},
		// neg: 79
		"an intermediate that ended": {intermediate(func(c *x509.Certificate) {
			c.NotAfter = forge.TPMTime.AddDate(0, 0, -1)
		}), attestd.ClassCertTime},
		"an intermediate that has not begun": {intermediate(func(c *x509.Certificate) {
			c.NotBefore = forge.TPMTime.AddDate(0, 0, 1)
		}), attestd.ClassCertTime},
		"a root that ended": {forge.TPMCAConfig{Edit: func(role string, template *x509.Certificate) {
			if role == forge.TPMRoot {
				template.NotAfter = forge.TPMTime.AddDate(0, 0, -1)
			}
		}}, attestd.ClassCertTime},
		"an intermediate with an RSA key of 1024 bits": {forge.TPMCAConfig{
			Key: func(role string) (crypto.Signer, error) {
				if role == forge.TPMIntermediate {
					return rsa.GenerateKey(rand.Reader, 1024)
				}
				return nil, nil
			}}, attestd.ClassChain},
	} {
		t.Run(name, func(t *testing.T) {
			ca := authority(t, row.ca)
			raw := must(ca.EKCertificate(key.Public(), forge.EKCertificateConfig{}))(t)
			_, fault := trusting(t, ca.Root).Endorsement(tpmtrust.EKQuery{
				Certificate: raw, Intermediates: ca.Bundle(), At: forge.TPMTime,
			})
			wantFault(t, fault, row.class)
		})
	}
}

// TestAnEndedEndorsementCertificateSaysSo: policy decides about it, and every CA above it must
// still be valid. neg: 79
func TestAnEndedEndorsementCertificateSaysSo(t *testing.T) {
	ca := authority(t, forge.TPMCAConfig{})
	raw := must(ca.EKCertificate(p256(t).Public(), forge.EKCertificateConfig{
		Edit: func(c *x509.Certificate) { c.NotAfter = forge.TPMTime.AddDate(0, 0, -1) },
	}))(t)
	s := trusting(t, ca.Root)
	query := tpmtrust.EKQuery{Certificate: raw, Intermediates: ca.Bundle(), At: forge.TPMTime}
	for range 2 { // read, and from the cache
		if ek, fault := s.Endorsement(query); fault != nil || !ek.Expired {
			t.Errorf("ended: %+v, %v", ek, fault)
		}
	}
	query.At = forge.TPMTime.AddDate(0, 0, -2)
	if ek, fault := s.Endorsement(query); fault != nil || ek.Expired {
		t.Errorf("before its end: %+v, %v", ek, fault)
	}
	query.At = forge.TPMTime.AddDate(30, 0, 0)
	_, fault := s.Endorsement(query)
	wantFault(t, fault, attestd.ClassCertTime)
}

// TestTheCacheNeverChangesAnAnswer asks in an order in which a cache that remembered too much would
// say yes, and counts what was verified.
func TestTheCacheNeverChangesAnAnswer(t *testing.T) {
	ca := authority(t, forge.TPMCAConfig{})
	raw := must(ca.EKCertificate(p256(t).Public(), forge.EKCertificateConfig{}))(t)
	count := 0
	s := store(t, tpmtrust.Config{
		InsecureRoots: []*x509.Certificate{ca.Root}, Count: func() { count++ },
	})
	query := tpmtrust.EKQuery{Certificate: raw, Intermediates: ca.Bundle(), At: forge.TPMTime}
	for round, want := range []int{2, 2, 2} {
		if _, fault := s.Endorsement(query); fault != nil || count != want {
			t.Errorf("round %d: %v after %d signatures, want %d", round, fault, count, want)
		}
	}
	query.Intermediates = nil
	_, fault := s.Endorsement(query)
	wantFault(t, fault, attestd.ClassChain)
	query.Intermediates, query.At = ca.Bundle(), forge.TPMTime.AddDate(40, 0, 0)
	_, fault = s.Endorsement(query)
	wantFault(t, fault, attestd.ClassCertTime)

	query.At = forge.TPMTime
	first, fault := s.Endorsement(query)
	if fault != nil {
		t.Fatal(fault)
	}
	first.SPKI[0] ^= 0xff
	second, fault := s.Endorsement(query)
	if fault != nil || bytes.Equal(first.SPKI, second.SPKI) {
		t.Error("an answer shares memory with another")
	}
}

// TestHostileBundlesEnd: certificates that name each other, copies, and too many of them, cost at
// most the signatures that are allowed.
func TestHostileBundlesEnd(t *testing.T) {
	ca := authority(t, forge.TPMCAConfig{})
	raw := must(ca.EKCertificate(p256(t).Public(), forge.EKCertificateConfig{}))(t)
	var siblings [][]byte
	for range 8 {
		other := authority(t, forge.TPMCAConfig{Edit: func(_ string, template *x509.Certificate) {
			// Every one is issued by the name that it has.
			template.Subject.CommonName = "Test TPM Manufacturing CA"
			template.MaxPathLen, template.MaxPathLenZero = -1, false
		}})
		siblings = append(siblings, other.Intermediate.Raw)
	}
	for name, row := range map[string]struct {
		given [][]byte
		class attestd.Class
	}{
		"eight that name each other": {siblings, attestd.ClassChain},
		"eight copies of one":        {slices.Repeat([][]byte{siblings[0]}, 8), attestd.ClassChain},
		"33 copies of each":          {slices.Repeat(siblings, 33), attestd.ClassChain},
		"too many with the right one": {append(slices.Repeat(siblings, 33), ca.Intermediate.Raw),
			attestd.ClassTooLarge},
		"too many strangers":  {slices.Repeat([][]byte{{1, 2, 3}}, 265), attestd.ClassTooLarge},
		"one of 5,000 bytes":  {[][]byte{make([]byte, 5000)}, attestd.ClassTooLarge},
		"bytes that are none": {[][]byte{{1, 2, 3}, nil}, attestd.ClassChain},
	} {
		count := 0
		s := store(t, tpmtrust.Config{
			InsecureRoots: []*x509.Certificate{ca.Root}, Count: func() { count++ },
		})
		_, fault := s.Endorsement(tpmtrust.EKQuery{
			Certificate: raw, Intermediates: row.given, At: forge.TPMTime,
		})
		if fault == nil || fault.Class != row.class {
			t.Errorf("%s: %v", name, fault)
		}
		if count > 8 {
			t.Errorf("%s: %d signatures", name, count)
		}
	}
	_, fault := trusting(t, ca.Root).Endorsement(tpmtrust.EKQuery{
		Certificate: make([]byte, 5000), At: forge.TPMTime,
	})
	wantFault(t, fault, attestd.ClassTooLarge)
	_, fault = trusting(t, ca.Root).Endorsement(tpmtrust.EKQuery{At: forge.TPMTime})
	wantFault(t, fault, attestd.ClassMalformed)
}

// TestTooManySignatures: eight intermediates of the same name and a path, each a candidate for the
// next, are refused as too many, not as without a path.
func TestTooManySignatures(t *testing.T) {
	ca := authority(t, forge.TPMCAConfig{})
	raw := must(ca.EKCertificate(p256(t).Public(), forge.EKCertificateConfig{}))(t)
	var given [][]byte
	for index := range 8 {
		key := p256(t)
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(1000 + index)), Subject: ca.Intermediate.Subject,
			NotBefore: ca.Root.NotBefore, NotAfter: ca.Root.NotAfter, IsCA: true,
			BasicConstraintsValid: true, MaxPathLen: -1, KeyUsage: x509.KeyUsageCertSign,
		}
		given = append(given, must(ca.Issue(template, key.Public()))(t))
	}
	_, fault := trusting(t, ca.Root).Endorsement(tpmtrust.EKQuery{
		Certificate: raw, Intermediates: given, At: forge.TPMTime,
	})
	wantFault(t, fault, attestd.ClassTooLarge)
}

// TestInsecureRootsAreRoots: what is loaded by hand must be a CA that signs itself.
func TestInsecureRootsAreRoots(t *testing.T) {
	ca := authority(t, forge.TPMCAConfig{})
	leaf := must(x509.ParseCertificate(must(ca.EKCertificate(p256(t).Public(),
		forge.EKCertificateConfig{}))(t)))(t)
	weak := authority(t, forge.TPMCAConfig{Edit: func(_ string, template *x509.Certificate) {
		template.KeyUsage = x509.KeyUsageDigitalSignature
	}})
	forged := *ca.Root
	forged.Raw = bytes.Clone(ca.Root.Raw)
	forged.Raw[len(forged.Raw)-1] ^= 1
	for name, root := range map[string]*x509.Certificate{
		"an intermediate": ca.Intermediate, "a leaf": leaf, "a root without keyCertSign": weak.Root,
		"a root with another signature": &forged, "an empty certificate": {}, "no certificate": nil,
	} {
		_, err := tpmtrust.New(tpmtrust.Config{InsecureRoots: []*x509.Certificate{root}})
		var refused *attestd.CallerError
		if !errors.As(err, &refused) || refused.Class != attestd.ClassConfig || refused.Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	pinned := must(tpmtrust.PinnedRoots())(t)
	s := trusting(t, pinned...)
	ek, fault := s.Endorsement(tpmtrust.EKQuery{
		Certificate: real(t, "ek-nuvoton-npct75x"), At: forge.TPMTime,
	})
	if fault != nil || ek.Insecure {
		t.Errorf("a pinned root that was loaded by hand as well: %+v, %v", ek, fault)
	}
}

// TestFaultsNameWhatWasSeen keeps foreign text out of messages.
func TestFaultsNameWhatWasSeen(t *testing.T) {
	ca := authority(t, forge.TPMCAConfig{Name: "evil\x1b[31m" + strings.Repeat("x", 200)})
	raw := must(ca.EKCertificate(p256(t).Public(), forge.EKCertificateConfig{}))(t)
	_, fault := store(t, tpmtrust.Config{}).Endorsement(tpmtrust.EKQuery{
		Certificate: raw, Intermediates: ca.Bundle(), At: forge.TPMTime,
	})
	wantFault(t, fault, attestd.ClassChain)
	if text := fault.Error(); strings.ContainsAny(text, "\x1b\n") || len(text) > 600 {
		t.Errorf("%q", text)
	}
}
