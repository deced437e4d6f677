// Package sweep says how much of a large sweep of changed evidence a test run makes, and how long it
// took. It stands apart from the suite that sweeps, since nothing below verifiers/ reads a clock or
// the environment.
package sweep

import (
	"os"
	"time"
)

const (
	// variable, set to "all", takes every change whatever the size (make soak).
	variable = "ATTESTD_FLIPS"
	// allUpTo is the size in bytes up to which every change is made in every run.
	allUpTo = 8 << 10
	// Slices is into how many slices larger evidence is cut: one a day, all within eight days.
	Slices = 8
)

// Whole reports whether evidence of size bytes is swept whole in this run.
func Whole(size int) bool { return size <= allUpTo || os.Getenv(variable) == "all" }

// Today is the slice of the day for evidence that is not swept whole, from 0 to Slices-1.
func Today() int {
	return int(time.Now().Unix() / int64((24 * time.Hour).Seconds()) % Slices)
}

// Stopwatch returns a function that says how much time has passed since.
func Stopwatch() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
