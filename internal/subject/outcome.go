package subject

// Outcome is what came of grounds for an automatic quarantine. The zero Outcome is none.
type Outcome string

// Outcomes.
const (
	OutcomeLaid   Outcome = "quarantined"
	OutcomeHeld   Outcome = "held already"
	OutcomeDryRun Outcome = "dry-run"
	OutcomeCapped Outcome = "capped"
	// OutcomeSaid is a dry run or a cap that was said within this hour.
	OutcomeSaid Outcome = "said already"
	OutcomeOff  Outcome = "off"
)
