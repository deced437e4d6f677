package decision

import "net/http"

// Code names why something was denied. The set is closed.
type Code string

// Codes of the gates, in the order in which they are asked, and of policies.
const (
	CodeMalformed          Code = "malformed"
	CodeUnauthenticated    Code = "unauthenticated"
	CodeExpired            Code = "token_expired"
	CodeBundleUnavailable  Code = "bundle_unavailable"
	CodeStateUnavailable   Code = "state_unavailable"
	CodeQuarantined        Code = "quarantined"
	CodeRevoked            Code = "revoked"
	CodeNotAttested        Code = "not_attested"
	CodeStale              Code = "attestation_stale"
	CodeRiskSpike          Code = "risk_spike"
	CodeTenantUnknown      Code = "tenant_unknown"
	CodeUnknownIdentity    Code = "not_in_inventory"
	CodeRetired            Code = "retired"
	CodeNoPolicy           Code = "no_policy"
	CodeMissingProof       Code = "missing_proof"
	CodeThrottled          Code = "throttled"
	CodePolicyUnavailable  Code = "policy_unavailable"
	CodePolicyError        Code = "policy_error"
	CodeNotPermitted       Code = "not_permitted"
	CodeTenantMismatch     Code = "tenant_mismatch"
	CodePurposeMismatch    Code = "purpose_mismatch"
	CodeBlastRadius        Code = "blast_radius"
	CodeRing               Code = "ring_mismatch"
	CodeStepUp             Code = "step_up_required"
	CodeClassification     Code = "classification"
	CodeWeakChain          Code = "weak_chain"
	CodeNovelScope         Code = "novel_scope"
	CodeTenantPivot        Code = "tenant_pivot"
	CodeDenialBurst        Code = "denial_burst"
	CodeTwoPlaces          Code = "token_two_places"
	CodeObligation         Code = "obligation_unsupported"
	CodeDeadline           Code = "deadline"
	CodeRecordsUnavailable Code = "records_unavailable"
	CodeInternal           Code = "internal"
)

// Spec is what there is to say of a code.
type Spec struct {
	Code Code
	// Status is what forward-auth and ext_authz answer with.
	Status int
	// ATLAS are the techniques (MITRE ATLAS 5.6) that such a denial suggests.
	ATLAS []string
	// Meaning and Remedy are for people.
	Meaning, Remedy string
}

