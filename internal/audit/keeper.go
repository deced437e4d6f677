package audit

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// KeeperConfig is what [NewKeeper] needs; every field is required.
type KeeperConfig struct {
	// Write stores records durably, all or none.
	Write func(ctx context.Context, records []Record) error
	// Now is the store's clock.
	Now func() time.Time
}

// Keeper takes records for a store: those that something waits for at once, and those that can be many
// folded by a [Flood]. It is safe for concurrent use.
type Keeper struct {
	write func(context.Context, []Record) error
	now   func() time.Time
	flood *Flood
	wake  chan struct{}

	mu sync.Mutex
	// noted waits to be written.
	noted []Record
	// failing is the error of the last write, nil where it was stored; failures counts since then.
	failing  error
	failures int
}

// What a keeper holds while nothing can be written. Over it, kinds are counted and nothing else is kept
// of them.
const (
	maxNoted   = 4096
	flushEvery = time.Second
	// flushTime bounds one attempt: a store that hangs is one that is down.
	flushTime = 10 * time.Second
	// late is how long one attempt takes before nothing more is taken up that must leave a trace.
	late = time.Second
)

// errLate says that the store has not answered yet.
var errLate = errors.New("a record is not stored yet, longer than it takes")

// NewKeeper returns a keeper. Its [Keeper.Run] has to run.
func NewKeeper(config KeeperConfig) (*Keeper, error) {
	if config.Write == nil || config.Now == nil {
		return nil, errors.New("an audit keeper needs a store and its clock")
	}
	return &Keeper{
		write: config.Write, now: config.Now, flood: NewFlood(), wake: make(chan struct{}, 1),
	}, nil
}

// Record stores one record before it returns. What it is about must not be answered where it fails.
func (k *Keeper) Record(ctx context.Context, record Record) error {
	if _, err := Encode(record); err != nil {
		return err // it says nothing about the store
	}
	err := k.write(ctx, []Record{record})
	// Whoever asked and went away says nothing about the store.
	if err == nil || ctx.Err() == nil {
		k.saw(err)
	}
	return err
}

// Note takes up a record that can be one of many. It never waits. What the record lacks is filled in: one
// that cannot be written would keep back all that are written with it.
func (k *Keeper) Note(record Record) {
	if record.At.IsZero() {
		record.At = k.now()
	}
	for _, text := range []*string{&record.Actor, &record.Action, &record.Outcome} {
		if *text == "" {
			*text = "?"
		}
	}
	due := k.flood.Note(record)
	if len(due) == 0 {
		return
	}
	k.queue(due)
	select {
	case k.wake <- struct{}{}:
	default: // somebody woke it already
	}
}

func (k *Keeper) queue(records []Record) {
	k.mu.Lock()
	room := max(maxNoted-len(k.noted), 0)
	k.noted = append(k.noted, records[:min(room, len(records))]...)
	k.mu.Unlock()
	for _, record := range records[min(room, len(records)):] {
		k.flood.Fold(record)
	}
}

// Ready returns nil where the last write was stored, and what was wrong with it otherwise.
func (k *Keeper) Ready() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failing
}

func (k *Keeper) saw(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failing = err
	if err != nil {
		k.failures++
	}
}

// Run writes what was noted until ctx ends, and then what is left of it. While writes fail it tries
// again: nobody else may, since everything that needs a record is refused meanwhile.
func (k *Keeper) Run(ctx context.Context) {
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			k.queue(k.flood.Drain())
			k.flush(context.WithoutCancel(ctx))
			return
		case <-k.wake:
			if k.Ready() == nil { // what fails is tried again at the ticker's pace
				k.flush(ctx)
			}
		case <-ticker.C:
			k.queue(k.flood.Due(k.now()))
			k.flush(ctx)
		}
	}
}

// flush writes what was noted, and where writes had failed how many.
func (k *Keeper) flush(ctx context.Context) {
	k.mu.Lock()
	records, failures := k.noted, k.failures
	k.noted = nil
	k.mu.Unlock()
	whole := records
	if failures > 0 {
		whole = append(slices.Clone(records), Record{
			At: k.now(), Actor: "attestd", Tenant: "*", Action: "audit.resumed", Outcome: "done",
			Count: failures, Reason: "records could not be written meanwhile",
		})
	}
	if len(whole) == 0 {
		return
	}
	limited, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	hung := time.AfterFunc(late, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if limited.Err() == nil && k.failing == nil { // the outcome has the last word
			k.failing = errLate
		}
	})
	err := k.write(limited, whole)
	hung.Stop()
	k.mu.Lock()
	cancel() // under the lock: from here on nothing says any more that it is late
	if err == nil {
		k.failures -= failures
	} else {
		k.noted = append(records, k.noted...)
	}
	k.mu.Unlock()
	if err == nil || ctx.Err() == nil {
		k.saw(err)
	}
}
