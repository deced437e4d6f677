package issuance_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// handing is a world whose composers are handed something, and what was noted before.
func handing(t *testing.T, change func(*issuance.Config)) (*world, *[]time.Time) {
	t.Helper()
	noted := &[]time.Time{}
	return newWorld(t, func(c *issuance.Config) {
		c.Lifetimes.Map = time.Hour
		c.Degraded = &issuance.Degraded{Handed: func(until time.Time) error {
			*noted = append(*noted, until)
			return nil
		}}
		if change != nil {
			change(c)
		}
	}), noted
}

// handed is the next Holdover after the one of that number, whole.
func (w *world) handed(after uint64) wire.Holdover {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var whole wire.Holdover
	ask := wire.HoldoverRequest{Number: after}
	for {
		answer, err := w.office.Holdover(ctx, ask)
		must(w, err)
		signed := append([]byte(wire.HoldoverLabel), answer.Signed.Payload...)
		if !ed25519.Verify(answer.Key, signed, answer.Signed.Signature) {
			w.Fatal("what is handed out is not signed")
		}
		var part wire.Holdover
		must(w, json.Unmarshal(answer.Signed.Payload, &part))
		if part.Part != max(1, ask.Part) {
			w.Fatalf("part %d where %d was asked for", part.Part, ask.Part)
		}
		whole.Number, whole.Parts, whole.Part = part.Number, part.Parts, part.Part
		whole.IssuedAt, whole.ExpiresAt = part.IssuedAt, part.ExpiresAt
		whole.Rows = append(whole.Rows, part.Rows...)
		if part.Part == part.Parts {
			return whole
		}
		ask = wire.HoldoverRequest{Number: part.Number, Part: part.Part + 1}
	}
}

func idsOf(given wire.Holdover) (ids []string) {
	for _, row := range given.Rows {
		ids = append(ids, row.ID)
	}
	return ids
}

// TestWithStrictNothingIsHandedOut: whatever was granted before, nothing leaves, and nothing is
// counted.
func TestWithStrictNothingIsHandedOut(t *testing.T) {
	w := newWorld(t, nil)
	w.publish(nil, 1)
	w.on(1)
	w.granted(jwt(workload))
	for _, ask := range []wire.HoldoverRequest{{}, {Number: 7}, {Number: 7, Part: 1}} {
		answer, err := w.office.Holdover(t.Context(), ask)
		must(t, err)
		if !answer.Off || answer.Key != nil || answer.Signed.Payload != nil ||
			answer.Signed.Signature != nil || !answer.Now.IsZero() {
			t.Errorf("strict hands out %+v", answer)
		}
	}
	if n := w.outstanding(workload); n != 1 {
		t.Errorf("%d grants, want the one that was given", n)
	}
	if end := w.office.HeldOver(workload); !end.IsZero() {
		t.Errorf("composers can go on until %s", end)
	}
}

// TestWhatIsHandedOutIsCountedFirst: as a grant to the id and its nodes until its end, noted
// before.
func TestWhatIsHandedOutIsCountedFirst(t *testing.T) {
	w, noted := handing(t, nil)
	w.publish(nil, 1, 2)
	w.on(1)
	w.granted(jwt(workload))
	w.wait(5 * time.Minute) // that one is over
	before := w.outstanding(workload)
	got := w.handed(0)
	end := w.clock().Add(issuance.HoldoverLife)
	if ids := idsOf(got); !slices.Equal(ids, []string{workload}) || !got.ExpiresAt.Equal(end) {
		t.Fatalf("got %v until %s", ids, got.ExpiresAt)
	}
	row := got.Rows[0]
	if row.ExpiresAt != end.Unix() || row.LivesSeconds != 300 || row.Claims["attested"] != true ||
		row.Claims["risk_score"] != 20.0 || row.Claims["tenant"] != "blue" {
		t.Errorf("row %+v", row)
	}
	if len(*noted) != 1 || !(*noted)[0].Equal(end) {
		t.Errorf("noted %v, want %s", *noted, end)
	}
	for _, id := range []subject.ID{workload, node(1).ID} {
		if n := w.outstanding(id); n != before+1 {
			t.Errorf("%s: %d grants, want %d", id, n, before+1)
		}
		if until := w.office.HeldOver(id); !until.Equal(end) {
			t.Errorf("%s: composers can go on until %s, want %s", id, until, end)
		}
	}
	if n := w.outstanding(node(2).ID); n != 0 || !w.office.HeldOver(node(2).ID).IsZero() {
		t.Errorf("another node has %d grants", n)
	}
	w.publish(func(s *subject.Subject) { s.DueAt = end.Add(-30 * time.Second) }, 1)
	w.wait(10 * time.Second) // what is handed out next ends sooner, and the first is there still
	if w.handed(0); !w.office.HeldOver(workload).Equal(end) {
		t.Errorf("composers can go on until %s, want %s", w.office.HeldOver(workload), end)
	}
	w.wait(49 * time.Second)
	if _, until := w.index.Outstanding(node(1).ID, w.clock()); until.Before(end) {
		t.Errorf("what was handed out until %s is counted until %s", end, until)
	}
	w.wait(time.Second)
	if until := w.office.HeldOver(workload); !until.IsZero() {
		t.Errorf("after its end composers can go on until %s", until)
	}
}

