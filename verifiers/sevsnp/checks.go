package sevsnp

import (
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/internal/trail"
)

// Documents that the checks cite.
const (
	specVersion     = "AMD 56860 rev 1.58, section 7.3, Table 23"
	specReport      = specVersion
	specPolicy      = "AMD 56860 rev 1.58, section 4.3, Table 9"
	specTCB         = "AMD 56860 rev 1.58, section 2.2, Table 3"
	specSignature   = "AMD 56860 rev 1.58, chapter 10"
	specVCEK        = "AMD 57230 rev 0.50, VCEK certificate and its extensions"
	specKDS         = "AMD 57230 rev 0.50, chapter 4"
	specIOMMU       = "AMD-SB-3016; AMD 56860, PLATFORM_INFO bit 6"
	specTable       = "AMD 56421, SNP Extended Guest Request"
	specEntrySign   = "AMD-SB-3019"
	specRMPocalypse = "AMD-SB-3020"
	specStackWarp   = "AMD-SB-3027"
	specBadFuse     = "arXiv 2605.12990"
	specX509        = "RFC 5280, section 6.1"
	specOurs        = "attestd, docs/verifiers/sev-snp.md, limits"
)

// The checks of a verification, in the order in which they run.
const (
	checkSize            attestd.CheckID = "sev-snp/size"
	checkVersion         attestd.CheckID = "sev-snp/report-version"
	checkProduct         attestd.CheckID = "sev-snp/product"
	checkSigningKey      attestd.CheckID = "sev-snp/signing-key"
	checkLayout          attestd.CheckID = "sev-snp/report-layout"
	checkSignatureFormat attestd.CheckID = "sev-snp/signature-format"
	checkTable           attestd.CheckID = "sev-snp/certificate-table"
	checkEndorsements    attestd.CheckID = "sev-snp/endorsements"
	checkVCEKPresent     attestd.CheckID = "sev-snp/vcek-present"
	checkChain           attestd.CheckID = "sev-snp/chain"
	checkVCEKProfile     attestd.CheckID = "sev-snp/vcek-profile"
	checkChainValidity   attestd.CheckID = "sev-snp/chain-validity"
	checkVCEKProduct     attestd.CheckID = "sev-snp/vcek-product"
	checkVCEKChip        attestd.CheckID = "sev-snp/vcek-chip-id"
	checkVCEKTCB         attestd.CheckID = "sev-snp/vcek-tcb"
	checkSignature       attestd.CheckID = "sev-snp/signature"
	checkReportData      attestd.CheckID = "sev-snp/report-data"
)

// specs are all checks: those that Verify decides, then those that it prepares for a policy.
var specs = slices.Concat(verifyChecks, policyChecks, platformChecks, tcbChecks,
	revocationChecks, identityChecks)

var table = trail.NewTable(specs)

// Checks implements verifiers.Verifier.
func (v *Verifier) Checks() []attestd.CheckSpec { return slices.Clone(specs) }

