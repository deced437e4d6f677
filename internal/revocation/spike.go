package revocation

import (
	"context"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Spike quarantines a caller whose risk was high or critical when it asked, as [Rules.Spikes] says
// and within the caps, which count for each source whose signals made most of it. That its risk is
// high denies it in any case: over a cap, in a dry run and where it is off it stays denied for as
// long as the risk is.
//
// Denials alone quarantine nobody: whoever can make a caller ask for what it may not have could
// take it out. Where nothing but denials adds to the caller's own risk, and where all of it is that
// of its nodes, the outcome is [subject.OutcomeOff].
//
// Errors: as those of [Authority.Automatic].
func (a *Authority) Spike(ctx context.Context, one subject.Grounds) (subject.Outcome, error) {
	if a.Rules.Spikes != subject.ModeOn && a.Rules.Spikes != subject.ModeDryRun || one.ID == "" {
		return subject.OutcomeOff, nil
	}
	one.Code, one.Source = subject.CodeRiskSpike, subject.SourceSelf
	s, found, err := a.Store.Subject(ctx, one.ID)
	if err != nil {
		return "", err // it is denied meanwhile, and its next question tries again
	}
	more, source := beyondDenials(s, a.Now())
	if !found || !more && !subject.Barred(s.State) {
		return subject.OutcomeOff, nil
	}
	one.Source, one.Tenant = source, s.Tenant
	return a.onGrounds(ctx, one, a.Rules.Spikes)
}

// provoked are what attestd sees in the questions of a caller: whoever can make it ask, by a prompt for
// example, can cause them. They deny, and never quarantine by themselves.
var provoked = []subject.Code{subject.CodeDenialBurst, subject.CodeTenantPivot, subject.CodeNovelScope}

// beyondDenials reports whether anything but what it asked was seen of the subject, and the source of the
// strongest foreign signal, attestd itself where there is none.
func beyondDenials(s subject.Subject, now time.Time) (more bool, source string) {
	source = subject.SourceSelf
	strongest := 0
	more = s.Format != "" && s.Floor.Tier().Verdict() == attestd.VerdictRejected
	for _, signal := range s.Signals {
		points := signal.PointsAt(now)
		if !signal.Counts(now) || points == 0 ||
			signal.Source == subject.SourceSelf && slices.Contains(provoked, signal.Code) {
			continue
		}
		more = true
		if signal.Source != subject.SourceSelf && points > strongest {
			strongest, source = points, signal.Source
		}
	}
	return more, source
}
