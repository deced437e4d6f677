package measurements

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/attestd/attestd"
)

// Options say what [Measure] writes. The zero Options take the registers that say what runs, to be
// equal.
type Options struct {
	// Registers to take instead, by name; nil for those that say what runs.
	Registers []string
	// Rules writes rules over events instead of digests, for registers whose log was replayed.
	Rules bool
}

// FromClaims is [Measure] with the zero Options.
func FromClaims(name string, c *attestd.Claims) (*Set, error) { return Measure(name, c, Options{}) }

// Measure returns a set with one value, made from verified claims: the registers that say what runs,
// and not those that say where. Its state is proposed, which matches nothing: whoever knows that the
// evidence came from the right machine makes it active. Events of a replayed boot log are kept with
// it, to name later what differs.
//
// Errors: a [*attestd.CallerError] where the name will not do, the claims are of a debug guest, what
// is asked for was not measured or nothing was; another error where the claims did not come out of a
// verification.
func Measure(name string, c *attestd.Claims, options Options) (*Set, error) {
	if !c.Proven() {
		return nil, errors.New("claims that did not come out of a verification measure nothing")
	}
	form, ok := shapes[c.Format()]
	if !ok {
		return refuse("reference values can be written for: "+strings.Join(formatNames(), ", "),
			"no reference values for format %q", c.Format())
	}
	if !nameForm.MatchString(name) {
		return refuse("use 1 to 64 of: letters, digits, . _ + -", "name %q will not do",
			attestd.Excerpt(name, 40))
	}
	if debug, ok := c.Fact("debug"); ok && debug.String() != "false" {
		// The host can change a debug guest after it was measured, so its digest names nothing.
		return refuse("start it without debug and collect the evidence again",
			"evidence is of a debug guest, whose measurement proves nothing")
	}
	set := &Set{Name: name, Format: c.Format()}
	if form.banked {
		if set.Bank = bankOf(c); set.Bank == "" {
			return refuse("quote PCR 4 in a bank of SHA-256 or better", "evidence has no PCR4")
		}
		form, _ = form.in(set.Bank)
	} else if options.Rules {
		return refuse("leave it out: digests alone are written", "format %q has no rules over events",
			c.Format())
	}
	value, err := takeValue(c, form, options)
	if err != nil {
		return nil, err
	}
	set.Values = []Value{*value}
	return set, nil
}

func refuse(hint, format string, args ...any) (*Set, error) {
	return nil, refusal(hint, format, args...)
}

func refusal(hint, format string, args ...any) error {
	return &attestd.CallerError{
		Class: attestd.ClassMeasurement, Hint: hint, Err: fmt.Errorf(format, args...),
	}
}

// bankOf returns the bank whose log was replayed, or else the first that was quoted.
func bankOf(c *attestd.Claims) string {
	replayed := 0
	for event := range c.Events() {
		if event.Log != "ima" {
			replayed = len(event.Digest)
			break
		}
	}
	first := ""
	for _, bank := range banks {
		for register := range c.Registers() {
			switch {
			case register.Name != shapes[attestd.FormatTPM].required[0] ||
				register.Algorithm != bank.algorithm:
			case bank.size == replayed:
				return bank.name
			case first == "":
				first = bank.name
			}
		}
	}
	return first
}

