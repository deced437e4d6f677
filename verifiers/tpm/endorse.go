package tpm

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/tpmtrust"
)

// backing is what stands behind the attestation key.
type backing struct {
	// ek is the SHA-256 of the endorsement key's DER SubjectPublicKeyInfo, and hasEK whether the
	// evidence brought the key, by itself or in a certificate.
	ek    [sha256.Size]byte
	hasEK bool
	// key is its public area; nil where only a certificate came.
	key *endorsementKey
	// certificate is what the EK certificate says; nil where there is none that anybody vouches for.
	certificate *tpmtrust.EK
	// listed says that the endorsement key is in the operator's inventory.
	listed bool
	// weak says that the endorsement key's modulus has the form of CVE-2017-15361.
	weak bool
	// ak is what the AK certificate says; nil for none.
	ak *tpmtrust.AK
	// activated says that a credential ties the endorsement key to the attestation key. Without it
	// nothing that is known of the endorsement key is known of the machine that quoted.
	activated bool
	// named says that the operator named the attestation key.
	named bool
	// tee says that a verified report of a TEE states the attestation key as that of a TPM inside it.
	tee bool
	// used marks the intermediates that are part of a path.
	used uint32
}

// endorse makes the checks of who vouches for the key, in their order.
func (s *session) endorse() *fault {
	for _, step := range [...]func() *fault{
		s.checkEKPublic, s.checkEKCertificate, s.checkEKTrusted, s.checkAKCertificate,
		s.checkActivation, s.checkAKTrusted,
	} {
		if bad := step(); bad != nil {
			return bad
		}
	}
	return nil
}

// checkEKPublic reads the endorsement key's public area, which must be by one of the TCG's templates:
// a key that decrypts for anybody would open credentials that were made for another object.
func (s *session) checkEKPublic() *fault {
	if s.evidence.EKPublic == nil {
		s.trail.NotApplicable(checkEKPublic, "the evidence has no EK public area")
		return nil
	}
	const want = "a storage key by a TCG template"
	key, bad := s.verifier.readEndorsementKey(s.evidence.EKPublic)
	if bad != nil {
		return bad
	}
	if bad := tpmtrust.CheckEKTemplate(key.public); bad != nil {
		return fromTrust(checkEKPublic, bad)
	}
	s.backing.key, s.backing.weak = key, key.weak
	s.backing.ek, s.backing.hasEK = key.spki, true
	s.trail.Pass(checkEKPublic, want, want)
	return nil
}

// fromTrust turns a fault of package tpmtrust into one of a check.
func fromTrust(check attestd.CheckID, bad *tpmtrust.Fault) *fault {
	return refuseAs(check, bad.Class, bad.Got, bad.Want).because(bad.Err)
}

// checkEKCertificate makes the checks of certificate, chain and match.
func (s *session) checkEKCertificate() *fault {
	if s.evidence.EKCertificate == nil {
		for _, check := range [...]attestd.CheckID{checkEKCertificate, checkEKChain, checkEKMatch} {
			s.trail.NotApplicable(check, "the evidence has no EK certificate")
		}
		return nil
	}
	const wantCertificate, wantChain = "an EK certificate", "a path to a pinned root"
	ek, bad := s.verifier.store.Endorsement(tpmtrust.EKQuery{
		Certificate: s.evidence.EKCertificate, Intermediates: s.intermediates(),
		CRLs: s.input.Endorsements.CRLs, At: s.input.At,
	})
	switch {
	case bad == nil:
	case bad.Reason == tpmtrust.ReasonChain:
		s.trail.Pass(checkEKCertificate, wantCertificate, wantCertificate)
		if !s.inventoried() {
			return fromTrust(checkEKChain, bad)
		}
		s.trail.NotApplicable(checkEKChain, "no path to a pinned root: the inventory vouches for the "+
			"key, and nothing is taken from the certificate")
		s.trail.NotApplicable(checkEKMatch, "nothing is taken from the certificate")
		s.backing.used = ^uint32(0) // a path that was not found uses what it may
		return nil
	case aboutPath(bad.Reason):
		s.trail.Pass(checkEKCertificate, wantCertificate, wantCertificate)
		return fromTrust(checkEKChain, bad)
	default:
		return fromTrust(checkEKCertificate, bad)
	}
	s.trail.Pass(checkEKCertificate, wantCertificate, wantCertificate)
	if ek.Insecure {
		s.trail.Pass(checkEKChain, "a path to a root that was loaded by hand", wantChain)
	} else {
		s.trail.Pass(checkEKChain, wantChain, wantChain)
	}
	return s.takeEK(&ek)
}

