package judge

import "github.com/attestd/attestd"

// Ids of the checks around challenges.
const (
	// CheckChallengeKnown is failed by a nonce that is not outstanding for this tenant, format and
	// purpose.
	CheckChallengeKnown attestd.CheckID = "challenge/known"
	// CheckChallengeExpired is failed by a challenge whose time is over.
	CheckChallengeExpired attestd.CheckID = "challenge/expired"
)

// Checks lists the checks that are made around verification, in the order in which they run.
func Checks() []attestd.CheckSpec {
	return []attestd.CheckSpec{
		{
			ID: CheckChallengeKnown, Class: attestd.ClassReplay, Group: attestd.GroupChallenge,
			Proves: "the nonce is ours, unused, and for this tenant, format and purpose",
			Why:    "evidence seen once on the wire could be used again, or for somebody else",
			Spec:   "RFC 9334, section 10.3 (nonces); attestd: POST /v1/challenges",
			Hint:   "ask for a new challenge and collect the evidence with its nonce",
		},
		{
			ID: CheckChallengeExpired, Class: attestd.ClassStale, Group: attestd.GroupChallenge,
			Proves: "the challenge was answered before it expired",
			Why:    "an attester that has time can have evidence made elsewhere, later",
			Spec:   "RFC 9334, section 10.3 (nonces); attestd: POST /v1/challenges",
			Hint:   "ask for a new challenge and answer it within its 60 seconds",
		},
	}
}

func checkSpec(id attestd.CheckID) (attestd.CheckSpec, bool) {
	for _, spec := range Checks() {
		if spec.ID == id {
			return spec, true
		}
	}
	return attestd.CheckSpec{}, false
}
