package journal

import (
	"context"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
)

// writer is the one that writes: the part of a journal that is only [Journal.Run]'s.
type writer struct {
	*Journal
	// pending are records that are not in a file yet, written those that are and that the disk may not
	// have yet.
	pending, written []Record
	syncAt           time.Time
}

// gather takes what else comes within batchWait, and writes it. It sleeps meanwhile: to be woken for each
// answer would cost whoever decides more than to write it does here. The queue holds what comes in that time.
func (w *writer) gather(ctx context.Context, first decision.Answer) {
	w.pending = append(w.pending, recordOf(&first, w.config.Engine))
	if len(w.queue) < batchLength-1 {
		timer := time.NewTimer(batchWait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	for waiting := true; waiting && len(w.pending) < batchLength; {
		select {
		case answer := <-w.queue:
			w.pending = append(w.pending, recordOf(&answer, w.config.Engine))
		default:
			waiting = false
		}
	}
	w.write()
	// While the disk fails, what waits stays in the queue, which is bounded.
	for w.failing.Load() != nil && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(retryEvery):
			w.write()
		}
	}
}

// tick does what is due without a decision: counts of floods, the disk, what is too old.
func (w *writer) tick() {
	w.pending = append(w.pending, w.flood.collect(w.config.Now(), false)...)
	w.write()
	w.sync()
	w.store.prune(w.config.Now())
	w.sawSpace()
}

// write adds what is pending to the segment. Where there is nothing it says nothing of the disk.
func (w *writer) write() {
	if len(w.pending) == 0 {
		return
	}
	added, err := w.store.add(w.pending)
	w.written = append(w.written, w.pending[:added]...)
	w.pending = slices.Delete(w.pending, 0, added)
	if err == nil && time.Since(w.syncAt) >= syncEvery {
		w.sync()
		return
	}
	w.saw(err)
}

// sync waits until the disk has what was written, and gives it to the sinks. Where that fails nobody
// knows what the disk has: a second fsync would return nil without having written a thing. All of it is
// then written again, to another file.
func (w *writer) sync() {
	if len(w.written) == 0 {
		return
	}
	w.syncAt = time.Now()
	if err := w.store.sync(); err != nil {
		w.pending = append(slices.Clone(w.written), w.pending...)
		w.written = w.written[:0]
		w.saw(err)
		return
	}
	w.saw(nil)
	for index := range w.written {
		w.metrics.kept.Inc()
		for _, sink := range w.config.Sinks {
			sink.Take(&w.written[index])
		}
	}
	clear(w.written)
	w.written = w.written[:0]
}

// saw notes how a write went.
func (w *writer) saw(err error) {
	was := w.failing.Load() != nil
	switch {
	case err != nil:
		w.failing.Store(&err)
		w.metrics.failures.Inc()
		if !was {
			w.config.Logger.Error("records of decisions cannot be written; what is allowed is denied meanwhile",
				"err", attestd.Excerpt(err.Error(), 300))
		}
	case was:
		w.failing.Store(nil)
		w.config.Logger.Warn("records of decisions are written again")
	}
}

func (w *writer) sawSpace() {
	w.metrics.bytes.Set(float64(w.store.bytes))
	w.metrics.waiting.Set(float64(len(w.queue)))
}

// stop writes what waits and closes the segment.
func (w *writer) stop() {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	for len(w.queue) > 0 {
		answer := <-w.queue
		w.pending = append(w.pending, recordOf(&answer, w.config.Engine))
	}
	w.pending = append(w.pending, w.flood.collect(w.config.Now(), true)...)
	w.write()
	w.sync()
	if err := w.store.close(); err != nil {
		w.saw(err)
	}
	if len(w.pending) > 0 {
		w.config.Logger.Error("records of decisions are lost", "count", len(w.pending))
	}
}
