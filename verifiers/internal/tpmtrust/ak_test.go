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
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
)

func attestationQuery(ca *forge.TPMCA, raw []byte) tpmtrust.AKQuery {
	return tpmtrust.AKQuery{Certificate: raw, Intermediates: ca.Bundle(), At: forge.TPMTime}
}

// TestForgedAttestationKeys shows that both shapes are read, and that neither ever claims hardware,
// whatever it says. neg: 88
func TestForgedAttestationKeys(t *testing.T) {
	ca := authority(t, forge.TPMCAConfig{})
	key := p256(t)
	s := trusting(t, ca.Root)
	google, fault := s.AttestationKey(attestationQuery(ca,
		must(ca.GCECertificate(key.Public(), forge.GCECertificateConfig{}))(t)))
	if fault != nil {
		t.Fatal(fault)
	}
	if google.Profile != tpmtrust.ProfileGCE || google.Project != "test-project" ||
		google.ProjectNumber != "123456789012" || google.InstanceID != "1234567890123456789" ||
		google.Zone != "europe-west4-a" || google.InstanceName != "test-instance" {
		t.Errorf("%+v", google)
	}
	// As Google issued them in 2021.
	nameless := must(ca.GCECertificate(key.Public(), forge.GCECertificateConfig{
		Edit: func(c *x509.Certificate) { c.Subject = pkix.Name{} },
	}))(t)
	if early, fault := s.AttestationKey(attestationQuery(ca, nameless)); fault != nil ||
		early.InstanceID != google.InstanceID {
		t.Errorf("without a subject: %+v, %v", early, fault)
	}
	azure, fault := s.AttestationKey(attestationQuery(ca, must(ca.AzureCertificate(key.Public(), nil))(t)))
	if fault != nil {
		t.Fatal(fault)
	}
	if azure.Profile != tpmtrust.ProfileAzure || azure.InstanceID != "0123456789ab" ||
		azure.Machine != "TrustedVM" {
		t.Errorf("%+v", azure)
	}
	spki := must(x509.MarshalPKIXPublicKey(key.Public()))(t)
	for _, ak := range []tpmtrust.AK{google, azure} {
		if ak.Protection != tpmtrust.ProtectionVTPM || !ak.Insecure || !bytes.Equal(ak.SPKI, spki) ||
			ak.Used != 1 || ak.CRL != tpmtrust.CRLMissing {
			t.Errorf("%+v", ak)
		}
	}
}

