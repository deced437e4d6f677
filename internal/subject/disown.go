package subject

import (
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
)

// Disowned says what follows where an operator took a machine's enrolment back: a machine that was
// sold or stolen does not come and say so, and its grants would go on until its evidence is due. It is
// suspect at once, and trusted again when it is somebody's and its evidence is accepted. What is held
// stays held. The second result reports whether anything follows.
func Disowned(s Subject, at time.Time, by string) (Write, bool) {
	if s.State != attestd.StateTrusted && s.State != attestd.StateSuspect {
		return Write{}, false
	}
	next := s.clone()
	next.Ownership, next.Trail.OwnedUntil = MethodNone, time.Time{}
	signal := Signal{
		Code: CodeOwnership, Group: attestd.GroupIdentity, Points: pointsOverdue, Source: SourceSelf,
		Detail: "an operator took the enrolment back", At: at,
	}
	next.Signals = raise(next.Signals, signal)
	next.move(MoveDoubted)
	settle(&next, s, at)
	risk, _ := next.RiskAt(at)
	return Write{
		Subjects: []SubjectWrite{{Expect: s.Generation, Next: next}},
		History: []Event{{
			ID: s.ID, Tenant: s.Tenant, At: at, Kind: EventSignal, From: s.State, To: next.State,
			Risk: risk, Epoch: next.Epoch, Actor: by, Detail: string(CodeOwnership) + ": " + signal.Detail,
		}},
		Audit: []audit.Record{stateRecord(s, next, at, by, signal.Detail)},
	}, true
}
