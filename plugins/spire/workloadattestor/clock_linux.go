package workloadattestor

import (
	"time"

	"golang.org/x/sys/unix"
)

// clock tells two times. Tests have one that they move.
type clock interface {
	// steady counts on and is never set, through suspends too: the age of what was received goes by it.
	steady() time.Duration
	// wall is the time of day, which somebody may set.
	wall() time.Time
}

// systemClock is the node's. Go's own monotonic time is CLOCK_MONOTONIC, which stands still while a
// machine is suspended (clock_gettime(2)): after hours of it a snapshot would be as fresh as before.
type systemClock struct{}

func (systemClock) steady() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		// The call has no way to fail on a kernel that runs Go; without a clock nothing is fresh.
		panic("no CLOCK_BOOTTIME: " + err.Error())
	}
	return time.Duration(now.Nano())
}

func (systemClock) wall() time.Time { return time.Now() }
