package tpmtrust_test

import (
	"testing"

	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
)

// FuzzEKCertificate reads anything as an EK certificate, an AK certificate, an intermediate and a
// CRL. What is accepted must have been accepted before: nobody has a pinned root's key.
func FuzzEKCertificate(f *testing.F) {
	published := map[string]bool{}
	for _, name := range []string{
		"ek-infineon-slb9665", "ek-nuvoton-npct75x", "ek-stm-st33htphahd8", "ek-google-rsa-2022",
		"ek-google-ecc-2022", "signing-google-ecc-2022", "ak-gce-ecc-2022", "ak-gce-rsa-2022",
		"ak-gce-2025", "ak-azure-trustedvm-ca-03", "ak-azure-trustedvm-ca-11",
	} {
		raw := real(f, name)
		published[string(raw)] = true
		f.Add(raw)
	}
	ca := authority(f, forge.TPMCAConfig{})
	f.Add(must(ca.EKCertificate(p256(f).Public(), forge.EKCertificateConfig{}))(f))
	f.Add(must(ca.CRL(forge.TPMCRLConfig{}))(f))
	s := store(f, tpmtrust.Config{})
	good := real(f, "ek-nuvoton-npct75x")
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := string(raw)
		ek, fault := s.Endorsement(tpmtrust.EKQuery{
			Certificate: raw, Intermediates: [][]byte{raw}, CRLs: [][]byte{raw}, At: forge.TPMTime,
		})
		_, second := s.Endorsement(tpmtrust.EKQuery{Certificate: raw, At: forge.TPMTime})
		_, third := s.AttestationKey(tpmtrust.AKQuery{Certificate: raw, At: forge.TPMTime})
		if (fault == nil || second == nil || third == nil) && !published[string(raw)] {
			t.Errorf("accepted %x: %+v", raw, ek)
		}
		for _, one := range []*tpmtrust.Fault{fault, second, third} {
			if one != nil && (one.Class == "" || one.Got == "" || one.Want == "" || one.Reason == "") {
				t.Errorf("%+v", one)
			}
		}
		if _, fault := s.Endorsement(tpmtrust.EKQuery{
			Certificate: good, Intermediates: [][]byte{raw}, At: forge.TPMTime,
		}); len(raw) <= 4096 && fault != nil {
			t.Errorf("an intermediate that is not needed: %v", fault)
		}
		if string(raw) != before {
			t.Error("the input was written to")
		}
	})
}
