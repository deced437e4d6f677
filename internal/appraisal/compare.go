package appraisal

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements"
)

// finding is the outcome of one comparison.
type finding struct {
	result    attestd.Result
	got, want string
	outcome   outcome // where result is fail
	remedy    string  // where it is another than the check's hint
}

// maxShown bounds what a check shows of what was got and wanted, in characters.
const maxShown = 88

// compare holds a fact against the rule. What the claims lack, what is not visible and what is of
// another kind than the rule compares fails: only `any` accepts it.
func (r *rule) compare(value attestd.Value, known bool, product string) finding {
	found := finding{result: attestd.ResultFail, got: "not in the claims", want: r.want,
		outcome: r.otherwise}
	if known {
		found.got = show(value)
	}
	if set, ok := value.Uint(); ok && known && r.spec.Rule == attestd.RuleCovers {
		found.got = shorten(ranges(set))
	}
	passed := false
	switch {
	case r.any:
		found.result = attestd.ResultNotApplicable
		return found
	case !known:
	case r.spec.Rule == attestd.RuleFloor:
		passed, found.want, found.remedy = r.meetsFloor(value, product)
	default:
		passed = r.meets(value)
	}
	if passed {
		found.result = attestd.ResultPass
	}
	return found
}

func (r *rule) meets(value attestd.Value) bool {
	switch r.spec.Rule {
	case attestd.RuleFlag:
		flag, ok := value.Bool()
		return ok && flag == r.flag
	case attestd.RuleAtLeast:
		number, ok := value.Uint()
		return ok && number >= r.least
	case attestd.RuleAtMost:
		number, ok := value.Uint()
		return ok && number <= r.most
	case attestd.RuleOneOf:
		if number, ok := value.Uint(); ok {
			return slices.Contains(r.numbers, number)
		}
		text, ok := value.Text()
		return ok && slices.Contains(r.texts, text)
	case attestd.RuleCovers:
		set, ok := value.Uint()
		return ok && r.covers != 0 && set&r.covers == r.covers
	case attestd.RuleDigest:
		digest, ok := value.Bytes()
		return ok && slices.ContainsFunc(r.digests, func(want []byte) bool {
			return bytes.Equal(want, digest)
		})
	case attestd.RuleNoneOf:
		// What is masked could be any of them.
		if text, ok := value.Text(); ok {
			// A text with blanks names several things, such as advisories: none of them may be denied.
			return len(r.texts) > 0 && !slices.ContainsFunc(strings.Fields(text), func(one string) bool {
				return slices.Contains(r.texts, one)
			})
		}
		digest, ok := value.Bytes()
		return ok && !slices.ContainsFunc(r.digests, func(denied []byte) bool {
			return bytes.Equal(denied, digest)
		})
	default:
		return false
	}
}

// meetsFloor compares components one by one: as one number, a high component would hide a low one
// beside it, and firmware with a known hole would pass for new. A component without a floor, and a
// floor without a component, are not let through: nobody thought of them, and the remedy is another
// policy, not other firmware.
func (r *rule) meetsFloor(value attestd.Value, product string) (met bool, want, remedy string) {
	components, ok := value.Components()
	floor := r.floors[product]
	switch {
	case len(floor) == 0:
		return false, "a floor for this product, which the policy does not give", remedyFloor
	case !ok:
		return false, r.want, ""
	}
	below := ""
	for _, component := range components {
		least, given := named(floor, component.Name)
		switch {
		case !given:
			below += " " + component.Name + " (no floor given)"
			remedy = remedyFloor
		case component.Value < least:
			below += " " + component.Name + ">=" + strconv.FormatUint(least, 10)
		}
	}
	for _, least := range floor {
		if _, given := named(components, least.Name); !given {
			below += " " + least.Name + " (missing)"
			remedy = remedyFloor
		}
	}
	if below != "" {
		return false, shorten(product + below), remedy
	}
	return true, r.want, ""
}

// remedyFloor is for floors that do not fit the product's components.
const remedyFloor = "name the product in the policy, with a floor for each of its components"

func named(components []attestd.Component, name string) (uint64, bool) {
	for _, component := range components {
		if component.Name == name {
			return component.Value, true
		}
	}
	return 0, false
}

