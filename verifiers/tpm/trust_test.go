package tpm_test

import (
	"bytes"
	"crypto/x509"
	"math/big"
	"testing"

	reference "github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tpm"
)

func serials(certificates ...*x509.Certificate) []*big.Int {
	var out []*big.Int
	for _, one := range certificates {
		out = append(out, one.SerialNumber)
	}
	return out
}

func TestCertifiedKeysThatAreRefused(t *testing.T) {
	w := theWorld(t)
	certify := func(change func(*scene)) func(*scene) {
		return func(s *scene) {
			s.key = w.keys["agent"]
			change(s)
		}
	}
	ordinary := func(change func(*reference.TPMTPublic)) func(*scene) {
		return func(s *scene) {
			key, err := forge.NewTPMKey(forge.TPMKeyConfig{Ordinary: true, Edit: change})
			if err != nil {
				s.t.Fatal(err)
			}
			s.key = key
		}
	}
	runRejectRows(t, []rejectRow{
		{"a key that was demanded and did not come", func(s *scene) {
			s.input.Demand = withKey(s.t, der(s.t, w.keys["agent"]))
		}, "tpm/certified-key", attestd.ClassBinding},
		// neg: 85
		{"a certification of another key than the one demanded", certify(func(s *scene) {
			s.input.Demand = withKey(s.t, der(s.t, w.keys["another agent"]))
		}), "tpm/certified-key", attestd.ClassBinding},
		{"a certification by another TPM's attestation key", certify(func(s *scene) {
			other := forge.NewTPM(w.keys["another AK"], nil)
			s.parts = func(e *tpmevidence.Evidence) {
				key, err := other.Certify(s.key, nonce, nil)
				if err != nil {
					s.t.Fatal(err)
				}
				e.Key = key
			}
		}), "tpm/certified-key", attestd.ClassBinding},
		{"a certification whose signature is another key's", certify(func(s *scene) {
			s.certified = func(k *tpmevidence.Key) {
				signature, err := w.keys["another AK"].Sign(k.Attest)
				if err != nil {
					s.t.Fatal(err)
				}
				k.Signature = signature
			}
		}), "tpm/certified-key", attestd.ClassSignature},
		{"a certification of another object's Name", certify(func(s *scene) {
			s.certified = func(k *tpmevidence.Key) { k.Public = w.keys["another agent"].Public }
		}), "tpm/certified-key", attestd.ClassBinding},
		{"a certification over another value", certify(func(s *scene) {
			s.editKey = func(a *reference.TPMSAttest, _ *reference.TPMSCertifyInfo) {
				a.ExtraData.Buffer = []byte("an earlier challenge's value")
			}
		}), "tpm/certified-key", attestd.ClassBinding},
		{"a certification of an earlier boot", certify(func(s *scene) {
			s.editKey = func(a *reference.TPMSAttest, _ *reference.TPMSCertifyInfo) {
				a.ClockInfo.ResetCount--
			}
		}), "tpm/certified-key", attestd.ClassBinding},
		{"a quote in a certification's place", certify(func(s *scene) {
			s.parts = func(e *tpmevidence.Evidence) {
				e.Key.Attest, e.Key.Signature = e.Quote, e.QuoteSignature
			}
		}), "tpm/certified-key", attestd.ClassMalformed},
		{"a certification without the magic", certify(func(s *scene) {
			s.editKey = func(a *reference.TPMSAttest, _ *reference.TPMSCertifyInfo) { a.Magic = 1 }
		}), "tpm/certified-key", attestd.ClassSignature},
		{"a byte behind the certification", certify(func(s *scene) {
			s.certified = func(k *tpmevidence.Key) { k.Attest = append(k.Attest, 0) }
		}), "tpm/certified-key", attestd.ClassMalformed},
		{"a byte behind its signature", certify(func(s *scene) {
			s.certified = func(k *tpmevidence.Key) { k.Signature = append(k.Signature, 0) }
		}), "tpm/certified-key", attestd.ClassMalformed},
		{"a byte behind its public area", certify(func(s *scene) {
			s.certified = func(k *tpmevidence.Key) { k.Public = append(bytes.Clone(k.Public), 0) }
		}), "tpm/certified-key", attestd.ClassMalformed},
		{"a key that can leave its TPM", ordinary(func(p *reference.TPMTPublic) {
			p.ObjectAttributes.FixedTPM = false
		}), "tpm/certified-key", attestd.ClassKeyProperties},
		{"a key that can have another parent", ordinary(func(p *reference.TPMTPublic) {
			p.ObjectAttributes.FixedParent = false
		}), "tpm/certified-key", attestd.ClassKeyProperties},
		{"a key that was made outside", ordinary(func(p *reference.TPMTPublic) {
			p.ObjectAttributes.SensitiveDataOrigin = false
		}), "tpm/certified-key", attestd.ClassKeyProperties},
		{"a key that does not sign", ordinary(func(p *reference.TPMTPublic) {
			p.ObjectAttributes.SignEncrypt = false
		}), "tpm/certified-key", attestd.ClassKeyProperties},
		{"a key that signs for its TPM alone", ordinary(func(p *reference.TPMTPublic) {
			p.ObjectAttributes.Restricted = true
		}), "tpm/certified-key", attestd.ClassKeyProperties},
		{"a key whose Name is of SHA-1", func(s *scene) {
			key, err := forge.NewTPMKey(forge.TPMKeyConfig{Ordinary: true, NameAlg: reference.TPMAlgSHA1})
			if err != nil {
				s.t.Fatal(err)
			}
			s.key = key
		}, "tpm/certified-key", attestd.ClassKeyProperties},
	})
}

