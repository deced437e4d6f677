package subject

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// What is remembered of a machine, and when its keys change too often.
const (
	maxBoots    = 8
	maxTickets  = 8
	churnKeys   = 3
	churnWithin = time.Minute
	// clockSlack is how far a TPM's clock may go back over a power cut, in milliseconds: it is kept at
	// least every 2^22 (TPM 2.0 Library, Part 1, section 36.3.2).
	clockSlack = 1 << 22
)

func (t Trail) clone() Trail {
	t.Boots, t.KeyChanges = slices.Clone(t.Boots), slices.Clone(t.KeyChanges)
	t.Tickets = slices.Clone(t.Tickets)
	if t.Clock != nil {
		clock := *t.Clock
		t.Clock = &clock
	}
	return t
}

// order says how evidence stands to what was seen of the machine before.
type order int

const (
	// onward: it was made later, as far as anything shows.
	onward order = iota
	// overtaken: it can have been made before what was taken in before it. A machine may answer several
	// challenges at a time, and a verifier that is busy takes the answers in in any order.
	overtaken
	// backward: the clock went back.
	backward
)

// compare compares what is seen with what was seen of the same instance, raises what speaks against
// it, and remembers what is new. It judges on instance and boot, never on host: a host is shared. It
// reports whether the TPM's clock says that the evidence was made before what is there, and whether it
// is of an earlier boot: of a boot that is over nothing is taken over.
func compare(s *Subject, seen Observation) (earlier, over bool) {
	order := compareClock(s, seen)
	earlier = order == overtaken
	if seen.Clock == nil && seen.Asked.Before(s.EvidenceAt) && !seen.Asked.IsZero() {
		order = overtaken
	}
	if order == overtaken && seen.Boot != s.Boot && (earlier || slices.Contains(s.Trail.Boots, seen.Boot)) {
		return earlier, true
	}
	compareBoot(s, seen, order == backward)
	if seen.Verdict == attestd.VerdictAccepted {
		compareKey(s, seen) // only then is the key remembered
	}
	remember(s, seen, order)
	return earlier, false
}

func (s *Subject) suspect(code Code, seen Observation, points int, lasting bool, detail string) {
	group := GroupCopy
	if code == CodeTwoKeys || code == CodeKeyChurn {
		group = GroupKeys
	}
	signal := Signal{
		Code: code, Group: group, Points: points, Detail: detail, Source: SourceSelf, At: seen.At,
	}
	switch {
	case code == CodeKeyChurn:
		signal.Until = seen.At.Add(churnLasts)
	case lasting:
		signal.Until = seen.At.Add(lastingHours)
	}
	s.Signals = raise(s.Signals, signal)
}

// compareClock says whether the TPM's clock went on. Back once can be a restored virtual TPM or a
// cleared one; a second time while the first still counts is a machine that is there twice. Resets
// that went back while the clock went forward are no TPM's doing: clearing sets both to zero.
func compareClock(s *Subject, seen Observation) order {
	last, now := s.Trail.Clock, seen.Clock
	if last == nil || now == nil {
		return onward
	}
	least := last.Milliseconds
	if !now.Safe && seen.Boot != s.Boot {
		least -= min(least, clockSlack)
	}
	// It was made after its challenge, and the other before that was taken in.
	early := uint64(0)
	if !seen.Asked.IsZero() {
		early = ticks(last.At.Sub(seen.Asked))
	}
	least -= min(least, early)
	resets := int32(now.Resets - last.Resets) //nolint:gosec // the sign is what is asked for
	fewer := last.Plain && now.Plain && resets < 0
	cleared := fewer && !last.At.IsZero() && now.Milliseconds <= ticks(seen.At.Sub(last.At))
	switch {
	case now.Milliseconds >= least && early > 0 && now.Milliseconds < last.Milliseconds:
		return overtaken
	case now.Milliseconds >= least && !fewer:
		return onward
	case now.Milliseconds >= least && !cleared:
		s.suspect(CodeClone, seen, pointsProven, false, fmt.Sprintf(
			"resets went back from %d to %d while the clock went on", last.Resets, now.Resets))
		return onward
	case s.stands(CodeClockBack, seen.At):
		s.suspect(CodeClone, seen, pointsProven, false, "the TPM's clock went back again")
	case cleared:
		s.suspect(CodeClockBack, seen, pointsClockBack, true, "the TPM counts from zero again")
	default:
		s.suspect(CodeClockBack, seen, pointsClockBack, true, fmt.Sprintf(
			"the TPM's clock went back by %d s", (last.Milliseconds-now.Milliseconds)/1000))
	}
	return backward
}

// ticks returns the most milliseconds that a TPM's clock can count in that time, none before it: its input may be 15 %
// too fast, and TPM2_ClockRateAdjust adds as much (TPM 2.0 Library, Part 3).
func ticks(elapsed time.Duration) uint64 {
	if elapsed <= 0 {
		return 0
	}
	return (uint64(elapsed.Milliseconds())+1)*4/3 + 1 //nolint:gosec // not below zero
}

// compareBoot looks for a boot that comes back after another one: one machine has one boot at a time,
// and never an earlier one again.
func compareBoot(s *Subject, seen Observation, backward bool) {
	if seen.Boot == "" || seen.Boot == s.Boot || backward && !s.stands(CodeClone, seen.At) {
		return
	}
	at := slices.Index(s.Trail.Boots, seen.Boot)
	if at < 0 {
		return
	}
	// A machine that answers in two formats in turn gives one boot two names.
	if alike(s.Boot, seen.Boot) || slices.ContainsFunc(s.Trail.Boots[:at], func(between string) bool {
		return alike(between, seen.Boot)
	}) {
		s.suspect(CodeClone, seen, pointsProven, false, "an earlier boot of the machine came back")
	}
}

