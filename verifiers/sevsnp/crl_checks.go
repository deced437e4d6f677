package sevsnp

import "github.com/attestd/attestd"

const (
	checkRevocationList attestd.CheckID = "sev-snp/revocation-list"
	checkRevoked        attestd.CheckID = "sev-snp/revoked"
)

const specCRL = "RFC 5280, sections 5 and 6.3"

// The checks of revocation that Verify decides; they run behind the report's signature, so that a
// list costs nothing for evidence that does not hold.
var (
	revocationListCheck = attestd.CheckSpec{
		ID:     checkRevocationList,
		Proves: "every revocation list in the ARK's name is whole, signed by it, and not put back",
		Why:    "a list that was made up, cut down or is an old one hides that a key was revoked",
		Spec:   specCRL, Class: attestd.ClassCollateralInvalid, Group: attestd.GroupCollateral,
		Hint: "fetch the list again: https://kdsintf.amd.com/vcek/v1/Milan/crl, or Genoa, Turin",
	}
	revokedCheck = attestd.CheckSpec{
		ID:     checkRevoked,
		Proves: "no certificate of the chain is on a list of what the ARK revoked, however old",
		Why:    "whoever has a key that AMD revoked signs whatever they want",
		Spec:   specCRL, Class: attestd.ClassRevokedCert, Group: attestd.GroupAuthenticity,
		Hint: "do not trust this machine; where AMD issued new certificates, fetch them all again",
	}
)

// revocationChecks compare how far revocation could be looked at. Each fails in one way, so that it
// has one class.
var revocationChecks = []attestd.CheckSpec{
	wanting([]string{crlFresh, crlStale}, appraised("crl", attestd.RuleOneOf, "crl",
		attestd.ClassCollateralUnavailable, attestd.GroupCollateral, specKDS,
		"a revocation list of the chain's ARK was given, and revokes none of the certificates",
		"a revoked intermediate or chip key goes on speaking",
		"give https://kdsintf.amd.com/vcek/v1/Milan/crl (or Genoa, Turin) with --collateral DIR")),
	appraised("crl-stale", attestd.RuleFlag, "crl_stale",
		attestd.ClassCollateralStale, attestd.GroupCollateral, specCRL,
		"the revocation list covers the time: no newer one was due by then",
		"what was revoked since the list was made goes on speaking",
		"fetch the list from AMD again; judge old evidence with --recorded --at TIME"),
}

// revocationFacts are the facts that they compare.
var revocationFacts = []attestd.FactSpec{
	fact("crl", attestd.KindText,
		"State of the revocation list of the chain's ARK: fresh, stale or missing.", specKDS),
	fact("crl_stale", attestd.KindBool, "There are lists, and a newer one was due by the time.", specCRL),
	fact("crl_number", attestd.KindUint,
		"Number of the list that was used; not visible where it is missing.", specCRL),
	fact("crl_next_update", attestd.KindTime,
		"When a newer list than that is due; not visible where it is missing.", specCRL),
}
