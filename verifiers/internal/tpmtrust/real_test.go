package tpmtrust_test

import (
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
)

func real(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".pem") //nolint:gosec // a file of the repository
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("%s is no PEM", name)
	}
	return block.Bytes
}

func store(t testing.TB, config tpmtrust.Config) *tpmtrust.Store {
	t.Helper()
	made, err := tpmtrust.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func day(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 12, 0, 0, 0, time.UTC)
}

// TestRealEndorsementCertificates verifies chips of three makers and Google's virtual TPMs, each
// with nothing but its certificate, as a TPM's memory has it.
func TestRealEndorsementCertificates(t *testing.T) {
	s := store(t, tpmtrust.Config{})
	for _, row := range []struct {
		file                         string
		manufacturer, model, version string
		root                         string
		protection                   tpmtrust.Protection
		expired                      bool
	}{
		{"ek-infineon-slb9665", "IFX", "SLB 9665", "053E", "Infineon OPTIGA(TM) RSA Root CA", "hardware", false},
		{"ek-nuvoton-npct75x", "NTC", "NPCT75x", "00070002", "Nuvoton TPM Root CA 2111", "hardware", false},
		{"ek-stm-st33htphahd8", "STM", "ST33HTPHAHD8", "00010102",
			"GlobalSign Trusted Platform Module Root CA", "hardware", false},
		{"ek-google-rsa-2022", "GOOG", "vTPM", "20160511", "tpm_ek_v1_cloud_host_root", "vtpm", false},
		{"ek-google-ecc-2022", "GOOG", "vTPM", "20160511", "tpm_ek_v1_cloud_host_root", "vtpm", false},
	} {
		ek, fault := s.Endorsement(tpmtrust.EKQuery{Certificate: real(t, row.file), At: day(2026, 6, 1)})
		if fault != nil {
			t.Errorf("%s: %v", row.file, fault)
			continue
		}
		if ek.Manufacturer != row.manufacturer || ek.Model != row.model || ek.Version != row.version {
			t.Errorf("%s: %q %q %q", row.file, ek.Manufacturer, ek.Model, ek.Version)
		}
		if !strings.HasPrefix(ek.Root, row.root) || ek.Protection != row.protection {
			t.Errorf("%s: root %q, protection %q", row.file, ek.Root, ek.Protection)
		}
		if ek.Insecure || ek.Expired || ek.Vulnerable || ek.CRL != tpmtrust.CRLMissing || len(ek.SPKI) == 0 {
			t.Errorf("%s: %+v", row.file, ek)
		}
	}
}

// TestRealEndorsementCertificatesEnd: what is past its end says so, and is not refused for it; what
// has not begun is.
func TestRealEndorsementCertificatesEnd(t *testing.T) {
	s := store(t, tpmtrust.Config{})
	raw := real(t, "ek-infineon-slb9665")
	ek, fault := s.Endorsement(tpmtrust.EKQuery{Certificate: raw, At: day(2037, 1, 1)})
	if fault != nil || !ek.Expired || ek.NotAfter.Year() != 2036 {
		t.Errorf("after its end: %+v, %v", ek, fault)
	}
	_, fault = s.Endorsement(tpmtrust.EKQuery{Certificate: raw, At: day(2020, 1, 1)})
	if fault == nil || fault.Class != attestd.ClassCertTime {
		t.Errorf("before its start: %v", fault)
	}
}

