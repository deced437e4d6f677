package appraisal

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/yamldoc"
)

// outcome is what a failed check leads to. The zero outcome rejects.
type outcome struct {
	effect attestd.Effect
	points int // of EffectScored
}

// rule is what a policy says about one check.
type rule struct {
	spec attestd.CheckSpec
	// any says that the policy accepts every value, in so many words.
	any bool
	// want as people read it.
	want string
	// otherwise is what a difference leads to; noneLoaded, of RuleReference alone, what it leads to
	// that there is no reference value to compare with.
	otherwise, noneLoaded outcome

	// Of these, the one that spec.Rule names is set.
	flag    bool
	least   uint64
	most    uint64
	numbers []uint64
	texts   []string
	digests [][]byte
	covers  uint64 // a bit for each number that must be there
	floors  map[string][]attestd.Component
}

// readRule reads `any` or {want: ..., otherwise: ...}; with RuleNoneOf {deny: ..., otherwise: ...}.
func readRule(node *yamldoc.Node, spec attestd.CheckSpec, kind attestd.Kind) rule {
	read := rule{spec: spec}
	if node.IsText("any") {
		read.any, read.want = true, "any"
		if spec.Required {
			node.Problem("cannot be any: %s", requiredHint)
		}
		return read
	}
	if !node.IsMap() {
		node.Problem("want {%s: ..., otherwise: ...}, or any", wantKey(spec.Rule))
		return read
	}
	required := []string{wantKey(spec.Rule), "otherwise"}
	if spec.Rule == attestd.RuleReference {
		required = append(required, "none-loaded")
	}
	fields, ok := node.Fields(required, nil)
	if want := fields.Get(wantKey(spec.Rule)); want != nil {
		read.readWant(want, kind)
	}
	if otherwise := fields.Get("otherwise"); otherwise != nil {
		read.otherwise = readOutcome(otherwise)
	}
	if none := fields.Get("none-loaded"); none != nil && ok {
		read.noneLoaded = readOutcome(none)
	}
	for _, key := range []string{"otherwise", "none-loaded"} {
		if made := fields.Get(key); spec.Required && made != nil && made.IsUint() {
			made.Problem("cannot be points: %s", requiredHint)
		}
	}
	return read
}

// requiredHint says what a policy can make of a required check. Points would be a way to wave it
// through: few of them are accepted.
const requiredHint = "no policy waives this check; want {want: ..., otherwise: reject or undecided}"

// wantKey is the key under which a rule's values stand. A list of what must not be is called so: read
// as a list of what is wanted it would let in exactly those it was written against.
func wantKey(rule attestd.Rule) string {
	if rule == attestd.RuleNoneOf {
		return "deny"
	}
	return "want"
}

func readOutcome(node *yamldoc.Node) outcome {
	switch {
	case node.IsText("reject"):
		return outcome{effect: attestd.EffectRejects}
	case node.IsText("undecided"):
		return outcome{effect: attestd.EffectUndecided}
	case node.IsUint():
		points, _ := node.Uint()
		if points < 1 || points > 100 {
			node.Problem("got %d points, want 1 to 100", points)
			return outcome{}
		}
		return outcome{effect: attestd.EffectScored, points: int(points)} //nolint:gosec // 1 to 100
	default:
		node.Problem("want reject, undecided, or 1 to 100 points")
		return outcome{}
	}
}

// readWant reads what the check's rule takes; everything else is the wrong kind.
func (r *rule) readWant(node *yamldoc.Node, kind attestd.Kind) {
	switch r.spec.Rule {
	case attestd.RuleFlag:
		flag, ok := node.Flag()
		r.flag, r.want = flag, strconv.FormatBool(flag)
		if known := r.spec.Values; ok && len(known) > 0 && !slices.Contains(known, r.want) {
			// Wanting what is stale, say, would let in exactly what the check is against.
			node.Problem("got %s, want %s", r.want, strings.Join(known, " or "))
		}
	case attestd.RuleAtLeast:
		r.least, _ = node.Uint()
		r.want = "at least " + strconv.FormatUint(r.least, 10)
	case attestd.RuleAtMost:
		r.most, _ = node.Uint()
		r.want = "at most " + strconv.FormatUint(r.most, 10)
	case attestd.RuleOneOf:
		r.readOneOf(node, kind)
	case attestd.RuleDigest:
		r.readDigests(node)
	case attestd.RuleNoneOf:
		r.readNoneOf(node, kind)
	case attestd.RuleFloor:
		r.readFloors(node)
	case attestd.RuleCovers:
		r.readCovers(node)
	case attestd.RuleReference:
		r.want = "a known measurement"
		if !node.IsText("active-reference") {
			node.Problem("want active-reference")
		}
	default:
		node.Problem("this check takes no value: its rule is unknown to this build")
	}
}

