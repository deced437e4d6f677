package registry_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

func everything() subject.Filter { return subject.Filter{Tenants: []string{"*"}, Limit: 1000} }

// need ends a test where what it needs did not work.
func (b *bench) need(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) write(write subject.Write) {
	b.Helper()
	b.need(b.store.Write(context.Background(), write))
}

// bars returns the generation of the hold on a key, 0 for none.
func (b *bench) bars(key subject.Key) uint64 {
	b.Helper()
	known, err := b.store.Known(context.Background(), subject.Ask{Bars: []subject.Key{key}})
	b.need(err)
	if len(known.Bars) == 0 {
		return 0
	}
	return known.Bars[0].Generation
}

func (b *bench) owners(key subject.Key) uint64 {
	b.Helper()
	known, err := b.store.Known(context.Background(), subject.Ask{Owners: []subject.Key{key}})
	b.need(err)
	if len(known.Owners) == 0 {
		return 0
	}
	return known.Owners[0].Generation
}

func ownership(key subject.Key) *subject.Ownership {
	return &subject.Ownership{Key: key, Tenant: "default", Status: subject.StatusApproved}
}

func tokenNamed(id string, now time.Time) *subject.Token {
	return &subject.Token{
		ID: id, Secret: [32]byte{1}, Tenant: "default", Formats: []string{"tpm"}, By: "ines",
		CreatedAt: now, ExpiresAt: now.Add(time.Hour),
	}
}

// everyKind returns a write with a part of each kind, and makes ready what it changes.
func (b *bench) everyKind() subject.Write {
	b.Helper()
	key := func(kind string) subject.Key { return subject.Key{Kind: kind, Value: fmt.Sprint(kind, b.run)} }
	now, token := b.store.Now(), fmt.Sprint("used", b.run)
	old := accepted(b.run, 10000+b.run, 0, now).Write
	bar := func(key subject.Key) *subject.Bar {
		return &subject.Bar{Key: key, State: attestd.StateQuarantined, Tenant: "default", Ticket: "1", At: now}
	}
	old.Bars = []subject.BarWrite{{Key: key("lifted"), Next: bar(key("lifted"))}}
	old.Owners = []subject.OwnershipWrite{
		{Key: key("left"), Next: ownership(key("left"))}, {Key: key("relied"), Next: ownership(key("relied"))},
	}
	old.NewToken = tokenNamed(token, now)
	b.write(old)
	write := accepted(b.run, 10000+b.run, 1, now).Write
	write.Subjects = append(write.Subjects, accepted(b.run, 20000+b.run, 0, now).Write.Subjects[0])
	write.Owned = []subject.OwnershipExpect{{Key: key("relied"), Expect: b.owners(key("relied"))}}
	write.Bars = []subject.BarWrite{
		{Key: key("laid"), Next: bar(key("laid"))},
		{Key: key("lifted"), Expect: b.bars(key("lifted"))},
	}
	write.Owners = []subject.OwnershipWrite{
		{Key: key("taken"), Next: ownership(key("taken"))},
		{Key: key("left"), Expect: b.owners(key("left"))},
	}
	write.Token = &subject.TokenUse{ID: token, Secret: [32]byte{1}, By: key("taken")}
	write.NewToken = tokenNamed(fmt.Sprint("new", b.run), now)
	write.History = []subject.Event{{ID: agentOf(10000 + b.run), Kind: "seen", At: now, Tenant: "default"}}
	return write
}

// neg: 179
func TestAWriteWhoseDatabaseFailsAnywhereIsToldAndLeavesNothing(t *testing.T) {
	b := newBench(t)
	ready := func() func() error {
		write := b.everyKind()
		return func() error { return unknown(b.store.Write(context.Background(), write)) }
	}
	if calls := b.fails(false, ready); calls < 40 {
		t.Errorf("failed in %d places, want all those of a write of every kind", calls)
	}
}

// unknown is the error where it says what the service answers by, or what is wrong with it.
func unknown(err error) error {
	var undecided *attestd.UndecidedError
	if err != nil && !isUndecided(err, &undecided) {
		return fmt.Errorf("not STORE_UNAVAILABLE: %s", err.Error())
	}
	return err
}

// A disk can report the failure of what it carried out, also of a commit: nobody is told that it was, but
// what is granted follows it at once, or a restart would refuse what was granted before. neg: 179
func TestAWriteThatFailsAndIsThereIsInForce(t *testing.T) {
	b := newBench(t)
	b.fails(true, func() func() error {
		write := b.everyKind()
		return func() error { return b.store.Write(context.Background(), write) }
	})
	held := quarantine(b.store, 5)
	held.Subjects = accepted(1, 6, 0, b.store.Now()).Write.Subjects
	b.watch(true, func(_ int, what string) bool { return what == "exec COMMIT" })
	b.told("commit", b.store.Write(context.Background(), held))
	b.quiet()
	if state, _ := b.index.Held(held.Bars[0].Key); state != attestd.StateQuarantined {
		t.Errorf("the index says %s, want what is on disk", state)
	}
	if !b.index.Check(agentOf(6), b.store.Now()).Grants() {
		t.Error("the index has not the subject that is on disk")
	}
	b.agrees("without another write")
}

// neg: 179
func TestADatabaseThatGoesOnFailingIsToldEachTime(t *testing.T) {
	b := newBench(t)
	b.failsOn(func() func() error {
		write := quarantine(b.store, 1)
		write.Bars[0].Expect = b.bars(write.Bars[0].Key)
		write.Subjects = accepted(b.run, 30000+b.run, 0, b.store.Now()).Write.Subjects
		return func() error { return b.store.Write(context.Background(), write) }
	})
}

