package tpm_test

import (
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
)

// TestAMachineThatACloudNamesHasOneName: whether its key answers a credential is the machine's choice,
// so a second name by it would be a way out of a hold, and out of its cloud's lists. neg: 182
func TestAMachineThatACloudNamesHasOneName(t *testing.T) {
	v, w := newVerifier(t), theWorld(t)
	s := newScene(t, "RSASSA", "RSA EK")
	ek, err := w.ca.EKCertificate(w.keys["RSA EK"].Signer.Public(), forge.EKCertificateConfig{})
	if err != nil {
		t.Fatal(err)
	}
	gce, err := w.ca.GCECertificate(s.machine.AK.Signer.Public(), forge.GCECertificateConfig{})
	if err != nil {
		t.Fatal(err)
	}
	azure, err := w.ca.AzureCertificate(s.machine.AK.Signer.Public(), nil)
	if err != nil {
		t.Fatal(err)
	}
	activation := s.input.Anchors.Activation
	for name, certificate := range map[string][]byte{"GCE": gce, "Azure": azure} {
		s.parts = func(e *tpmevidence.Evidence) {
			e.EKCertificate, e.AKCertificate, e.Intermediates = ek, certificate, w.ca.Bundle()
		}
		var names [2]string
		for i, residency := range []string{"activated", "certified"} {
			s.input.Anchors.Activation = activation
			if residency == "certified" {
				s.input.Anchors.Activation = nil
			}
			claims := good(t, v, s.build())
			if got := fact(t, claims, "ak_residency"); got != residency {
				t.Fatalf("%s: the key is %s, want %s", name, got, residency)
			}
			for handle := range claims.Handles() {
				if handle.Kind == attestd.HandleInstance {
					names[i] = handle.Value
				}
			}
		}
		if names[0] != names[1] || names[0] == "" {
			t.Errorf("%s: the machine is %q with an activation and %q without", name, names[0], names[1])
		}
	}
}