var verifyChecks = []attestd.CheckSpec{
	{
		ID:     checkSize,
		Proves: "the evidence has the length of a report, with or without a certificate table",
		Why:    "a longer or shorter input could be read differently by another reader",
		Spec:   specReport, Class: attestd.ClassMalformed, Group: attestd.GroupAuthenticity,
		Hint: "send the raw report (1184 bytes), not hex or base64; see attestd inspect FILE",
	},
	{
		ID:     checkVersion,
		Proves: "the report's version is one whose layout is known here",
		Why:    "fields of an unknown version would be read where other fields lie",
		Spec:   specVersion, Class: attestd.ClassUnsupported, Group: attestd.GroupAuthenticity,
		Hint: "see attestd inspect FILE; newer versions need a newer attestd",
	},
	{
		ID:     checkProduct,
		Proves: "CPUID in the report names a product whose TCB layout and root are known here",
		Why:    "floors would be compared with the wrong bytes, and the wrong root be asked",
		Spec:   specReport, Class: attestd.ClassUnsupported, Group: attestd.GroupAuthenticity,
		Hint: "Milan, Genoa, Bergamo, Siena and Turin are supported; see attestd inspect FILE",
	},
	{
		ID:     checkSigningKey,
		Proves: "the report says that a VCEK or a VLEK signed it",
		Why:    "a report signed by another kind of key, or by none, would be taken for the chip's",
		Spec:   specReport, Class: attestd.ClassChain, Group: attestd.GroupAuthenticity,
		Hint: "ask the firmware for a signed report (MASK_CHIP_KEY=0 on the host)",
	},
	{
		ID:     checkLayout,
		Proves: "every reserved byte and fixed bit has the value that AMD demands",
		Why:    "meaning that a later firmware puts there would be overlooked",
		Spec:   specReport, Class: attestd.ClassMalformed, Group: attestd.GroupAuthenticity,
		Hint: "collect the report again; see attestd inspect FILE for the bytes",
	},
	{
		ID:     checkSignatureFormat,
		Proves: "the signature field holds one ECDSA P-384 signature in its only encoding",
		Why:    "zero or oversized numbers reach the arithmetic, and one report has many encodings",
		Spec:   specSignature, Class: attestd.ClassSignature, Group: attestd.GroupAuthenticity,
		Hint: "collect the report again; an all-zero signature means that the host masks the key",
	},
	{
		ID:     checkTable,
		Proves: "the certificate table behind the report can be read in one way only",
		Why:    "overlapping, repeated or hidden entries show different readers different certificates",
		Spec:   specTable, Class: attestd.ClassMalformed, Group: attestd.GroupAuthenticity,
		Hint: "send the table as the guest got it, or the bare report and --collateral DIR",
	},
	{
		ID:     checkEndorsements,
		Proves: "the certificates given are few and small enough to be looked at",
		Why:    "a sender could make one verification cost as much as thousands",
		Spec:   specOurs, Class: attestd.ClassTooLarge, Group: attestd.GroupAuthenticity,
		Hint: "give only the VCEK or VLEK of this report: --collateral DIR with fewer files",
	},
	{
		ID:     checkVCEKPresent,
		Proves: "a certificate of the kind of key that signed was given to judge the report with",
		Why:    "without it nothing says whose key signed the report",
		Spec:   specKDS, Class: attestd.ClassCollateralUnavailable, Group: attestd.GroupCollateral,
		Hint: "save what attestd inspect FILE prints as vcek_url, or the cloud's VLEK: --collateral DIR",
	},
	{
		ID:     checkChain,
		Proves: "AMD's pinned ARK and ASK certify the VCEK, or its ARK and ASVK the VLEK",
		Why:    "anyone can make certificates that carry AMD's names",
		Spec:   specX509, Class: attestd.ClassChain, Group: attestd.GroupAuthenticity,
		Hint: "fetch the VCEK from AMD: attestd inspect FILE prints vcek_url",
	},
	{
		ID:     checkVCEKProfile,
		Proves: "the certificate has the key, the form and the extensions of its kind",
		Why:    "another certificate that AMD issued could be used in the place of a VCEK or VLEK",
		Spec:   specVCEK, Class: attestd.ClassChain, Group: attestd.GroupAuthenticity,
		Hint: "fetch the VCEK from AMD: attestd inspect FILE prints vcek_url",
	},
	{
		ID:     checkChainValidity,
		Proves: "VCEK, ASK and ARK (or VLEK, ASVK and ARK) were all valid at the given time",
		Why:    "a key that leaked after its end of life could still speak",
		Spec:   specX509, Class: attestd.ClassCertTime, Group: attestd.GroupAuthenticity,
		Hint: "check the clock; judge old evidence with --recorded --at TIME",
	},
	{
		ID:     checkVCEKProduct,
		Proves: "VCEK or VLEK, its issuer and CPUID name the same product line",
		Why:    "a key of one generation could speak for a chip of another",
		Spec:   specVCEK, Class: attestd.ClassChain, Group: attestd.GroupAuthenticity,
		Hint: "fetch the VCEK for this product: attestd inspect FILE prints vcek_url",
	},
	{
		ID:     checkVCEKChip,
		Proves: "the VCEK belongs to the chip that the report names",
		Why:    "the owner of any AMD chip could speak for this one",
		Spec:   specVCEK, Class: attestd.ClassChain, Group: attestd.GroupAuthenticity,
		Hint: "fetch the VCEK for this chip: attestd inspect FILE prints vcek_url",
	},
	{
		ID:     checkVCEKTCB,
		Proves: "the VCEK or VLEK was made for exactly the REPORTED_TCB, component by component",
		Why:    "firmware with a known hole could claim to be newer than it is",
		Spec:   specVCEK, Class: attestd.ClassTCB, Group: attestd.GroupAuthenticity,
		Hint: "fetch the VCEK for REPORTED_TCB, not CURRENT_TCB: attestd inspect FILE prints vcek_url",
	},
	{
		ID:     checkSignature,
		Proves: "the VCEK or VLEK signed these very bytes",
		Why:    "every field of the report could be made up",
		Spec:   specSignature, Class: attestd.ClassSignature, Group: attestd.GroupAuthenticity,
		Hint: "the report was changed or the certificate is another one; collect both again",
	},
	revocationListCheck,
	revokedCheck,
	{
		ID:     checkReportData,
		Proves: "REPORT_DATA equals what was demanded in all 64 bytes",
		Why:    "an old report, or one made for another verifier or key, could be presented again",
		Spec:   specReport, Class: attestd.ClassBinding, Group: attestd.GroupAuthenticity,
		Hint: "REPORT_DATA has 64 bytes and is compared whole: give all 64 with --nonce, or --challenge",
	},
}

// appraised fills in what the appraised checks have in common.
func appraised(
	name string, rule attestd.Rule, fact string, class attestd.Class, group attestd.Group,
	spec, proves, why, hint string,
) attestd.CheckSpec {
	return attestd.CheckSpec{
		ID: attestd.CheckID("sev-snp/" + name), Proves: proves, Why: why, Spec: spec, Hint: hint,
		Class: class, Group: group, Stage: attestd.StageAppraise, Rule: rule, Fact: fact,
	}
}

// wanting returns spec with the only texts that a policy may want of its fact.
func wanting(values []string, spec attestd.CheckSpec) attestd.CheckSpec {
	spec.Values = values
	return spec
}