// neg: 179
func TestAHoldThatCannotBeReadIsNoLessAHold(t *testing.T) {
	b := newBench(t)
	write := quarantine(b.store, 1)
	b.write(write)
	b.watch(false, func(_ int, what string) bool { return strings.HasPrefix(what, "query "+selectBar) })
	err := b.store.Write(context.Background(), subject.Write{
		Unbarred: []subject.Key{write.Bars[0].Key}, Audit: record(b.store),
	})
	if failed := b.quiet(); len(failed) == 0 {
		t.Error("nobody looked")
	}
	b.told("hold", unknown(err))
}

const selectBar = "SELECT kind, value, state"

// What was begun and not taken back is not taken for committed. neg: 179
func TestATransactionThatCannotBeTakenBackIsNotInForce(t *testing.T) {
	b := newBench(t)
	write := quarantine(b.store, 1)
	b.watch(false, func(_ int, what string) bool { return what == "exec COMMIT" || what == "exec ROLLBACK" })
	b.told("commit", b.store.Write(context.Background(), write))
	b.quiet()
	if state, _ := b.index.Held(write.Bars[0].Key); state != attestd.StateUnknown {
		t.Error("the index has a hold that was never committed")
	}
	b.need(b.store.Pulse(context.Background()))
	b.agrees("afterwards")
}

// neg: 179
func TestAVerdictWhoseDatabaseFailsAnywhereIsToldAndLeavesNothing(t *testing.T) {
	b := newBench(t)
	b.need(b.store.BoundKeys(1)) // so that one must be forgotten for another
	older := challenge.Credential{AKName: keyName(9), EK: ekOf(9)}
	b.need(b.store.InsertAppraisal(context.Background(), shows("default", older, stateAt(1, 1), nil)))
	b.fails(false, func() func() error {
		fold := 40000 + b.run
		first := accepted(b.run, fold, 0, b.store.Now())
		first.Evidence.Blobs = [][]byte{fmt.Append(nil, "own", b.run), []byte("of all")}
		b.need(b.store.Keep(context.Background(), first))
		other := accepted(b.run, 1, b.generation(1), b.store.Now())
		other.ID, other.ChallengeID = fmt.Sprint("other", b.run), fmt.Sprint("other", b.run)
		other.Evidence.Blobs = [][]byte{[]byte("of all")}
		b.need(b.store.Keep(context.Background(), other))
		verdict := accepted(b.run, fold, 1, b.store.Now())
		verdict.ID, verdict.ChallengeID = fmt.Sprint("second", b.run), fmt.Sprint("second", b.run)
		ek := [32]byte{1, byte(b.run >> 8), byte(b.run)}
		verdict.Seen = &challenge.Seen{
			Credential: challenge.Credential{AKName: bytes.Repeat(ek[:2], 17), EK: ek}, State: stateAt(1, 1),
		}
		return func() error { return unknown(b.store.Keep(context.Background(), verdict)) }
	})
}

func (b *bench) generation(fold int) uint64 {
	b.Helper()
	one, _, err := b.store.Subject(context.Background(), agentOf(fold))
	b.need(err)
	return one.Generation
}

// neg: 179
func TestAChallengeWhoseDatabaseFailsAnywhereIsToldAndLeavesNothing(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	issue := func() challenge.Issued {
		return challenge.Issued{
			Challenge: newChallenge(b.store.Now()), Source: "192.0.2.1",
			Credential: &challenge.Credential{AKName: keyName(1), EK: ekOf(1)},
		}
	}
	b.fails(false, func() func() error {
		issued := issue()
		return func() error { return b.store.InsertChallenge(ctx, issued) }
	})
	b.fails(false, func() func() error {
		issued := issue()
		b.need(b.store.InsertChallenge(ctx, issued))
		return func() error {
			got, outcome, err := b.store.Consume(ctx, useOf(issued.Challenge))
			if (err == nil) != (outcome == challenge.Consumed) || err != nil && len(got.Nonce) != 0 {
				return fmt.Errorf("outcome %d with %v", outcome, err)
			}
			return err
		}
	})
	b.fails(false, func() func() error {
		return func() error { return b.store.Room(ctx, "default", "192.0.2.1") }
	})
}

// neg: 179
func TestTheLogWhoseDatabaseFailsAnywhereHasNoGap(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	const tile = 256
	b.fails(false, func() func() error {
		size, err := b.store.AuditSize(ctx)
		b.need(err)
		var fill []audit.Record
		for range (2*tile - 1 - size%tile) % tile {
			fill = append(fill, record(b.store)...)
		}
		b.need(b.store.Audit(ctx, fill))
		one := record(b.store)
		return func() error { return unknown(b.store.Audit(ctx, one)) }
	})
}

// neg: 179
func TestUpkeepWhoseDatabaseFailsAnywhereIsTold(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	b.fails(false, func() func() error { return func() error { return b.store.Pulse(ctx) } })
	b.fails(false, func() func() error {
		_, err := b.beside.ExecContext(ctx, `INSERT INTO challenges
			(id, nonce, trust_domain, verifier_key_id, tenant, purpose, format, source, issued_at, expires_at)
			VALUES (?, zeroblob(32), 'd', 'k', 'default', 'verify', 'nitro', 's', 1, 2)`, fmt.Sprint("old", b.run))
		b.need(err)
		b.need(b.store.InsertChallenge(ctx, issuedFrom(newChallenge(b.store.Now()), "192.0.2.2")))
		return func() error { return b.store.Purge(ctx) }
	})
	b.fails(false, func() func() error {
		change := operator.Change{
			Next: operator.Record{Name: fmt.Sprint("ines", b.run)}, At: b.store.Now(),
			Actor: "attestd", Action: "operator.add",
		}
		return func() error { return unknown(b.store.PutOperator(ctx, change)) }
	})
}
