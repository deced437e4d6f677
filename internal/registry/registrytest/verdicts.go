package registrytest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/subject"
)

var collateral = []byte("collateral that many share")

// verdict is one with evidence over the node of that name, which is in the generation given.
func verdict(name, tenant, id string, generation uint64) registry.Verdict {
	return registry.Verdict{
		Answered: challenge.Answered{ID: id, ChallengeID: "c-" + id, Tenant: tenant, Document: []byte(id)},
		Write:    put(node(name, tenant), generation),
		Evidence: &registry.Evidence{
			Subject: agent(name), Tenant: tenant, Format: attestd.FormatTPM, At: morning, Job: []byte(`{"n":1}`),
			Blobs: [][]byte{[]byte("evidence of " + id), collateral},
		},
	}
}

func keepsEvidence(t *testing.T, w *world) {
	ctx := t.Context()
	w.must(w.Keep(ctx, verdict("x", "a", "v1", 0)))
	w.must(w.Keep(ctx, verdict("y", "a", "v2", 0)))
	w.must(w.Keep(ctx, verdict("x", "a", "v3", 1)))
	w.must(w.Keep(ctx, verdict("x", "a", "v4", 2)))
	list, next, err := w.Stored(ctx, []string{"a"}, "", 1)
	w.must(err)
	rest, end, err := w.Stored(ctx, []string{"a"}, next, 10)
	w.must(err)
	if len(list) != 1 || len(rest) != 1 || next == "" || end != "" {
		t.Fatalf("got %d and %d, want a page of one and the rest", len(list), len(rest))
	}
	w.same("the latest of x", list[0], registry.StoredVerdict{
		Evidence: *verdict("x", "a", "v4", 0).Evidence, AppraisalID: "v4",
	})
	w.same("that of y", rest[0], registry.StoredVerdict{
		Evidence: *verdict("y", "a", "v2", 0).Evidence, AppraisalID: "v2",
	})
	// What both had is there until the last one drops it, and can come back.
	for number, name := range []string{"x", "y", "x"} {
		one := verdict(name, "a", fmt.Sprint("w", number), []uint64{3, 1, 4}[number])
		one.Evidence.Blobs = [][]byte{[]byte(name), []byte(name)}
		if number == 2 {
			one.Evidence.Blobs = [][]byte{collateral}
		}
		w.must(w.Keep(ctx, one))
		list, _, err = w.Stored(ctx, everything, "", 10)
		if w.must(err); len(list) != 2 {
			t.Errorf("step %d: %d are stored, want 2", number, len(list))
		}
	}
	if !bytes.Equal(list[0].Blobs[0], collateral) || len(list[1].Blobs) != 2 {
		t.Errorf("got %q and %q", list[0].Blobs, list[1].Blobs)
	}
	for name, spoil := range map[string]func(*registry.Evidence){
		"no tenant":  func(e *registry.Evidence) { e.Tenant = "" },
		"no subject": func(e *registry.Evidence) { e.Subject = "" },
		"65 blobs":   func(e *registry.Evidence) { e.Blobs = make([][]byte, 65) },
		"17 MiB":     func(e *registry.Evidence) { e.Blobs = [][]byte{make([]byte, 17<<20)} },
	} {
		one := verdict("z", "a", name, 0)
		spoil(one.Evidence)
		if err := w.Keep(ctx, one); err == nil {
			t.Errorf("%s: kept", name)
		}
	}
}

// keepsWhole: a verdict whose write cannot be carried out is not stored, and of one challenge there is
// one.
func keepsWhole(t *testing.T, w *world) {
	ctx := t.Context()
	late := verdict("x", "a", "v1", 7)
	w.moved(w.Keep(ctx, late))
	w.write(lay(w.bar(agent("x").Key(), attestd.StateQuarantined), 0))
	w.barred(w.Keep(ctx, verdict("x", "a", "v1", 0)), attestd.StateQuarantined)
	if _, found, err := w.Appraisal(ctx, "v1"); err != nil || found {
		t.Errorf("a verdict was stored whose write was refused: %v", err)
	}
	w.must(w.Keep(ctx, verdict("y", "a", "v2", 0)))
	second := verdict("y", "a", "v3", 1)
	second.ChallengeID = "c-v2"
	w.class(w.Keep(ctx, second), attestd.ClassConflict)
	got, _, err := w.Subject(ctx, agent("y"))
	if w.must(err); got.Generation != 1 {
		t.Errorf("a refused verdict moved its subject to generation %d", got.Generation)
	}
	list, _, err := w.Stored(ctx, everything, "", 10)
	if w.must(err); len(list) != 1 || list[0].AppraisalID != "v2" {
		t.Errorf("stored: %+v", list)
	}
}

