package registry_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/subject"
)

// refused wants an error of the caller that has the word, as it was made: nothing of the store is at fault,
// and no commit failed of it.
func refused(t *testing.T, store *registry.Store, class attestd.Class, word string, err error) {
	t.Helper()
	var caller *attestd.CallerError
	var undecided *attestd.UndecidedError
	if !errors.As(err, &caller) || caller.Class != class || !strings.Contains(err.Error(), word) {
		t.Errorf("got %v, want %s with %q", err, class, word)
	}
	if errors.As(err, &undecided) {
		t.Errorf("the store is blamed: %v", err)
	}
	if failed := store.Health().Failed; failed != 0 {
		t.Errorf("%s: %d commits failed of it", word, failed)
	}
}

func TestAWriteThatCannotBeOneIsRefusedBeforeItIsBegun(t *testing.T) {
	store := fresh(t, registry.SystemClock(), roomy)
	key, other := subject.Key{Kind: "boot", Value: "b"}, subject.Key{Kind: "boot", Value: "c"}
	long := strings.Repeat("x", 9000)
	bar := func(change func(*subject.Bar)) subject.BarWrite {
		next := &subject.Bar{Key: key, State: attestd.StateQuarantined, Tenant: "default", At: store.Now()}
		change(next)
		return subject.BarWrite{Key: key, Next: next}
	}
	owner := func(change func(*subject.Ownership)) subject.OwnershipWrite {
		next := ownership(key)
		change(next)
		return subject.OwnershipWrite{Key: key, Next: next}
	}
	node := func(change func(*subject.Subject)) subject.SubjectWrite {
		next := accepted(1, 1, 0, store.Now()).Write.Subjects[0].Next
		change(&next)
		return subject.SubjectWrite{Next: next}
	}
	token := func(change func(*subject.Token)) func(*subject.Write) {
		return func(w *subject.Write) {
			w.NewToken = tokenNamed("t", store.Now())
			change(w.NewToken)
		}
	}
	nobody := subject.Key{Kind: "boot"}
	for word, rows := range map[string][]func(*subject.Write){
		"a write of 20001 rows": {func(w *subject.Write) { w.Unbarred = make([]subject.Key, 20001) }},
		"a key without kind or value": {
			func(w *subject.Write) { w.Unbarred = []subject.Key{nobody} },
			func(w *subject.Write) { w.Unbarred = []subject.Key{{Value: "b"}} },
			func(w *subject.Write) { w.Owned = []subject.OwnershipExpect{{Key: nobody}} },
			func(w *subject.Write) { w.Bars = []subject.BarWrite{{Key: nobody}} },
			func(w *subject.Write) { w.Owners = []subject.OwnershipWrite{{Key: nobody}} },
			func(w *subject.Write) { w.Token = &subject.TokenUse{ID: "t", By: nobody} },
		},
		"is longer than 512 bytes": {
			func(w *subject.Write) { w.Unbarred = []subject.Key{{Kind: long, Value: "b"}} },
			func(w *subject.Write) {
				w.Subjects = []subject.SubjectWrite{node(func(s *subject.Subject) { s.Host = long })}
			},
			func(w *subject.Write) { w.Token = &subject.TokenUse{ID: long, By: key} },
			token(func(one *subject.Token) { one.Label = long }),
		},
		"is longer than 2048 bytes": {
			func(w *subject.Write) { w.Unbarred = []subject.Key{{Kind: "boot", Value: long}} },
			func(w *subject.Write) {
				w.Bars = []subject.BarWrite{bar(func(b *subject.Bar) { b.Subject = subject.ID(long) })}
			},
			func(w *subject.Write) { w.History = []subject.Event{{ID: subject.ID(long), Kind: "seen"}} },
		},
		"is longer than 8192 bytes": {
			func(w *subject.Write) {
				w.Subjects = []subject.SubjectWrite{node(func(s *subject.Subject) {
					s.Signals = []subject.Signal{{Detail: long}}
				})}
			},
			func(w *subject.Write) { w.Bars = []subject.BarWrite{bar(func(b *subject.Bar) { b.Text = long })} },
			func(w *subject.Write) {
				w.Owners = []subject.OwnershipWrite{owner(func(o *subject.Ownership) { o.Label = long })}
			},
			func(w *subject.Write) {
				w.History = []subject.Event{{ID: agentOf(1), Kind: "seen", Detail: long}}
			},
		},
		"one subject twice": {func(w *subject.Write) {
			one := node(func(*subject.Subject) {})
			w.Subjects = []subject.SubjectWrite{one, one}
		}},
		"is a handle of kind": {func(w *subject.Write) {
			w.Subjects = []subject.SubjectWrite{node(func(s *subject.Subject) { s.Instance.Kind = "boot" })}
		}},
		"a subject in state": {
			func(w *subject.Write) {
				w.Subjects = []subject.SubjectWrite{node(func(s *subject.Subject) { s.State = attestd.StateRevoked + 1 })}
			},
			func(w *subject.Write) {
				w.Subjects = []subject.SubjectWrite{node(func(s *subject.Subject) {
					s.Signals = make([]subject.Signal, 65)
				})}
			},
		},
		"held or freed twice": {func(w *subject.Write) {
			one := bar(func(*subject.Bar) {})
			w.Bars = []subject.BarWrite{one, one}
		}},
		"a hold of another key, without a tenant, or that holds nothing": {
			func(w *subject.Write) { w.Bars = []subject.BarWrite{bar(func(b *subject.Bar) { b.Key = other })} },
			func(w *subject.Write) { w.Bars = []subject.BarWrite{bar(func(b *subject.Bar) { b.Tenant = "" })} },
			func(w *subject.Write) {
				w.Bars = []subject.BarWrite{bar(func(b *subject.Bar) { b.State = attestd.StateSuspect })}
			},
		},
		"owned twice": {func(w *subject.Write) {
			one := owner(func(*subject.Ownership) {})
			w.Owners = []subject.OwnershipWrite{one, one}
		}},
		"an ownership of status": {func(w *subject.Write) {
			w.Owners = []subject.OwnershipWrite{owner(func(o *subject.Ownership) { o.Status = "x" })}
		}},
		"an ownership of another key": {
			func(w *subject.Write) {
				w.Owners = []subject.OwnershipWrite{owner(func(o *subject.Ownership) { o.Key = other })}
			},
			func(w *subject.Write) {
				w.Owners = []subject.OwnershipWrite{owner(func(o *subject.Ownership) { o.Tenant = "" })}
			},
		},
		"an enrolment token without": {
			token(func(one *subject.Token) { one.ID = "" }),
			token(func(one *subject.Token) { one.Tenant = "" }),
			token(func(one *subject.Token) { one.Formats = nil }),
			token(func(one *subject.Token) { one.ExpiresAt = time.Time{} }),
			token(func(one *subject.Token) { one.Secret = [32]byte{} }),
		},
		"an event without": {
			func(w *subject.Write) { w.History = []subject.Event{{Kind: "seen"}} },
			func(w *subject.Write) { w.History = []subject.Event{{ID: agentOf(1)}} },
		},
		"no record of it": {func(w *subject.Write) {
			w.Subjects, w.Audit = []subject.SubjectWrite{node(func(*subject.Subject) {})}, nil
		}},
	} {
		for _, change := range rows {
			write := subject.Write{Audit: record(store)}
			change(&write)
			before := store.Commits()
			refused(t, store, attestd.ClassMalformed, word, store.Write(t.Context(), write))
			if store.Commits() != before {
				t.Errorf("%s: it was begun", word)
			}
		}
	}
	named := accepted(1, 1, 0, store.Now()).Write
	named.Subjects[0].Next.ID = "no id"
	if err := store.Write(t.Context(), named); err == nil || store.Health().Failed != 0 {
		t.Errorf("a subject without an id: %v", err)
	}
}

