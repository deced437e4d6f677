package service_test

import (
	"context"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
)

// undecided is a judge to whom something is missing.
type undecided struct{ inner }

func (u undecided) Judge(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
	given, err := u.inner.Judge(ctx, job)
	given.Verdict = attestd.VerdictUndecided
	return given, err
}

// missing has no certificate, and hears what was missed.
type missing struct{ sources []string }

func (m *missing) Of(attestd.Format, []byte) [][]byte { return nil }

func (m *missing) Missed(source string, _ attestd.Appraisal, _ []byte) {
	m.sources = append(m.sources, source)
}

// TestWhatASessionMissedIsLookedFor, as it is for a challenge: its client comes again too.
func TestWhatASessionMissedIsLookedFor(t *testing.T) {
	heard := &missing{}
	w := newWorld(t, worldOptions{
		machines: heard, judge: func(asked service.Judge) service.Judge { return undecided{asked} },
	})
	for count, chosen := range [][]byte{nil, chosenNonce} {
		_, err := w.session(chosen, nil)
		w.must(err)
		if len(heard.sources) != count+1 || heard.sources[count] != "192.0.2.1" {
			t.Errorf("heard %q", heard.sources)
		}
	}
}
