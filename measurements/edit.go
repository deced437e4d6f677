package measurements

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/yamldoc"
)

// Step brings one value of a document into another state.
type Step struct {
	Value string
	To    State
	// Canary of StateCanary; Until of StateCanary and StateRetiring, zero for no end.
	Canary *Canary
	Until  time.Time
	// BringBack allows a state that the value has left behind: a retired or retiring value to match as
	// before.
	BringBack bool
}

// steps are the states that a value comes to from another. What is not here goes back, and is only
// done where BringBack says so.
var steps = map[State][]State{
	StateProposed: {StateCanary, StateActive, StateRetired},
	StateCanary:   {StateProposed, StateCanary, StateActive, StateRetiring, StateRetired},
	StateActive:   {StateRetiring, StateRetired},
	StateRetiring: {StateRetiring, StateRetired},
	StateRetired:  {},
}

// Apply takes steps in a document, all or none, and returns the document with comments and order as
// they were. Its signatures go, since the bytes are others.
//
// Errors: a [*attestd.CallerError] of class CONFIG where the document is not one that [Parse] reads, a
// value is not in it or named twice, a step goes back without BringBack, at is at or after the end of a
// value that is to match, or the lines cannot be changed without rewriting a document with comments.
func Apply(source string, doc []byte, at time.Time, taken ...Step) (changed []byte, after *Set, err error) {
	before, body, err := editable(source, doc)
	if err != nil {
		return nil, nil, err
	}
	wanted := *before
	wanted.Values = slices.Clone(before.Values)
	for number, step := range taken {
		if slices.ContainsFunc(taken[:number], func(s Step) bool { return s.Value == step.Value }) {
			return nil, nil, refuseSet("name each value once", "%q is to come into two states", step.Value)
		}
		value := valueOf(&wanted, step.Value)
		if value == nil {
			return nil, nil, refuseSet("attestd ref ls FILE shows its values", "no value is called %q",
				attestd.Excerpt(step.Value, 64))
		}
		if err := step.take(value, at); err != nil {
			return nil, nil, err
		}
	}
	lines := strings.SplitAfter(string(body), "\n")
	for _, step := range taken {
		lines = restate(lines, valueOf(&wanted, step.Value))
	}
	return settled(source, []byte(strings.Join(lines, "")), body, &wanted)
}

// take brings a value into the step's state.
func (s Step) take(value *Value, at time.Time) error {
	from := value.State
	if !slices.Contains(steps[from], s.To) && !s.BringBack {
		return refuseSet("if you mean it: --bring-back", "%q is %s, and does not go to %s from there",
			value.Name, from, s.To)
	}
	if !s.Until.IsZero() && !s.Until.After(at) {
		return refuseSet("give a time that is to come, or --to retired", "%q would end at %s, which is past",
			value.Name, s.Until.UTC().Format(time.RFC3339))
	}
	value.State, value.Canary, value.Until = s.To, s.Canary, s.Until.UTC().Truncate(time.Second)
	if s.Until.IsZero() {
		value.Until = time.Time{}
	}
	if problem := value.badLifecycle(); problem != "" {
		return refuseSet("attestd ref apply --help lists what each state has", "%q %s", value.Name, problem)
	}
	return nil
}

// Propose adds values to a document, as proposed, whatever their state was. Values with registers and
// rules that the document has already are not added; their names are returned.
//
// Errors: a [*attestd.CallerError] of class CONFIG where format or bank differ, a name is taken by
// another value, or nothing is left to add.
func Propose(source string, doc []byte, from *Set) (changed []byte, after *Set, known []string, err error) {
	before, body, err := editable(source, doc)
	if err != nil {
		return nil, nil, nil, err
	}
	if before.Format != from.Format || len(before.Values) > 0 && before.Bank != from.Bank {
		return nil, nil, nil, refuseSet("name a file of the same format and bank",
			"%q is for %s, what is proposed for %s", before.Label(),
			strings.TrimSpace(string(before.Format)+" "+before.Bank),
			strings.TrimSpace(string(from.Format)+" "+from.Bank))
	}
	wanted := *before
	wanted.Values, wanted.Bank = slices.Clone(before.Values), from.Bank
	var added bytes.Buffer
	for _, value := range from.Values {
		value.State, value.Canary, value.Until = StateProposed, nil, time.Time{}
		twin := slices.ContainsFunc(wanted.Values, func(v Value) bool { return v.twin() == value.twin() })
		switch {
		case twin:
			known = append(known, value.Name)
			continue
		case valueOf(&wanted, value.Name) != nil:
			return nil, nil, nil, refuseSet("give it another name with --as NAME",
				"%q is the name of another value", value.Name)
		}
		wanted.Values = append(wanted.Values, value)
		value.write(&added)
	}
	if added.Len() == 0 {
		return nil, nil, known, refuseSet("there is nothing to do", "%q has all that is proposed", before.Label())
	}
	text := bytes.Clone(body)
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	text = append(text, added.Bytes()...)
	changed, after, err = settled(source, text, body, &wanted)
	return changed, after, known, err
}

