package subject

import (
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
)

// Late says what follows where a trusted subject's evidence is due before ahead has passed. First its
// risk rises and it has the grace of the rules; then it is suspect. Where the machine is nobody's any
// more there is no grace. The second result reports whether anything follows.
//
// The first step comes a little early so that it is there when the deadline is: who gives grants
// knows the deadline alone.
func Late(s Subject, at time.Time, ahead time.Duration, rules Rules) (Write, bool) {
	if s.State != attestd.StateTrusted || s.DueAt.IsZero() || s.DueAt.After(at.Add(ahead)) {
		return Write{}, false
	}
	next := s.clone()
	ends := s.Trail.OwnedUntil
	signal := Signal{
		Code: CodeOverdue, Group: GroupLate, Points: pointsLate, Source: SourceSelf, At: s.DueAt,
		Detail: "fresh evidence was due at " + s.EvidenceAt.Add(rules.Reattest).UTC().Format(time.RFC3339),
	}
	switch {
	case !ends.IsZero() && !at.Before(ends):
		signal = Signal{
			Code: CodeOwnership, Group: attestd.GroupIdentity, Points: pointsOverdue, Source: SourceSelf,
			At: ends, Detail: "the enrolment ended at " + ends.UTC().Format(time.RFC3339),
		}
		next.move(MoveDoubted)
	case s.stands(CodeOverdue, at) && at.Before(s.DueAt), ends.Equal(s.DueAt):
		return Write{}, false
	case s.stands(CodeOverdue, at), !at.Before(s.DueAt.Add(rules.Grace)):
		signal.Points = pointsOverdue
		next.move(MoveOverdue)
	default:
		next.DueAt = s.DueAt.Add(rules.Grace)
		if !ends.IsZero() && ends.Before(next.DueAt) {
			next.DueAt = ends
		}
	}
	next.Signals = raise(next.Signals, signal)
	if risk, _ := next.RiskAt(at); risk.Tier().Verdict() != attestd.VerdictAccepted {
		if at.Before(s.DueAt) {
			return Write{}, false // the early step is for the risk; trust lasts until the deadline
		}
		next.move(MoveDoubted)
	}
	settle(&next, s, at)
	risk, _ := next.RiskAt(at)
	write := Write{
		Subjects: []SubjectWrite{{Expect: s.Generation, Next: next}},
		History: []Event{{
			ID: s.ID, Tenant: s.Tenant, At: at, Kind: EventOverdue, From: s.State, To: next.State,
			Risk: risk, Epoch: next.Epoch, Actor: SourceSelf, Detail: signal.Detail,
		}},
		Audit: []audit.Record{stateRecord(s, next, at, SourceSelf, signal.Detail)},
	}
	return write, true
}

// Ended says what follows where signals no longer count, or count for less: the risk falls. Nobody becomes
// trusted by it; that takes evidence.
func Ended(s Subject, at time.Time) (Write, bool) {
	left := faded(s.Signals, at)
	stood, _ := Weigh(s.Floor, s.Signals, s.ChangedAt)
	is, _ := Weigh(s.Floor, left, at)
	if len(left) == len(s.Signals) && (Barred(s.State) || stood == is) {
		return Write{}, false
	}
	next := s.clone()
	next.Signals = left
	settle(&next, s, at)
	risk, _ := next.RiskAt(at)
	return Write{
		Subjects: []SubjectWrite{{Expect: s.Generation, Next: next}},
		History: []Event{{
			ID: s.ID, Tenant: s.Tenant, At: at, Kind: EventSignal, From: s.State, To: next.State,
			Risk: risk, Epoch: next.Epoch, Actor: SourceSelf, Detail: "signals ended",
		}},
		Audit: []audit.Record{stateRecord(s, next, at, SourceSelf, "signals ended")},
	}, true
}

func stateRecord(before, next Subject, at time.Time, actor, reason string) audit.Record {
	return audit.Record{
		At: at, Actor: actor, Via: "local", Tenant: next.Tenant, Action: "subject.state",
		Target: string(next.ID), Outcome: "done", Reason: attestd.Excerpt(reason, maxDetail),
		Detail: map[string]string{"from": before.State.String(), "to": next.State.String()},
	}
}
