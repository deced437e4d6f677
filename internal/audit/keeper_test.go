package audit_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestd/attestd/internal/audit"
)

// disk is a store that can be taken away.
type disk struct {
	mu      sync.Mutex
	down    error
	hang    bool
	written []audit.Record
}

func (d *disk) write(ctx context.Context, records []audit.Record) error {
	d.mu.Lock()
	down, hang := d.down, d.hang
	d.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if down != nil {
		return down
	}
	for _, one := range records {
		if _, err := audit.Encode(one); err != nil {
			return err // as a store does, for the whole transaction
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.written = append(d.written, records...)
	return nil
}

func (d *disk) set(down error, hang bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down, d.hang = down, hang
}

func (d *disk) counted(action string) (sum int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range d.written {
		if one.Action == action {
			sum += max(one.Count, 1)
		}
	}
	return sum
}

// keeping runs a keeper over a disk inside the test's own time.
func keeping(t *testing.T, on *disk) (keeper *audit.Keeper, stop func()) {
	t.Helper()
	keeper, err := audit.NewKeeper(audit.KeeperConfig{Write: on.write, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { keeper.Run(ctx) })
	return keeper, func() { cancel(); running.Wait() }
}

var errDown = errors.New("no space left on device")

// TestWithoutAuditNothingIsAnswered: what waits for a record is refused, what does not never waits, and
// when the disk is back all of it is there. neg: 187
func TestWithoutAuditNothingIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var on disk
		keeper, stop := keeping(t, &on)
		if err := keeper.Record(t.Context(), record(1)); err != nil || keeper.Ready() != nil {
			t.Fatalf("got %v and %v, want it stored", err, keeper.Ready())
		}
		on.set(errDown, false)
		if err := keeper.Record(t.Context(), record(2)); !errors.Is(err, errDown) {
			t.Errorf("got %v, want %v", err, errDown)
		}
		if err := keeper.Ready(); !errors.Is(err, errDown) {
			t.Errorf("ready says %v, want %v", err, errDown)
		}
		const refusals = 50_000
		for number := range refusals {
			keeper.Note(refused(number, "SIGNATURE", time.Now()))
		}
		time.Sleep(10 * time.Minute)
		on.set(nil, false)
		time.Sleep(2 * time.Second)
		if err := keeper.Ready(); err != nil {
			t.Errorf("the disk is back and ready says %v: nobody could ever write again", err)
		}
		stop()
		if got := on.counted("verify"); got != refusals {
			t.Errorf("%d refusals were counted, want %d", got, refusals)
		}
		if on.counted("audit.resumed") == 0 {
			t.Error("that records could not be written is not in the log")
		}
	})
}

// TestAuditThatHangsIsNotReadySoon: what needs a trace is not given for as long as a write may take.
func TestAuditThatHangsIsNotReadySoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var on disk
		keeper, stop := keeping(t, &on)
		on.set(nil, true)
		keeper.Note(refused(1, "STALE", time.Now()))
		time.Sleep(2500 * time.Millisecond) // an attempt began, and is late
		if keeper.Ready() == nil {
			t.Error("a disk that has hung for more than a second is called ready")
		}
		on.set(nil, false)
		time.Sleep(15 * time.Second)
		if err := keeper.Ready(); err != nil {
			t.Errorf("the disk is back, and ready says %v", err)
		}
		stop()
	})
}

// TestHangingAuditHoldsNobodyUp: a disk that does not answer is one that is down. neg: 187
func TestHangingAuditHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var on disk
		keeper, stop := keeping(t, &on)
		on.set(nil, true)
		begun := time.Now()
		for number := range 10_000 {
			keeper.Note(refused(number, "STALE", time.Now()))
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("notes waited for %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := keeper.Record(ctx, record(1)); err == nil {
			t.Error("a record that is nowhere was acknowledged")
		}
		time.Sleep(30 * time.Second)
		if keeper.Ready() == nil {
			t.Error("a disk that hangs is called ready")
		}
		on.set(nil, false)
		time.Sleep(30 * time.Second)
		if err := keeper.Ready(); err != nil {
			t.Error(err)
		}
		stop()
		if got := on.counted("verify"); got != 10_000 {
			t.Errorf("%d were counted, want 10000", got)
		}
	})
}

func TestWhatIsNotedIsWrittenSoonAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var on disk
		keeper, stop := keeping(t, &on)
		keeper.Note(refused(1, "STALE", time.Now()))
		keeper.Note(refused(1, "STALE", time.Now()))
		synctest.Wait()
		if got := on.counted("verify"); got != 1 {
			t.Errorf("%d were written at once, want the first", got)
		}
		stop()
		if got := on.counted("verify"); got != 2 {
			t.Errorf("%d were written by the end, want both", got)
		}
	})
	if _, err := audit.NewKeeper(audit.KeeperConfig{}); err == nil {
		t.Error("a keeper without a store was made")
	}
}

// TestRecordThatIsNoneHoldsNobodyUp: a bug in one caller is no reason to refuse all others. neg: 187
func TestRecordThatIsNoneHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var on disk
		keeper, stop := keeping(t, &on)
		if err := keeper.Record(t.Context(), audit.Record{Action: "quarantine"}); err == nil {
			t.Error("a record without an actor was stored")
		}
		if err := keeper.Ready(); err != nil {
			t.Errorf("somebody's bug, and ready says %v", err)
		}
		keeper.Note(audit.Record{Action: "verify"})
		keeper.Note(refused(1, "STALE", time.Now()))
		time.Sleep(5 * time.Second)
		if err := keeper.Ready(); err != nil {
			t.Errorf("the store is well and ready says %v", err)
		}
		stop()
		if got := on.counted("verify"); got != 2 {
			t.Errorf("%d were written, want both", got)
		}
	})
}
