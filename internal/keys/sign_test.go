package keys_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/keys"
)

func TestASignerThatFailsGivesNothing(t *testing.T) {
	for name, answer := range map[string]func(ctx context.Context, good []byte) ([]byte, error){
		"an error":                func(context.Context, []byte) ([]byte, error) { return nil, errors.New("down") },
		"an error with an answer": func(_ context.Context, good []byte) ([]byte, error) { return good, errors.New("down") },
		"nothing":                 func(context.Context, []byte) ([]byte, error) { return nil, nil },
		"no end": func(ctx context.Context, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
		"a bit changed": func(_ context.Context, good []byte) ([]byte, error) {
			bad := slices.Clone(good)
			bad[len(bad)-1] ^= 1
			return bad, nil
		},
		"half of it":           func(_ context.Context, good []byte) ([]byte, error) { return good[:len(good)/2], nil },
		"something behind it":  func(_ context.Context, good []byte) ([]byte, error) { return append(slices.Clone(good), 0), nil },
		"zeros":                func(context.Context, []byte) ([]byte, error) { return []byte{48, 6, 2, 1, 0, 2, 1, 0}, nil },
		"a megabyte":           func(context.Context, []byte) ([]byte, error) { return make([]byte, 1<<20), nil },
		"the signature before": remembered(),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if name == "the signature before" {
				w.vault.set(answer)
				w.must(ignore(w.sign()))
				w.advance(time.Second)
				token, err := w.ring.SignJWT(context.Background(), "eat+jwt", []byte(`{"a":2}`), keys.Signed{
					ExpiresAt: w.clock().Add(time.Minute),
				})
				if token != "" {
					t.Errorf("got %q", token)
				}
				demandUndecided(t, err)
				return
			}
			w.vault.set(answer)
			began := time.Now()
			token, err := w.sign()
			if token != "" {
				t.Errorf("got %q", token)
			}
			demandUndecided(t, err)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
			if list, total, _, err := w.ring.Signed(w.only(keys.StateActive), time.Time{}, 10); total != 0 || len(list) != 0 || err != nil {
				t.Errorf("the ledger has %d: %v", total, err)
			}
			w.vault.set(nil)
			w.token() // it goes on by itself
		})
	}
}

func ignore(_ string, err error) error { return err }

// remembered answers everything with the first signature.
func remembered() func(context.Context, []byte) ([]byte, error) {
	var first []byte
	return func(_ context.Context, good []byte) ([]byte, error) {
		if first == nil {
			first = good
		}
		return first, nil
	}
}

// TestASignerThatNeverAnswersHoldsABoundedNumber: whoever waits for it is answered, and what it holds is
// given back when it answers after all.
func TestASignerThatNeverAnswersHoldsABoundedNumber(t *testing.T) {
	w := newWorld(t)
	free := make(chan struct{})
	w.vault.set(func(_ context.Context, good []byte) ([]byte, error) { <-free; return good, nil })
	var running sync.WaitGroup
	for range 200 {
		running.Go(func() {
			_, err := w.sign()
			demandUndecided(t, err)
		})
	}
	running.Wait()
	w.vault.mu.Lock()
	asked := w.vault.asked
	w.vault.mu.Unlock()
	if asked > 64 {
		t.Errorf("%d signatures are under way", asked)
	}
	close(free)
	w.vault.set(nil)
	for deadline := time.Now().Add(5 * time.Second); ; {
		if _, err := w.sign(); err == nil {
			return
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestAKeyThatIsWithdrawnWhileItSignsGivesNothing: the answer to a compromise comes before no token of
// the key.
func TestAKeyThatIsWithdrawnWhileItSignsGivesNothing(t *testing.T) {
	w := newWorld(t)
	lost := w.only(keys.StateActive)
	signing, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.vault.set(func(_ context.Context, good []byte) ([]byte, error) {
		once.Do(func() { close(signing); <-goOn })
		return good, nil
	})
	given := make(chan string, 1)
	go func() {
		token, _ := w.sign()
		given <- token
	}()
	<-signing
	_, err := w.ring.Compromise(context.Background(), lost, "lost", time.Time{}, 10)
	w.must(err)
	close(goOn)
	if token := <-given; token != "" && kidOf(t, token) == lost {
		t.Error("a withdrawn key gave a token after its withdrawal was answered")
	}
}

func TestNothingIsSignedThatOutlivesItsKey(t *testing.T) {
	w := newWorld(t)
	for _, ends := range []time.Duration{5*time.Minute + time.Second, 0, -time.Second} {
		token, err := w.ring.SignJWT(context.Background(), "eat+jwt", nil, keys.Signed{ExpiresAt: w.clock().Add(ends)})
		if token != "" || err == nil {
			t.Errorf("%s: %q, %v", ends, token, err)
		}
	}
}
