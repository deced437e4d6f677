package measurements

import (
	"bytes"
	"cmp"
	"iter"
	"slices"

	"github.com/attestd/attestd"
)

// Change says how an event differs from the golden boot.
type Change string

// Ways in which an event differs.
const (
	Changed Change = "changed" // another digest in its place
	Missing Change = "missing" // the golden boot had it
	Extra   Change = "extra"   // the golden boot had none in this place
)

// Difference is one event that differs. Golden is nil for an extra event, Now for a missing one.
type Difference struct {
	Change      Change
	Register    string
	Golden, Now *attestd.Event
}

// maxAligned bounds the cells of the table that aligns two sequences of events. Longer ones are
// paired place by place.
const maxAligned = 1 << 18

// Diff holds events against those of a golden boot, register by register: a register's value follows
// from the digests in their order. Only registers that the golden boot has events of are compared,
// and of those the ones that only allows; nil allows all. Differences come in the log's order.
func Diff(golden []attestd.Event, now iter.Seq[attestd.Event], only func(string) bool) []Difference {
	type pair struct{ golden, now []attestd.Event }
	registers := make(map[string]*pair)
	var order []string
	for _, event := range golden {
		if only != nil && !only(event.Register) {
			continue
		}
		if registers[event.Register] == nil {
			registers[event.Register] = &pair{}
			order = append(order, event.Register)
		}
		registers[event.Register].golden = append(registers[event.Register].golden, event)
	}
	if now != nil && len(order) > 0 {
		for event := range now {
			if into := registers[event.Register]; into != nil {
				into.now = append(into.now, event)
			}
		}
	}
	var found []Difference
	for _, register := range order {
		found = append(found, align(registers[register].golden, registers[register].now)...)
	}
	slices.SortStableFunc(found, func(a, b Difference) int { return cmp.Compare(a.at(), b.at()) })
	return found
}

// at is the difference's place in the log, or where it would have been.
func (d Difference) at() int {
	if d.Now != nil {
		return d.Now.Index
	}
	return d.Golden.Index
}

// String names the difference within MaxLine characters.
func (d Difference) String() string {
	switch d.Change {
	case Missing:
		return line(d.Golden, "nothing (missing)", shortDigest(d.Golden.Digest))
	case Extra:
		return line(d.Now, shortDigest(d.Now.Digest), "no such event (extra)")
	default:
		return line(d.Now, shortDigest(d.Now.Digest), shortDigest(d.Golden.Digest))
	}
}

// align returns what differs between two sequences of one register: what is equal at both ends is
// left out, the rest is aligned by the longest common subsequence of digests.
func align(golden, now []attestd.Event) []Difference {
	for len(golden) > 0 && len(now) > 0 && sameEvent(golden[0], now[0]) {
		golden, now = golden[1:], now[1:]
	}
	for len(golden) > 0 && len(now) > 0 && sameEvent(golden[len(golden)-1], now[len(now)-1]) {
		golden, now = golden[:len(golden)-1], now[:len(now)-1]
	}
	if len(golden)*len(now) > maxAligned {
		return pairUp(golden, now)
	}
	// common[i][j] is how many events golden[i:] and now[j:] have in common, in order.
	width := len(now) + 1
	common := make([]int32, (len(golden)+1)*width)
	for i := len(golden) - 1; i >= 0; i-- {
		for j := len(now) - 1; j >= 0; j-- {
			if sameEvent(golden[i], now[j]) {
				common[i*width+j] = common[(i+1)*width+j+1] + 1
			} else {
				common[i*width+j] = max(common[(i+1)*width+j], common[i*width+j+1])
			}
		}
	}
	var found []Difference
	i, j, fromGolden, fromNow := 0, 0, 0, 0
	flush := func() {
		found = append(found, pairUp(golden[fromGolden:i], now[fromNow:j])...)
	}
	for i < len(golden) && j < len(now) {
		switch {
		case sameEvent(golden[i], now[j]):
			flush()
			i, j = i+1, j+1
			fromGolden, fromNow = i, j
		case common[(i+1)*width+j] >= common[i*width+j+1]:
			i++
		default:
			j++
		}
	}
	i, j = len(golden), len(now)
	flush()
	return found
}

// pairUp pairs events of two sequences without anything in common: those of one role in their order,
// as changed; what is left over is missing or extra.
func pairUp(golden, now []attestd.Event) []Difference {
	var found []Difference
	next := 0
	anyRole := len(golden)*len(now) > maxAligned
	for i := range golden {
		at := next
		for at < len(now) && now[at].Role != golden[i].Role && !anyRole {
			at++
		}
		if at == len(now) {
			found = append(found, Difference{Missing, golden[i].Register, &golden[i], nil})
			continue
		}
		for ; next < at; next++ {
			found = append(found, Difference{Extra, now[next].Register, nil, &now[next]})
		}
		found = append(found, Difference{Changed, now[at].Register, &golden[i], &now[at]})
		next = at + 1
	}
	for ; next < len(now); next++ {
		found = append(found, Difference{Extra, now[next].Register, nil, &now[next]})
	}
	return found
}

// sameEvent compares what the register was extended with: all else in a log is anybody's text.
func sameEvent(a, b attestd.Event) bool { return bytes.Equal(a.Digest, b.Digest) }

// firstDifference names the first event that differs from a value's golden boot in the registers
// that only allows; empty where the value has no events, or none differs.
func firstDifference(value *Value, now iter.Seq[attestd.Event], only func(string) bool) string {
	compared := slices.ContainsFunc(value.Events, func(e attestd.Event) bool { return only(e.Register) })
	if !compared {
		return ""
	}
	replayed := false
	watched := func(yield func(attestd.Event) bool) {
		if now == nil {
			return
		}
		for event := range now {
			if replayed = true; !yield(event) {
				return
			}
		}
	}
	found := Diff(value.Events, watched, only)
	switch {
	case !replayed:
		return "no event log was replayed, which would say what differs"
	case len(found) == 0:
		return ""
	default:
		return found[0].String()
	}
}
