package service_test

import (
	"context"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Two answers of one machine that a busy verifier takes in the other way round are no sign of a copy:
// nobody could be asked twice otherwise.
func TestAnswersThatOvertakeEachOtherAreNoCopy(t *testing.T) {
	w := newWorld(t, worldOptions{codes: []subject.Code{subject.CodeClone, subject.CodeClockBack}})
	tpm := w.newTPM()
	w.own("default")
	for range 3 {
		first, second := w.answerTPM(tpm), w.answerTPM(tpm)
		_, err := w.service.Verify(context.Background(), second)
		w.must(err)
		given, err := w.service.Verify(context.Background(), first)
		w.must(err)
		if given.Standing.State != attestd.StateTrusted {
			t.Errorf("the standing is %+v", *given.Standing)
		}
	}
	if signals := w.known().Subject.Signals; len(signals) != 0 {
		t.Errorf("signals %+v", signals)
	}
}