// compareKey counts changes of the bound key. A key that comes back within one boot after another one
// took its place means that two are at work.
func compareKey(s *Subject, seen Observation) {
	if seen.Key == [32]byte{} || s.Key == [32]byte{} || seen.Key == s.Key {
		return
	}
	if seen.Boot == s.Boot && s.Trail.Former == hex.EncodeToString(seen.Key[:]) {
		s.suspect(CodeTwoKeys, seen, pointsTwoKeys, true, "two keys take turns within one boot")
	}
	changes := append(slices.Clone(s.Trail.KeyChanges), seen.At)
	s.Trail.KeyChanges = changes[max(0, len(changes)-churnKeys):]
	oldest := s.Trail.KeyChanges[0]
	if len(s.Trail.KeyChanges) == churnKeys && seen.At.Sub(oldest) <= churnWithin {
		s.suspect(CodeKeyChurn, seen, pointsChurn, true, fmt.Sprintf(
			"%d key changes within %s", churnKeys, churnWithin))
	}
}

// remember takes the observation into the trail. A clock that went back begins a new trail: after a
// restore or a clearing the same boots are counted again.
func remember(s *Subject, seen Observation, order order) {
	if order == backward {
		s.Trail.Boots = nil
	} else if s.Boot != "" && seen.Boot != "" && s.Boot != seen.Boot {
		boots := slices.DeleteFunc(s.Trail.Boots, func(b string) bool { return b == seen.Boot })
		boots = slices.Insert(boots, 0, s.Boot)
		s.Trail.Boots = boots[:min(len(boots), maxBoots)]
	}
	if seen.Boot != s.Boot {
		s.Trail.Former = ""
	} else if s.Key != seen.Key && s.Key != [32]byte{} && seen.Verdict == attestd.VerdictAccepted {
		s.Trail.Former = hex.EncodeToString(s.Key[:])
	}
	if seen.Clock != nil && order != overtaken {
		clock := *seen.Clock
		clock.At = seen.At
		s.Trail.Clock = &clock
	}
}

// EverBound reports whether accepted evidence of the subject ever bound a key.
func (s Subject) EverBound() bool {
	return s.Trail.Bound || s.Key != [32]byte{} || s.Trail.Former != ""
}

// stands reports whether a signal of that code counts.
func (s Subject) stands(code Code, at time.Time) bool {
	return slices.ContainsFunc(s.Signals, func(signal Signal) bool {
		return signal.Code == code && signal.Counts(at)
	})
}

// Uncapped reports whether the code is a proof, for which an automatic quarantine has no cap: decoys
// cannot make one.
func (c Code) Uncapped() bool {
	return c == CodeClone || c == CodeReplay || c == CodeCompromise
}

// grounds names the signals on which the rules let attestd quarantine by itself.
func grounds(s Subject, seen Observation, rules Rules) []Grounds {
	if Barred(s.State) {
		return nil
	}
	var out []Grounds
	add := func(code Code, detail string) {
		out = append(out, Grounds{
			ID: s.ID, Tenant: s.Tenant, Code: code, Source: seen.Source, Detail: detail,
			AppraisalID: seen.AppraisalID,
		})
	}
	if seen.Verdict == attestd.VerdictRejected {
		switch {
		case seen.Again && slices.Contains(rules.Codes, CodeReappraise):
			add(CodeReappraise, seen.Detail)
		case !seen.Again && s.Bad >= rules.Bad && slices.Contains(rules.Codes, CodeEvidence):
			add(CodeEvidence, seen.Detail)
		}
	}
	for _, signal := range s.Signals {
		if signal.Source == SourceSelf && signal.Counts(seen.At) && slices.Contains(rules.Codes, signal.Code) {
			add(signal.Code, signal.Detail)
		}
	}
	return out
}

// Reborn reports whether boot is one that began after the boot at the time of a hold. Where one of
// them is not known nothing is shown, nor where the one is named by a TPM's count and the other by a
// processor's report: the machine chooses in which format it answers. Boots that end in a counter must
// have counted on.
func Reborn(held, boot string) bool {
	if held == "" || boot == "" || held == boot {
		return false
	}
	before, was, counted := cutCount(held)
	after, is, both := cutCount(boot)
	switch {
	case byTPM(before) != byTPM(after):
		return false
	case before != after:
		return true
	default:
		return counted && both && int32(is-was) > 0 //nolint:gosec // the sign is what is asked for
	}
}

// byTPM reports whether a boot is named by its machine, which a TPM's count follows, and not by a
// processor's report.
func byTPM(boot string) bool { return strings.Contains(boot, ":") }

// alike reports whether two boots are named in the same way.
func alike(a, b string) bool {
	_, _, counted := cutCount(a)
	_, _, both := cutCount(b)
	return byTPM(a) == byTPM(b) && counted == both
}

func cutCount(boot string) (machine string, count uint32, counted bool) {
	at := strings.LastIndexByte(boot, '/')
	if at < 0 {
		return boot, 0, false
	}
	number, err := strconv.ParseUint(boot[at+1:], 10, 32)
	return boot[:at], uint32(number), err == nil //nolint:gosec // parsed as 32 bits
}