// aboutPath reports whether a fault is about the path, which is looked for once the certificate itself
// was found to be one of an endorsement key.
func aboutPath(reason tpmtrust.Reason) bool {
	switch reason {
	case tpmtrust.ReasonTime, tpmtrust.ReasonRevoked, tpmtrust.ReasonCRL:
		return true
	default:
		return false
	}
}

// takeEK compares the certificate's key with the public area: the credential is made for the one, and
// the vendor vouches for the other.
func (s *session) takeEK(ek *tpmtrust.EK) *fault {
	certified := sha256.Sum256(ek.SPKI)
	if s.backing.hasEK && certified != s.backing.ek {
		return refuse(checkEKMatch, "a certificate of another key", "one of the EK that came along")
	}
	s.trail.Pass(checkEKMatch, "the certificate's key", "the certificate's key")
	s.backing.certificate, s.backing.ek, s.backing.hasEK = ek, certified, true
	s.backing.weak = ek.Vulnerable
	s.backing.used |= ek.Used
	return nil
}

// intermediates are those of the evidence, then those that were given beside it.
func (s *session) intermediates() [][]byte {
	return slices.Concat(s.evidence.Intermediates, s.input.Endorsements.Certificates)
}

// inventoried reports whether the operator lists the endorsement key.
func (s *session) inventoried() bool {
	return s.backing.hasEK && contains(s.input.Anchors.EndorsementKeys, s.backing.ek)
}

// checkEKTrusted refuses an endorsement key that nobody vouches for: a key of software opens every
// credential that is made for it.
func (s *session) checkEKTrusted() *fault {
	b := &s.backing
	if !b.hasEK {
		s.trail.NotApplicable(checkEKTrusted, "the evidence has no endorsement key")
		return nil
	}
	b.listed = s.inventoried()
	if !b.listed && b.certificate == nil {
		return refuse(checkEKTrusted, "neither a certificate nor an entry of the inventory", "one of them")
	}
	s.trail.Pass(checkEKTrusted, "a "+b.trust()+" vouches for it", "a chain or the inventory")
	return nil
}

// trust names what vouches for the endorsement key.
func (b *backing) trust() string {
	switch {
	case b.certificate != nil:
		return "chain"
	case b.listed:
		return "inventory"
	default:
		return "none"
	}
}

func (s *session) checkAKCertificate() *fault {
	if s.evidence.AKCertificate == nil {
		s.trail.NotApplicable(checkAKCertificate, "the evidence has no AK certificate")
		return nil
	}
	const want = "a valid certificate of this attestation key"
	ak, bad := s.verifier.store.AttestationKey(tpmtrust.AKQuery{
		Certificate: s.evidence.AKCertificate, Intermediates: s.intermediates(),
		CRLs: s.input.Endorsements.CRLs, At: s.input.At,
	})
	switch {
	case bad != nil:
		return fromTrust(checkAKCertificate, bad)
	case sha256.Sum256(ak.SPKI) != s.quote.key.spki:
		return refuseAs(checkAKCertificate, attestd.ClassBinding, "a certificate of another key", want)
	case ak.Expired:
		// Unlike an EK, an attestation key is made anew whenever its cloud pleases.
		return refuseAs(checkAKCertificate, attestd.ClassCertTime, "a certificate that has ended", want)
	}
	s.backing.ak = &ak
	s.backing.used |= ak.Used
	s.trail.Pass(checkAKCertificate, want, want)
	return nil
}

