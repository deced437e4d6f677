package journal_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/subject"
)

// repeat returns alike denials within a minute.
func repeat(count int, change func(number int, one *decision.Answer)) (answers []*decision.Answer) {
	for number := range count {
		one := answer(number, begin.Add(time.Duration(number)*time.Minute/time.Duration(count+1)), decision.CodeRing)
		if change != nil {
			change(number, one)
		}
		answers = append(answers, one)
	}
	return answers
}

func TestDenialsAreFoldedInAFloodAloneAndCountedExactly(t *testing.T) {
	for _, row := range []struct {
		name         string
		count, whole int
		folds        int
		allows       int
		change       func(int, *decision.Answer)
	}{
		{name: "no flood", count: journal.WholeOfKind, whole: journal.WholeOfKind},
		{name: "a flood of one kind", count: 10_000, whole: journal.WholeOfKind + 94, folds: 1},
		{name: "callers are kept apart", count: 10_000, whole: 10_000, change: func(n int, a *decision.Answer) {
			a.Input.Who.ID = subject.ID(fmt.Sprint("spiffe://example.org/", n%50))
		}},
		{name: "enforcement points are kept apart", count: 1000, whole: 1000, change: func(n int, a *decision.Answer) {
			a.Input.Enforcer = fmt.Sprint("user:", n%2)
		}},
		{name: "what is asked for makes no kinds", count: 10_000, whole: journal.WholeOfKind + 94, folds: 1,
			change: func(n int, a *decision.Answer) {
				a.Input.Resource.ID, a.Input.Action.Name = fmt.Sprint(n), fmt.Sprint(n)
			}},
		{name: "allows of which all are kept", count: 1000, whole: 1000, allows: 1,
			change: func(_ int, a *decision.Answer) { a.Allow, a.Reasons = true, nil }},
		{name: "allows of which one in ten is", count: 1000, whole: 100, folds: 1, allows: 10,
			change: func(_ int, a *decision.Answer) { a.Allow, a.Reasons = true, nil }},
		{name: "denials where allows are sampled", count: 500, whole: 500, allows: 10},
	} {
		t.Run(row.name, func(t *testing.T) {
			answers := repeat(row.count, row.change)
			whole, folds := journal.Take(answers, max(row.allows, 1))
			if whole != row.whole || len(folds) != row.folds {
				t.Errorf("%d whole and %d folds, want %d and %d", whole, len(folds), row.whole, row.folds)
			}
			counted := int64(whole)
			for _, fold := range folds {
				counted += fold.Count
				if fold.At.Before(answers[0].Input.At) || fold.Last.Before(fold.At) || !fold.Folded() {
					t.Errorf("%+v", fold)
				}
			}
			if counted != int64(row.count) {
				t.Errorf("%d are accounted for, want %d", counted, row.count)
			}
		})
	}
}

// TestAFloodOfKindsIsBounded: whoever makes up callers can neither fill memory nor hide from the counts.
func TestAFloodOfKindsIsBounded(t *testing.T) {
	const count = 200_000
	one := answer(1, begin, decision.CodeRing)
	answers := make([]*decision.Answer, count)
	for number := range answers {
		in, copied := *one.Input, *one
		in.Who.ID, copied.Input = subject.ID(fmt.Sprint(number)), &in
		answers[number] = &copied
	}
	whole, folds := journal.Take(answers, 1)
	counted := int64(whole)
	for _, fold := range folds {
		counted += fold.Count
		if fold.Subject == "*" && journal.Visible(&fold, []string{"acme", "*x"}) {
			t.Error("a count of several tenants' callers is one tenant's to read")
		}
	}
	if counted != count || whole > 70_000 || len(folds) > 70_000 {
		t.Errorf("%d whole, %d folds, %d accounted for", whole, len(folds), counted)
	}
}

// TestAMinuteEndsByAnyClock: neither a clock that goes back nor answers out of order lose a count.
func TestAMinuteEndsByAnyClock(t *testing.T) {
	answers := repeat(2000, nil)
	for number := range answers {
		if number > 1000 {
			answers[number].Input.At = begin.Add(-time.Hour + time.Duration(number)*time.Millisecond)
		}
	}
	whole, folds := journal.Take(answers, 1)
	counted := int64(whole)
	for _, fold := range folds {
		counted += fold.Count
	}
	if counted != 2000 || len(folds) != 2 {
		t.Errorf("%d accounted for in %d whole and %d folds", counted, whole, len(folds))
	}
}