// TestWhereNothingIsNotedNothingIsConfigured.
func TestWhereNothingIsNotedNothingIsConfigured(t *testing.T) {
	w := newWorld(t, nil)
	config := w.config()
	config.Degraded = &issuance.Degraded{}
	_, err := issuance.New(config)
	w.failed(err, attestd.ClassConfig)
}

// TestOnlyWhatIsKnownWellIsHandedOut: what was granted lately, as attested, would be granted now,
// and needs no evidence of its own.
func TestOnlyWhatIsKnownWellIsHandedOut(t *testing.T) {
	const direct = "spiffe://example.org/enclave/blue/job"
	observe := func(c *issuance.Config) { c.Unattested = issuance.Observe }
	for name, row := range map[string]struct {
		change func(*issuance.Config)
		do     func(*world)
		want   bool
	}{
		"granted":       {nil, func(w *world) { w.granted(jwt(workload)) }, true},
		"never granted": {nil, func(*world) {}, false},
		"granted a quarter of an hour ago": {nil, func(w *world) {
			w.granted(jwt(workload))
			w.wait(15 * time.Minute)
		}, false},
		"its map too old": {func(c *issuance.Config) {
			c.Lifetimes.Map = time.Minute
		}, func(w *world) {
			w.granted(jwt(workload))
			w.wait(time.Minute)
		}, false},
		"no entry any more": {nil, func(w *world) {
			w.granted(jwt(workload))
			must(w, w.office.SetMap(wire.Map{At: w.clock()}))
		}, false},
		"held": {nil, func(w *world) { w.granted(jwt(workload)); w.hold(workload) }, false},
		"its node held": {nil, func(w *world) {
			w.granted(jwt(workload))
			w.hold(node(1).ID)
		}, false},
		"its node suspect": {nil, func(w *world) {
			w.granted(jwt(workload))
			w.publish(func(s *subject.Subject) { s.State = attestd.StateSuspect }, 1)
		}, false},
		"its node overdue": {nil, func(w *world) {
			w.granted(jwt(workload))
			w.publish(func(s *subject.Subject) { s.DueAt = start.Add(time.Second) }, 1)
			w.wait(2 * time.Second)
		}, false},
		"not attested, and observed": {observe, func(w *world) {
			w.publish(func(s *subject.Subject) { s.Format, s.State = "", attestd.StateUnknown }, 1)
			w.granted(jwt(workload))
		}, false},
		"attested since it was granted": {observe, func(w *world) {
			w.on(2)
			w.granted(jwt(workload))
			w.publish(nil, 2)
		}, false},
		"beside a node that nobody attested": {observe, func(w *world) {
			w.granted(jwt(workload))
			w.on(1, 2)
		}, false},
		"for evidence alone": {nil, func(w *world) {
			key := []byte("k")
			digest := agentSVID(node(1).ID, key).KeySHA256
			must(w, w.office.Ticket(node(1).ID, direct, digest, nil, nil))
			ask := wire.GrantRequest{Kind: wire.GrantWorkloadX509, ID: direct, KeySHA256: digest}
			w.granted(ask)
		}, false},
		"the canary": {observe, func(w *world) {
			ask := jwt("spiffe://example.org" + wire.CanaryPath)
			ask.Audience = []string{wire.CanaryAudience}
			w.granted(ask)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := handing(t, row.change)
			w.publish(nil, 1)
			w.on(1)
			row.do(w)
			if got := w.handed(0); (len(got.Rows) == 1) != row.want || len(got.Rows) > 1 {
				t.Errorf("handed out %v", idsOf(got))
			}
		})
	}
}

// TestNothingGoesOnBeyondTheEvidence: attestd refuses what is overdue, and then nobody is asked.
func TestNothingGoesOnBeyondTheEvidence(t *testing.T) {
	w, _ := handing(t, nil)
	due := start.Add(20 * time.Second)
	w.publish(func(s *subject.Subject) { s.DueAt, s.Floor = due, attestd.Risk(50) }, 1)
	w.on(1)
	w.granted(jwt(workload))
	got := w.handed(0)
	if len(got.Rows) != 1 || got.Rows[0].ExpiresAt != due.Unix() || got.Rows[0].LivesSeconds != 60 {
		t.Errorf("got %+v, want an end at %d and the life of tier medium", got.Rows, due.Unix())
	}
}