// minSecret is the least length of an activation secret: shorter ones can be guessed.
const minSecret = 16

// checkActivation compares the answer to a credential. Everything in the activation but the answer is
// our own record; whatever differs means that this key's TPM did not answer this credential.
func (s *session) checkActivation() *fault {
	activation := s.input.Anchors.Activation
	if activation == nil {
		s.trail.NotApplicable(checkActivation, "no credential was made in this exchange or before")
		return nil
	}
	switch {
	case len(s.quote.key.name) == 0 || !bytes.Equal(activation.AKName, s.quote.key.name):
		return refuse(checkActivation, "a credential for another attestation key",
			"one for the Name of the key that quoted")
	case !s.backing.hasEK || activation.EK != s.backing.ek:
		return refuse(checkActivation, "a credential under another endorsement key",
			"one under the endorsement key of the evidence")
	case !activation.Earlier && !answers(activation):
		return refuseAs(checkActivation, attestd.ClassReplay, "another secret",
			"the secret of this exchange's credential")
	}
	s.backing.activated = true
	s.trail.Pass(checkActivation, "the key answered its credential", "the key answered its credential")
	return nil
}

// answers compares digests in constant time: how much of an answer was right must not show.
func answers(activation *attestd.Activation) bool {
	if len(activation.Answer) < minSecret || activation.Secret == [sha256.Size]byte{} {
		return false
	}
	digest := sha256.Sum256(activation.Answer)
	return subtle.ConstantTimeCompare(digest[:], activation.Secret[:]) == 1
}

// checkAKTrusted refuses a key that nobody vouches for, and certificates that vouch for nothing.
func (s *session) checkAKTrusted() *fault {
	b := &s.backing
	b.named = contains(s.input.Anchors.AttestationKeys, s.quote.key.spki)
	b.tee = contains(s.input.Anchors.TEEKeys, s.quote.key.spki)
	for index := range s.evidence.Intermediates {
		if b.used>>index&1 == 0 {
			return refuse(checkAKTrusted, fmt.Sprintf("intermediate certificate %d, which no path uses",
				index), "certificates that are needed")
		}
	}
	if !b.tee && !b.activated && b.ak == nil && !b.named {
		return refuse(checkAKTrusted, "nobody vouches for the attestation key",
			"an activation, a certificate, or an entry under attestation-keys")
	}
	s.trail.Pass(checkAKTrusted, b.voucher(), "an activation, a certificate or the operator")
	return nil
}

// voucher says who vouches for the attestation key, the strongest first.
func (b *backing) voucher() string {
	switch {
	case b.tee:
		return "a TEE's report states it"
	case b.activated:
		return "its TPM answered a credential"
	case b.ak != nil:
		return "a certificate vouches for it"
	default:
		return "the operator named it"
	}
}

// residency is how it was shown that the attestation key lives in a TPM.
func (b *backing) residency() string {
	switch {
	case b.tee:
		return "tee"
	case b.activated:
		return "activated"
	case b.ak != nil:
		return "certified"
	default:
		return "none"
	}
}

// insecure reports whether a root that was loaded by hand had a part in the answer.
func (b *backing) insecure() bool {
	return b.certificate != nil && b.certificate.Insecure || b.ak != nil && b.ak.Insecure
}

// protection is what stands between an attacker on the machine and the attestation key. Only what is
// tied to that key counts.
func (b *backing) protection() string {
	switch {
	case b.insecure():
		return "insecure"
	case b.tee:
		return "tee"
	case b.ak != nil:
		return string(b.ak.Protection)
	case b.activated && b.certificate != nil:
		return string(b.certificate.Protection)
	default:
		return string(tpmtrust.ProtectionUnknown)
	}
}
