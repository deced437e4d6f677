package condition_test

import (
	"errors"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/condition"
)

func TestCollateralIsJudged(t *testing.T) {
	so := errors.New("it is so")
	const ok, warning, failure, unknown = condition.OK, condition.Warning, condition.Failure, condition.Unknown
	for name, row := range map[string]struct {
		figures condition.CollateralFigures
		want    [3]condition.Severity
	}{
		"none is kept":          {condition.CollateralFigures{Off: true}, [3]condition.Severity{ok, ok, ok}},
		"all is well":           {condition.CollateralFigures{Fetch: true}, [3]condition.Severity{ok, ok, ok}},
		"the folder is broken":  {condition.CollateralFigures{Read: so}, [3]condition.Severity{failure, unknown, ok}},
		"a list is in grace":    {condition.CollateralFigures{Current: so}, [3]condition.Severity{ok, warning, ok}},
		"a list has expired":    {condition.CollateralFigures{Current: so, Failing: true}, [3]condition.Severity{ok, failure, ok}},
		"failing without words": {condition.CollateralFigures{Failing: true}, [3]condition.Severity{ok, failure, ok}},
		"one request failed": {
			condition.CollateralFigures{Fetch: true, FetchError: so, FetchFailing: time.Minute},
			[3]condition.Severity{ok, ok, ok},
		},
		"fetching fails for a night": {
			condition.CollateralFigures{Fetch: true, FetchError: so, FetchFailing: 8 * time.Hour},
			[3]condition.Severity{ok, ok, warning},
		},
		"fetching fails for days": {
			condition.CollateralFigures{Fetch: true, FetchError: so, FetchFailing: 72 * time.Hour},
			[3]condition.Severity{ok, ok, failure},
		},
	} {
		t.Run(name, func(t *testing.T) {
			findings := row.figures.Findings()
			if len(findings) != len(condition.CollateralIDs) {
				t.Fatalf("%d findings", len(findings))
			}
			for index, found := range findings {
				if found.ID != condition.CollateralIDs[index] || found.Severity != row.want[index] ||
					found.Detail == "" {
					t.Errorf("%s is %s (%q), want %s", found.ID, found.Severity, found.Detail, row.want[index])
				}
			}
		})
	}
}