func TestAVerdictThatCannotBeOneIsRefusedBeforeItIsBegun(t *testing.T) {
	store := fresh(t, registry.SystemClock(), roomy)
	for word, change := range map[string]func(*registry.Verdict){
		"and a tenant":        func(v *registry.Verdict) { v.Evidence.Tenant = "" },
		"evidence of 65 ":     func(v *registry.Verdict) { v.Evidence.Blobs = make([][]byte, 65) },
		"with a job of":       func(v *registry.Verdict) { v.Evidence.Job = make([]byte, 1<<20+1) },
		"parts and":           func(v *registry.Verdict) { v.Evidence.Blobs = [][]byte{make([]byte, 16<<20+1)} },
		"no text":             func(v *registry.Verdict) { v.Evidence.Format = "\x00" },
		"no record of it":     func(v *registry.Verdict) { v.Write.Audit = nil },
		"one subject twice":   func(v *registry.Verdict) { v.Write.Subjects = append(v.Write.Subjects, v.Write.Subjects[0]) },
		"a key without kind ": func(v *registry.Verdict) { v.Write.Unbarred = make([]subject.Key, 1) },
	} {
		verdict := accepted(1, 1, 0, store.Now())
		change(&verdict)
		refused(t, store, attestd.ClassMalformed, word, store.Keep(t.Context(), verdict))
	}
	verdict := accepted(1, 1, 0, store.Now())
	verdict.Evidence.Subject = "no id"
	if err := store.Keep(t.Context(), verdict); err == nil || store.Commits() != 0 {
		t.Errorf("evidence of nobody: %v", err)
	}
}

