//go:build race

package worker_test

// raceEnabled: the race detector's own memory and calls do not fit behind the filter, so workers are
// built without it.
const raceEnabled = true
