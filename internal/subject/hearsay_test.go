package subject_test

import (
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// TestHearsayMovesNobody: a paravisor that nobody knows can state any machine's name. Its rejected
// evidence must not make that machine suspect; evidence that was taken before, judged again, still does,
// and so does a machine whose name its own key vouches for.
func TestHearsayMovesNobody(t *testing.T) {
	unknown := attestd.Reason{Check: "measurement/known", Device: "cpu"}
	edge := attestd.Edge{From: "cpu", To: "vtpm", Grade: attestd.GradeCryptographic}
	for name, row := range map[string]struct {
		edge    attestd.Edge
		reason  attestd.Reason
		again   bool
		hearsay bool
		moves   bool
	}{
		"who vouches is not known":          {edge, unknown, false, true, false},
		"and the evidence was taken before": {edge, unknown, true, true, true},
		"another part is not known":         {edge, attestd.Reason{Check: unknown.Check, Device: "vtpm"}, false, false, true},
		"another check failed":              {edge, attestd.Reason{Check: "sev-snp/vmpl", Device: "cpu"}, false, false, true},
		"nobody's key rests on it": {
			attestd.Edge{From: "cpu", To: "vtpm", Grade: attestd.GradeSimultaneous}, unknown, false, false, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			one := verdict()
			one.Edges, one.Reasons = []attestd.Edge{row.edge}, []attestd.Reason{row.reason}
			if got := subject.Observe(one).Hearsay; got != row.hearsay {
				t.Fatalf("hearsay %v, want %v", got, row.hearsay)
			}
			m := newMachine(t)
			m.draw("unknown -accepted-> trusted")
			seen := m.seen()
			seen.Hearsay, seen.Again, seen.Verdict = row.hearsay, row.again, attestd.VerdictRejected
			if moved := !m.observe(seen).Write.Empty(); moved != row.moves {
				t.Errorf("moved %v, want %v", moved, row.moves)
			}
		})
	}
}
