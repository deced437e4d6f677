package journal_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/cedarset"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/nhi"
)

// vary changes what a decision rests on.
func vary(random *rand.Rand, in *decision.Input) {
	one := func(texts ...string) string { return texts[random.IntN(len(texts))] }
	in.Action.Name = one(decision.ActionDataRead, decision.ActionDataWrite, decision.ActionToolCall,
		decision.ActionSecretRead, decision.ActionModelInvoke, "made.up")
	in.Resource.Type, in.Resource.ID = one("tool", "dataset", "secret", "model"), one("search", "orders", "x <&> ä")
	in.Resource.Tenant, in.Resource.Ring = one("acme", "acme", "acme", "globex", ""), one("", "stable", "canary")
	in.Resource.Privileged = random.IntN(4) == 0
	in.Resource.Datasets = []decision.Dataset{{ID: one("orders", "faces"), Classification: []string{one("pii", "public")}}}
	in.Standing.DueAt = in.At.Add(time.Hour)
	in.Record.Policy = one("standard", "standard", "standard", "agents", "")
	in.Standing.Risk = attestd.Risk(random.IntN(30))
	if random.IntN(4) == 0 {
		in.Standing.Risk = attestd.Risk(random.IntN(101))
	}
	in.Standing.Tier = in.Standing.Risk.Tier()
	in.Standing.Attested = random.IntN(10) != 0
	in.Standing.AttestedAt = in.At.Add(-time.Duration(random.IntN(3800)) * time.Second)
	in.Record.Purpose = nhi.Purpose(one("evaluation", "inference", "retrieval", "training", "made-up"))
	in.Record.Ring, in.Record.Zone = one("stable", "canary"), nhi.Zone(one("trusted", "semi-trusted", "untrusted"))
	in.Record.Tools, in.Record.Datasets = []string{one("search", "sea*", "*")}, []string{one("orders", "*")}
	in.Supported = []string{decision.ObligationStepUp, decision.ObligationNotification}[:random.IntN(3)]
	in.Late = random.IntN(50) == 0
	if random.IntN(20) == 0 {
		in.Record = nil
	}
	if random.IntN(20) == 0 {
		in.Findings = decision.Findings{Looked: true, Throttled: true, RetryAfter: time.Second}
	}
}

// TestTenThousandDecisionsAreReproduced: what the engine decided by the shipped policies comes out again
// of what was stored, to the last field.
func TestTenThousandDecisionsAreReproduced(t *testing.T) {
	const count = 10_000
	set, err := cedarset.Load(cedarset.Standard())
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, t.TempDir(), nil)
	if err := w.KeepPolicies(set.Digest(), set.Files()); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	outcomes := map[string]int{}
	for number := range count {
		// Minutes apart by the hundred: a flood would be folded.
		given := answer(number, begin.Add(time.Duration(number/100)*time.Minute), "")
		vary(random, given.Input)
		given.Policy, given.Result = set.Digest(), decision.Judge(given.Input, set)
		outcome := journal.Allow
		if !given.Allow {
			outcome = string(given.Reasons[0].Code)
		}
		outcomes[outcome]++
		for w.Waiting() > journal.QueueLength/2 {
			time.Sleep(time.Millisecond)
		}
		w.keep(t, given)
	}
	w.stop()
	if len(outcomes) < 8 || outcomes[journal.Allow] == 0 {
		t.Errorf("the decisions are too much alike: %v", outcomes)
	}
	replayer, err := journal.NewReplayer(w.Reader(), func(files fs.FS) (decision.PolicySet, error) {
		return cedarset.Load(files)
	}, decision.Judge)
	if err != nil {
		t.Fatal(err)
	}
	whole := journal.Run{Changed: []journal.Replayed{}}
	query := journal.Query{Tenants: []string{"*"}, Limit: 1000, Oldest: true}
	for more := true; more; query.After = whole.Next {
		run, err := replayer.ReplayPage(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		more = run.Same+run.Different+run.Skipped > 0
		whole.Add(run)
	}
	if whole.Same != count || whole.Different != 0 || whole.Skipped != 0 {
		t.Errorf("%d same, %d different, %d skipped, of %d: %v", whole.Same, whole.Different, whole.Skipped, count,
			fmt.Sprintf("%.3000v", whole.Changed))
	}
	verified, err := w.Reader().Verify(t.Context(), nil)
	if err != nil || verified.Total != 0 || verified.Records != count {
		t.Errorf("%+v, %v", verified, err)
	}
}
