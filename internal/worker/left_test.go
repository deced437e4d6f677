package worker_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/worker"
)

// TestALateAnswerIsNobodys: the answer to a caller who left goes to nobody, and the worker, which did
// nothing wrong, serves the next one.
func TestALateAnswerIsNobodys(t *testing.T) {
	pool, log := newPool(t, "test-worker", func(c *worker.Config) { c.Timeout = 5 * time.Second })
	for range 3 {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		_, err := pool.Judge(ctx, jobFor(t, "late"))
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v, want the context's error", err)
		}
		// It waits until the worker is free; a worker that answered twice would be found out.
		got, err := pool.Judge(context.Background(), jobFor(t, "nothing special"))
		if err != nil || got.Verdict != attestd.VerdictAccepted {
			t.Fatalf("got %v, %v, want a verdict", got.Verdict, err)
		}
	}
	stats := pool.Stats()
	// On a machine that is very busy a caller may leave before the worker is asked.
	if stats.Started != 1 || stats.Faults != 0 || stats.Served < 4 || stats.Served > 6 {
		t.Errorf("got %+v, want one worker that served those who left as well:\n%s", stats, log)
	}
}

// TestAnAnswerInPieces is read on from where the wait for it ended.
func TestAnAnswerInPieces(t *testing.T) {
	for _, leaves := range []bool{false, true} {
		pool, log := newPool(t, "test-worker", func(c *worker.Config) { c.Timeout = 5 * time.Second })
		ctx, cancel := context.WithCancel(context.Background())
		if leaves {
			time.AfterFunc(20*time.Millisecond, cancel)
		}
		_, err := pool.Judge(ctx, jobFor(t, "pieces"))
		cancel()
		var fault *worker.Fault
		if leaves != errors.Is(err, context.Canceled) || leaves == errors.As(err, &fault) {
			t.Fatalf("caller leaves: %t, got %v", leaves, err)
		}
		waitUntil(t, "the worker is replaced", func() bool { return pool.Stats().Faults == 1 })
		waitUntil(t, "the log says why", func() bool {
			return strings.Contains(log.String(), "payload has 0 bytes left") // both pieces were read
		})
		mustServe(t, pool)
	}
}

// TestManyWhoLeave: callers that come and go at random leave a pool that is whole.
func TestManyWhoLeave(t *testing.T) {
	pool, log := newPool(t, "test-worker", func(c *worker.Config) { c.Size, c.Recycle = 2, 50 })
	var group sync.WaitGroup
	for caller := range 8 {
		group.Go(func() {
			for turn := range 100 {
				ctx, cancel := context.WithTimeout(context.Background(),
					time.Duration((caller*100+turn)%40)*50*time.Microsecond)
				got, err := pool.Judge(ctx, jobFor(t, "nothing special"))
				cancel()
				switch {
				case err == nil && got.Verdict != attestd.VerdictAccepted:
					t.Errorf("got %v, want accepted", got.Verdict)
				case err != nil && !errors.Is(err, context.DeadlineExceeded):
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	waitUntil(t, "both workers are there", func() bool { return pool.Stats().Live == 2 })
	if stats := pool.Stats(); stats.Faults != 0 {
		t.Errorf("got %+v, want no fault:\n%s", stats, log)
	}
	mustServe(t, pool)
}

// TestCloseWaitsForAnAnswer: a request that a worker has is answered, and then the pool is closed.
func TestCloseWaitsForAnAnswer(t *testing.T) {
	pool, _ := newPool(t, "test-worker", nil)
	answered := make(chan error, 1)
	go func() {
		_, err := pool.Judge(context.Background(), jobFor(t, "late"))
		answered <- err
	}()
	time.Sleep(100 * time.Millisecond)
	closed := make(chan struct{})
	go func() { pool.Close(); close(closed) }()
	if err := <-answered; err != nil {
		t.Errorf("got %v, want the answer", err)
	}
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
		t.Fatal("the pool is not closed 5 s after the last answer")
	}
}
