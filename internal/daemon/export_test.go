package daemon

import (
	"time"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/subject"
)

// DemandSoundClock is for tests: no test can set the machine's clock.
var DemandSoundClock = demandSoundClock

// HandedUntil and NoteHanded read and write until when composers can go on by what they were
// handed.
func HandedUntil(stateDir string, now time.Time) time.Time { return handedIn(stateDir).until(now) }
func NoteHanded(stateDir string, until time.Time) error    { return handedIn(stateDir).note(until) }

// Composers is what a receipt says of composers, at that time, where they can go on until then.
func Composers(receipt wire.Receipt, now time.Time, ends map[subject.ID]time.Time) []wire.Channel {
	orders := spireOrders{
		heldOver: func(id subject.ID) time.Time { return ends[id] }, now: func() time.Time { return now },
	}
	return orders.composers(receipt, 0)
}
