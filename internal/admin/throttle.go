package admin

import (
	"sync"
	"time"

	"github.com/attestd/attestd"
)

// Bounds of failed authentications: many for a person who mistypes, few for a program that guesses.
const (
	failuresPerMinute = 20
	// maxSources bounds the table; who does not fit in shares one place.
	maxSources = 4096
	sharing    = "*"
)

var errTooMany = refuse(attestd.ClassRateLimited, "too many requests of this source were not known",
	"wait a minute, then log in with a token that is new")

// throttle counts failed authentications by source within a minute.
type throttle struct {
	now func() time.Time

	mu     sync.Mutex
	minute time.Time
	failed map[string]int
}

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, failed: map[string]int{}}
}

// place returns the source's place in the table of this minute. It is called with the mutex held.
func (t *throttle) place(source string) string {
	if minute := t.now().Truncate(time.Minute); !minute.Equal(t.minute) {
		t.minute, t.failed = minute, map[string]int{}
	}
	if _, known := t.failed[source]; !known && len(t.failed) >= maxSources {
		return sharing
	}
	return source
}

// over reports whether the source has failed too often within this minute.
func (t *throttle) over(source string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed[t.place(source)] >= failuresPerMinute
}

// count takes up a failure and returns the error to answer with: err itself, or that there were too
// many. An error that does not say that nobody was recognized, as where the store is down, is nobody's
// failure.
func (t *throttle) count(source string, err error) error {
	if !isUnauthenticated(err) {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	place := t.place(source)
	t.failed[place]++
	if t.failed[place] > failuresPerMinute {
		return errTooMany
	}
	return err
}
