package tpm

import (
	"bytes"
	"crypto/subtle"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/tpm2"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
)

// Grades of the key that was bound (fact key_grade).
const (
	gradeResident = "resident"
	gradeBound    = "bound"
	gradeNone     = "none"
)

// checkKey looks at a key that came along, and grades the key that was demanded. Binding a key is not
// residency: whoever is root on one machine can have a quote made over another machine's key.
func (s *session) checkKey() *fault {
	demanded, isDemanded := s.input.Demand.Key()
	s.grade = gradeNone
	if s.input.Demand.IsBinding() && isDemanded {
		s.grade = gradeBound // extraData covers it
	}
	if s.evidence.Key == nil {
		if isDemanded && !s.input.Demand.IsBinding() {
			return refuse(checkCertifiedKey, "no certified key", "the key that was demanded")
		}
		s.trail.NotApplicable(checkCertifiedKey, "no key came along")
		return nil
	}
	public, bad := s.readCertified()
	if bad != nil {
		return bad
	}
	spki, err := public.SPKI()
	if err != nil {
		return refuseAs(checkCertifiedKey, attestd.ClassKeyProperties, "", "a key").because(err)
	}
	s.certified, s.certifiedWeak = spki, tpmtrust.WeakKey(public.Key)
	switch same := isDemanded && bytes.Equal(spki, demanded); {
	case same:
		s.grade = gradeResident
	case isDemanded && !s.input.Demand.IsBinding():
		return refuse(checkCertifiedKey, "a certification of another key", "the key that was demanded")
	}
	s.trail.Pass(checkCertifiedKey, "certified by the attestation key", "certified by the attestation key")
	return nil
}

// readCertified verifies what the attestation key says of the key (Part 3, section 18.2).
func (s *session) readCertified() (tpm2.Public, *fault) {
	const check = checkCertifiedKey
	key := s.evidence.Key
	public, err := tpm2.ParsePublic(key.Public)
	if err != nil {
		return public, refuseAs(check, attestd.ClassMalformed, "", "one TPMT_PUBLIC").because(err)
	}
	if problem := certifiedKeyProblem(&public); problem != "" {
		return public, refuseAs(check, attestd.ClassKeyProperties, problem, "a signing key of RSA "+
			"from 2048 bits, P-256 or P-384: fixedTPM, fixedParent, sensitiveDataOrigin, not restricted")
	}
	attest, err := tpm2.ParseAttest(key.Attest)
	if err != nil {
		return public, refuseAs(check, structureClass(err), "", "one TPMS_ATTEST").because(err)
	}
	signature, err := tpm2.ParseSignature(key.Signature)
	if err != nil {
		return public, refuseAs(check, signatureClass(err), "", "one TPMT_SIGNATURE").because(err)
	}
	name := public.Name()
	switch {
	case attest.Type != tpm2.TypeCertify:
		return public, refuseAs(check, attestd.ClassMalformed, "a quote", "TPM_ST_ATTEST_CERTIFY")
	case name == nil || !bytes.Equal(attest.Name, name):
		return public, refuse(check, "a certification of another object", "one of the key's Name")
	case !bytes.Equal(attest.QualifiedSigner, s.quote.attest.QualifiedSigner):
		return public, refuse(check, "another signer", "the attestation key that quoted")
	// A certification of an earlier exchange would make a key that has left since look resident.
	case subtle.ConstantTimeCompare(attest.ExtraData, s.quote.attest.ExtraData) != 1:
		return public, refuse(check, "a certification over another value", "the quote's extraData")
	// Two statements of one moment: a certification from before a reset, or of a clone, is none.
	case attest.ResetCount != s.quote.attest.ResetCount:
		return public, refuse(check, "a certification of another boot", "the quote's resetCount")
	}
	s.verifier.signatures.Add(1)
	if !s.quote.key.verify(attest.Raw, &signature) {
		return public, refuseAs(check, attestd.ClassSignature,
			"a signature that the attestation key did not make", "the attestation key's signature")
	}
	return public, nil
}
