package admin_test

import (
	"testing"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/operator"
)

// A list of which nothing was enrolled is an answer and no error, and who sent it is written down.
func TestAListThatWasNotTakenLeavesATrace(t *testing.T) {
	w := newWorld(t)
	runner := w.named("olga", "*", operator.Operator)
	for source, outcome := range map[string]string{"a.csv": "", "wrong.csv": "refused"} {
		w.parts.entries()
		var done wire.Imported
		w.read(w.post(runner, "enrolments/import", wire.Import{
			Kind: "csv", Tenant: "blue", Document: []byte("a"), Source: source,
		}), &done)
		written := w.parts.entries()
		if outcome == "" {
			if len(written) != 0 { // whoever enrols writes it, with what was enrolled
				t.Errorf("%s: %+v", source, written)
			}
			continue
		}
		if len(written) != 1 || written[0].Outcome != outcome || written[0].Action != "enroll.import" ||
			written[0].Actor != "olga" || written[0].Tenant != "blue" || written[0].Target != source {
			t.Errorf("%s: %+v", source, written)
		}
	}
}
