package tpm

import (
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// Documents that the checks cite.
const (
	specOurs       = "attestd, docs/verifiers/tpm.md, limits"
	specPublic     = "TPM 2.0 Library 01.59, Part 2, section 12.2.4 (TPMT_PUBLIC)"
	specAttributes = "TPM 2.0 Library 01.59, Part 2, section 8.3 (TPMA_OBJECT)"
	specAttest     = "TPM 2.0 Library 01.59, Part 2, section 10.12.12 (TPMS_ATTEST)"
	specSignature  = "TPM 2.0 Library 01.59, Part 2, section 11.3.4 (TPMT_SIGNATURE)"
	specName       = "TPM 2.0 Library 01.59, Part 1, section 16 (Names)"
	specQuote      = "TPM 2.0 Library 01.59, Part 3, section 18.4 (TPM2_Quote)"
	specCertify    = "TPM 2.0 Library 01.59, Part 3, section 18.2 (TPM2_Certify)"
	specCredential = "TPM 2.0 Library 01.59, Part 1, section 24 (Credential Protection)"
	specClock      = "TPM 2.0 Library 01.59, Part 1, section 36 (Timing Components)"
	specEK         = "TCG EK Credential Profile for TPM Family 2.0, Level 0, revision 2.5"
	specX509       = "RFC 5280, section 6.1"
	specPFP        = "TCG PC Client Platform Firmware Profile 1.06, section 10"
	specIMA        = "Linux, Documentation/security/IMA-templates.rst"
	specGCE        = "Google Cloud, Shielded VM: AK certificate, OID 1.3.6.1.4.1.11129.2.1.21"
)

// The checks of a verification, in the order in which they run.
const (
	checkSize            attestd.CheckID = "tpm/size"
	checkEncoding        attestd.CheckID = "tpm/encoding"
	checkAKPublic        attestd.CheckID = "tpm/ak-public"
	checkAKAttributes    attestd.CheckID = "tpm/ak-attributes"
	checkAKAlgorithm     attestd.CheckID = "tpm/ak-algorithm"
	checkQuoteStructure  attestd.CheckID = "tpm/quote-structure"
	checkEKPublic        attestd.CheckID = "tpm/ek-public"
	checkEKCertificate   attestd.CheckID = "tpm/ek-certificate"
	checkEKChain         attestd.CheckID = "tpm/ek-chain"
	checkEKMatch         attestd.CheckID = "tpm/ek-match"
	checkEKTrusted       attestd.CheckID = "tpm/ek-trusted"
	checkAKCertificate   attestd.CheckID = "tpm/ak-certificate"
	checkActivation      attestd.CheckID = "tpm/activation"
	checkAKTrusted       attestd.CheckID = "tpm/ak-trusted"
	checkSignature       attestd.CheckID = "tpm/signature"
	checkQualifiedSigner attestd.CheckID = "tpm/qualified-signer"
	checkNonce           attestd.CheckID = "tpm/nonce"
	checkPCRBank         attestd.CheckID = "tpm/pcr-bank"
	checkPCRSelection    attestd.CheckID = "tpm/pcr-selection"
	checkPCRDigest       attestd.CheckID = "tpm/pcr-digest"
	checkCertifiedKey    attestd.CheckID = "tpm/certified-key"
	checkEventLog        attestd.CheckID = "tpm/event-log"
	checkIMALog          attestd.CheckID = "tpm/ima-log"
)

// specs are all checks: those that Verify decides, then those that it prepares for a policy.
var specs = slices.Concat(encodingChecks, trustChecks, quoteChecks, keyChecks, machineChecks)

var table = trail.NewTable(specs)

// Checks implements verifiers.Verifier.
func (v *Verifier) Checks() []attestd.CheckSpec { return slices.Clone(specs) }

func verified(
	id attestd.CheckID, class attestd.Class, spec, proves, why, hint string,
) attestd.CheckSpec {
	return attestd.CheckSpec{ID: id, Proves: proves, Why: why, Spec: spec, Hint: hint, Class: class,
		Group: attestd.GroupAuthenticity}
}

// encodingChecks look at structures alone.
var encodingChecks = []attestd.CheckSpec{
	verified(checkSize, attestd.ClassTooLarge, specOurs,
		"the evidence, and each part of it, is no larger than what real machines send",
		"a sender could make one verification cost as much as thousands",
		"send of the IMA log only what is new (attestd evidence tpm --ima-offset BYTES), or none of it "+
			"(--ima-log off)"),
	verified(checkEncoding, attestd.ClassMalformed, specOurs,
		"the evidence is the one encoding of its parts",
		"two readers could find different parts in the same bytes",
		"make the evidence with attestd evidence tpm; see attestd inspect FILE"),
	verified(checkAKPublic, attestd.ClassMalformed, specPublic,
		"the attestation key's public area is one TPMT_PUBLIC and nothing behind it",
		"the Name would cover bytes that nobody read, and a key off its curve can be forged",
		"send TPMT_PUBLIC as the TPM returned it, without the size in front of it (TPM2B)"),
	verified(checkAKAttributes, attestd.ClassKeyProperties, specAttributes,
		"the attestation key was made in its TPM, cannot leave it, and signs only what the TPM made",
		"a key that signs anything signs a quote that was written by hand; one that can leave its "+
			"TPM speaks from anywhere",
		"make a key that is restricted, sign, fixedTPM, fixedParent, sensitiveDataOrigin, not decrypt"),
	verified(checkAKAlgorithm, attestd.ClassKeyProperties, specPublic,
		"the attestation key has one scheme and a strength that holds: RSA from 2048 bits, P-256 or "+
			"P-384, with SHA-256 or better",
		"whoever breaks a weak key or digest signs in the TPM's name",
		"make a key with RSASSA, RSAPSS or ECDSA and SHA-256 or better; nameAlg SHA-256 or better"),
	verified(checkQuoteStructure, attestd.ClassMalformed, specAttest,
		"the quote is one TPMS_ATTEST of type quote that a TPM generated, with one signature",
		"another statement of the key, or one written by hand, would be read as a quote",
		"send the bytes of TPM2_Quote as they are; each PCR bank may be selected once"),
}

// trustChecks say who vouches for the keys.
var trustChecks = []attestd.CheckSpec{
	verified(checkEKPublic, attestd.ClassKeyProperties, specEK+", annex B",
		"the endorsement key is a storage key by one of the TCG's templates",
		"credentials for a key that decrypts for anybody show nothing about a TPM",
		"create the EK by template L-1, L-2 or one of the H range; send its TPMT_PUBLIC"),
	verified(checkEKCertificate, attestd.ClassChain, specEK+", section 3",
		"the certificate is one for endorsement keys: TCG attributes, EKU 2.23.133.8.1, no CA",
		"another certificate of the vendor could stand in an endorsement key's place",
		"read the EK certificate from NV index 0x01c00002 or 0x01c0000a and send it unchanged"),
	verified(checkEKChain, attestd.ClassChain, specX509,
		"the EK certificate chains to a root that is pinned, and no certificate of the path is revoked",
		"anyone can make certificates that carry a TPM vendor's names",
		"give the vendor's intermediates: --collateral DIR, or attestd evidence tpm --ek-chain FILE; "+
			"for a simulator --insecure-roots FILE; or name the EK in the inventory (endorsement-keys)"),
	verified(checkEKMatch, attestd.ClassBinding, specEK+", section 3.2",
		"the EK certificate is about the endorsement key that the credential is made for",
		"an attacker would answer credentials with his own key under another TPM's certificate",
		"send the EK certificate that belongs to this EK: RSA and ECC keys have one each"),
	verified(checkEKTrusted, attestd.ClassChain, specCredential,
		"the endorsement key has a certificate under a pinned root, or stands in the inventory",
		"an endorsement key made of software opens every credential",
		"send the EK certificate, or name the key under endorsement-keys in the reference values"),
	verified(checkAKCertificate, attestd.ClassChain, specX509,
		"a certificate of the attestation key is its cloud's, valid, and for this very key",
		"a certificate of another key, or of nobody, would vouch for this one",
		"send the AK certificate of this machine and its intermediates, or leave it out"),
	verified(checkActivation, attestd.ClassBinding, specCredential,
		"the TPM that holds the endorsement key opened a credential for this attestation key",
		"an attestation key of software would pass as one inside the TPM",
		"answer the challenge's credential with TPM2_ActivateCredential and this attestation key"),
	verified(checkAKTrusted, attestd.ClassChain, specCredential,
		"somebody vouches for the attestation key: an activation, a certificate, or the operator; and "+
			"every certificate that came along is part of that",
		"anyone can make a key, and a quote with it",
		"enrol the key: attestd evidence tpm --server URL; or name it in a file for --reference: "+
			"attestd evidence tpm --identity -o yaml"),
}

// quoteChecks look at what the quote says, and at what is judged by it.
var quoteChecks = []attestd.CheckSpec{
	verified(checkSignature, attestd.ClassSignature, specSignature,
		"the attestation key signed exactly this quote, by its own scheme",
		"anyone could write a quote",
		"send quote and signature of one TPM2_Quote, made with the key that was sent"),
	verified(checkQualifiedSigner, attestd.ClassBinding, specName,
		"the quote names its signer by the Qualified Name that we compute for this key",
		"one key pair under two public areas has two meanings: attributes could be those of another "+
			"object",
		"send the Names of the key's parents, or make it a primary key"),
	verified(checkNonce, attestd.ClassBinding, specQuote,
		"extraData is the value that was demanded, in full length",
		"old quotes, and quotes for other keys and verifiers, could be used again",
		"quote over the value that is demanded: attestd evidence tpm --nonce HEX or --challenge FILE"),
	verified(checkPCRBank, attestd.ClassPolicyDeny, specQuote,
		"every quoted PCR is of a bank of SHA-256, SHA-384 or SHA-512",
		"with SHA-1 two boots can have one measurement",
		"enable a SHA-256 bank in the firmware's settings and quote that one alone"),
	verified(checkPCRSelection, attestd.ClassMeasurement, specQuote,
		"the PCR values are those of the PCRs that the quote selects, no more and no fewer",
		"PCRs that the quote leaves out would be believed unsigned",
		"quote every PCR that is sent: attestd evidence tpm --pcrs LIST"),
	verified(checkPCRDigest, attestd.ClassBinding, specQuote,
		"the PCR values, in the quoted order, have the digest that the TPM signed",
		"values beside a genuine quote could be anything",
		"read the PCRs and quote them again: they changed in between, or are another bank's"),
	verified(checkCertifiedKey, attestd.ClassBinding, specCertify,
		"a key that came along lives in the same TPM, and a key that was demanded is that key",
		"a key that lies in a file, or on another machine, would pass as one inside the TPM",
		"create the key with fixedTPM, fixedParent, sensitiveDataOrigin, sign, and certify it with "+
			"the attestation key over the same value as the quote"),
	verified(checkEventLog, attestd.ClassMeasurement, specPFP,
		"the boot log, replayed, gives the quoted PCRs",
		"a log is a file: it says what its writer likes",
		"send the whole log of this very boot; leave out PCRs that something extends after it "+
			"(attestd evidence tpm --pcrs LIST): docs/explain/event-logs.md"),
	verified(checkIMALog, attestd.ClassMeasurement, specIMA,
		"the IMA log, replayed from where the last one ended, gives the quoted PCR 10",
		"a log is a file: it says what its writer likes",
		"quote PCR 10, then read the log; send all of it where the verifier does not know this boot"),
}
