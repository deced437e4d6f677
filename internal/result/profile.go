package result

import (
	"fmt"

	"github.com/attestd/attestd"
)

// Profile says which names the claims of a result have.
type Profile string

// Profiles there are.
const (
	// Veraison2023 is what is deployed: draft-ietf-rats-ear-00 with dotted names, as veraison/ear reads it.
	Veraison2023 Profile = "veraison-2023"
	// IETF03 is draft-ietf-rats-ear-03.
	IETF03 Profile = "ietf-03"
)

// names are the members of a profile.
type names struct {
	tag                                           string
	status, vector, policy, verifier, attestation string
	// severalPolicies says that policies are a list, topStatus that the whole has a status, and
	// submodNonce that the nonce of the evidence stands beside what it was appraised to.
	severalPolicies, topStatus, submodNonce bool
}

// profiles: the tags are values of eat_profile (RFC 9711, section 4.3.2). Names of Veraison 2023 are
// those of draft-ietf-rats-ear-00, section 3, and those of IETF 03 those of draft -03, section 3.
var profiles = map[Profile]names{
	Veraison2023: {
		tag: "tag:github.com,2023:veraison/ear", status: "ear.status",
		vector: "ear.trustworthiness-vector", policy: "ear.appraisal-policy-id",
		verifier: "ear.verifier-id", attestation: "ear.veraison.key-attestation",
	},
	IETF03: {
		tag: "tag:ietf.org,2026:rats/ear#03", status: "ear_status",
		vector: "ear_trustworthiness_vector", policy: "ear_appraisal_policy_ids",
		verifier: "ear_verifier_id", attestation: "ear_veraison_key_attestation",
		severalPolicies: true, topStatus: true, submodNonce: true,
	},
}

// ParseProfile returns the profile with that name.
//
// Errors: a [*attestd.CallerError] of class UNSUPPORTED, also for the empty name.
func ParseProfile(name string) (Profile, error) {
	if _, known := profiles[Profile(name)]; !known {
		return "", &attestd.CallerError{
			Class: attestd.ClassUnsupported, Hint: "profiles: " + string(Veraison2023) + ", " + string(IETF03),
			Err: fmt.Errorf("no profile of results is named %q", attestd.Excerpt(name, 40)),
		}
	}
	return Profile(name), nil
}

// Tag returns the value of eat_profile; empty for a profile that there is not.
func (p Profile) Tag() string { return profiles[p].tag }
