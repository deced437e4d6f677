package reappraisal_test

import (
	"errors"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
)

// What operators ask for takes no other tenant's turn, and does not come before what has to take trust
// away. neg: 188
func TestATrialOfOneTenantHoldsUpNobodyElse(t *testing.T) {
	w := newWorld(t)
	w.trusted("blue", 0, 1, 2)
	var trials []string
	for {
		begun, err := w.engine.Start(t.Context(), bob, wire.ReappraisalRequest{DryRun: true})
		var caller *attestd.CallerError
		if errors.As(err, &caller) && caller.Class == attestd.ClassRateLimited {
			break
		}
		w.must(err)
		if trials = append(trials, begun.ID); len(trials) > 100 {
			t.Fatal("any number of runs of one operator can wait")
		}
	}
	if _, err := w.engine.Start(t.Context(), ann, wire.ReappraisalRequest{DryRun: true}); err != nil {
		t.Errorf("one operator's trials took all places: %v", err)
	}
	w.must(w.service.Replace(t.Context(), documents(t, policy(t, "second", strict))))
	w.engine.Trigger()
	triggered, found, err := w.engine.Find(t.Context(), ann, "")
	if err != nil || !found {
		t.Fatal("nothing was triggered", err)
	}
	w.run()
	first := w.wait(bob, trials[0])
	if last := w.wait(ann, triggered.ID); last.Changed != 3 || !last.Ended.Before(first.Ended) {
		t.Errorf("trust was taken away at %s, after a trial that ended at %s: %+v", last.Ended, first.Ended, last)
	}
}
