package condition

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// DecisionIDs are what [DecisionFigures.Findings] answers for.
var DecisionIDs = []ID{DecisionRecords, DecisionBundles}

// bundleWarn is how long before a bundle ends it should have been fetched again: an hour is what it is kept
// for, and it is asked for every five minutes at least.
const bundleWarn = 45 * time.Minute

// DecisionFigures is what is known of decisions.
type DecisionFigures struct {
	Enabled bool
	// Records is why records cannot be written; nil where they can.
	Records error
	// Bundles says of each trust domain until when its bundle is used; zero for none.
	Bundles map[string]time.Time
	Now     time.Time
}

// Findings judges them. Where nobody is decided about everything is well.
func (f DecisionFigures) Findings() []Finding {
	if !f.Enabled {
		return []Finding{
			{ID: DecisionRecords, Severity: OK, Detail: "not in use"},
			{ID: DecisionBundles, Severity: OK, Detail: "not in use"},
		}
	}
	records := Finding{ID: DecisionRecords, Severity: OK, Detail: "are written"}
	if f.Records != nil {
		records = Finding{ID: DecisionRecords, Severity: Failure, Detail: f.Records.Error()}
	}
	var none, old []string
	for domain, until := range f.Bundles {
		switch left := until.Sub(f.Now); {
		case until.IsZero() || left <= 0:
			none = append(none, domain)
		case left < bundleWarn:
			old = append(old, fmt.Sprintf("%s ends in %s", domain, left.Round(time.Minute)))
		}
	}
	slices.Sort(none)
	slices.Sort(old)
	bundles := Finding{ID: DecisionBundles, Severity: OK, Detail: fmt.Sprintf("%d, all fetched lately", len(f.Bundles))}
	switch {
	case len(none) != 0:
		bundles = Finding{ID: DecisionBundles, Severity: Failure, Detail: "none of " + strings.Join(none, ", ")}
	case len(old) != 0:
		bundles = Finding{ID: DecisionBundles, Severity: Warning, Detail: strings.Join(old, ", ")}
	}
	return []Finding{records, bundles}
}
