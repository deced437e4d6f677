package awsdoc

import "github.com/attestd/attestd"

const specCRL = "RFC 5280, sections 5 and 6.3"

// revocationChecks run behind the document's signature, so that a list costs nothing for evidence
// that does not hold.
func revocationChecks(id idFunc) []attestd.CheckSpec {
	return []attestd.CheckSpec{
		{
			ID: id(checkRevocation),
			Proves: "every list in the name of a CA of the chain is whole, signed by it, " +
				"and not put back",
			Why:  "a list that was made up, cut down or is old hides that a key was revoked",
			Spec: specCRL,
			Hint: "fetch the list again from the address in the certificate: " +
				"attestd inspect FILE",
			Class: attestd.ClassCollateralInvalid,
			Group: attestd.GroupCollateral,
		}, {
			ID: id(checkRevoked),
			Proves: "no certificate of the chain is on a list of its issuer's that was given, " +
				"however old",
			Why:   "whoever has a key that AWS revoked signs whatever they want",
			Spec:  specCRL,
			Hint:  "do not trust this machine; AWS renews what is above an instance within days",
			Class: attestd.ClassRevokedCert,
		},
	}
}

// RevocationRule returns the rule by which a policy can demand revocation lists. AWS demands the
// opposite (see docs/divergences.md), so that no policy of ours does.
func RevocationRule(format attestd.Format) attestd.CheckSpec {
	return attestd.CheckSpec{
		ID: attestd.CheckID(string(format) + "/crl"),
		Proves: "lists that cover the time were given for the certificates that name one, " +
			"and revoke none",
		Why:    "a region's or zone's key that AWS revoked goes on speaking, for 20 days at most",
		Spec:   specCRL + "; " + nsm + " section 3.2.4 (\"We do not use CRL\")",
		Hint:   "give the lists that the certificates name with --collateral DIR, or write any",
		Class:  attestd.ClassCollateralUnavailable,
		Group:  attestd.GroupCollateral,
		Stage:  attestd.StageAppraise,
		Rule:   attestd.RuleOneOf,
		Fact:   "crl",
		Values: []string{CRLFresh, CRLStale},
	}
}
