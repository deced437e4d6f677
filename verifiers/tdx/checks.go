package tdx

import (
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// Documents that the checks cite.
const (
	specQuote    = "Intel TDX DCAP rev 0.9, appendix A.3 and A.4"
	specModule   = "Intel TDX Module 1.5 Architecture Specification, TEE_TCB_INFO"
	specTDInfo   = "Intel TDX Module 1.5 Architecture Specification, TDINFO_STRUCT"
	specBits     = "Intel TDX Module 1.5 Architecture Specification, ATTRIBUTES"
	specXFAM     = "Intel TDX Module 1.5 Architecture Specification, XFAM"
	specPCK      = "Intel SGX PCK Certificate and CRL Profile rev 1.5, section 1.3"
	specCCEL     = "UEFI 2.10, section 38.4"
	specX509     = "RFC 5280, section 6.1"
	specECDSA    = "FIPS 186-5, section 6.4.2"
	specEncoding = "RFC 8949, section 4.2.1"
	specOurs     = "attestd, docs/verifiers/tdx.md, limits"
)

// The checks of a verification, in the order in which they run. Those of TCB and revocation stand in
// files of their own.
const (
	checkContainer       attestd.CheckID = "tdx/container"
	checkSize            attestd.CheckID = "tdx/size"
	checkVersion         attestd.CheckID = "tdx/quote-version"
	checkTEE             attestd.CheckID = "tdx/tee-type"
	checkKeyType         attestd.CheckID = "tdx/key-type"
	checkVendor          attestd.CheckID = "tdx/qe-vendor"
	checkBody            attestd.CheckID = "tdx/body"
	checkLayout          attestd.CheckID = "tdx/layout"
	checkSignatureFormat attestd.CheckID = "tdx/signature-format"
	checkKey             attestd.CheckID = "tdx/attestation-key"
	checkEndorsements    attestd.CheckID = "tdx/endorsements"
	checkChainForm       attestd.CheckID = "tdx/chain-form"
	checkChain           attestd.CheckID = "tdx/chain"
	checkPCKProfile      attestd.CheckID = "tdx/pck-profile"
	checkChainValidity   attestd.CheckID = "tdx/chain-validity"
	checkQESignature     attestd.CheckID = "tdx/qe-signature"
	checkQEBinding       attestd.CheckID = "tdx/qe-binding"
	checkSignature       attestd.CheckID = "tdx/signature"
	checkModule          attestd.CheckID = "tdx/module"
	checkReportData      attestd.CheckID = "tdx/report-data"
	checkEventLog        attestd.CheckID = "tdx/event-log"
)

// specs are all checks: those that Verify decides, then those that it prepares for a policy.
var specs = slices.Concat(quoteChecks, tcbVerifyChecks, lastChecks, attributeChecks, xfamChecks,
	identityChecks, logChecks, tcbPolicyChecks)

var table = trail.NewTable(specs)

// Checks implements verifiers.Verifier.
func (v *Verifier) Checks() []attestd.CheckSpec { return slices.Clone(specs) }

const inspectHint = "see attestd inspect FILE"

var quoteChecks = []attestd.CheckSpec{
	{
		ID:     checkContainer,
		Proves: "quote and event log stand in the one encoding of their container",
		Why:    "one statement could be presented as many, or be read in two ways",
		Spec:   specEncoding, Class: attestd.ClassMalformed, Group: attestd.GroupAuthenticity,
		Hint: "collect with attestd evidence tdx, or send the quote alone",
	},
	{
		ID:     checkSize,
		Proves: "the evidence is long enough for a quote, short enough for one, and no TDREPORT",
		Why:    "a TDREPORT is authenticated by a key that only its own machine knows: anybody can write one",
		Spec:   specQuote, Class: attestd.ClassMalformed, Group: attestd.GroupAuthenticity,
		Hint: "send the quote (outblob of configfs-tsm), not a TDREPORT, and not hex or base64",
	},
	{
		ID:     checkVersion,
		Proves: "the quote's version is one whose layout is known here",
		Why:    "fields of an unknown version would be read where other fields lie",
		Spec:   specQuote, Class: attestd.ClassUnsupported, Group: attestd.GroupAuthenticity,
		Hint: inspectHint + "; version 3 is of SGX enclaves",
	},
	{
		ID:     checkTEE,
		Proves: "the quote is one of a TD",
		Why:    "an SGX enclave's measurements would be taken for those of a TD",
		Spec:   specQuote, Class: attestd.ClassUnsupported, Group: attestd.GroupAuthenticity,
		Hint: inspectHint + "; quotes of SGX enclaves are not supported",
	},
	{
		ID:     checkKeyType,
		Proves: "the attestation key is of the one type that quoting enclaves use",
		Why:    "key and signature would be cut from the wrong bytes",
		Spec:   specQuote, Class: attestd.ClassUnsupported, Group: attestd.GroupAuthenticity,
		Hint: inspectHint,
	},
	{
		ID:     checkVendor,
		Proves: "the quote is one of Intel's quoting enclave",
		Why:    "another vendor's enclave vouches for other things under the same names",
		Spec:   specQuote, Class: attestd.ClassUnsupported, Group: attestd.GroupAuthenticity,
		Hint: "configure the host to use Intel's TDX quoting enclave",
	},
	{
		ID:     checkBody,
		Proves: "the body is a TD report whose type and size agree",
		Why:    "fields would be read where other fields lie",
		Spec:   specQuote, Class: attestd.ClassMalformed, Group: attestd.GroupAuthenticity,
		Hint: "collect the quote again; " + inspectHint,
	},
	{
		ID:     checkLayout,
		Proves: "every length in the quote is what its surroundings leave, and nothing stands behind it",
		Why:    "bytes that no signature covers could hide there, or be read in two ways",
		Spec:   specQuote, Class: attestd.ClassMalformed, Group: attestd.GroupAuthenticity,
		Hint: "collect the quote again; only zeros may follow a quote that has no container",
	},
	{
		ID:     checkSignatureFormat,
		Proves: "both signatures are pairs of numbers from 1 to n-1",
		Why:    "zero or oversized numbers reach the arithmetic",
		Spec:   specECDSA, Class: attestd.ClassSignature, Group: attestd.GroupAuthenticity,
		Hint: "collect the quote again",
	},
	{
		ID:     checkEndorsements,
		Proves: "the certificates given are few and small enough to be looked at",
		Why:    "a sender could make one verification cost as much as thousands",
		Spec:   specOurs, Class: attestd.ClassTooLarge, Group: attestd.GroupAuthenticity,
		Hint: "give fewer files with --collateral DIR",
	},
	{
		ID:     checkKey,
		Proves: "the attestation key is a point of P-256",
		Why:    "signatures under a point off the curve can be made up",
		Spec:   "SP 800-186, appendix D.1.1", Class: attestd.ClassMalformed,
		Group: attestd.GroupAuthenticity,
		Hint:  "collect the quote again",
	},
	{
		ID:     checkChainForm,
		Proves: "the quote carries exactly a PCK certificate, its CA and the root, in one spelling",
		Why:    "another spelling shows other readers other certificates, and gives one quote many digests",
		Spec:   specQuote, Class: attestd.ClassChain, Group: attestd.GroupAuthenticity,
		Hint: "set the host's quoting service up with Intel's PCS or a PCCS, then collect again",
	},
	{
		ID:     checkChain,
		Proves: "Intel's pinned SGX Root CA certifies a CA over PCKs, and that CA the PCK",
		Why:    "anyone can make certificates that carry Intel's names",
		Spec:   specX509, Class: attestd.ClassChain, Group: attestd.GroupAuthenticity,
		Hint: "collect the quote on hardware whose PCK Intel issued; " + inspectHint,
	},
	{
		ID:     checkPCKProfile,
		Proves: "the PCK certificate has the key, the form and the extension of one",
		Why:    "another certificate that Intel issued could be used in the place of a PCK's",
		Spec:   specPCK, Class: attestd.ClassChain, Group: attestd.GroupAuthenticity,
		Hint: inspectHint,
	},
	{
		ID:     checkChainValidity,
		Proves: "PCK certificate, CA and root were all valid at the given time",
		Why:    "a key that leaked after its end of life could still speak",
		Spec:   specX509, Class: attestd.ClassCertTime, Group: attestd.GroupAuthenticity,
		Hint: "check the clock; judge old evidence with --recorded --at TIME",
	},
	{
		ID:     checkQESignature,
		Proves: "the PCK signed the report of the quoting enclave",
		Why:    "any program could claim to be Intel's quoting enclave",
		Spec:   specQuote, Class: attestd.ClassSignature, Group: attestd.GroupAuthenticity,
		Hint: "the quote was changed; collect it again",
	},
	{
		ID:     checkQEBinding,
		Proves: "the enclave's report holds the hash of the attestation key, and zeros behind it",
		Why:    "one enclave's report would vouch for anybody's key",
		Spec:   specQuote, Class: attestd.ClassBinding, Group: attestd.GroupAuthenticity,
		Hint: "the quote was changed; collect it again",
	},
	{
		ID:     checkSignature,
		Proves: "the attestation key signed this very header and body",
		Why:    "every field of the quote could be made up",
		Spec:   specQuote, Class: attestd.ClassSignature, Group: attestd.GroupAuthenticity,
		Hint: "the quote was changed; collect it again",
	},
	{
		ID:     checkModule,
		Proves: "Intel signed the TDX module, and it is no debug module",
		Why:    "the module is what keeps the host out of the TD: another one need not",
		Spec:   specModule, Class: attestd.ClassPlatform, Group: attestd.GroupPlatform,
		Hint: "load Intel's production TDX module on the host; " + inspectHint,
	},
}

var lastChecks = []attestd.CheckSpec{
	{
		ID:     checkReportData,
		Proves: "REPORTDATA equals what was demanded in all 64 bytes",
		Why:    "an old quote, or one made for another verifier or key, could be presented again",
		Spec:   specQuote, Class: attestd.ClassBinding, Group: attestd.GroupAuthenticity,
		Hint: "REPORTDATA has 64 bytes and is compared whole: give all 64 with --nonce, or --challenge",
	},
	{
		ID:     checkEventLog,
		Proves: "the guest's event log leads to the RTMRs",
		Why:    "a log is text that anybody with root in the guest can write",
		Spec:   specCCEL, Class: attestd.ClassMeasurement, Group: attestd.GroupMeasurement,
		Hint: "read quote and log in one go, with nothing extended between; or send the quote alone",
	},
}

// appraised fills in what the appraised checks have in common.
func appraised(
	name string, rule attestd.Rule, fact string, class attestd.Class, group attestd.Group,
	spec, proves, why, hint string,
) attestd.CheckSpec {
	return attestd.CheckSpec{
		ID: attestd.CheckID("tdx/" + name), Proves: proves, Why: why, Spec: spec, Hint: hint,
		Class: class, Group: group, Stage: attestd.StageAppraise, Rule: rule, Fact: fact,
	}
}

// wanting returns spec with the only texts that a policy may want of its fact.
func wanting(values []string, spec attestd.CheckSpec) attestd.CheckSpec {
	spec.Values = values
	return spec
}
