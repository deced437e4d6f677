package measurements

import (
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/attestd/attestd"
)

// ruled is a value with rules, prepared to be held against events as they come.
type ruled struct {
	place
	algorithm string
	size      int // of a digest of the bank
	registers map[string]ruledRegister
}

type ruledRegister struct {
	any   bool
	roles map[attestd.Role]preparedRule
}

type preparedRule struct {
	rule  *Rule
	known map[string]bool // of the rule's digests
}

func prepare(at place, form shape) *ruled {
	made := &ruled{
		place: at, algorithm: form.algorithm, size: form.size,
		registers: make(map[string]ruledRegister, len(at.value.Rules)),
	}
	for _, rules := range at.value.Rules {
		register := ruledRegister{any: rules.Any, roles: make(map[attestd.Role]preparedRule)}
		for i := range rules.Roles {
			rule := preparedRule{rule: &rules.Roles[i], known: make(map[string]bool)}
			for _, digest := range rule.rule.Digests {
				rule.known[string(digest)] = true
			}
			register.roles[rule.rule.Role] = rule
		}
		made.registers[rules.Register] = register
	}
	return made
}

// hearing is one value with rules while events are held against it.
type hearing struct {
	of     *ruled
	failed map[string]bool // registers
	seen   map[string]bool // register and role
	first  string          // what was wrong first, as people read it
}

// hear holds one pass over the events against every value, and returns them in their order.
func hear(values []*ruled, seen []attestd.Register, events iter.Seq[attestd.Event]) []*hearing {
	hearings := make([]*hearing, len(values))
	for i, value := range values {
		hearings[i] = &hearing{of: value, failed: map[string]bool{}, seen: map[string]bool{}}
		hearings[i].quoted(seen)
	}
	if events != nil {
		for event := range events {
			for _, one := range hearings {
				one.event(&event)
			}
		}
	}
	for _, one := range hearings {
		one.close()
	}
	return hearings
}

// quoted fails the registers that must be equal and are not, and those that nobody quoted: what a
// log says of them was never compared with anything.
func (h *hearing) quoted(seen []attestd.Register) {
	for _, want := range h.of.value.Registers {
		if !slices.ContainsFunc(seen, func(r attestd.Register) bool { return same(r, want) }) {
			h.fail(want.Name, "")
		}
	}
	for _, rules := range h.of.value.Rules {
		if !slices.ContainsFunc(seen, func(r attestd.Register) bool {
			return r.Name == rules.Register && r.Algorithm == h.of.algorithm
		}) {
			h.fail(rules.Register, rules.Register+" is not quoted in bank "+h.of.set.Bank)
		}
	}
}

func (h *hearing) fail(register, why string) {
	h.failed[register] = true
	if h.first == "" {
		h.first = why
	}
}

func (h *hearing) event(event *attestd.Event) {
	register, ruled := h.of.registers[event.Register]
	if !ruled || register.any {
		return
	}
	rule, named := register.roles[event.Role]
	if !named {
		h.fail(event.Register, line(event, shortDigest(event.Digest), "no such event"))
		return
	}
	h.seen[event.Register+" "+string(event.Role)] = true
	if got, want := rule.misses(event, h.of.size); want != "" {
		h.fail(event.Register, line(event, got, want))
	}
}

// close fails the registers in which a role that has a rule never occurred.
func (h *hearing) close() {
	for _, rules := range h.of.value.Rules {
		for _, rule := range rules.Roles {
			if !h.seen[rules.Register+" "+string(rule.Role)] {
				h.fail(rules.Register, fmt.Sprintf("%s: no event %s was replayed", rules.Register, rule.Role))
			}
		}
	}
}

