package registrytest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

func compares(t *testing.T, w *world) {
	ctx := t.Context()
	one := node("x", "a")
	w.moved(w.Write(ctx, put(one, 1))) // nothing is there yet
	w.write(put(one, 0))
	w.moved(w.Write(ctx, put(one, 0)))
	got, found, err := w.Subject(ctx, one.ID)
	one.Generation = 1
	if w.must(err); !found {
		t.Fatal("not there")
	}
	w.same("as it was put", got, one)
	one.State, one.Signals, one.Host = attestd.StateSuspect, nil, ""
	w.write(put(one, 1))
	w.moved(w.Write(ctx, put(one, 1)))
	one.Generation = 2
	known, err := w.Known(ctx, subject.Ask{Instance: one.Instance})
	w.must(err)
	w.same("by its instance", *known.Subject, one)
	known, err = w.Known(ctx, subject.Ask{ID: subject.ID(strings.ToUpper(string(one.ID)))})
	w.must(err)
	w.same("in other letters", *known.Subject, one)
	// Another spelling is the same subject and is compared with it.
	other := one
	other.ID = agent("X")
	w.moved(w.Write(ctx, put(other, 0)))
	if known, err = w.Known(ctx, subject.Ask{ID: agent("nobody")}); err != nil || known.Subject != nil {
		t.Errorf("got %+v, %v for nobody", known.Subject, err)
	}
}

// follows tries every step there could be between two states: what the table does not have is refused.
func follows(t *testing.T, w *world) {
	allowed := map[string]bool{}
	for _, row := range subject.Transitions() {
		allowed[row.From.String()+" -> "+row.To.String()] = true
	}
	states := []attestd.State{
		attestd.StateUnknown, attestd.StateTrusted, attestd.StateSuspect, attestd.StateQuarantined,
		attestd.StateRevoked,
	}
	for _, from := range states {
		for _, to := range states {
			one := node(fmt.Sprintf("%s-%s", from, to), "a")
			one.State = from
			generation := uint64(0)
			if from != attestd.StateUnknown {
				w.write(put(one, 0))
				generation = 1
			}
			one.State = to
			err := w.Write(t.Context(), put(one, generation))
			drawn := from.String() + " -> " + to.String()
			if (err == nil) != (allowed[drawn] || from == to) {
				t.Errorf("%s: got %v, and the table says %t", drawn, err, allowed[drawn])
			}
			if err != nil {
				w.class(err, attestd.ClassConflict)
			}
		}
	}
}

// fences: a verdict that was decided upon before a hold is not written after it, whichever key of the
// subject is held, and whether or not the write thought of the key.
func fences(t *testing.T, w *world) {
	ctx := t.Context()
	for number, kind := range []string{"subject", "instance", "boot", "host"} {
		one := node(fmt.Sprint("n", number), "a")
		key := subject.Key{Kind: kind, Value: kind + "-" + fmt.Sprint("n", number)}
		if kind == "subject" {
			key = one.ID.Key()
		}
		w.write(put(one, 0))
		w.write(lay(w.bar(key, attestd.StateQuarantined), 0))
		w.barred(w.Write(ctx, put(one, 1)), attestd.StateQuarantined)
		named := put(one, 1)
		named.Subjects, named.Unbarred = nil, []subject.Key{{Kind: "x", Value: "free"}, key}
		w.barred(w.Write(ctx, named), attestd.StateQuarantined)
		held, _ := w.held(key)
		release := lift(key, held.Generation)
		release.Unbarred = []subject.Key{key} // what the write lifts does not stand in its way
		w.write(release)
		w.write(put(one, 1))
	}
	// A name that comes with held hardware stays out, too.
	w.write(lay(w.bar(subject.Key{Kind: "instance", Value: "instance-late"}, attestd.StateRevoked), 0))
	w.barred(w.Write(ctx, put(node("late", "a"), 0)), attestd.StateRevoked)
}

// leavesNothing: each part of a write that cannot be carried out keeps every other part from being.
func leavesNothing(t *testing.T, w *world) {
	held := w.bar(subject.Key{Kind: "host", Value: "h"}, attestd.StateQuarantined)
	w.write(lay(held, 0))
	size, err := w.AuditSize(t.Context())
	w.must(err)
	for name, spoil := range map[string]func(*subject.Write){
		"a held key":           func(one *subject.Write) { one.Unbarred = []subject.Key{held.Key} },
		"a subject that moved": func(one *subject.Write) { one.Subjects[0].Expect = 3 },
		"a hold that moved":    func(one *subject.Write) { one.Bars[0].Expect = 3 },
		"an owner that moved":  func(one *subject.Write) { one.Owners[0].Expect = 3 },
		"an owner relied on": func(one *subject.Write) {
			one.Owned = []subject.OwnershipExpect{{Key: held.Key, Expect: 1}}
		},
		"an unknown token":       func(one *subject.Write) { one.Token = &subject.TokenUse{ID: "none", By: held.Key} },
		"no record":              func(one *subject.Write) { one.Audit = nil },
		"a record without actor": func(one *subject.Write) { one.Audit[0].Actor = "" },
		"a subject twice":        func(one *subject.Write) { one.Subjects = append(one.Subjects, one.Subjects[0]) },
		"a hold of trusted":      func(one *subject.Write) { one.Bars[0].Next.State = attestd.StateTrusted },
		"an event of nobody":     func(one *subject.Write) { one.History[0].ID = "" },
	} {
		bar := w.bar(subject.Key{Kind: "boot", Value: "boot-other"}, attestd.StateQuarantined)
		write := put(node("n", "a"), 0)
		write.Bars = []subject.BarWrite{{Key: bar.Key, Next: &bar}}
		write.Owners = []subject.OwnershipWrite{{Key: owned("m", "a").Key, Next: owned("m", "a")}}
		write.History = []subject.Event{{ID: agent("n"), Kind: "seen", At: morning}}
		write.NewToken = token("t", "a")
		spoil(&write)
		if err := w.Write(t.Context(), write); err == nil {
			t.Fatalf("%s: carried out", name)
		}
		_, there, err := w.Subject(t.Context(), agent("n"))
		_, tokenThere, tokenErr := w.Token(t.Context(), "t")
		events, eventErr := w.History(t.Context(), agent("n"), 0, 10)
		known, knownErr := w.Known(t.Context(), subject.Ask{
			Bars: []subject.Key{bar.Key}, Owners: []subject.Key{owned("m", "a").Key},
		})
		after, sizeErr := w.AuditSize(t.Context())
		for _, err := range []error{err, tokenErr, eventErr, knownErr, sizeErr} {
			w.must(err)
		}
		if there || tokenThere || len(events)+len(known.Bars)+len(known.Owners) != 0 || after != size {
			t.Errorf("%s: something was left", name)
		}
		if _, published := w.index.bar(bar.Key); published || w.index.subject(agent("n")).Generation != 0 {
			t.Errorf("%s: something was published", name)
		}
	}
}