// TestRealAttestationCertificates verifies what Google and Azure issued for attestation keys. A key
// of theirs is in a virtual TPM, whatever the machine: neither claims hardware. neg: 88
func TestRealAttestationCertificates(t *testing.T) {
	s := store(t, tpmtrust.Config{})
	for _, row := range []struct {
		file string
		at   time.Time
		want tpmtrust.AK
	}{
		{"ak-gce-2025", day(2025, 6, 1), tpmtrust.AK{
			Profile: tpmtrust.ProfileGCE, Project: "nonvolatile-dev", Zone: "us-west1-b",
			InstanceID: "8033817256003918212", InstanceName: "jfquinn-tdx-tpm-ubuntu-test-us-west1-b",
			Root: "EK/AK CA Root",
		}},
		{"ak-gce-rsa-2022", day(2026, 6, 1), tpmtrust.AK{
			Profile: tpmtrust.ProfileGCE, Project: "google.com:wuale-gcp-testing",
			Zone: "us-central1-a", InstanceID: "218557372616137117", InstanceName: "cs-debug-pca",
			Root: "EK/AK CA Root",
		}},
		{"ak-gce-ecc-2022", day(2026, 6, 1), tpmtrust.AK{
			Profile: tpmtrust.ProfileGCE, Project: "google.com:wuale-gcp-testing",
			Zone: "us-central1-a", InstanceID: "218557372616137117", InstanceName: "cs-debug-pca",
			Root: "EK/AK CA Root",
		}},
		{"ak-azure-trustedvm-ca-03", day(2026, 8, 1), tpmtrust.AK{
			Profile: tpmtrust.ProfileAzure, InstanceID: "f859864a6a31", Machine: "TrustedVM",
			Root: "Azure Virtual TPM Root Certificate Authority 2023",
		}},
		{"ak-azure-trustedvm-ca-11", day(2026, 8, 1), tpmtrust.AK{
			Profile: tpmtrust.ProfileAzure, InstanceID: "378964f8555f", Machine: "TrustedVM",
			Root: "Azure Virtual TPM Root Certificate Authority 2023",
		}},
		{"ak-azure-confidentialvm-ca-03", day(2025, 12, 1), tpmtrust.AK{
			Profile: tpmtrust.ProfileAzure, InstanceID: "66f962d2e762", Machine: "ConfidentialVM",
			Root: "Azure Virtual TPM Root Certificate Authority 2023",
		}},
	} {
		ak, fault := s.AttestationKey(tpmtrust.AKQuery{Certificate: real(t, row.file), At: row.at})
		if fault != nil {
			t.Errorf("%s: %v", row.file, fault)
			continue
		}
		if ak.Profile != row.want.Profile || ak.InstanceID != row.want.InstanceID ||
			ak.Project != row.want.Project || ak.Zone != row.want.Zone || ak.Root != row.want.Root ||
			ak.InstanceName != row.want.InstanceName || ak.Machine != row.want.Machine {
			t.Errorf("%s: %+v", row.file, ak)
		}
		if ak.Protection != tpmtrust.ProtectionVTPM || ak.Insecure || ak.Expired {
			t.Errorf("%s: %+v", row.file, ak)
		}
	}
}

// TestRealCertificatesOfTheWrongKind: Google's signing key with an EK's purpose is no EK, no EK is
// an AK, and the padding in an Azure machine's memory is no certificate.
func TestRealCertificatesOfTheWrongKind(t *testing.T) {
	s := store(t, tpmtrust.Config{})
	_, fault := s.Endorsement(tpmtrust.EKQuery{
		Certificate: real(t, "signing-google-ecc-2022"), At: day(2026, 6, 1),
	})
	if fault == nil || fault.Reason != tpmtrust.ReasonCertificate {
		t.Errorf("signing key as EK: %v", fault)
	}
	padded := append(real(t, "ak-azure-trustedvm-ca-03"), make([]byte, 32)...)
	_, fault = s.AttestationKey(tpmtrust.AKQuery{Certificate: padded, At: day(2026, 8, 1)})
	if fault == nil || fault.Class != attestd.ClassMalformed {
		t.Errorf("padding: %v", fault)
	}
	for _, file := range []string{"ek-stm-st33htphahd8", "ek-google-rsa-2022"} {
		_, fault := s.AttestationKey(tpmtrust.AKQuery{Certificate: real(t, file), At: day(2026, 6, 1)})
		if fault == nil {
			t.Errorf("%s as an AK certificate: accepted", file)
		}
	}
}