// specs are all codes, in the order of their constants.
var specs = []Spec{
	{CodeMalformed, http.StatusBadRequest, nil,
		"the question is not one", "mend the enforcement point; docs/decisions has the forms"},
	{CodeUnauthenticated, http.StatusUnauthorized, []string{"AML.T0073", "AML.T0091.000"},
		"no credential that can be verified", "send a JWT-SVID for the right audience, or an X509-SVID"},
	{CodeExpired, http.StatusUnauthorized, nil,
		"the credential is over, or not yet valid", "fetch a new SVID; look at the clocks"},
	{CodeBundleUnavailable, http.StatusServiceUnavailable, nil,
		"the trust bundle of the caller's trust domain is not at hand", "attestd doctor"},
	{CodeStateUnavailable, http.StatusServiceUnavailable, nil,
		"attestd cannot tell how the caller stands", "attestd status"},
	{CodeQuarantined, http.StatusForbidden, []string{"AML.T0012"},
		"the caller, or what it runs on, is quarantined", "attestd why ID; a person releases it"},
	{CodeRevoked, http.StatusForbidden, []string{"AML.T0012"},
		"the caller, or what it runs on, is barred for ever", "enrol other hardware under another name"},
	{CodeNotAttested, http.StatusForbidden, []string{"AML.T0103", "AML.T0112"},
		"no attested node stands behind the caller", "attest the node: attestd why ID"},
	{CodeStale, http.StatusUnauthorized, nil,
		"the evidence is older than it may be", "attest again: attestd reattest NODE"},
	{CodeRiskSpike, http.StatusForbidden, []string{"AML.T0012"},
		"the caller's risk is high or critical", "attestd subject show ID says what adds up to it"},
	{CodeTenantUnknown, http.StatusForbidden, []string{"AML.T0012"},
		"whose the caller's hardware is is not known", "attestd enroll ls --pending"},
	{CodeUnknownIdentity, http.StatusForbidden, []string{"AML.T0103"},
		"the inventory has no record of the caller", "attestd subject import FILE"},
	{CodeRetired, http.StatusForbidden, []string{"AML.T0012"},
		"the inventory says that the caller is retired", "change its lifecycle, or find who still runs it"},
	{CodeNoPolicy, http.StatusForbidden, nil,
		"the caller is bound to no policy", "name one in its record: attestd subject lint"},
	{CodeMissingProof, http.StatusForbidden, nil,
		"who, what or policy could not be shown", "the answer's proofs say which; send what is missing"},
	{CodeThrottled, http.StatusTooManyRequests, []string{"AML.T0029", "AML.T0034"},
		"the caller asks more often than its risk allows", "wait as long as Retry-After says"},
	{CodePolicyUnavailable, http.StatusServiceUnavailable, nil,
		"no policies are in force", "attestd policy show DIR names every problem"},
	{CodePolicyError, http.StatusForbidden, nil,
		"a policy failed, and what fails denies", "attestd decision show ID names it"},
	{CodeNotPermitted, http.StatusForbidden, []string{"AML.T0012"},
		"no policy permits it", "attestd policy show; write a permit where it is meant"},
	{CodeTenantMismatch, http.StatusForbidden, []string{"AML.T0085.000"},
		"the resource is another tenant's", "ask for the tenant's own"},
	{CodePurposeMismatch, http.StatusForbidden, []string{"AML.T0012"},
		"the action does not go with what the caller is for", "give it another purpose, or let another do it"},
	{CodeBlastRadius, http.StatusForbidden, []string{"AML.T0053", "AML.T0086"},
		"the tool or dataset is outside of what the caller may reach", "name it in its record where meant"},
	{CodeRing, http.StatusForbidden, nil,
		"the resource belongs to another deployment ring", "deploy the caller to that ring"},
	{CodeStepUp, http.StatusUnauthorized, nil,
		"the action needs fresh evidence of hardware", "attest again, then ask again"},
	{CodeClassification, http.StatusForbidden, []string{"AML.T0085.000"},
		"the data's classification is not for this caller", "ask for less, or change the policy"},
	{CodeWeakChain, http.StatusForbidden, []string{"AML.T0084.003"},
		"a link of the subject chain is not good enough", "send verified links; the detail names the one"},
	{CodeNovelScope, http.StatusForbidden, []string{"AML.T0036"},
		"it is outside of what the caller ever asked for", "look at the new ids; step up"},
	{CodeTenantPivot, http.StatusForbidden, []string{"AML.T0085.000"},
		"the caller asks for several tenants' data", "attestd decision ls --subject ID"},
	{CodeDenialBurst, http.StatusForbidden, []string{"AML.T0084"},
		"the caller was denied many times in a row", "attestd decision ls --subject ID"},
	{CodeTwoPlaces, http.StatusForbidden, []string{"AML.T0091.000"},
		"one token was shown from several places", "attestd decision ls --subject ID"},
	{CodeObligation, http.StatusForbidden, nil,
		"the enforcement point cannot do what the answer binds it to", "update the enforcement point"},
	{CodeDeadline, http.StatusServiceUnavailable, nil,
		"no answer was found in time", "attestd status; the histogram attestd_decision_seconds"},
	{CodeRecordsUnavailable, http.StatusServiceUnavailable, nil,
		"the decision could not be recorded", "look at the disk of state_dir/decisions"},
	{CodeInternal, http.StatusInternalServerError, nil,
		"attestd failed", "attestd support"},
}

// Specs returns all codes there are.
func Specs() []Spec { return specs }

// SpecOf returns what there is to say of a code; of one that is none, that of [CodeInternal].
func SpecOf(code Code) Spec {
	for _, one := range specs {
		if one.Code == code {
			return one
		}
	}
	return specs[len(specs)-1]
}
