package subject

import (
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
)

// Groups of what is seen of a subject while it runs. Whatever a caller asks for that it should not
// is one cause: denials follow from it, and so does what is new.
const (
	GroupBehaviour attestd.Group = "behaviour"
	GroupToken     attestd.Group = "token"
)

// Points of what attestd sees of a caller while it runs. Behaviour alone makes nobody's risk high:
// its strongest is below 70, and within its group only the strongest counts. So nobody who makes an
// agent ask for what it is denied takes that agent out.
const (
	pointsTenantPivot = 45
	pointsTwoPlaces   = 40
	pointsNovelScope  = 20
	pointsDenialBurst = 15
)

// Behaviour returns the group and the points of a code that is seen while a caller runs, and how
// long it counts; false for any other code.
func Behaviour(code Code) (group attestd.Group, points int, lasts time.Duration, found bool) {
	switch code {
	case CodeTenantPivot:
		return GroupBehaviour, pointsTenantPivot, 4 * time.Hour, true
	case CodeTwoPlaces:
		return GroupToken, pointsTwoPlaces, 4 * time.Hour, true
	case CodeNovelScope:
		return GroupBehaviour, pointsNovelScope, time.Hour, true
	case CodeDenialBurst:
		return GroupBehaviour, pointsDenialBurst, 15 * time.Minute, true
	default:
		return "", 0, 0, false
	}
}

// Sighting is what a detector of attestd's own saw of a caller.
type Sighting struct {
	ID ID
	// Tenant of the caller, as its hardware says.
	Tenant string
	// Code is one that [Behaviour] knows.
	Code Code
	// Detail has counts and ids of resources, and nothing of a prompt or a token.
	Detail string
	At     time.Time
}

// Report is a signal about a subject, as somebody gave it.
type Report struct {
	ID ID
	// Tenant that the subject is of, for a name that has no row yet.
	Tenant string
	Signal Signal
	// Cap is the most points that all signals of the source add to one subject; it does not bound
	// attestd's own.
	Cap int
	// Via says how the source was known: "token", "certificate" or "local".
	Via string
}

// Reported is what came of a report.
type Reported struct {
	// Points that the signal has, after the source's cap. At 0 nothing is written.
	Points int
	// Capped says that the source's cap took some of them.
	Capped bool
	// Next is the row as it is after the write.
	Next Subject
	Write
}

// Signalled says what follows from a report. row is nil for a name without a row: it gets one that
// says nothing about hardware, owns nothing and grants nothing. A machine whose risk becomes high
// is suspect at once. A name without hardware stays as it is, since no evidence would come that
// ends the doubt: its risk speaks for itself. What is held stays held.
func Signalled(row *Subject, report Report) Reported {
	at := report.Signal.At
	before, expect := Subject{
		ID: report.ID, Tenant: report.Tenant, Ownership: MethodNone, FirstSeenAt: at,
		Floor: attestd.Risk(0),
	}, uint64(0)
	if row != nil {
		before, expect = *row, row.Generation
	}
	next := before.clone()
	next.Signals = faded(next.Signals, at)
	one := report.Signal
	one.Points = max(0, min(100, one.Points))
	out := Reported{Points: one.Points, Next: before}
	if one.Source != SourceSelf {
		out.Points = min(one.Points, max(0, report.Cap-pointsOf(next.Signals, one, at)))
		out.Capped = out.Points < one.Points
		one.Points = out.Points
	}
	if out.Points == 0 {
		return out
	}
	next.Signals = raise(next.Signals, one)
	if risk, _ := next.RiskAt(at); next.Format != "" && next.State != attestd.StateUnknown &&
		risk.Tier().Verdict() != attestd.VerdictAccepted {
		next.move(MoveDoubted)
	}
	settle(&next, before, at)
	out.Next = next
	risk, _ := next.RiskAt(at)
	detail := string(one.Code) + ": " + one.Detail
	out.Write = Write{
		Subjects: []SubjectWrite{{Expect: expect, Next: next}},
		History: []Event{{
			ID: next.ID, Tenant: next.Tenant, At: at, Kind: EventSignal, From: before.State, To: next.State,
			Risk: risk, Epoch: next.Epoch, Actor: one.Source, Detail: attestd.Excerpt(detail, maxDetail),
		}},
		Audit: []audit.Record{signalRecord(before, next, report, one)},
	}
	return out
}

func signalRecord(before, next Subject, report Report, one Signal) audit.Record {
	record := stateRecord(before, next, one.At, one.Source, string(one.Code)+": "+one.Detail)
	record.Action = "subject.signal"
	if report.Via != "" {
		record.Via = report.Via
	}
	return record
}

// pointsOf returns how much the source's other signals have against the subject now.
func pointsOf(signals []Signal, other Signal, at time.Time) int {
	sum := 0
	for _, one := range signals {
		if one.Source == other.Source && (one.Code != other.Code || one.Group != other.Group) {
			sum += one.PointsAt(at)
		}
	}
	return sum
}

// maxHalvings leaves nothing of any points.
const maxHalvings = 8

// PointsAt returns the points that the signal has at a time: half as many after each Fade. At the
// zero time, which whoever has no clock asks for, it has those that the row was written with.
func (s Signal) PointsAt(at time.Time) int {
	return max(0, min(100, s.Points)) >> s.halvings(at)
}

func (s Signal) halvings(at time.Time) int {
	written := max(0, min(s.Halved, maxHalvings))
	if s.Fade <= 0 || at.Before(s.At) {
		return written
	}
	return max(written, int(min(at.Sub(s.At)/s.Fade, maxHalvings)))
}

// faded returns the signals that count, as they are to be written at that time.
func faded(signals []Signal, at time.Time) []Signal {
	left := without(signals, func(s Signal) bool { return !s.Counts(at) })
	for i := range left {
		left[i].Halved = left[i].halvings(at)
	}
	return left
}

// Changes returns when the points of the signals next become less, and false where they never do by
// themselves.
func (s Subject) Changes(at time.Time) (next time.Time, ever bool) {
	sooner := func(one time.Time) {
		if one.After(at) && (!ever || one.Before(next)) {
			next, ever = one, true
		}
	}
	for _, one := range s.Signals {
		if !one.Counts(at) {
			continue
		}
		if !one.Until.IsZero() {
			sooner(one.Until)
		}
		if one.Fade > 0 && one.PointsAt(at) > 0 {
			sooner(one.At.Add(time.Duration(one.halvings(at)+1) * one.Fade))
		}
	}
	return next, ever
}
