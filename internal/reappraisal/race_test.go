//go:build race

package reappraisal_test

const raceEnabled = true
