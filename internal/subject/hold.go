package subject

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// Shared is the tenant of bars on what tenants share.
const Shared = "*"

// Act is what a person, or attestd on its own, does to what is held.
type Act struct {
	// By is the operator's name, or [SourceSelf].
	By        string
	Automatic bool
	Code      Code
	Text      string
	Ticket    string
	At        time.Time
}

// by joins the names of those who laid a bar.
const by = ", "

// LaidBy reports whether the name is among those who laid the bar.
func (b Bar) LaidBy(name string) bool {
	return slices.ContainsFunc(strings.Split(b.By, by), func(one string) bool {
		return strings.EqualFold(one, name)
	})
}

// Lay returns the write that bars the keys in a state, quarantined or revoked, with the subjects whose
// state it changes. bars are those on the keys already: a bar is never weakened, whoever laid it stays
// on it, and a release needs a rebirth after the latest order. tenant is whose the bars are.
func Lay(state attestd.State, keys []Key, tenant string, subjects []Subject, bars []Bar, act Act) Write {
	var write Write
	for _, key := range keys {
		next := Bar{
			Key: key, State: state, Tenant: tenant, Code: act.Code, By: act.By, Automatic: act.Automatic,
			Text: attestd.Excerpt(act.Text, maxDetail), Ticket: attestd.Excerpt(act.Ticket, maxDetail),
			At: act.At,
		}
		if key.Kind == string(BarHost) {
			next.Tenant = Shared
		} else if len(subjects) > 0 {
			next.Subject, next.Boot = subjects[0].ID, subjects[0].Boot
		}
		at := slices.IndexFunc(bars, func(b Bar) bool { return b.Key == key })
		if at >= 0 {
			next = again(bars[at], next)
		}
		write.Bars = append(write.Bars, BarWrite{Key: key, Expect: next.Generation, Next: &next})
	}
	move, kind := MoveQuarantine, EventQuarantined
	if state == attestd.StateRevoked {
		move, kind = MoveRevoke, EventRevoked
	}
	for _, one := range subjects {
		write.change(one, move, kind, act)
	}
	return write
}

// again is a bar that is laid a second time.
func again(old, next Bar) Bar {
	kept := old
	kept.State = max(old.State, next.State)
	if !old.LaidBy(next.By) {
		kept.By = old.By + by + next.By
	}
	if next.Boot != "" {
		kept.Boot = next.Boot
	}
	if old.Automatic && !next.Automatic || next.State > old.State {
		kept.Code, kept.Text, kept.Ticket, kept.Automatic = next.Code, next.Text, next.Ticket, next.Automatic
	}
	return kept
}

// change moves a subject by a person's act.
func (w *Write) change(s Subject, move Move, kind string, act Act) {
	next := s.clone()
	next.move(move)
	if move == MoveRelease {
		next.Signals, next.Bad, next.Good = nil, 0, 0
		next.Trail.Boots, next.Trail.KeyChanges, next.Trail.Former = nil, nil, ""
		if next.Format == "" { // a name without hardware: what spoke against it are signals alone
			next.Floor = attestd.Risk(0)
		}
	}
	settle(&next, s, act.At)
	risk, _ := next.RiskAt(act.At)
	w.Subjects = append(w.Subjects, SubjectWrite{Expect: s.Generation, Next: next})
	w.History = append(w.History, Event{
		ID: s.ID, Tenant: s.Tenant, At: act.At, Kind: kind, From: s.State, To: next.State, Risk: risk,
		Epoch: next.Epoch, Actor: act.By, Detail: attestd.Excerpt(act.Text, maxDetail),
	})
}

// Release is a wish to lift bars.
type Release struct {
	Act
	// Reimaged is the ticket of a re-image that stands for a rebirth; empty for none.
	Reimaged string
}

// Lift returns the write that lifts the bars of the keys, where a release may be given: nothing is
// revoked, whoever asks laid none of the bars, and the machine began anew since. Fresh evidence alone
// is no grounds: what was taken over at run time attests well. bars are all bars on the subjects, and
// held those of another key that go on.
//
// Errors: a [*attestd.CallerError] of class CONFLICT or FORBIDDEN.
func Lift(keys []Key, subjects []Subject, bars []Bar, release Release) (Write, error) {
	var write Write
	lifted, reborn := 0, len(subjects) == 1
	for _, bar := range bars {
		if !slices.Contains(keys, bar.Key) {
			continue
		}
		if err := bar.liftable(release); err != nil {
			return Write{}, err
		}
		lifted++
		reborn = reborn && Reborn(bar.Boot, subjects[0].Boot)
		write.Bars = append(write.Bars, BarWrite{Key: bar.Key, Expect: bar.Generation})
	}
	barred := slices.ContainsFunc(subjects, func(s Subject) bool { return Barred(s.State) })
	if lifted == 0 && !barred {
		return Write{}, refuse(attestd.ClassConflict, "attestd why shows what stands in the way",
			"nothing of it is quarantined")
	}
	if reason := release.Reimaged; reason == "" && (lifted == 0 || !reborn) {
		return Write{}, refuse(attestd.ClassConflict,
			"reboot the machine and let it attest (it stays quarantined meanwhile), or give the ticket "+
				"of its re-image with --reimaged", "no rebirth was seen since the quarantine")
	}
	for _, one := range subjects {
		if one.State == attestd.StateRevoked {
			return Write{}, revokedForEver(string(one.ID))
		}
		if slices.Contains(one.Trail.Tickets, release.Reimaged) && release.Reimaged != "" {
			return Write{}, refuse(attestd.ClassConflict, "give the ticket of the latest re-image",
				"the ticket %q was used for an earlier release", attestd.Excerpt(release.Reimaged, 60))
		}
		if one.State != attestd.StateQuarantined || one.heldByOthers(bars, keys) {
			continue
		}
		if release.Reimaged != "" {
			tickets := slices.Insert(slices.Clone(one.Trail.Tickets), 0, release.Reimaged)
			one.Trail.Tickets = tickets[:min(len(tickets), maxTickets)]
		}
		write.change(one, MoveRelease, EventReleased, release.Act)
	}
	return write, nil
}

func (b Bar) liftable(release Release) error {
	if b.State != attestd.StateQuarantined {
		return revokedForEver(b.Key.String())
	}
	if b.LaidBy(release.By) {
		return refuse(attestd.ClassForbidden, "ask another operator with the role security",
			"%s quarantined it and cannot release it", attestd.Excerpt(release.By, 60))
	}
	return nil
}

// heldByOthers reports whether a bar that is not lifted lies on the subject.
func (s Subject) heldByOthers(bars []Bar, lifted []Key) bool {
	own := s.Keys()
	return slices.ContainsFunc(bars, func(b Bar) bool {
		return !slices.Contains(lifted, b.Key) && slices.Contains(own, b.Key)
	})
}

func revokedForEver(what string) error {
	return refuse(attestd.ClassConflict, "enrol other hardware under another name: a revocation is for ever",
		"%s is revoked", attestd.Excerpt(what, 200))
}

func refuse(class attestd.Class, hint, format string, args ...any) error {
	return &attestd.CallerError{Class: class, Hint: hint, Err: fmt.Errorf(format, args...)}
}