// misses says what was got and wanted where the event does not meet the rule; want is empty where it
// does.
func (p preparedRule) misses(event *attestd.Event, size int) (got, want string) {
	if len(event.Digest) != size {
		return fmt.Sprintf("%d bytes", len(event.Digest)), fmt.Sprintf("%d", size)
	}
	met := false
	switch p.rule.Demand {
	case DemandAny:
		met, want = covered(event), "data that its digest covers"
	case DemandDigest:
		met, want = p.known[string(event.Digest)], oneOf(p.rule.Digests)
	case DemandEntry:
		return p.foreign(event)
	case DemandContains:
		return p.lacking(event)
	case DemandText:
		met, want = slices.Contains(p.rule.Texts, textOf(event)), "another text"
		if len(p.rule.Texts) == 1 {
			want = quoted(p.rule.Texts[0])
		}
	case DemandLike:
		text := textOf(event)
		met = readable(text) && len(text) <= maxText &&
			slices.ContainsFunc(p.rule.Texts, func(pattern string) bool { return like(pattern, text) })
		want = "a text like " + quoted(p.rule.Texts[0])
	default:
		want = "nothing meets the rule"
	}
	switch {
	case met:
		return "", ""
	case textOf(event) != "":
		return quoted(textOf(event)), want
	default:
		return shortDigest(event.Digest), want
	}
}

// covered reports whether what the log says of an event is what its digest covers. Of a command line
// the text must be one that can be read: else a measured image could be passed off as one.
func covered(event *attestd.Event) bool {
	if event.Role == attestd.RoleCommandLine {
		return readable(textOf(event)) && len(textOf(event)) <= maxText
	}
	return event.What != ""
}

// textOf returns the measured text without the zero that some loaders measure at its end.
func textOf(event *attestd.Event) string { return strings.TrimSuffix(event.Text, "\x00") }

// foreign names the first entry that is not known.
func (p preparedRule) foreign(event *attestd.Event) (got, want string) {
	if len(event.Entries) == 0 {
		return "no entries", oneOf(p.rule.Digests)
	}
	for _, entry := range event.Entries {
		if !p.known[string(entry)] {
			return "entry " + shortDigest(entry), oneOf(p.rule.Digests)
		}
	}
	return "", ""
}

// lacking counts the entries that are missing and names the first.
func (p preparedRule) lacking(event *attestd.Event) (got, want string) {
	there := make(map[string]bool, len(event.Entries))
	for _, entry := range event.Entries {
		there[string(entry)] = true
	}
	missing := 0
	for _, digest := range p.rule.Digests {
		if !there[string(digest)] {
			if missing++; missing == 1 {
				want = "entry " + shortDigest(digest)
			}
		}
	}
	if missing > 1 {
		want += fmt.Sprintf(" and %d more", missing-1)
	}
	return fmt.Sprintf("%d entries", len(event.Entries)), want
}

func oneOf(digests [][]byte) string {
	if len(digests) == 1 {
		return shortDigest(digests[0])
	}
	return fmt.Sprintf("one of %d", len(digests))
}

func quoted(text string) string { return strconv.QuoteToASCII(attestd.Excerpt(text, 24)) }

func shortDigest(digest []byte) string {
	if len(digests8(digest)) == 0 {
		return "nothing"
	}
	return digests8(digest) + ".."
}

func digests8(digest []byte) string { return hex.EncodeToString(digest[:min(len(digest), 4)]) }

// MaxLine bounds what a Match says of an event, in characters.
const MaxLine = 88

// line names an event with what was got and wanted, within MaxLine characters: the type goes where
// there is no room, since nobody's digest covers it.
func line(event *attestd.Event, got, want string) string {
	place := fmt.Sprintf("%s event %d", event.Register, event.Index)
	said := fmt.Sprintf("%s %s %s: got %s, want %s", place, attestd.Excerpt(event.Type, 40), event.Role,
		got, want)
	if len(said) > MaxLine {
		said = fmt.Sprintf("%s %s: got %s, want %s", place, event.Role, got, want)
	}
	return attestd.Excerpt(said, MaxLine-3)
}
