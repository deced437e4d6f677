package judge

import "github.com/attestd/attestd"

// Verify verifies without appraising, for those who need the claims themselves (measuring reference
// values from evidence). The policy of the request is not looked at, and of its references only the
// keys that they vouch for.
//
// Errors: those of [Judge.Judge], a [*attestd.EvidenceError] or a [*attestd.UndecidedError].
func (j *Judge) Verify(request Request) (*attestd.Claims, error) {
	verifier, err := j.choose(request)
	if err != nil {
		return nil, err
	}
	return verify(verifier, attestd.Input{
		Evidence: request.Evidence, Endorsements: request.Endorsements, At: request.At,
		Demand: request.Demand, Anchors: j.anchors(request, verifier),
	})
}