func withKey(t testing.TB, spki []byte) attestd.Demand {
	t.Helper()
	demand, err := attestd.Recorded().WithKey(spki)
	if err != nil {
		t.Fatal(err)
	}
	return demand
}

// neg: 85
func TestAKeyIsResidentOnlyWhereItsTPMCertifiesIt(t *testing.T) {
	v, w := newVerifier(t), theWorld(t)
	for _, row := range []struct {
		name      string
		bound     string // the key of the binding; empty for a binding without one
		certified string
		want      string
	}{
		{"the key is certified", "agent", "agent", "resident"},
		{"the key of another machine, quoted by this one", "another agent", "", "bound"},
		{"the key of another machine, beside a certified one", "another agent", "agent", "bound"},
		{"no key", "", "", "none"},
		{"a certified key that nobody asked for", "", "agent", "none"},
	} {
		binding := attestd.Binding{Format: attestd.FormatTPM, Nonce: nonce}
		if row.bound != "" {
			binding.SPKI = der(t, w.keys[row.bound])
		}
		digest, err := binding.Digest()
		if err != nil {
			t.Fatal(err)
		}
		demand, err := attestd.Bound(binding)
		if err != nil {
			t.Fatal(err)
		}
		s := newScene(t, "ECDSA P-256", "ECC EK")
		s.key, s.input.Demand = w.keys[row.certified], demand
		s.edit = func(a *reference.TPMSAttest, _ *reference.TPMSQuoteInfo) { a.ExtraData.Buffer = digest }
		s.editKey = func(a *reference.TPMSAttest, _ *reference.TPMSCertifyInfo) {
			a.ExtraData.Buffer = digest
		}
		claims := good(t, v, s.build())
		if got := fact(t, claims, "key_grade"); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
		if claims.Freshness() != attestd.FreshnessBinding {
			t.Errorf("%s: freshness %v", row.name, claims.Freshness())
		}
		if !bytes.Equal(claims.KeySPKI(), binding.SPKI) {
			t.Errorf("%s: bound to %x", row.name, claims.KeySPKI())
		}
	}
}

