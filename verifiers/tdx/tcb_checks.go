package tdx

import (
	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

const (
	checkSigner         attestd.CheckID = "tdx/tcb-signer"
	checkCollateral     attestd.CheckID = "tdx/tcb-documents"
	checkRevocationList attestd.CheckID = "tdx/revocation-list"
	checkRevoked        attestd.CheckID = "tdx/revoked"
	checkModuleIdentity attestd.CheckID = "tdx/module-identity"
	checkQEIdentity     attestd.CheckID = "tdx/qe-identity"
	checkLevel          attestd.CheckID = "tdx/tcb-level"
	checkLevelRevoked   attestd.CheckID = "tdx/tcb-revoked"
)

const pullHint = "fetch it again: attestd collateral pull, or give Intel's files with --collateral DIR"

// tcbVerifyChecks are what Verify decides about collateral; they run behind the quote's signature, so
// that collateral costs nothing for evidence that does not hold.
var tcbVerifyChecks = []attestd.CheckSpec{
	{
		ID:     checkSigner,
		Proves: "the root of the PCK certified the key that signs TCB information, for this time",
		Why:    "anyone can make a key with Intel's name and certify any platform with it",
		Spec:   specX509, Class: attestd.ClassChain, Group: attestd.GroupAuthenticity, Hint: pullHint,
	},
	{
		ID:     checkCollateral,
		Proves: "TCB information and identity are whole, signed, for this platform, and not put back",
		Why:    "an edited or an old document says of a platform with known holes that it has none",
		Spec:   specTCBInfo, Class: attestd.ClassCollateralInvalid, Group: attestd.GroupCollateral,
		Hint: pullHint,
	},
	{
		ID:     checkRevocationList,
		Proves: "every revocation list in an issuer's name is whole, signed by it, and not put back",
		Why:    "a list that was made up, cut down or is an old one hides that a key was revoked",
		Spec:   specCRL, Class: attestd.ClassCollateralInvalid, Group: attestd.GroupCollateral,
		Hint: pullHint,
	},
	{
		ID:     checkRevoked,
		Proves: "PCK, its CA and the TCB signing key are on no list of their issuers, however old",
		Why:    "whoever has a key that Intel revoked signs whatever they want",
		Spec:   specCRL, Class: attestd.ClassRevokedCert, Group: attestd.GroupAuthenticity,
		Hint: "do not trust this machine; where Intel issued a new PCK, collect the quote again",
	},
	{
		ID:     checkModuleIdentity,
		Proves: "TCB information knows the TDX module, its signer and its attributes",
		Why:    "the module is what keeps the host out of the TD: another one need not",
		Spec:   specTCBInfo, Class: attestd.ClassPlatform, Group: attestd.GroupPlatform,
		Hint: "load Intel's production TDX module on the host, or fetch newer TCB information",
	},
	{
		ID:     checkQEIdentity,
		Proves: "the quoting enclave is the one that Intel names for TDs",
		Why:    "another enclave on the same machine signs quotes of TDs that never were",
		Spec:   specIdentity, Class: attestd.ClassPlatform, Group: attestd.GroupPlatform,
		Hint: "use Intel's quoting enclave on the host, and update it",
	},
	{
		ID:     checkLevel,
		Proves: "platform and TDX module reach a level that Intel knows",
		Why:    "firmware older than every level would pass for merely unknown",
		Spec:   specTCBInfo, Class: attestd.ClassTCB, Group: attestd.GroupTCB,
		Hint: "update BIOS, microcode and the TDX module of the host; attestd inspect FILE prints both SVNs",
	},
	{
		ID:     checkLevelRevoked,
		Proves: "Intel revoked the level of none of platform, TDX module and quoting enclave",
		Why:    "keys of a revoked level are known to others",
		Spec:   specTCBInfo, Class: attestd.ClassTCB, Group: attestd.GroupTCB,
		Hint: "do not trust this machine before its firmware is updated and Intel issued a new PCK",
	},
}

// statusWords are the texts that a policy can want of a status. Revoked is not among them: no policy
// has a say about it.
func statusWords() []string {
	var words []string
	for _, status := range pcs.Statuses() {
		if status != pcs.Revoked {
			words = append(words, status.String())
		}
	}
	return words
}

// tcbPolicyChecks compare the TCB, and how far it could be looked at.
var tcbPolicyChecks = []attestd.CheckSpec{
	wanting(statusWords(), appraised("tcb-status", attestd.RuleOneOf, "tcb_status",
		attestd.ClassTCB, attestd.GroupTCB, specTCBInfo,
		"the worst of platform, TDX module and quoting enclave is a status that the policy allows",
		"a known hole in firmware, module or enclave lets the host into the TD",
		"update what tcb_status_platform, _module and _qe name; see the advisories")),
	appraised("tcb-out-of-date", attestd.RuleFlag, "tcb_out_of_date",
		attestd.ClassTCB, attestd.GroupTCB, specTCBInfo,
		"no update is out that platform, TDX module or quoting enclave misses",
		"what the update mends is known to everybody by now",
		"update BIOS, microcode, TDX module and quoting enclave of the host"),
	appraised("tcb-behind", attestd.RuleAtMost, "tcb_behind_days",
		attestd.ClassTCB, attestd.GroupTCB, specTCBInfo,
		"the first update that is missing came out no more days ago than the policy gives for grace",
		"a platform that is never updated stays as open as on the first day",
		"update the host; days count from the tcbDate of the first level that it misses"),
	appraised("tcb-relaunch", attestd.RuleFlag, "tcb_relaunch_advised",
		attestd.ClassTCB, attestd.GroupTCB, specTCBInfo,
		"the TD was not launched below a level that the machine reaches by now",
		"what the old module let out before it was updated stays out",
		"launch the TD again: the machine was updated under it"),
	appraised("tcb-evaluation", attestd.RuleAtLeast, "tcb_evaluation",
		attestd.ClassTCB, attestd.GroupTCB, specTCBInfo,
		"TCB information and identity are of the recovery event that the policy names, or a later one",
		"documents from before an event know nothing of the hole",
		"fetch newer collateral: attestd collateral pull"),
	appraised("tcb-unknown-fields", attestd.RuleFlag, "tcb_unknown_fields",
		attestd.ClassTCB, attestd.GroupTCB, specTCBInfo,
		"TCB information and identity say nothing that this build does not know",
		"what Intel added could be what a platform misses",
		"update attestd, which then knows the new fields"),
	appraised("advisories-denied", attestd.RuleNoneOf, "advisories",
		attestd.ClassTCB, attestd.GroupTCB, specTCBInfo,
		"none of the advisories that the policy denies is one of the three levels'",
		"a hole that you know to matter to you stays open while Intel calls the level good enough",
		"update the host, or do what the advisory says: https://www.intel.com/security"),
	wanting(teeTCBNames[:], appraised("tee-tcb-floor", attestd.RuleFloor, "tee_tcb",
		attestd.ClassTCB, attestd.GroupTCB, specModule,
		"TDX module and loader at launch are at or above the floor for the module's major version",
		"a TD that an old module launched may have been read before the update",
		"update module and loader of the host, then launch the TD again")),
	required(wanting([]string{stateFresh, stateStale}, appraised("collateral", attestd.RuleOneOf,
		"collateral", attestd.ClassCollateralUnavailable, attestd.GroupCollateral, specTCBInfo,
		"TCB information for the platform and the identity of the quoting enclave were given",
		"a platform with known holes passes for one without",
		"fetch it: attestd collateral pull, or give Intel's files with --collateral DIR"))),
	required(wanting(notStale, appraised("collateral-stale", attestd.RuleFlag, "collateral_stale",
		attestd.ClassCollateralStale, attestd.GroupCollateral, specTCBInfo,
		"TCB information and identity cover the time: no newer ones were due by then",
		"what Intel found out since they were made is not looked at",
		"fetch it again: attestd collateral pull; judge old evidence with --recorded --at TIME"))),
	required(wanting([]string{stateFresh, stateStale}, appraised("crl", attestd.RuleOneOf, "crl",
		attestd.ClassCollateralUnavailable, attestd.GroupCollateral, specCRL,
		"the lists of root and of the CA over the PCK were given, and revoke nothing of the chains",
		"a PCK, a CA or a TCB signing key that Intel revoked goes on speaking",
		"fetch them: attestd collateral pull, or give both lists with --collateral DIR"))),
	required(wanting(notStale, appraised("crl-stale", attestd.RuleFlag, "crl_stale",
		attestd.ClassCollateralStale, attestd.GroupCollateral, specCRL,
		"both lists cover the time: no newer one was due by then",
		"what was revoked since the list was made goes on speaking",
		"fetch them again: attestd collateral pull; judge old evidence with --recorded --at TIME"))),
}

// notStale is what a policy can want of the flags of staleness.
var notStale = []string{"false"}

// required keeps a policy from waving the check through.
func required(spec attestd.CheckSpec) attestd.CheckSpec {
	spec.Required = true
	return spec
}
