package tpm

import (
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd/internal/tpmevidence"
)

// AttestationTemplate is the template of attestation keys.
func AttestationTemplate() tpm2.TPMTPublic { return attestationTemplate() }

// NotesOfLogs is what is said about the logs of a device.
func NotesOfLogs(t *testing.T, spec string) []string {
	t.Helper()
	d, err := Open(spec, Options{})
	if err != nil {
		t.Fatal(err)
	}
	notes, err := d.logs(new(tpmevidence.Evidence), 0)
	if err != nil {
		t.Fatal(err)
	}
	return notes
}

// CertifiedKey and Certificates read what makers leave in NV.
var (
	CertifiedKey = certifiedKey
	Certificates = certificates
)
