package attestd

import (
	"encoding/json"
	"fmt"
)

// RiskScore is an integer risk from 0 (none seen) to 100. The zero RiskScore reads 100: a score that
// was never computed is the worst there is. Same input, same score.
type RiskScore struct {
	trust uint8 // 100 minus the risk, so that the zero value reads 100
}

// Risk returns the score for points, clamped to 0..100.
func Risk(points int) RiskScore {
	points = max(0, min(100, points))
	return RiskScore{trust: uint8(100 - points)} //nolint:gosec // clamped to 0..100 above
}

// Int returns the score as a number from 0 to 100.
func (r RiskScore) Int() int { return 100 - int(r.trust) }

// String returns the score in decimal.
func (r RiskScore) String() string { return fmt.Sprint(r.Int()) }

// Tier returns the tier of the score: 0-39 low, 40-69 medium, 70-89 high, 90-100 critical.
func (r RiskScore) Tier() Tier {
	switch points := r.Int(); {
	case points < 40:
		return TierLow
	case points < 70:
		return TierMedium
	case points < 90:
		return TierHigh
	default:
		return TierCritical
	}
}

// MarshalJSON writes the score as a number.
func (r RiskScore) MarshalJSON() ([]byte, error) { return json.Marshal(r.Int()) }

// UnmarshalJSON reads an integer from 0 to 100; anything else is an error and leaves 100, so that
// NaN, a string or a missing score can never read as a low risk.
func (r *RiskScore) UnmarshalJSON(data []byte) error {
	*r = RiskScore{}
	var points *int
	if err := json.Unmarshal(data, &points); err != nil {
		return fmt.Errorf("risk score: %w", err)
	}
	if points == nil || *points < 0 || *points > 100 {
		return fmt.Errorf("risk score %.20q is not an integer from 0 to 100", data)
	}
	*r = Risk(*points)
	return nil
}

// Tier is the risk in words. The zero Tier is TierUnknown, which grants nothing.
type Tier uint8

// Tiers of risk.
const (
	TierUnknown  Tier = iota // could not be decided
	TierLow                  // 0-39
	TierMedium               // 40-69
	TierHigh                 // 70-89
	TierCritical             // 90-100
)

var tierNames = [...]string{"unknown", "low", "medium", "high", "critical"}

// String returns the tier's name.
func (t Tier) String() string { return nameOf(tierNames[:], int(t)) }

// MarshalText implements [encoding.TextMarshaler].
func (t Tier) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; unknown names are errors.
func (t *Tier) UnmarshalText(text []byte) error {
	index, err := indexOf(tierNames[:], "tier", text)
	*t = Tier(index) //nolint:gosec // index of an array of five
	return err
}

// Verdict returns what the tier means: low and medium are accepted, high and critical rejected,
// unknown and everything else undecided.
func (t Tier) Verdict() Verdict {
	switch t {
	case TierLow, TierMedium:
		return VerdictAccepted
	case TierHigh, TierCritical:
		return VerdictRejected
	default:
		return VerdictUndecided
	}
}

// Verdict is the answer in one word. The zero Verdict is VerdictUndecided, which is never a pass.
type Verdict uint8

// Verdicts.
const (
	VerdictUndecided Verdict = iota
	VerdictAccepted
	VerdictRejected
)

var verdictNames = [...]string{"undecided", "accepted", "rejected"}

// String returns "undecided", "accepted" or "rejected".
func (v Verdict) String() string { return nameOf(verdictNames[:], int(v)) }

// MarshalText implements [encoding.TextMarshaler].
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; unknown names are errors.
func (v *Verdict) UnmarshalText(text []byte) error {
	index, err := indexOf(verdictNames[:], "verdict", text)
	*v = Verdict(index) //nolint:gosec // index of an array of three
	return err
}

// State of a subject. The zero State is StateUnknown, which grants nothing.
type State uint8

// States of a subject. Transitions belong to the registry's one table.
const (
	StateUnknown     State = iota // never accepted
	StateTrusted                  // accepted evidence, nothing against it
	StateSuspect                  // overdue or scored too high to be trusted; may recover
	StateQuarantined              // barred until released by a person after rebirth
	StateRevoked                  // barred for ever; a person's act
)

var stateNames = [...]string{"unknown", "trusted", "suspect", "quarantined", "revoked"}

// String returns the state's name.
func (s State) String() string { return nameOf(stateNames[:], int(s)) }

// MarshalText implements [encoding.TextMarshaler].
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]; unknown names are errors.
func (s *State) UnmarshalText(text []byte) error {
	index, err := indexOf(stateNames[:], "state", text)
	*s = State(index) //nolint:gosec // index of an array of five
	return err
}

// Grants reports whether an identity may be issued in this state: only when trusted.
func (s State) Grants() bool { return s == StateTrusted }
