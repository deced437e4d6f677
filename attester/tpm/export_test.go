package tpm

import "github.com/google/go-tpm/tpm2"

// AttestationTemplate is the template of attestation keys.
func AttestationTemplate() tpm2.TPMTPublic { return attestationTemplate() }
