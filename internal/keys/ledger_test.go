package keys_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/keys"
)

// TestTheLedgerKeepsTheNewest: it is bounded, and says since when it knows.
func TestTheLedgerKeepsTheNewest(t *testing.T) {
	w := newWorld(t)
	w.ring.LimitLedger(10)
	active := w.only(keys.StateActive)
	for range 35 {
		w.advance(time.Second)
		w.token()
	}
	list, total, known, err := w.ring.Signed(active, time.Time{}, 100)
	w.must(err)
	if total < 10 || total > 20 || len(list) != total || !list[0].At.Equal(w.clock()) || known.IsZero() ||
		!known.Equal(list[total-1].At) {
		t.Errorf("%d of 35, since %s, the newest of %s", total, known, list[0].At)
	}
	for i := 1; i < len(list); i++ {
		if !list[i].At.Before(list[i-1].At) {
			t.Errorf("record %d is of %s, after %s", i, list[i].At, list[i-1].At)
		}
	}
	// Half a record, as a power cut leaves one, is no record.
	path := w.path(active + ".signed")
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	w.must(err)
	_, err = file.Write(make([]byte, 17))
	w.must(errors.Join(err, file.Close()))
	w.reopen()
	w.advance(time.Second)
	w.token()
	list, _, _, err = w.ring.Signed(active, w.clock(), 100)
	if err != nil || len(list) != 1 || list[0].ID != [16]byte{1} {
		t.Errorf("after half a record: %+v, %v", list, err)
	}
	if _, _, _, err := w.ring.Signed("../ring", time.Time{}, 1); err == nil {
		t.Error("a path is an id of a key")
	}
}

func TestWhereTheLedgerTakesNothingNothingIsGiven(t *testing.T) {
	w := newWorld(t)
	path := w.path(w.only(keys.StateActive) + ".signed")
	w.must(os.Mkdir(path, 0o700))
	token, err := w.sign()
	if token != "" {
		t.Error("a token that no ledger has")
	}
	demandUndecided(t, err)
	w.must(os.Remove(path))
	w.token()
}

// TestManySignAtOnce: everybody has a token, and the ledger has every token.
func TestManySignAtOnce(t *testing.T) {
	w := newWorld(t)
	const n = 300
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			_, err := w.ring.SignJWT(context.Background(), "eat+jwt", []byte(`{}`), keys.Signed{
				ID: [16]byte{byte(i >> 8), byte(i)}, ExpiresAt: w.clock().Add(time.Minute),
			})
			if err != nil && !busy(err) {
				t.Error(err)
			}
		})
	}
	running.Wait()
	list, _, _, err := w.ring.Signed(w.only(keys.StateActive), time.Time{}, n)
	w.must(err)
	seen := map[[16]byte]bool{}
	for _, one := range list {
		seen[one.ID] = true
	}
	if len(seen) != len(list) || len(list) == 0 {
		t.Errorf("%d records of %d tokens", len(list), len(seen))
	}
}

func busy(err error) bool {
	var undecided *attestd.UndecidedError
	return errors.As(err, &undecided)
}
