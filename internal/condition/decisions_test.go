package condition_test

import (
	"errors"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/condition"
)

// TestDecisionsAreLookedAt: records that fail and keys that are gone are failures, keys that grow old a warning.
func TestDecisionsAreLookedAt(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	fresh := now.Add(58 * time.Minute)
	for name, row := range map[string]struct {
		figures          condition.DecisionFigures
		records, bundles condition.Severity
	}{
		"not in use": {condition.DecisionFigures{Records: errors.New("x")}, condition.OK, condition.OK},
		"well":       {condition.DecisionFigures{Enabled: true, Bundles: map[string]time.Time{"a": fresh}}, condition.OK, condition.OK},
		"a full disk": {condition.DecisionFigures{Enabled: true, Records: errors.New("no space"),
			Bundles: map[string]time.Time{"a": fresh}}, condition.Failure, condition.OK},
		"one never fetched": {condition.DecisionFigures{Enabled: true,
			Bundles: map[string]time.Time{"a": fresh, "b": {}}}, condition.OK, condition.Failure},
		"one that is over": {condition.DecisionFigures{Enabled: true,
			Bundles: map[string]time.Time{"a": now}}, condition.OK, condition.Failure},
		"one not fetched for a while": {condition.DecisionFigures{Enabled: true,
			Bundles: map[string]time.Time{"a": now.Add(30 * time.Minute)}}, condition.OK, condition.Warning},
	} {
		row.figures.Now = now
		found := row.figures.Findings()
		if len(found) != len(condition.DecisionIDs) || found[0].Severity != row.records || found[1].Severity != row.bundles {
			t.Errorf("%s: %+v", name, found)
		}
	}
}