func (r *rule) readOneOf(node *yamldoc.Node, kind attestd.Kind) {
	items, _ := node.Items()
	seen, shown := make([]string, 0, len(items)), make([]string, 0, len(items))
	for _, item := range items {
		var text string
		var ok bool
		if kind == attestd.KindUint {
			var number uint64
			number, ok = item.Uint()
			text = strconv.FormatUint(number, 10)
			r.numbers = append(r.numbers, number)
		} else {
			text, ok = item.Text()
			r.texts = append(r.texts, text)
		}
		switch known := r.spec.Values; {
		case !ok:
		case slices.Contains(seen, text):
			item.Problem("stands twice")
		case len(known) > 0 && !slices.Contains(known, text):
			item.Problem("got %q, want one of: %s; to accept everything, write any",
				attestd.Excerpt(text, 24), strings.Join(known, ", "))
		}
		seen, shown = append(seen, text), append(shown, attestd.Excerpt(text, 24))
	}
	r.want = shorten(strings.Join(shown, ", "))
}

// readNoneOf reads what is denied: texts of a text fact, else digests.
func (r *rule) readNoneOf(node *yamldoc.Node, kind attestd.Kind) {
	if kind == attestd.KindText {
		r.readOneOf(node, kind)
		r.want = "none of: " + r.want
		return
	}
	r.readDigests(node)
	r.want = "none of " + strconv.Itoa(len(r.digests)) + " denied values"
}

// readCovers reads the numbers of a set that the fact's must hold.
func (r *rule) readCovers(node *yamldoc.Node) {
	items, _ := node.Items()
	for _, item := range items {
		number, ok := item.Uint()
		switch {
		case !ok:
		case number > 63:
			item.Problem("got %d, want 0 to 63", number)
		case r.covers&(1<<number) != 0:
			item.Problem("stands twice")
		default:
			r.covers |= 1 << number
		}
	}
	r.want = ranges(r.covers)
}

// ranges writes the numbers of a set as people do: "0-7, 10".
func ranges(set uint64) string {
	var parts []string
	for from := 0; from < 64; from++ {
		if set>>from&1 == 0 {
			continue
		}
		to := from
		for to < 63 && set>>(to+1)&1 == 1 {
			to++
		}
		if parts = append(parts, strconv.Itoa(from)); to > from {
			parts[len(parts)-1] += "-" + strconv.Itoa(to)
		}
		from = to
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func (r *rule) readDigests(node *yamldoc.Node) {
	items, _ := node.Items()
	for _, item := range items {
		text, ok := item.Text()
		if !ok {
			continue
		}
		digest, err := hex.DecodeString(text)
		switch {
		case err != nil:
			item.Problem("is not hex: %q", attestd.Excerpt(text, 20))
		case !slices.ContainsFunc(digest, func(b byte) bool { return b != 0 }):
			// Zero is what an absent or masked field holds: expecting it is expecting nothing.
			item.Problem("is all zero, which would match what was never measured")
		default:
			r.digests = append(r.digests, digest)
		}
	}
	switch len(r.digests) {
	case 0:
	case 1:
		r.want = shortHex(hex.EncodeToString(r.digests[0]))
	default:
		r.want = fmt.Sprintf("one of %d values", len(r.digests))
	}
}

func (r *rule) readFloors(node *yamldoc.Node) {
	r.want = "every component at the floor or above"
	r.floors = make(map[string][]attestd.Component)
	products, _ := node.Entries()
	for _, product := range products {
		components, _ := product.Value.Entries()
		floor := make([]attestd.Component, 0, len(components))
		for _, component := range components {
			value, _ := component.Value.Uint()
			floor = append(floor, attestd.Component{Name: component.Key, Value: value})
			if known := r.spec.Values; len(known) > 0 && !slices.Contains(known, component.Key) {
				component.Value.Problem("unknown component%s", yamldoc.DidYouMean(component.Key, known))
			}
		}
		for _, name := range r.spec.Values {
			if _, given := named(floor, name); !given && len(floor) > 0 {
				product.Value.Problem("component %s is missing: give each its floor, 0 for none", name)
			}
		}
		r.floors[product.Key] = floor
	}
}

func (r *rule) describe() string {
	if r.any {
		return "any"
	}
	text := "wants " + r.want + ", otherwise " + r.otherwise.String()
	if r.spec.Rule == attestd.RuleReference {
		text += "; none loaded: " + r.noneLoaded.String()
	}
	return text
}

// String returns what stands in a policy, with the unit.
func (o outcome) String() string {
	switch o.effect {
	case attestd.EffectScored:
		return strconv.Itoa(o.points) + " points"
	case attestd.EffectUndecided:
		return "undecided"
	default:
		return "reject"
	}
}