func remembers(t *testing.T, w *world) {
	want := subject.Event{
		ID: agent("x"), Tenant: "a", At: morning, Kind: "quarantined", From: attestd.StateTrusted,
		To: attestd.StateQuarantined, Risk: attestd.Risk(100), Epoch: 4, Actor: "ines", Detail: "odd",
		AppraisalID: "v1",
	}
	other := want
	other.ID = agent("y")
	for number := range 10 {
		want.Epoch = uint64(number)
		w.write(subject.Write{History: []subject.Event{other, want}, Audit: recorded("e")})
	}
	var epochs []uint64
	after := int64(0)
	for {
		list, err := w.History(t.Context(), agent("X"), after, 3)
		if w.must(err); len(list) == 0 {
			break
		}
		for _, event := range list {
			epochs = append(epochs, event.Epoch)
			after = event.Number
			want.Number, want.Epoch = event.Number, event.Epoch
			w.same("an event", event, want)
		}
	}
	w.same("the newest first", epochs, []uint64{9, 8, 7, 6, 5, 4, 3, 2, 1, 0})
	_, err := w.History(t.Context(), agent("x"), 0, 1001)
	w.class(err, attestd.ClassMalformed)
}

// records: what the log has is what was recorded, in the order of the writes, with nothing of those
// that were refused.
func records(t *testing.T, w *world) {
	ctx := t.Context()
	const count = 600 // over two full tiles
	for number := range count {
		w.write(subject.Write{Audit: recorded(fmt.Sprint("act-", number))})
	}
	w.moved(w.Write(ctx, put(node("x", "a"), 9)))
	var tree audit.Tree
	for start := int64(0); start < count; {
		leaves, size, err := w.AuditEntries(ctx, start, 250)
		if w.must(err); size != count || len(leaves) == 0 {
			t.Fatalf("%d leaves of %d from %d", len(leaves), size, start)
		}
		for _, leaf := range leaves {
			entry, err := tree.Append(recorded(fmt.Sprint("act-", start))[0])
			if w.must(err); !bytes.Equal(entry.Leaf, leaf) {
				t.Fatalf("leaf %d is %q", start, leaf)
			}
			start++
		}
	}
	if leaves, _, err := w.AuditEntries(ctx, count, 10); err != nil || len(leaves) != 0 {
		t.Errorf("behind the end: %d leaves, %v", len(leaves), err)
	}
	_, _, err := w.AuditEntries(ctx, -1, 10)
	w.class(err, attestd.ClassMalformed)
}

func operators(t *testing.T, w *world) {
	ctx := t.Context()
	change := operator.Change{
		Next: operator.Record{
			Name: "ines", Roles: []operator.Role{operator.Security}, Tenants: []string{"a"}, Version: 1, By: "root",
			CreatedAt: morning, Login: [32]byte{3}, LoginUntil: morning,
		},
		At: morning, Actor: "root", Via: "token", Action: "operator.add",
	}
	w.must(w.PutOperator(ctx, change))
	if err := w.PutOperator(ctx, change); err == nil || err.Error() != operator.ErrMoved.Error() {
		t.Errorf("got %v, want that it moved", err)
	}
	got, found, err := w.Operator(ctx, "ines")
	want := change.Next
	want.Generation = 1
	if w.must(err); !found {
		t.Error("not there")
	}
	w.same("as it was put", got, want)
	change.Expect, change.Next.RevokedAt = 1, morning
	w.must(w.PutOperator(ctx, change))
	list, err := w.Operators(ctx)
	if w.must(err); len(list) != 1 || !list[0].RevokedAt.Equal(morning) || list[0].Generation != 2 {
		t.Errorf("got %+v", list)
	}
	if _, found, err := w.Operator(ctx, "Ines"); err != nil || found {
		t.Errorf("another spelling is an operator, too: %v", err)
	}
	if size, err := w.AuditSize(ctx); err != nil || size != 2 {
		t.Errorf("%d records, %v; want one for each change", size, err)
	}
	change.Actor = ""
	w.class(w.PutOperator(ctx, change), attestd.ClassMalformed)
}

// publishes: when a write is acknowledged the index has it.
func publishes(_ *testing.T, w *world) {
	one := node("x", "a")
	w.write(put(one, 0))
	one.Generation = 1
	w.same("published", w.index.subject(one.ID), one)
	key := subject.Key{Kind: "host", Value: "h"}
	w.write(lay(w.bar(key, attestd.StateQuarantined), 0))
	held, _ := w.held(key)
	published, found := w.index.bar(key)
	if w.same("published", published, held); !found {
		w.Error("not published")
	}
	w.write(lift(key, held.Generation))
	if _, found := w.index.bar(key); found {
		w.Error("still published")
	}
}
