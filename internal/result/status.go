package result

import "github.com/attestd/attestd"

// Status is the whole of an appraisal in one word (draft-ietf-rats-ear-03, section 3.2). The zero
// Status is none, which affirms nothing.
type Status string

// Statuses, from nothing to worst.
const (
	None            Status = "none"
	Affirming       Status = "affirming"
	Warning         Status = "warning"
	Contraindicated Status = "contraindicated"
)

// tierOf returns what a claim of the vector says (draft-ietf-rats-ar4si, section 2.3.1): 0, 1 and -1
// nothing, to 31 and -32 it affirms, to 95 and -96 it warns, and beyond it contraindicates.
func tierOf(claim int8) Status {
	switch {
	case claim >= -1 && claim <= 1:
		return None
	case claim >= -32 && claim <= 31:
		return Affirming
	case claim >= -96 && claim <= 95:
		return Warning
	default:
		return Contraindicated
	}
}

// worse returns the worse one. None says nothing, and takes nothing from what another says: a vector
// leaves out what it does not know.
func worse(a, b Status) Status {
	order := map[Status]int{Affirming: 1, Warning: 2, Contraindicated: 3}
	if order[b] > order[a] {
		return b
	}
	return a
}

// StatusOf returns the status of a verdict on a subject in that state; StateUnknown is for evidence
// whose subject nobody keeps. It is the worst of all that there is:
//
//   - an accepted verdict affirms at a low risk and warns at a medium one, an undecided one says none,
//     and anything else is contraindicated;
//   - each claim of the trust vector, which only makes it worse;
//   - a subject that is suspect warns; one that is quarantined or revoked is contraindicated.
//
// Undecided stays none unless something is contraindicated: a warning would say that most of it was
// found to be good.
func StatusOf(given attestd.Appraisal, state attestd.State) Status {
	status := Contraindicated
	switch given.Verdict {
	case attestd.VerdictAccepted:
		switch riskOf(given).Tier() {
		case attestd.TierLow:
			status = Affirming
		case attestd.TierMedium:
			status = Warning
		}
	case attestd.VerdictUndecided:
		status = None
	}
	worst := None
	for _, claim := range claimsOf(given.Trust) {
		worst = worse(worst, tierOf(claim.value))
	}
	switch state {
	case attestd.StateUnknown, attestd.StateTrusted:
	case attestd.StateSuspect:
		worst = worse(worst, Warning)
	default:
		worst = Contraindicated
	}
	if status == None && worst != Contraindicated {
		return None
	}
	return worse(status, worst)
}

// riskOf is the higher risk of the verdict and of its subject, against which signals count too.
func riskOf(given attestd.Appraisal) attestd.RiskScore {
	if given.Standing != nil && given.Standing.Risk.Int() > given.Risk.Int() {
		return given.Standing.Risk
	}
	return given.Risk
}

// tierNow is the tier of an accepted verdict at that risk. Whoever reads the tier alone must not miss
// what was learnt of the subject since.
func tierNow(given attestd.Appraisal) attestd.Tier {
	if given.Verdict != attestd.VerdictAccepted {
		return given.Tier
	}
	return riskOf(given).Tier()
}

// claim is a member of the trust vector.
type claim struct {
	name  string
	value int8
}

// claimsOf lists the vector in the order of its labels (draft-ietf-rats-ar4si, section 2.3).
func claimsOf(vector attestd.TrustVector) []claim {
	return []claim{
		{"instance-identity", vector.InstanceIdentity}, {"configuration", vector.Configuration},
		{"executables", vector.Executables}, {"file-system", vector.FileSystem},
		{"hardware", vector.Hardware}, {"runtime-opaque", vector.RuntimeOpaque},
		{"storage-opaque", vector.StorageOpaque}, {"sourced-data", vector.SourcedData},
	}
}
