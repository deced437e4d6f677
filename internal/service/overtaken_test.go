package service_test

import (
	"context"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Two answers of one machine that a busy verifier takes in the other way round are no sign of a copy,
// whatever the policy says of counters that go back: nobody could be asked twice otherwise.
func TestAnswersThatOvertakeEachOtherAreNoCopy(t *testing.T) {
	for name, row := range map[string]struct {
		rules map[string]string
		want  attestd.Verdict
	}{
		"where counters may go back": {nil, attestd.VerdictAccepted},
		"where they may not": {
			map[string]string{"clock-order": "{want: [first, forward], otherwise: reject}"},
			attestd.VerdictRejected,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, worldOptions{codes: []subject.Code{
				subject.CodeClone, subject.CodeClockBack, subject.CodeEvidence,
			}})
			tpm := w.newTPM(row.rules)
			w.own("default")
			for range 3 {
				first, second := w.answerTPM(tpm), w.answerTPM(tpm)
				_, err := w.service.Verify(context.Background(), second)
				w.must(err)
				given, err := w.service.Verify(context.Background(), first)
				w.must(err)
				if given.Verdict != row.want || given.Standing.State != attestd.StateTrusted {
					t.Errorf("%s, and the standing is %+v", given.Verdict, *given.Standing)
				}
			}
			if signals := w.known().Subject.Signals; len(signals) != 0 {
				t.Errorf("signals %+v", signals)
			}
		})
	}
}