// TestAHoldReplacesWhatWasHandedOut: at once, and without what is held; otherwise the next comes
// after a while.
func TestAHoldReplacesWhatWasHandedOut(t *testing.T) {
	w, noted := handing(t, nil)
	w.publish(nil, 1)
	w.on(1)
	w.granted(jwt(workload))
	first := w.handed(0)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, err := w.office.Holdover(ctx, wire.HoldoverRequest{Number: first.Number})
	w.undecided(err)
	w.publish(func(s *subject.Subject) { s.Generation = 5 }, 2) // somebody else's
	if again := w.handed(0); again.Number != first.Number || len(*noted) != 1 {
		t.Errorf("another one where nothing was held: %d after %d", again.Number, first.Number)
	}
	w.wait(time.Second)
	waiting := make(chan wire.Holdover, 1)
	ask := wire.HoldoverRequest{Number: first.Number}
	go func() {
		answer, err := w.office.Holdover(context.Background(), ask)
		var got wire.Holdover
		if err == nil {
			err = json.Unmarshal(answer.Signed.Payload, &got)
		}
		if err != nil {
			w.Error(err)
		}
		waiting <- got
	}()
	time.Sleep(20 * time.Millisecond)
	w.hold(workload)
	select {
	case second := <-waiting:
		if second.Number <= first.Number || len(second.Rows) != 0 {
			t.Errorf("number %d after %d with %v", second.Number, first.Number, idsOf(second))
		}
	case <-time.After(5 * time.Second):
		t.Fatal("a composer is not told of a hold")
	}
	// The first may be in somebody's hands still.
	if until := w.office.HeldOver(workload); !until.Equal(first.ExpiresAt) {
		t.Errorf("composers can go on until %s, want %s", until, first.ExpiresAt)
	}
	if w.outstanding(workload) == 0 {
		t.Error("nothing is outstanding")
	}
	w.wait(10 * time.Second)
	if third := w.handed(0); !third.ExpiresAt.After(first.ExpiresAt) {
		t.Error("what is ten seconds old is handed out")
	}
}

// TestWhatCannotBeNotedIsNotHandedOut: a process after this one would not know of it.
func TestWhatCannotBeNotedIsNotHandedOut(t *testing.T) {
	full := errors.New("no space")
	w, _ := handing(t, func(c *issuance.Config) {
		c.Degraded.Handed = func(time.Time) error { return full }
	})
	w.publish(nil, 1)
	w.on(1)
	w.granted(jwt(workload))
	before := w.outstanding(workload)
	_, err := w.office.Holdover(t.Context(), wire.HoldoverRequest{})
	w.undecided(err)
	if !errors.Is(err, full) || w.outstanding(workload) != before {
		t.Errorf("got %v", err)
	}
}

// TestAFleetIsHandedOutInParts, each within a frame, and all within the time that nobody notices.
func TestAFleetIsHandedOutInParts(t *testing.T) {
	const workloads = 5000
	w, _ := handing(t, nil)
	w.publish(nil, 1)
	whole := wire.Map{At: w.clock(), Agents: []wire.Agent{{ID: string(node(1).ID)}}}
	for n := range workloads {
		one := entry(fmt.Sprintf("%s/%d", workload, n), string(node(1).ID))
		whole.Entries = append(whole.Entries, one)
	}
	must(t, w.office.SetMap(whole))
	for n := range workloads {
		w.granted(jwt(fmt.Sprintf("%s/%d", workload, n)))
	}
	began := time.Now()
	answer, err := w.office.Holdover(t.Context(), wire.HoldoverRequest{})
	took := time.Since(began)
	must(t, err)
	got := w.handed(0)
	t.Logf("%d ids in %d parts of %d KiB, made in %s", len(got.Rows), got.Parts,
		len(answer.Signed.Payload)>>10, took)
	if len(got.Rows) != workloads || got.Parts < 2 || len(answer.Signed.Payload) > 1<<20 {
		t.Errorf("%d ids in %d parts", len(got.Rows), got.Parts)
	}
	// One that began with parts that are no more gets the first of the newest.
	w.wait(10 * time.Second)
	answer, err = w.office.Holdover(t.Context(), wire.HoldoverRequest{Number: got.Number, Part: 2})
	must(t, err)
	var part wire.Holdover
	must(t, json.Unmarshal(answer.Signed.Payload, &part))
	if part.Number <= got.Number || part.Part != 1 {
		t.Errorf("part %d of %d after %d", part.Part, part.Number, got.Number)
	}
}
