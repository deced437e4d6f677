package subject

import (
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
)

// React says what follows from evidence. The order is that of who is protected from whom: what is not
// proven, or says a name that nobody vouches for, moves nobody; what another tenant's policy said moves nobody of this one; what is held stays
// held whatever its evidence says; then the evidence counts.
//
// Undecided evidence moves nobody either: what could not be decided is no pass and no rejection.
func React(known Known, seen Observation, rules Rules) Reaction {
	reaction := Reaction{Standing: attestd.Standing{Ownership: string(MethodNone)}}
	if !seen.Proven || seen.Hearsay && !seen.Again {
		return reaction
	}
	reaction.Barred = heldBy(known.Bars, seen)
	owned := seen.Owner.Owns(seen.At) && seen.Owner.Tenant == seen.Tenant
	row := known.Subject
	if row != nil && row.Tenant != seen.Tenant && !owned {
		row = nil // another tenant's: as if it were not there
	}
	if owned {
		reaction.Standing.Tenant = seen.Tenant
		reaction.Standing.Ownership = string(seen.Owner.Method)
	}
	reaction.Write = Write{Owned: slices.Clone(seen.Owned)}
	if reaction.Barred == nil {
		reaction.Write.Unbarred = unheld(seen, row)
	}
	if seen.ID == "" || row == nil && (!owned || reaction.Barred != nil) ||
		seen.Verdict == attestd.VerdictUndecided {
		reaction.stand(row, seen)
		return reaction
	}
	if seen.Again && (row == nil || seen.Evidence != row.Evidence ||
		seen.Verdict == attestd.VerdictAccepted && owned && seen.Risk.Int() <= row.Floor.Int()) {
		reaction.stand(row, seen)
		return reaction
	}
	reaction.follow(row, seen, owned, rules)
	return reaction
}

// heldBy returns the worst bar on what was seen.
func heldBy(bars []Bar, seen Observation) *Bar {
	var worst *Bar
	keys := seen.Keys()
	for i := range bars {
		if !slices.Contains(keys, bars[i].Key) || !Barred(bars[i].State) {
			continue
		}
		if worst == nil || bars[i].State > worst.State {
			worst = &bars[i]
		}
	}
	return worst
}

// unheld are the keys that must not be barred when the write is carried out: those of the evidence and
// the name that the machine had before.
func unheld(seen Observation, row *Subject) []Key {
	keys := seen.Keys()
	if row != nil && !slices.Contains(keys, row.ID.Key()) {
		keys = append(keys, row.ID.Key())
	}
	return keys
}

// stand fills in what the registry has where nothing changes.
func (r *Reaction) stand(row *Subject, seen Observation) {
	if row == nil {
		return
	}
	kept := *row
	r.Subject = &kept
	r.standing(kept, seen.At)
}

func (r *Reaction) standing(s Subject, at time.Time) {
	risk, _ := s.RiskAt(at)
	r.Standing.Subject, r.Standing.State, r.Standing.Epoch = string(s.ID), s.State, s.Epoch
	r.Standing.Risk, r.Standing.DueAt = risk, s.DueAt
	r.Standing.Tenant, r.Standing.Ownership = s.Tenant, string(s.Ownership)
}

// follow makes the subject's next row.
func (r *Reaction) follow(row *Subject, seen Observation, owned bool, rules Rules) {
	before, expect := Subject{ID: seen.ID, FirstSeenAt: seen.At}, uint64(0)
	if row != nil {
		before, expect = *row, row.Generation
	}
	next := before.clone()
	next.Signals = without(next.Signals, func(s Signal) bool { return !s.Counts(seen.At) })
	accepted := seen.Verdict == attestd.VerdictAccepted
	earlier, over := false, false
	if !seen.Again {
		earlier, over = compare(&next, seen)
	}
	trusted := before.State == attestd.StateTrusted
	if earlier && trusted && owned && !accepted && r.Barred == nil && rules.Good <= 1 {
		r.stand(row, seen) // what was accepted was made later: in that order it would have come to this
		return
	}
	if r.Barred == nil || accepted && !seen.Again {
		next.take(seen, owned, accepted, rules)
	}
	if over { // whatever it says about the machine, it is not what runs there now
		next.Boot, next.Host, next.Key = before.Boot, before.Host, before.Key
	}
	next.judge(r.Barred, accepted, owned, seen, rules)
	if earlier && !trusted && next.State == attestd.StateTrusted {
		next.State = before.State // what was made later was not accepted
	}
	settle(&next, before, seen.At)
	if r.Barred != nil && sameButTime(before, next) {
		r.stand(row, seen)
		return
	}
	r.Subject = &next
	r.standing(next, seen.At)
	r.Grounds = grounds(next, seen, rules)
	r.Write.Subjects = []SubjectWrite{{Expect: expect, Next: next}}
	r.record(before, next, seen, expect == 0)
}