// twin is equal for values that demand the same.
func (v *Value) twin() string {
	return string(keyOf(sorted(v.Registers))) + string(appendRules(nil, v.Rules))
}

// editable reads a document and takes its signatures off.
func editable(source string, doc []byte) (*Set, []byte, error) {
	set, err := Parse(source, doc)
	if err != nil {
		return nil, nil, err
	}
	body, _, err := split(doc)
	if err != nil {
		return nil, nil, refuseSet("take the block of signatures off", "%q %w", attestd.Excerpt(source, 200), err)
	}
	return set, body, nil
}

// settled returns the edited text where it reads as what is wanted. Where it does not, because the
// document is written in a way that edits of lines do not reach, the whole is written anew, but
// never over comments.
func settled(source string, text, body []byte, wanted *Set) ([]byte, *Set, error) {
	want, err := wanted.YAML()
	if err != nil {
		return nil, nil, err
	}
	if set, err := Parse(source, text); err == nil {
		if got, err := set.YAML(); err == nil && bytes.Equal(got, want) {
			return text, set, nil
		}
	}
	if hasComments(body) {
		return nil, nil, refuseSet("write it with each key on a line of its own, values last; or change it by hand",
			"%q cannot be changed without losing its comments", attestd.Excerpt(source, 200))
	}
	set, err := Parse(source, want)
	return want, set, err
}

var commentLine = regexp.MustCompile(`(?m)(^|\s)#`)

func hasComments(body []byte) bool { return commentLine.Match(body) }

var stateLine = regexp.MustCompile(`^(\s*(?:- )?)state:\s*"?[a-z]+"?(\s*#.*)?\s*$`)

// restate writes state, canary and end of a value into its lines. What it cannot find it leaves; the
// caller sees that by reading the result.
func restate(lines []string, value *Value) []string {
	start := startOf(lines, value.Name)
	if start < 0 {
		return lines
	}
	indent := len(lines[start]) - len(strings.TrimLeft(lines[start], " -"))
	end := start + 1
	for end < len(lines) && (blank(lines[end]) || indentOf(lines[end]) >= indent) {
		end++
	}
	state := -1
	for at := start; at < end; at++ {
		if column(lines[at]) == indent && stateLine.MatchString(lines[at]) {
			state = at
		}
	}
	if state < 0 {
		return lines
	}
	parts := stateLine.FindStringSubmatch(strings.TrimRight(lines[state], "\r\n"))
	fresh := strings.SplitAfter(string(value.appendLifecycle(nil, strings.Repeat(" ", indent))), "\n")
	fresh = fresh[:len(fresh)-1]
	fresh[0] = parts[1] + "state: " + value.State.String() + parts[2] + "\n"
	var out []string
	out = append(out, lines[:start]...)
	for at := start; at < end; at++ {
		key := strings.TrimLeft(lines[at], " -")
		switch {
		case at == state:
			out = append(out, fresh...)
		case column(lines[at]) == indent && (strings.HasPrefix(key, "canary:") || strings.HasPrefix(key, "until:")):
			for at+1 < end && !blank(lines[at+1]) && indentOf(lines[at+1]) > indent {
				at++ // what belongs to the key
			}
		default:
			out = append(out, lines[at])
		}
	}
	return append(out, lines[end:]...)
}

// startOf returns the line in which the item of a value begins.
func startOf(lines []string, name string) int {
	root, problems := yamldoc.Parse("", []byte(strings.Join(lines, "")), MaxDocument)
	if root == nil || problems.Err() != nil {
		return -1
	}
	entries, _ := root.Entries()
	for _, entry := range entries {
		if entry.Key != "values" || !entry.Value.IsList() {
			continue
		}
		items, _ := entry.Value.Items()
		for _, item := range items {
			if !item.IsMap() {
				continue
			}
			fields, _ := item.Entries()
			for _, field := range fields {
				if field.Key == "name" && field.Value.IsText(name) {
					return itemStart(lines, field.Value.Line()-1)
				}
			}
		}
	}
	return -1
}

// itemStart goes up from a line of an item to the one with its dash.
func itemStart(lines []string, at int) int {
	for ; at >= 0 && at < len(lines); at-- {
		if strings.HasPrefix(strings.TrimLeft(lines[at], " "), "- ") {
			return at
		}
	}
	return -1
}

func blank(line string) bool { return strings.TrimSpace(line) == "" }

// indentOf counts the spaces in front; column also a dash and its space.
func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

func column(line string) int {
	rest := strings.TrimLeft(line, " ")
	if after, ok := strings.CutPrefix(rest, "- "); ok {
		return len(line) - len(strings.TrimLeft(after, " "))
	}
	return len(line) - len(rest)
}

// String says what the step does, as in "4-vcpu to active".
func (s Step) String() string { return fmt.Sprintf("%s to %s", s.Value, s.To) }