func holds(t *testing.T, w *world) {
	ctx := t.Context()
	key := subject.Key{Kind: "instance", Value: "i"}
	bar := w.bar(key, attestd.StateQuarantined)
	w.write(lay(bar, 0))
	first, found := w.held(key)
	bar.Generation = first.Generation
	if w.same("as it was laid", first, bar); !found || first.Generation == 0 {
		t.Error("not held")
	}
	w.moved(w.Write(ctx, lay(bar, 0)))
	w.moved(w.Write(ctx, lift(key, first.Generation+100)))
	w.write(lift(key, first.Generation))
	w.moved(w.Write(ctx, lift(key, first.Generation)))
	w.write(lay(bar, 0))
	// A release of the first hold, handed in again, does not lift the second.
	w.moved(w.Write(ctx, lift(key, first.Generation)))
	second, found := w.held(key)
	if !found || second.Generation <= first.Generation {
		t.Errorf("the second hold has generation %d, the first had %d", second.Generation, first.Generation)
	}
	bar.State = attestd.StateRevoked
	w.write(lay(bar, second.Generation))
	revoked, _ := w.held(key)
	w.barred(w.Write(ctx, lift(key, revoked.Generation)), attestd.StateRevoked)
	bar.State = attestd.StateQuarantined
	w.barred(w.Write(ctx, lay(bar, revoked.Generation)), attestd.StateRevoked)
}

func token(id, tenant string) *subject.Token {
	return &subject.Token{
		ID: id, Secret: [32]byte{7}, Tenant: tenant, Label: "l", Formats: []string{"tpm"}, By: "ines",
		CreatedAt: morning, ExpiresAt: morning.Add(time.Hour),
	}
}

func enrolsOnce(t *testing.T, w *world) {
	ctx := t.Context()
	use := func(id string, secret byte) error {
		return w.Write(ctx, subject.Write{
			Token: &subject.TokenUse{ID: id, Secret: [32]byte{secret}, By: subject.Key{Kind: "instance", Value: "i"}},
			Audit: recorded("enroll.token"),
		})
	}
	for _, id := range []string{"t", "late"} {
		w.write(subject.Write{NewToken: token(id, "a"), Audit: recorded("token")})
	}
	got, found, err := w.Token(ctx, "t")
	w.must(err)
	if w.same("as it was stored", got, *token("t", "a")); !found {
		t.Error("not there")
	}
	wrong := use("t", 8)
	w.class(wrong, attestd.ClassUnauthenticated)
	unknown := use("u", 7)
	var once atomic.Int32
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			if use("t", 7) == nil {
				once.Add(1)
			}
		})
	}
	all.Wait()
	if once.Load() != 1 {
		t.Errorf("the token enrolled %d times, want once", once.Load())
	}
	used := use("t", 7)
	w.pass(time.Hour)
	late := use("late", 7) // exactly at its end
	for _, err := range []error{unknown, used, late} {
		if w.class(err, attestd.ClassUnauthenticated); err != nil && err.Error() != wrong.Error() {
			t.Errorf("got %q, want the words of every other refusal", err)
		}
	}
	got, _, err = w.Token(ctx, "t")
	if w.must(err); got.UsedBy != "instance:i" || got.UsedAt.IsZero() {
		t.Errorf("got %+v, want who used it and when", got)
	}
}

// concurrent: of many who decide upon the same state one goes on; nobody's step is lost.
func concurrent(t *testing.T, w *world) {
	w.write(put(node("c", "a"), 0))
	const callers, each = 16, 20
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for done := 0; done < each; {
				one, _, err := w.Subject(context.Background(), agent("c"))
				if err != nil {
					t.Error(err)
					return
				}
				generation := one.Generation
				one.Good++
				if err := w.Write(context.Background(), put(one, generation)); err == nil {
					done++
				}
			}
		})
	}
	all.Wait()
	got, _, err := w.Subject(t.Context(), agent("c"))
	if w.must(err); got.Good != 2+callers*each || got.Generation != 1+callers*each {
		t.Errorf("counted to %d in generation %d, want %d", got.Good, got.Generation, 2+callers*each)
	}
	size, err := w.AuditSize(t.Context())
	if w.must(err); size != 1+callers*each {
		t.Errorf("the log has %d records, want one for each step", size)
	}
	if published := w.index.subject(agent("c")); published.Generation != got.Generation {
		t.Errorf("published generation %d, want %d", published.Generation, got.Generation)
	}
}