func takeValue(c *attestd.Claims, form shape, options Options) (*Value, error) {
	const again = "collect evidence of what really runs"
	value := &Value{Name: "measured", State: StateProposed}
	wanted, named := form.taken, len(options.Registers) > 0
	if named {
		wanted = options.Registers
	}
	for _, name := range wanted {
		if !slices.Contains(form.names, name) {
			return nil, refusal("registers are "+form.names[0]+" to "+form.names[len(form.names)-1],
				"no register is called %q", attestd.Excerpt(name, 20))
		}
		register, quoted := quotedRegister(c, name, form.algorithm)
		if !quoted && !named {
			continue // what is required is asked for below
		} else if !quoted {
			return nil, refusal("quote it too, or name others", "evidence has no %s", name)
		}
		if options.Rules {
			if rules, any := rulesFrom(c, name, form); any {
				value.Rules = append(value.Rules, rules)
				continue
			}
		}
		if problem := form.problem(name, register.Digest); problem != "" {
			if named || slices.Contains(form.required, name) {
				return nil, refusal(again, "%s %s", name, problem)
			}
			continue
		}
		value.Registers = append(value.Registers, attestd.Register{
			Name: name, Algorithm: register.Algorithm, Digest: bytes.Clone(register.Digest),
		})
	}
	if options.Rules && len(value.Rules) == 0 {
		return nil, refusal("collect evidence with the event log, or measure registers alone",
			"evidence has no replayed event log to write rules from")
	}
	if missing := form.missing(*value); missing != "" {
		return nil, refusal(again, "evidence has no %s", missing)
	}
	if form.banked {
		value.Events = goldenOf(c, form.size, func(name string) bool {
			return slices.Contains(value.names(), name)
		})
	}
	return value, nil
}

func quotedRegister(c *attestd.Claims, name, algorithm string) (attestd.Register, bool) {
	for register := range c.Registers() {
		if register.Name == name && register.Algorithm == algorithm {
			return register, true
		}
	}
	return attestd.Register{}, false
}

// rulesFrom writes rules that the events of one register meet: signers, the entries of dbx, and
// measured texts where the log's text is what was measured; digests for all else.
func rulesFrom(c *attestd.Claims, register string, form shape) (RegisterRules, bool) {
	rules := RegisterRules{Register: register}
	if register == registerIMA {
		return rules, false
	}
	of := make(map[attestd.Role][]attestd.Event)
	for event := range c.Events() {
		if event.Register != register || len(event.Digest) != form.size {
			continue
		}
		if len(roleDemands[event.Role]) == 0 {
			return rules, false
		}
		if len(of[event.Role]) == 0 {
			rules.Roles = append(rules.Roles, Rule{Role: event.Role})
		}
		of[event.Role] = append(of[event.Role], event)
	}
	for i := range rules.Roles {
		rules.Roles[i].from(of[rules.Roles[i].Role])
	}
	return rules, len(rules.Roles) > 0
}

// from sets what the events of the rule's role have shown.
func (r *Rule) from(events []attestd.Event) {
	var texts []string
	var entries, digests [][]byte
	for _, event := range events {
		digests = append(digests, slices.Clone(event.Digest))
		if len(event.Entries) == 0 {
			entries = nil
		}
		for _, entry := range event.Entries {
			entries = append(entries, slices.Clone(entry))
		}
		texts = append(texts, textOf(&event))
	}
	hasEntries := !slices.ContainsFunc(events, func(e attestd.Event) bool { return len(e.Entries) == 0 }) &&
		!slices.ContainsFunc(entries, func(e []byte) bool { return !entrySize(len(e)) || isZero(e) })
	texts = unique(texts)
	hasTexts := len(texts) <= maxTexts && !slices.ContainsFunc(texts, func(text string) bool {
		return strings.TrimSpace(text) == "" || len(text) > longest(r.Role) || !readableAs(r.Role, text)
	})
	switch {
	case r.Role == attestd.RoleAuthority && hasEntries:
		r.Demand, r.Digests = DemandEntry, unique(entries)
	case r.Role == attestd.RoleDBX && hasEntries:
		r.Demand, r.Digests = DemandContains, unique(entries)
	case slices.Contains(roleDemands[r.Role], DemandText) && hasTexts:
		r.Demand, r.Texts = DemandText, texts
	default:
		r.Demand, r.Digests = DemandDigest, unique(digests)
	}
}

// unique returns digests or texts without those that stood before, in their order.
func unique[T string | []byte](all []T) []T {
	seen := make(map[string]bool, len(all))
	return slices.DeleteFunc(all, func(one T) bool {
		double := seen[string(one)]
		seen[string(one)] = true
		return double
	})
}
