package journal

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
)

const (
	// queueLength is how many answers wait to be written: more than a second of 5,000 a second, so that a
	// slow disk is not felt.
	queueLength = 8192
	// batchLength is how many are written at once, batchWait how long the first of them waits for others,
	// syncEvery how long what was written waits for the disk to have it.
	batchLength = 512
	batchWait   = 5 * time.Millisecond
	syncEvery   = 100 * time.Millisecond
	// tickEvery is how often what is due without a decision is looked for, retryEvery how often a disk
	// that fails is tried.
	tickEvery  = 200 * time.Millisecond
	retryEvery = time.Second
)

// errFull and errFailing are why a record cannot be taken.
var (
	errFull    = errors.New("records of decisions come faster than they can be written")
	errStopped = errors.New("no records of decisions are written any more")
)

// Journal writes records. It is safe for concurrent use; [Journal.Run] has to run.
type Journal struct {
	config   Config
	queue    chan decision.Answer
	flood    *flood
	store    *store
	metrics  *metrics
	policies *policies

	// failing is why nothing can be written now; nil where it can.
	failing atomic.Pointer[error]
	// mu keeps Keep from adding to a queue that nobody reads any more.
	mu      sync.RWMutex
	stopped bool
}

var _ decision.Journal = (*Journal)(nil)

// New opens the journal in a folder, makes whole what a crash has left torn, and takes the folder for
// itself.
//
// Errors: [attestd.CallerError] of class CONFIG where a bound is missing, the folder cannot be written or
// another process writes it.
func New(config Config) (*Journal, error) {
	err := config.check()
	if err == nil {
		j := &Journal{config: config, queue: make(chan decision.Answer, queueLength), flood: newFlood()}
		j.policies = &policies{folder: config.Folder, now: config.Now}
		if j.metrics, err = newMetrics(config.Registerer); err == nil {
			if j.store, err = openStore(config, j.policies); err == nil {
				return j, nil
			}
		}
	}
	return nil, &attestd.CallerError{
		Class: attestd.ClassConfig, Hint: "look at decisions.records and at the disk of state_dir/decisions", Err: err,
	}
}

// Keep takes the record of an answer and does not wait for it to be written. It holds on to what the
// answer points to, which must not change any more.
//
// Errors: where no record can be taken: what is allowed must then be denied. A denial is always taken:
// where it cannot be written it is counted.
func (j *Journal) Keep(answer *decision.Answer) error {
	if answer.Input == nil {
		return errors.New("an answer without its input cannot be recorded")
	}
	whole := true
	if !answer.Allow || j.config.Allows > 1 {
		whole = j.flood.take(answer, j.config.Allows)
	}
	if failing := j.failing.Load(); failing != nil && answer.Allow {
		return j.refuse(answer, *failing)
	}
	if !whole {
		j.metrics.folded.Inc()
		return nil
	}
	err := j.enqueue(answer)
	switch {
	case err == nil:
		return nil
	case answer.Allow:
		return j.refuse(answer, err)
	}
	j.flood.fold(answer)
	j.metrics.folded.Inc()
	return nil
}

// refuse counts the denial that becomes of an allow without a record, and returns why there is none.
func (j *Journal) refuse(answer *decision.Answer, err error) error {
	denied := *answer
	denied.Allow, denied.Reasons = false, []decision.Reason{{Code: decision.CodeRecordsUnavailable}}
	j.flood.fold(&denied)
	j.metrics.refused.Inc()
	return err
}

func (j *Journal) enqueue(answer *decision.Answer) error {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.stopped {
		return errStopped
	}
	select {
	case j.queue <- *answer:
		return nil
	default:
		return errFull
	}
}

// Ready returns nil where records can be written, and what is wrong otherwise.
func (j *Journal) Ready() error {
	if failing := j.failing.Load(); failing != nil {
		return *failing
	}
	return nil
}

// Run writes records until ctx ends, and then those that wait. It returns when all are on disk, or
// cannot be.
func (j *Journal) Run(ctx context.Context) {
	w := &writer{Journal: j}
	// What was written last time may not have been sealed: a crash seals nothing.
	if before := j.store.previous; before.Segment != "" && j.config.Sealed != nil {
		j.config.Sealed(before)
	}
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			w.stop()
			return
		case answer := <-j.queue:
			w.gather(ctx, answer)
		case <-ticker.C:
			w.tick()
		}
	}
}