// remedyProposed is for a value that nobody has approved yet.
const remedyProposed = "if this is what should run, set `state: active` in the reference values"

// remedies say what to do about what is known and does not match, by the state of its value.
var remedies = map[measurements.State]string{
	measurements.StateProposed: remedyProposed,
	measurements.StateCanary:   "once the canary has gone well, `attestd ref apply FILE VALUE --to active`",
	measurements.StateRetiring: "start what is active; this value has had its time",
	measurements.StateRetired:  "start what is active; this value was retired",
}

// standing says in which state a value matched; nothing for an active one.
func standing(match measurements.Match) string {
	switch {
	case match.State == measurements.StateActive:
		return ""
	case match.Until.IsZero():
		return " (" + match.State.String() + ")"
	default:
		return " (" + match.State.String() + " until " + match.Until.Format("2006-01-02T15:04Z") + ")"
	}
}

// compareReference says whether the registers are known, and what comes close. Measured is the
// register that says most, as people compare it.
func (r *rule) compareReference(match measurements.Match, measured string) finding {
	found := finding{result: attestd.ResultFail, got: measured, want: r.want, outcome: r.otherwise}
	label := shorten(match.Label + " / " + match.Value)
	switch {
	case r.any:
		found.result = attestd.ResultNotApplicable
	case match.Found:
		found.result, found.got = attestd.ResultPass, label
		if state := standing(match); state != "" {
			found.got = attestd.Excerpt(label, maxShown-len(state)-3) + state
		}
	case match.Loaded == 0:
		found.outcome = r.noneLoaded
		found.want = "a reference value, of which none is active for this format"
		found.remedy = "give reference values, as `attestd measure` writes them, with --reference"
		if match.Label != "" {
			found.got, found.remedy = match.State.String()+" only: "+label, remedies[match.State]
		}
	case match.Label == "":
	case match.Differs == 0 && match.State == measurements.StateProposed:
		found.got, found.remedy = "proposed only: "+label, remedyProposed
	case match.Differs == 0:
		found.got, found.remedy = match.Why+": "+label, remedies[match.State]
	case match.Event != "":
		found.got = match.Event
		found.want = fmt.Sprintf("a known measurement; closest %s (%d of %d differ)",
			label, match.Differs, match.Registers)
		found.remedy = remedyDiffers
	default:
		found.got = fmt.Sprintf("%s; closest %s (%d of %d differ)",
			measured, label, match.Differs, match.Registers)
	}
	found.got, found.want = shorten(found.got), shorten(found.want)
	return found
}

// remedyDiffers is for a boot that was compared with a golden one, event by event.
const remedyDiffers = "`attestd ref diff` names each event that differs; if intended, `attestd measure`"

// measured shows the principal register of the claims; of several banks the strongest that was
// quoted, and where it was not quoted the first that was.
func measured(claims *attestd.Claims) string {
	principal := measurements.Principal(claims.Format())
	var shown attestd.Register
	for register := range claims.Registers() {
		better := len(register.Digest) > len(shown.Digest)
		switch {
		case shown.Name == "", register.Name == principal && (shown.Name != principal || better):
			shown = register
		}
	}
	if shown.Name == "" || len(shown.Digest) == 0 {
		return "no measurement"
	}
	return shown.Name + " " + shortHex(hex.EncodeToString(shown.Digest))
}

// show writes a value within maxShown characters.
func show(value attestd.Value) string {
	if value.Kind() == attestd.KindBytes {
		return shortHex(value.String())
	}
	return shorten(value.String())
}

// shortHex writes long hex as people compare it: beginning, end and length.
func shortHex(digits string) string {
	if len(digits) <= 32 {
		return digits
	}
	end := len(digits)
	return digits[:8] + ".." + digits[end-2:] + " (" + strconv.Itoa(end/2) + " bytes)"
}

// shorten keeps text printable and within maxShown characters.
func shorten(text string) string {
	if len(text) <= maxShown && plain(text) {
		return text
	}
	return attestd.Excerpt(strings.TrimSpace(text), maxShown-3)
}

func plain(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