// TestAttestationKeysThatNobodyVouchesFor breaks one property a row.
func TestAttestationKeysThatNobodyVouchesFor(t *testing.T) {
	ca := authority(t, forge.TPMCAConfig{})
	key := p256(t)
	gce := func(config forge.GCECertificateConfig) []byte {
		return must(ca.GCECertificate(key.Public(), config))(t)
	}
	edited := func(change func(*x509.Certificate)) []byte {
		return gce(forge.GCECertificateConfig{Edit: change})
	}
	azure := func(change func(*x509.Certificate)) []byte {
		return must(ca.AzureCertificate(key.Public(), change))(t)
	}
	named := func(name string) []byte {
		return azure(func(c *x509.Certificate) { c.Subject.CommonName = name })
	}
	withKey := func(public crypto.PublicKey) []byte {
		return must(ca.GCECertificate(public, forge.GCECertificateConfig{}))(t)
	}
	info := gceInfo(t, gce(forge.GCECertificateConfig{}))
	for name, row := range map[string]struct {
		raw   []byte
		class attestd.Class
	}{
		"a virtual TPM of a test": {gce(forge.GCECertificateConfig{Test: true}), attestd.ClassPlatform},
		"no security properties": {gce(forge.GCECertificateConfig{Info: withoutSecurity(info)}),
			attestd.ClassPlatform},
		"instance information that is cut": {gce(forge.GCECertificateConfig{Info: info[:len(info)-3]}),
			attestd.ClassChain},
		"instance information with more behind it": {
			gce(forge.GCECertificateConfig{Info: append(bytes.Clone(info), 0)}), attestd.ClassChain},
		"instance information that is empty": {gce(forge.GCECertificateConfig{Info: []byte{0x30, 0}}),
			attestd.ClassChain},
		"another instance in the subject": {edited(func(c *x509.Certificate) {
			c.Subject.CommonName = "1"
		}), attestd.ClassChain},
		"a subject that names no instance": {edited(func(c *x509.Certificate) {
			c.Subject.CommonName = ""
		}), attestd.ClassChain},
		"a certificate authority": {edited(func(c *x509.Certificate) { c.IsCA = true }), attestd.ClassChain},
		"no digitalSignature": {edited(func(c *x509.Certificate) {
			c.KeyUsage = x509.KeyUsageKeyEncipherment
		}), attestd.ClassChain},
		"an unknown critical extension": {edited(func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{
				Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0},
			})
		}), attestd.ClassChain},
		"not valid yet": {edited(func(c *x509.Certificate) {
			c.NotBefore = forge.TPMTime.AddDate(0, 0, 1)
		}), attestd.ClassCertTime},
		"no purpose": {azure(func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }),
			attestd.ClassChain},
		"the purpose of an EK": {azure(func(c *x509.Certificate) {
			c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 23, 133, 8, 1}}
		}), attestd.ClassChain},
		"another domain":         {named("0123.TrustedVM.Azure.windows.net.evil.example"), attestd.ClassChain},
		"another kind":           {named("0123.Other.Azure.windows.net"), attestd.ClassChain},
		"no machine":             {named(".TrustedVM.Azure.windows.net"), attestd.ClassChain},
		"a machine that is text": {named("my machine.TrustedVM.Azure.windows.net"), attestd.ClassChain},
		// neg: 59
		"ECC on P-224": {withKey(must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))(t).Public()),
			attestd.ClassKeyProperties},
		"RSA of 1024 bits": {withKey(must(rsa.GenerateKey(rand.Reader, 1024))(t).Public()),
			attestd.ClassKeyProperties},
		"RSA with exponent 3": {withKey(exponent3(t)), attestd.ClassKeyProperties},
		"bytes that are none": {[]byte("AK"), attestd.ClassMalformed},
		"an EK certificate": {must(ca.EKCertificate(key.Public(), forge.EKCertificateConfig{}))(t),
			attestd.ClassChain},
	} {
		t.Run(name, func(t *testing.T) {
			_, fault := trusting(t, ca.Root).AttestationKey(attestationQuery(ca, row.raw))
			wantFault(t, fault, row.class)
		})
	}
	// The authority's root was never loaded. neg: 87
	_, fault := store(t, tpmtrust.Config{}).AttestationKey(attestationQuery(ca,
		gce(forge.GCECertificateConfig{})))
	wantFault(t, fault, attestd.ClassChain)
}

// TestARootVouchesForWhatItsOwnerKnows: no AK certificate is believed below a maker's root, none of
// one cloud below another's, and no EK certificate below Azure's. The certificates are real but for
// their leaf, whose issuer the roots of the store are told to be.
func TestARootVouchesForWhatItsOwnerKnows(t *testing.T) {
	ca := authority(t, forge.TPMCAConfig{})
	key := p256(t)
	ek := must(ca.EKCertificate(key.Public(), forge.EKCertificateConfig{}))(t)
	google := must(ca.GCECertificate(key.Public(), forge.GCECertificateConfig{}))(t)
	azure := must(ca.AzureCertificate(key.Public(), nil))(t)
	for use, want := range map[string][3]bool{ // EK, Google, Azure
		"endorsement": {true, false, false}, "gce": {true, true, false}, "azure": {false, false, true},
	} {
		s := tpmtrust.WithRoot(store(t, tpmtrust.Config{}), ca.Root, use)
		_, first := s.Endorsement(tpmtrust.EKQuery{
			Certificate: ek, Intermediates: ca.Bundle(), At: forge.TPMTime,
		})
		_, second := s.AttestationKey(attestationQuery(ca, google))
		_, third := s.AttestationKey(attestationQuery(ca, azure))
		got := [3]bool{first == nil, second == nil, third == nil}
		if got != want {
			t.Errorf("%s: %v, want %v (%v, %v, %v)", use, got, want, first, second, third)
		}
		for _, fault := range []*tpmtrust.Fault{first, second, third} {
			if fault != nil {
				wantFault(t, fault, attestd.ClassChain)
			}
		}
	}
}

func gceInfo(t testing.TB, raw []byte) []byte {
	t.Helper()
	certificate := must(x509.ParseCertificate(raw))(t)
	for _, extension := range certificate.Extensions {
		if extension.Id.String() == "1.3.6.1.4.1.11129.2.1.21" {
			return extension.Value
		}
	}
	t.Fatal("no instance information")
	return nil
}

// withoutSecurity drops the last 12 bytes, the security properties.
func withoutSecurity(info []byte) []byte {
	out := bytes.Clone(info[:len(info)-14])
	out[1] -= 14
	return out
}
