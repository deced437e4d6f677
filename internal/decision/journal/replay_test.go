package journal_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
)

// stored writes an answer and reads it back.
func stored(t *testing.T, one *decision.Answer) journal.Record {
	t.Helper()
	w := start(t, t.TempDir(), nil)
	w.keep(t, one)
	w.stop()
	record, err := w.Reader().Find(t.Context(), one.ID.String(), []string{"*"})
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func TestAReplayNamesWhatDiffers(t *testing.T) {
	given := answer(1, begin, decision.CodeRing)
	record := stored(t, given)
	same := func(in *decision.Input, _ decision.PolicySet) decision.Result {
		in.Enforcer = "a policy that writes" // to its own copy
		return given.Result
	}
	replayed, err := journal.Replay(&record, nil, same)
	if err != nil || !replayed.Same || len(replayed.Differences) != 0 {
		t.Errorf("the same result differs: %+v, %v", replayed, err)
	}
	if record.Input.Enforcer != "user:gateway" {
		t.Error("the record was written to")
	}
	for name, row := range map[string]struct {
		change func(*decision.Result)
		want   []journal.Difference
	}{
		"the decision": {func(r *decision.Result) { r.Allow = true }, []journal.Difference{{"allow", "false", "true"}}},
		"a code": {
			func(r *decision.Result) { r.Reasons = []decision.Reason{{Code: decision.CodeStale, Detail: "it is"}} },
			[]journal.Difference{{"reasons[0].code", `"ring_mismatch"`, `"attestation_stale"`}},
		},
		"one reason more": {
			func(r *decision.Result) { r.Reasons = append([]decision.Reason{{Code: "x"}}, r.Reasons...) },
			[]journal.Difference{{"reasons", `[{"code":"ring_mismatch","detail":"it is"}]`,
				`[{"code":"x"},{"code":"ring_mismatch","detail":"it is"}]`}},
		},
		"no policies": {
			func(r *decision.Result) { r.Policies = nil },
			[]journal.Difference{{Field: "policies", Was: `["isolation"]`}},
		},
		"a proof": {
			func(r *decision.Result) { r.Proofs.What.Source = "inventory" },
			[]journal.Difference{{Field: "proofs.what.source", Is: `"inventory"`}},
		},
	} {
		changed := given.Result
		row.change(&changed)
		replayed, err := journal.Replay(&record, nil, func(*decision.Input, decision.PolicySet) decision.Result {
			return changed
		})
		if err != nil || replayed.Same {
			t.Errorf("%s: the same, %v", name, err)
		}
		if diff := cmp.Diff(row.want, replayed.Differences); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestACountCannotBeReplayed(t *testing.T) {
	record := journal.Record{Schema: journal.FoldSchema, Count: 3}
	_, err := journal.Replay(&record, nil, func(*decision.Input, decision.PolicySet) decision.Result {
		t.Error("it was judged")
		return decision.Result{}
	})
	var undecided *attestd.UndecidedError
	if !errors.As(err, &undecided) {
		t.Errorf("got %v", err)
	}
}

// set is a policy set that its file's content is the digest of.
type set string

func (s set) Digest() string                           { return string(s) }
func (s set) Evaluate(*decision.Input) decision.Ruling { return decision.Ruling{} }

func TestARecordIsJudgedByThePoliciesThatItNames(t *testing.T) {
	w := start(t, t.TempDir(), nil)
	other := "sha256:" + strings.Repeat("b6", 32)
	for name, content := range map[string]string{digest: digest, other: digest} {
		if err := w.KeepPolicies(name, fstest.MapFS{"shared/a.cedar": {Data: []byte(content)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.KeepPolicies("sha256:../../x", fstest.MapFS{}); err == nil {
		t.Error("policies are kept under no digest")
	}
	allowed, denied := answer(1, begin, ""), answer(2, begin, decision.CodeRing)
	w.keep(t, allowed, denied)
	w.stop()
	load := func(files fs.FS) (decision.PolicySet, error) {
		content, err := fs.ReadFile(files, "shared/a.cedar")
		return set(content), err
	}
	replayer, err := journal.NewReplayer(w.Reader(), load,
		func(_ *decision.Input, by decision.PolicySet) decision.Result {
			if by.Digest() != digest {
				t.Errorf("judged by %s", by.Digest())
			}
			return allowed.Result
		})
	if err != nil {
		t.Fatal(err)
	}
	run, err := replayer.ReplayPage(t.Context(), journal.Query{Tenants: []string{"*"}, Limit: 10})
	if err != nil || run.Same != 1 || run.Different != 1 || run.Changed[0].ID != denied.ID {
		t.Errorf("%+v, %v", run, err)
	}
	record := stored(t, allowed)
	var undecided *attestd.UndecidedError
	for name, digest := range map[string]string{
		"policies of another digest": other, "policies that are not kept": "sha256:" + strings.Repeat("c7", 32),
	} {
		record.Policy = digest
		if _, err := replayer.Replay(&record); !errors.As(err, &undecided) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
