package wire

import "github.com/attestd/attestd/internal/decision/journal"

// Decisions answers GET /v1/admin/decisions and, with the one that was asked for, GET
// /v1/admin/decision.
type Decisions struct {
	Schema string `json:"schema"` // attestd.decisions.v1
	// Decisions are records, as attestd.decision.v1 and attestd.decision-fold.v1 say.
	Decisions []journal.Record `json:"decisions"`
	// Next is where the next page begins; with oldest=true there is always one, for what comes later.
	Next string `json:"next,omitempty"`
}

// Replayed answers GET /v1/admin/decisions/replay: what came of deciding again by the inputs and the
// policies that were stored.
type Replayed struct {
	Schema string `json:"schema"` // attestd.replay.v1
	// Verdict is "same", "different", "undecided" where some could not be decided again and none differed, or
	// "nothing" where there was none.
	Verdict string `json:"verdict"`
	journal.Run
}

// Verdict returns the word for what came of a run.
func Verdict(run journal.Run) string {
	switch {
	case run.Different > 0:
		return "different"
	case run.Undecided > 0:
		return "undecided"
	case run.Same > 0:
		return "same"
	default:
		return "nothing"
	}
}
