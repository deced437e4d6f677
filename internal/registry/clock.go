package registry

import (
	"fmt"
	"sync"
	"time"
)

// Clock is the time of a store. It never goes back: where the wall clock does (an NTP step, an
// operator, an attacker with access to the time source), it goes on by elapsed time, so that a
// nonce cannot be given a second life. Where the wall clock jumps ahead it follows, which ends
// nonces early and never late.
type Clock struct {
	wall    func() time.Time
	elapsed func() time.Duration

	mu         sync.Mutex
	anchor     time.Time
	anchoredAt time.Duration
}

// NewClock returns a clock over wall and elapsed, which must rise steadily from any start.
func NewClock(wall func() time.Time, elapsed func() time.Duration) *Clock {
	return &Clock{wall: wall, elapsed: elapsed, anchor: wall().Round(0).UTC(), anchoredAt: elapsed()}
}

// SystemClock returns a clock over the machine's wall clock and its monotonic clock.
func SystemClock() *Clock {
	start := time.Now()
	return NewClock(time.Now, func() time.Duration { return time.Since(start) })
}

// Now returns the time of the store, in UTC.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, _ := c.read()
	return now
}

// Behind returns by how much the wall clock is behind the store's; zero where it is not.
func (c *Clock) Behind() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, wall := c.read()
	return now.Sub(wall)
}

func (c *Clock) read() (now, wall time.Time) {
	wall = c.wall().Round(0).UTC()
	elapsed := c.elapsed()
	now = c.anchor.Add(elapsed - c.anchoredAt)
	if wall.After(now) {
		now = wall
	}
	c.anchor, c.anchoredAt = now, elapsed
	return now, wall
}

// maxClockRegress is by how much a wall clock may be behind what the store has seen when it is
// opened: more than the drift between two readings, far less than the life of a nonce matters to.
const maxClockRegress = 30 * time.Second

// startFrom makes newest, the newest time the store holds, the earliest that Now can return.
//
// Errors: where the wall clock is well behind it. Starting then would let nonces of an earlier run
// live on.
func (c *Clock) startFrom(newest time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, wall := c.read()
	if newest.Sub(wall) > maxClockRegress {
		return fmt.Errorf("the clock went back: it says %s, the store has rows from %s",
			wall.Format(time.RFC3339), newest.Format(time.RFC3339))
	}
	if newest.After(now) {
		c.anchor = newest
	}
	return nil
}
