package condition

import "time"

// How long fetching may fail: KDS asks for few requests, and what is held is good for months.
const (
	fetchWarn = 6 * time.Hour
	fetchFail = 48 * time.Hour
)

// CollateralIDs are what [CollateralFigures.Findings] answers for.
var CollateralIDs = []ID{CollateralReadable, CollateralCurrent, CollateralFetched}

// CollateralFigures is what the store of collateral says of itself.
type CollateralFigures struct {
	// Off says that none is kept: collateral comes with the evidence, or not at all.
	Off bool
	// Read is what came of the last look into the folder.
	Read error
	// Current says what is not current any more or will soon not be, and Failing that something is not.
	Current error
	Failing bool
	// Fetch says that a fetcher is configured. FetchError is its last error, nil after a success, and
	// FetchFailing for how long there has been none.
	Fetch        bool
	FetchError   error
	FetchFailing time.Duration
}

// Findings judges the figures.
func (f CollateralFigures) Findings() []Finding {
	if f.Off {
		const off = "no collateral is kept (collateral.folder)"
		return []Finding{
			{ID: CollateralReadable, Severity: OK, Detail: off}, {ID: CollateralCurrent, Severity: OK, Detail: off},
			{ID: CollateralFetched, Severity: OK, Detail: off},
		}
	}
	current := Finding{ID: CollateralCurrent, Severity: OK, Detail: "every list and CA is current"}
	switch {
	case f.Read != nil:
		current = Finding{ID: CollateralCurrent, Detail: "the folder cannot be read"}
	case f.Failing:
		current.Severity, current.Detail = Failure, "something is not current"
	case f.Current != nil:
		current.Severity = Warning
	}
	if f.Read == nil && f.Current != nil {
		current.Detail = f.Current.Error()
	}
	fetched := Finding{ID: CollateralFetched, Severity: OK, Detail: "nothing is fetched (collateral.fetch)"}
	switch {
	case !f.Fetch:
	case f.FetchError == nil:
		fetched.Detail = "the last request was answered"
	default:
		fetched = judged(CollateralFetched, f.FetchFailing > fetchFail, f.FetchFailing > fetchWarn,
			"for %s: %v", f.FetchFailing.Round(time.Minute), f.FetchError)
	}
	return []Finding{broken(CollateralReadable, f.Read, "read"), current, fetched}
}