func TestAQuestionThatCannotBeOneIsRefused(t *testing.T) {
	store := fresh(t, registry.SystemClock(), roomy)
	ctx := t.Context()
	known := func(ask subject.Ask) error {
		_, err := store.Known(ctx, ask)
		return err
	}
	for _, row := range []struct {
		word string
		err  error
	}{
		{"a question about 65 and 0", known(subject.Ask{Bars: make([]subject.Key, 65)})},
		{"a question about 0 and 65", known(subject.Ask{Owners: make([]subject.Key, 65)})},
		{"finds no subject", known(subject.Ask{Instance: attestd.Handle{Kind: attestd.HandleBoot, Value: "b"}})},
		{"20001 records", store.Audit(ctx, make([]audit.Record, 20001))},
		{"audit: ", store.Audit(ctx, make([]audit.Record, 1))},
		{"without a name", store.PutOperator(ctx, operator.Change{Actor: "a", Action: "operator.add"})},
		{"no text", store.PutOperator(ctx, operator.Change{Next: operator.Record{Name: "\x00"}})},
		{"audit: ", store.PutOperator(ctx, operator.Change{Next: operator.Record{Name: "ines"}})},
	} {
		refused(t, store, attestd.ClassMalformed, row.word, row.err)
	}
	_, err := store.AuditLeaves(ctx, 0, 10)
	undecided(t, "leaves of an empty log", err)
	if !strings.Contains(err.Error(), "no leaf 0") {
		t.Error(err)
	}
	_, err = store.AuditTile(ctx, 0, 7)
	undecided(t, "a tile that is not there", err)
	if !strings.Contains(err.Error(), "no tile 7 of level 0") {
		t.Error(err)
	}
}

// What JSON cannot hold is not stored by halves.
func TestATimeThatCannotBeStoredStoresNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store, _ := withIndex(t, path)
	never := time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, change := range []func(*subject.Subject){
		func(s *subject.Subject) { s.Signals = []subject.Signal{{Code: "overdue", At: never}} },
		func(s *subject.Subject) { s.Trail.KeyChanges = []time.Time{never} },
	} {
		write := quarantine(store, 2)
		write.Subjects = accepted(1, 1, 0, store.Now()).Write.Subjects
		change(&write.Subjects[0].Next)
		err := store.Write(t.Context(), write)
		undecided(t, "a year of five digits", err)
		if !strings.Contains(err.Error(), "year") {
			t.Error(err)
		}
		if _, found, err := store.Subject(t.Context(), agentOf(1)); found || err != nil {
			t.Errorf("stored: %v", err)
		}
	}
	silent := quarantine(store, 2)
	silent.Audit[0].Actor = ""
	err := store.Write(t.Context(), silent)
	undecided(t, "a record of nobody", err)
	if !strings.Contains(err.Error(), "actor") {
		t.Error(err)
	}
	err = store.PutOperator(t.Context(), operator.Change{
		Next: operator.Record{Name: "ines", CreatedAt: never}, At: store.Now(), Actor: "a", Action: "operator.add",
	})
	if err == nil || !strings.Contains(err.Error(), "year") {
		t.Errorf("got %v", err)
	}
	if size, err := store.AuditSize(t.Context()); size != 0 || err != nil {
		t.Errorf("%d records, %v", size, err)
	}
}

// What the disk made of a row is an error of the store, for the reads that go round the index, too.
func TestARowThatTheDiskChangedIsNoAnswer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store, index := withIndex(t, path)
	ctx := t.Context()
	write := quarantine(store, 2)
	write.Subjects = accepted(1, 1, 0, store.Now()).Write.Subjects
	write.Subjects[0].Next.Signals = []subject.Signal{{Code: "overdue"}}
	write.NewToken = tokenNamed("t", store.Now())
	if err := errors.Join(store.Write(ctx, write), store.PutOperator(ctx, operator.Change{
		Next: operator.Record{Name: "ines"}, At: store.Now(), Actor: "a", Action: "operator.add",
	})); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		statement, word string
		ask             func() error
	}{
		{"UPDATE operators SET document = x'78'", "operator:", func() error {
			_, _, err := store.Operator(ctx, "ines")
			return err
		}},
		{"UPDATE operators SET document = x'78'", "operator:", func() error {
			_, err := store.Operators(ctx)
			return err
		}},
		{"UPDATE enrolment_tokens SET formats = 'x'", "formats of a token", func() error {
			_, _, err := store.Token(ctx, "t")
			return err
		}},
		{"UPDATE subjects SET signals = 'x'", "signals of a subject", func() error {
			_, _, err := store.Subject(ctx, agentOf(1))
			return err
		}},
		{"UPDATE subjects SET signals = NULL, trail = 'x'", "trail of a subject", func() error {
			_, err := store.Known(ctx, subject.Ask{ID: agentOf(1)})
			return err
		}},
		{"DELETE FROM bars", "in memory and not in the database", func() error {
			return store.Write(ctx, subject.Write{Unbarred: []subject.Key{write.Bars[0].Key}, Audit: record(store)})
		}},
	} {
		changes(t, path, row.statement)
		err := row.ask()
		undecided(t, row.word, err)
		if err == nil || !strings.Contains(err.Error(), row.word) {
			t.Errorf("got %v, want %q", err, row.word)
		}
	}
	if state, _ := index.Held(write.Bars[0].Key); state != attestd.StateQuarantined {
		t.Error("a hold came off by itself")
	}
}