// take takes over what the evidence showed.
func (s *Subject) take(seen Observation, owned, accepted bool, rules Rules) {
	if seen.Again {
		if seen.Risk.Int() > s.Floor.Int() { // as old as it was: it makes nobody's risk less
			s.Floor = seen.Risk
		}
		return
	}
	s.Floor = seen.Risk
	if owned {
		s.Tenant, s.Ownership = seen.Owner.Tenant, seen.Owner.Method
		s.Trail.OwnedUntil = seen.Owner.ExpiresAt
	} else {
		s.Ownership, s.Trail.OwnedUntil = MethodNone, time.Time{}
	}
	if s.Format == "" || accepted {
		s.Format, s.Instance = seen.Format, seen.Instance
	}
	if !accepted {
		s.AppraisalID, s.Evidence = seen.AppraisalID, seen.Evidence
		return
	}
	s.Trail.Bound = s.EverBound() || seen.Key != [32]byte{}
	s.Boot, s.Host, s.Key = seen.Boot, seen.Host, seen.Key
	s.AppraisalID, s.Evidence, s.EvidenceAt = seen.AppraisalID, seen.Evidence, seen.At
	s.DueAt = seen.At.Add(rules.Reattest)
	if until := s.Trail.OwnedUntil; !until.IsZero() && until.Before(s.DueAt) {
		s.DueAt = until
	}
}

// judge moves the subject through the table.
func (s *Subject) judge(barred *Bar, accepted, owned bool, seen Observation, rules Rules) {
	if accepted && !seen.Again {
		s.Bad, s.Good = 0, min(s.Good+1, 1000)
		if owned {
			s.Signals = without(s.Signals, endedByEvidence)
		}
	} else if !accepted {
		s.Bad, s.Good = min(s.Bad+1, 1000), 0
	}
	if !owned {
		s.Signals = raise(s.Signals, Signal{
			Code: CodeOwnership, Group: attestd.GroupIdentity, Points: pointsOverdue, Source: SourceSelf,
			Detail: "the machine is nobody's any more", At: seen.At,
		})
	}
	risk, _ := Weigh(s.Floor, s.Signals, seen.At)
	move := MoveAccepted
	switch {
	case !accepted:
		move = MoveRejected
	case !owned, risk.Tier().Verdict() != attestd.VerdictAccepted:
		move = MoveDoubted
	case seen.Again && s.State != attestd.StateTrusted:
		return // as old as it was: nothing that would make anybody trusted
	case s.State != attestd.StateUnknown && s.State != attestd.StateTrusted && s.Good < rules.Good:
		move = MoveWavering
	}
	s.move(move)
	if barred == nil {
		return
	}
	if barred.State == attestd.StateRevoked {
		s.move(MoveRevoke)
	} else {
		s.move(MoveQuarantine)
	}
}

// move follows the table. What the table has not leaves nothing that grants.
func (s *Subject) move(move Move) { s.State, _ = Next(s.State, move) }

// settle sets what follows from a change: the epoch rises only where a decision can change.
func settle(next *Subject, before Subject, at time.Time) {
	was, _ := before.RiskAt(at)
	is, _ := next.RiskAt(at)
	// A signal that ended meanwhile was counted when the row was written.
	stood, _ := Weigh(before.Floor, before.Signals, before.ChangedAt)
	changed := next.State != before.State || was != is || !Barred(before.State) && stood != is ||
		next.Tenant != before.Tenant || next.TierAt(at) != before.TierAt(at)
	if changed {
		next.Epoch = before.Epoch + 1
		next.ChangedAt = at
	}
	next.Generation = before.Generation + 1
}

// sameButTime reports whether a held subject showed nothing new: a held machine that attests all day
// writes nothing.
func sameButTime(a, b Subject) bool {
	return a.State == b.State && a.Epoch == b.Epoch && a.Boot == b.Boot && a.Host == b.Host &&
		len(a.Signals) == len(b.Signals)
}

func (s Subject) clone() Subject {
	s.Signals = slices.Clone(s.Signals)
	s.Trail = s.Trail.clone()
	return s
}

func (r *Reaction) record(before, next Subject, seen Observation, first bool) {
	risk, _ := next.RiskAt(seen.At)
	event := Event{
		ID: next.ID, Tenant: next.Tenant, At: seen.At, Kind: EventEvidence, From: before.State,
		To: next.State, Risk: risk, Epoch: next.Epoch, Actor: "evidence",
		Detail: attestd.Excerpt(seen.Detail, maxDetail), AppraisalID: seen.AppraisalID,
	}
	if first {
		event.Kind = EventFirstSeen
	}
	if first || next.Epoch != before.Epoch {
		r.Write.History = append(r.Write.History, event)
	}
	if !first && before.Tenant != next.Tenant {
		moved := event
		moved.Kind, moved.Detail = EventTenant, "ownership moved to another tenant"
		r.Write.History = append(r.Write.History, moved)
	}
	for _, signal := range next.Signals {
		if !slices.Contains(before.Signals, signal) {
			raised := event
			raised.Kind, raised.Detail = EventSignal, string(signal.Code)+": "+signal.Detail
			r.Write.History = append(r.Write.History, raised)
		}
	}
	r.Write.Audit = append(r.Write.Audit, audit.Record{
		At: seen.At, Actor: SourceSelf, Via: "local", Tenant: next.Tenant, Action: "subject.evidence",
		Target: string(next.ID), Outcome: "done", Reason: event.Detail,
		Detail: map[string]string{"from": before.State.String(), "to": next.State.String()},
	})
}
