package measurements

import (
	"encoding/hex"
	"fmt"
	"iter"
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
	at    int // place in the value's rules
	any   bool
	roles map[attestd.Role]preparedRule
}

type preparedRule struct {
	at    int // place in the register's roles
	rule  *Rule
	known map[string]bool // of the rule's digests, or of the texts of DemandText
}

func prepare(at place, form shape) *ruled {
	made := &ruled{
		place: at, algorithm: form.algorithm, size: form.size,
		registers: make(map[string]ruledRegister, len(at.value.Rules)),
	}
	for i, rules := range at.value.Rules {
		register := ruledRegister{at: i, any: rules.Any, roles: make(map[attestd.Role]preparedRule)}
		for j := range rules.Roles {
			rule := preparedRule{at: j, rule: &rules.Roles[j], known: make(map[string]bool)}
			for _, digest := range rule.rule.Digests {
				rule.known[string(digest)] = true
			}
			if rule.rule.Demand == DemandText {
				for _, text := range rule.rule.Texts {
					rule.known[text] = true
				}
			}
			register.roles[rule.rule.Role] = rule
		}
		made.registers[rules.Register] = register
	}
	return made
}

// hearing is one value with rules while events are held against it.
type hearing struct {
	of *ruled
	// differs counts registers that must be equal and are not, and those whose rules are not met.
	differs int
	// failed, and a bit for each role that was seen, by the register's place in the rules.
	failed []bool
	seen   []uint32
	first  string // what was wrong first, as people read it
}

// hear holds one pass over the events against every value, and returns them in their order.
func hear(
	values []*ruled, seen []attestd.Register, events iter.Seq[attestd.Event],
) []*hearing {
	hearings := make([]*hearing, len(values))
	for i, value := range values {
		rules := len(value.value.Rules)
		hearings[i] = &hearing{of: value, failed: make([]bool, rules), seen: make([]uint32, rules)}
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
		if !holds(seen, want) {
			h.differs++
		}
	}
	for i, rules := range h.of.value.Rules {
		if len(pick(nil, seen, []register{{rules.Register, h.of.algorithm}})) == 0 {
			h.fail(i)
			h.say(func() string { return rules.Register + " is not quoted in bank " + h.of.set.Bank })
		}
	}
}

func (h *hearing) fail(register int) {
	if !h.failed[register] {
		h.failed[register] = true
		h.differs++
	}
}

// say keeps what was wrong first. Whoever sends evidence chooses how much is wrong with it, so the
// rest is never put into words.
func (h *hearing) say(why func() string) {
	if h.first == "" {
		h.first = why()
	}
}

func (h *hearing) event(event *attestd.Event) {
	register, ruled := h.of.registers[event.Register]
	if !ruled || register.any || h.failed[register.at] {
		return
	}
	rule, named := register.roles[event.Role]
	switch {
	case !named:
		h.fail(register.at)
		h.say(func() string { return line(event, shortDigest(event.Digest), "no such event") })
	case len(event.Digest) != h.of.size:
		h.fail(register.at)
		h.say(func() string {
			return line(event, fmt.Sprintf("%d bytes", len(event.Digest)), strconv.Itoa(h.of.size))
		})
	case !rule.meets(event):
		h.fail(register.at)
		h.say(func() string {
			got, want := rule.misses(event)
			return line(event, got, want)
		})
	default:
		h.seen[register.at] |= 1 << rule.at
	}
}

// close fails the registers in which a role that has a rule never occurred.
func (h *hearing) close() {
	for i, rules := range h.of.value.Rules {
		for j, rule := range rules.Roles {
			if !h.failed[i] && h.seen[i]&(1<<j) == 0 {
				h.fail(i)
				h.say(func() string {
					return fmt.Sprintf("%s: no event %s was replayed", rules.Register, rule.Role)
				})
			}
		}
	}
}

// meets reports whether the event is what the rule demands.
func (p preparedRule) meets(event *attestd.Event) bool {
	switch p.rule.Demand {
	case DemandAny:
		return covered(event)
	case DemandDigest:
		return p.known[string(event.Digest)]
	case DemandEntry:
		_, found := p.foreign(event)
		return len(event.Entries) > 0 && !found
	case DemandContains:
		_, missing := p.lacking(event)
		return missing == 0
	case DemandText:
		return p.known[textOf(event)]
	case DemandLike:
		text := textOf(event)
		return len(text) <= longest(p.rule.Role) && p.rule.matches(text) &&
			readableAs(p.rule.Role, text)
	default:
		return false
	}
}

// misses says what was got and wanted of an event that does not meet the rule.
func (p preparedRule) misses(event *attestd.Event) (got, want string) {
	got = shortDigest(event.Digest)
	if text := textOf(event); text != "" {
		got = quoted(text)
	}
	switch p.rule.Demand {
	case DemandAny:
		want = "data that its digest covers"
	case DemandDigest:
		got, want = shortDigest(event.Digest), oneOf(p.rule.Digests)
	case DemandEntry:
		got, want = "no entries", oneOf(p.rule.Digests)
		if foreign, found := p.foreign(event); found {
			got = "entry " + shortDigest(foreign)
		}
	case DemandContains:
		first, missing := p.lacking(event)
		got, want = fmt.Sprintf("%d entries", len(event.Entries)), "entry "+shortDigest(first)
		if missing > 1 {
			want += fmt.Sprintf(" and %d more", missing-1)
		}
	case DemandText:
		want = "another text"
		if len(p.rule.Texts) == 1 {
			want = quoted(p.rule.Texts[0])
		}
	case DemandLike:
		want = "a text like " + quoted(p.rule.Texts[0])
		if more := len(p.rule.Texts) - 1; more > 0 {
			want += fmt.Sprintf(" or %d more", more)
		}
	default:
		want = "nothing meets the rule"
	}
	return got, want
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

// foreign returns the first entry that is not known, and whether there is one.
func (p preparedRule) foreign(event *attestd.Event) (entry []byte, found bool) {
	for _, entry := range event.Entries {
		if !p.known[string(entry)] {
			return entry, true
		}
	}
	return nil, false
}

// lacking returns the first digest that is not among the entries, and counts those that are not.
func (p preparedRule) lacking(event *attestd.Event) (first []byte, missing int) {
	there := make(map[string]bool, len(event.Entries))
	for _, entry := range event.Entries {
		there[string(entry)] = true
	}
	for _, digest := range p.rule.Digests {
		if !there[string(digest)] {
			if missing++; missing == 1 {
				first = digest
			}
		}
	}
	return first, missing
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