// A key that is another's is the caller's trouble alone: those who share the commit do not notice.
func TestAKeyOfAnotherFailsNobodyElse(t *testing.T) {
	store := fresh(t, registry.SystemClock(), roomy)
	credential := challenge.Credential{AKName: keyName(1), EK: ekOf(1)}
	if err := store.InsertAppraisal(t.Context(), shows("default", credential, stateAt(1, 5), nil)); err != nil {
		t.Fatal(err)
	}
	credential.EK = ekOf(2)
	refused(t, store, attestd.ClassConflict, "",
		store.InsertAppraisal(t.Context(), shows("default", credential, stateAt(1, 6), nil)))
	if _, err := taken(t, store, &credential); err == nil {
		t.Error("a challenge for it was answered")
	} else {
		refused(t, store, attestd.ClassConflict, "", err)
	}
	credential.EK, credential.AKName, credential.Earlier = ekOf(3), keyName(3), true
	refused(t, store, attestd.ClassConflict, "",
		store.InsertAppraisal(t.Context(), shows("default", credential, stateAt(1, 6), nil)))
	// What moved meanwhile is said as that.
	credential = challenge.Credential{AKName: keyName(1), EK: ekOf(1)}
	var moved *challenge.MovedError
	var blamed *attestd.UndecidedError
	err := store.InsertAppraisal(t.Context(), shows("default", credential, stateAt(1, 4), nil))
	if !errors.As(err, &moved) || errors.As(err, &blamed) || store.Health().Failed != 0 {
		t.Errorf("got %v", err)
	}
}

// Errors that say what is wrong are handed on as they are, not wrapped into one that says less.
func TestWhatIsKnownOfAFailureIsSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store, err := registry.Open(t.Context(), registry.Config{
		Path: path, Clock: registry.SystemClock(), Limits: roomy, Reserve: 1 << 62,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	var outermost *attestd.UndecidedError
	err = store.Keep(t.Context(), accepted(1, 1, 0, store.Now()))
	if !errors.As(err, &outermost) || !strings.Contains(outermost.Got, "less free space") {
		t.Errorf("got %v, want that there is no room", err)
	}
	roomyStore := fresh(t, registry.SystemClock(), roomy)
	write := quarantine(roomyStore, 1)
	write.Bars[0].Expect = 7
	var moved *subject.MovedError
	if err := roomyStore.Write(t.Context(), write); !errors.As(err, &moved) || errors.As(err, &outermost) {
		t.Errorf("got %v, want that it moved", err)
	}
	write.Bars[0].Expect = 0
	if err := roomyStore.Write(t.Context(), write); err != nil {
		t.Fatal(err)
	}
	var barred *subject.BarredError
	held := accepted(1, 1, 0, roomyStore.Now())
	if err := roomyStore.Keep(t.Context(), held); !errors.As(err, &barred) || errors.As(err, &outermost) {
		t.Errorf("got %v, want that it is held", err)
	}
	change := operator.Change{
		Expect: 3, Next: operator.Record{Name: "ines"}, At: roomyStore.Now(), Actor: "a", Action: "operator.add",
	}
	err = roomyStore.PutOperator(t.Context(), change)
	if !errors.Is(err, operator.ErrMoved) || errors.As(err, &outermost) {
		t.Errorf("got %v, want that the operator moved", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := roomyStore.Subject(gone, agentOf(1)); !errors.Is(err, context.Canceled) ||
		errors.As(err, &outermost) {
		t.Errorf("got %v, want that the caller left", err)
	}
}

func TestFilesThatAreGoneAreNamedSo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "attestd.db")
	store := open(t, path, registry.SystemClock(), roomy)
	if err := errors.Join(store.Pulse(t.Context()), os.Remove(path)); err != nil {
		t.Fatal(err)
	}
	if err := store.Pulse(t.Context()); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("got %v, want that the file is gone", err)
	}
}