// neg: 88
func TestAVirtualTPMIsNeverHardware(t *testing.T) {
	v, w := newVerifier(t), theWorld(t)
	s := newScene(t, "RSASSA", "")
	s.machine.EK = nil
	gce, err := w.ca.GCECertificate(s.machine.AK.Signer.Public(), forge.GCECertificateConfig{})
	if err != nil {
		t.Fatal(err)
	}
	azure, err := w.ca.AzureCertificate(s.machine.AK.Signer.Public(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		certificate []byte
		facts       map[string]string
		handle      string
	}{
		"GCE": {gce, map[string]string{"gce_project": "test-project", "gce_zone": "europe-west4-a",
			"gce_instance_name": "test-instance", "manufacturer": "GOOG"},
			"gce:test-project/europe-west4-a/1234567890123456789"},
		"Azure": {azure, map[string]string{"gce_project": "not visible", "manufacturer": "MSFT"},
			"azure:0123456789ab"},
	} {
		s.parts = func(e *tpmevidence.Evidence) {
			e.AKCertificate, e.Intermediates = row.certificate, w.ca.Bundle()
		}
		claims := good(t, v, s.build())
		row.facts["ak_residency"], row.facts["ek_trust"] = "certified", "none"
		for fact, want := range row.facts {
			if got, _ := claims.Fact(fact); got.String() != want {
				t.Errorf("%s: %s is %s, want %s", name, fact, got, want)
			}
		}
		if got := fact(t, claims, "protection"); got == "hardware" {
			t.Errorf("%s: protection %s", name, got)
		}
		var handles []attestd.Handle
		for handle := range claims.Handles() {
			handles = append(handles, handle)
		}
		if len(handles) != 2 || handles[0].Value != row.handle || handles[1].Value != row.handle+"/3" {
			t.Errorf("%s: handles %v, want %s", name, handles, row.handle)
		}
	}
	// An AK certificate is for one key, and for its time.
	other, err := w.ca.GCECertificate(w.keys["RSAPSS"].Signer.Public(), forge.GCECertificateConfig{})
	if err != nil {
		t.Fatal(err)
	}
	test, err := w.ca.GCECertificate(s.machine.AK.Signer.Public(), forge.GCECertificateConfig{Test: true})
	if err != nil {
		t.Fatal(err)
	}
	ended, err := w.ca.GCECertificate(s.machine.AK.Signer.Public(), forge.GCECertificateConfig{
		Edit: func(c *x509.Certificate) { c.NotAfter = forge.TPMTime.AddDate(0, 0, -1) }})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		certificate []byte
		class       attestd.Class
	}{{other, attestd.ClassBinding}, {test, attestd.ClassPlatform}, {ended, attestd.ClassCertTime}} {
		s.parts = func(e *tpmevidence.Evidence) {
			e.AKCertificate, e.Intermediates = row.certificate, w.ca.Bundle()
		}
		refused(t, v, s.build(), "tpm/ak-certificate", row.class)
	}
}

// neg: 87
func TestASimulatorsRootIsInsecureOrUnknown(t *testing.T) {
	production, err := tpm.New(tpm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t, "ECDSA P-256", "ECC EK")
	refused(t, production, s.build(), "tpm/ek-chain", attestd.ClassChain)
	claims := good(t, newVerifier(t), s.build())
	if !claims.InsecureRoots() || fact(t, claims, "protection") != "insecure" {
		t.Errorf("insecure roots %t, protection %s", claims.InsecureRoots(), fact(t, claims, "protection"))
	}
}

func TestAnInventoryVouchesForAnEndorsementKey(t *testing.T) {
	production, err := tpm.New(tpm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t, "ECDSA P-256", "RSA EK")
	s.input.Anchors.EndorsementKeys = [][32]byte{spki(t, s.machine.EK)}
	for _, certificate := range []bool{true, false} {
		if !certificate {
			s.parts = func(e *tpmevidence.Evidence) { e.EKCertificate, e.Intermediates = nil, nil }
		}
		claims := good(t, production, s.build())
		for name, want := range map[string]string{"ek_trust": "inventory", "ownership": "inventory",
			"ek_certificate": "absent", "protection": "unknown", "ak_residency": "activated",
			"manufacturer": "not visible"} {
			if got := fact(t, claims, name); got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
		if claims.InsecureRoots() {
			t.Error("insecure roots")
		}
	}
	s.input.Anchors.Activation = nil
	s.input.Anchors.AttestationKeys = [][32]byte{spki(t, s.machine.AK)}
	claims := good(t, production, s.build())
	for name, want := range map[string]string{"ek_trust": "none", "ownership": "(absent)",
		"ek_sha256": "(absent)", "ak_residency": "none"} {
		if got := fact(t, claims, name); got != want {
			t.Errorf("not activated: %s is %s, want %s", name, got, want)
		}
	}
	for handle := range claims.Handles() {
		t.Errorf("not activated: handle %v", handle)
	}
}

// TestAnOperatorsFolderMayHoldManyVendors: what an operator has beside the one intermediate that this
// machine needs is not the evidence's fault.
func TestAnOperatorsFolderMayHoldManyVendors(t *testing.T) {
	s := newScene(t, "ECDSA P-256", "ECC EK")
	s.parts = func(e *tpmevidence.Evidence) { e.Intermediates = nil }
	for range 60 {
		s.input.Endorsements.Certificates = append(s.input.Endorsements.Certificates,
			s.world.other.Intermediate.Raw)
	}
	s.input.Endorsements.Certificates = append(s.input.Endorsements.Certificates, s.world.ca.Bundle()...)
	v := newVerifier(t)
	if got := fact(t, good(t, v, s.build()), "ek_trust"); got != "chain" {
		t.Errorf("ek_trust is %s", got)
	}
}
