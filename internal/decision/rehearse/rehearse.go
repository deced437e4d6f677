package rehearse

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/subject"
)

// Kind says how an answer would change.
type Kind string

// Kinds of changes, in the order in which they are told: what opens something comes first.
const (
	NewlyAllowed Kind = "newly_allowed"
	NewlyDenied  Kind = "newly_denied"
	// Otherwise is the same decision for another reason, or with other obligations. An allow that asks for a
	// step-up lets nobody through as it is, and counts as none.
	Otherwise Kind = "otherwise"
)

// Kinds returns all kinds in their order.
func Kinds() []Kind { return []Kind{NewlyAllowed, NewlyDenied, Otherwise} }

// mostGroups is how many changes of one kind are told apart: a caller chooses what it asks for, and
// must not choose how much memory that takes. Each kind has its own, so that no flood of one hides another.
const mostGroups = 1000

// Resource is what was asked for, without its datasets.
type Resource struct {
	Type   string `json:"type"`
	ID     string `json:"id"`
	Tenant string `json:"tenant,omitempty"`
}

// Change is what alike questions would have been answered.
type Change struct {
	Kind Kind `json:"kind"`
	// Subject is the caller; empty for nobody.
	Subject  subject.ID `json:"subject,omitempty"`
	Action   string     `json:"action"`
	Resource Resource   `json:"resource"`
	// Was and WouldBe are "allow" or the code of the denial, with the obligations of either.
	Was     string `json:"was"`
	WouldBe string `json:"would_be"`
	// Count is how many decisions are like that, Example the first of them that was read.
	Count   int64     `json:"count"`
	Example uuid.UUID `json:"example"`
	// Policies are those that would decide about the example.
	Policies []string `json:"policies"`
}

// Totals count decisions. Their sum is how many there were.
type Totals struct {
	Same         int64 `json:"same"`
	NewlyAllowed int64 `json:"newly_allowed"`
	NewlyDenied  int64 `json:"newly_denied"`
	Otherwise    int64 `json:"otherwise"`
	// Folded were counted in a flood, and not written each; NoInput lack what they were decided by.
	Folded  int64 `json:"folded"`
	NoInput int64 `json:"no_input"`
	// Scrubbed would be the same, by an input that something was taken out of: perhaps they would not.
	Scrubbed int64 `json:"scrubbed"`
}

// Changed is how many answers would change.
func (t Totals) Changed() int64 { return t.NewlyAllowed + t.NewlyDenied + t.Otherwise }

// Undecided is how many could not be judged again.
func (t Totals) Undecided() int64 { return t.Folded + t.NoInput + t.Scrubbed }

// Decisions is how many there were.
func (t Totals) Decisions() int64 { return t.Same + t.Changed() + t.Undecided() }

// Verdicts of a rehearsal.
const (
	VerdictSame      = "same"
	VerdictDifferent = "different"
	// VerdictUndecided is of one without a change, where not everything could be judged again.
	VerdictUndecided = "undecided"
	// VerdictNothing is of one without decisions: it shows nothing.
	VerdictNothing = "nothing"
)

// Verdict is the result in a word.
func (t Totals) Verdict() string {
	switch {
	case t.Changed() > 0:
		return VerdictDifferent
	case t.Undecided() > 0:
		return VerdictUndecided
	case t.Same > 0:
		return VerdictSame
	}
	return VerdictNothing
}

// Result is what came of a rehearsal so far.
type Result struct {
	Totals Totals `json:"totals"`
	// Changes are ordered by kind, then by how many decisions they are.
	Changes []Change `json:"changes"`
	// More counts, by kind, the decisions that would change and are in none of the groups.
	More map[Kind]int64 `json:"more"`
	// Engine counts those that would change and were decided by these very policies: it is not the
	// policies that changed them, but this attestd.
	Engine int64 `json:"engine"`
}

// key tells groups apart.
type key struct {
	subject      subject.ID
	action       string
	resource     Resource
	was, wouldBe string
}

// Rehearsal takes records of decisions. It is not safe for concurrent use.
type Rehearsal struct {
	set    decision.PolicySet
	judge  journal.Judge
	totals Totals
	groups map[Kind]map[key]*Change
	more   map[Kind]int64
	engine int64
}

// New returns a rehearsal of a policy set.
//
// Errors: where a part is missing. Without policies everything would be denied, which nobody rehearses.
func New(set decision.PolicySet, judge journal.Judge) (*Rehearsal, error) {
	if set == nil || judge == nil {
		return nil, errors.New("a rehearsal needs policies and somebody to judge")
	}
	r := &Rehearsal{set: set, judge: judge, groups: map[Kind]map[key]*Change{}, more: map[Kind]int64{}}
	for _, kind := range Kinds() {
		r.groups[kind], r.more[kind] = map[key]*Change{}, 0
	}
	return r, nil
}

// Add judges a record again.
func (r *Rehearsal) Add(record *journal.Record) {
	switch {
	case record.Folded():
		r.totals.Folded += max(1, record.Count)
		return
	case record.Input == nil || record.Result == nil:
		r.totals.NoInput++
		return
	}
	in := *record.Input // policies cannot write to the record
	now := r.judge(&in, r.set)
	was, wouldBe := outcome(record.Result), outcome(&now)
	kind := Otherwise
	switch {
	case was == wouldBe && record.Scrubbed && lacks(&in):
		r.totals.Scrubbed++
		return
	case was == wouldBe:
		r.totals.Same++
		return
	case passes(&now) && !passes(record.Result):
		kind = NewlyAllowed
		r.totals.NewlyAllowed++
	case !passes(&now) && passes(record.Result):
		kind = NewlyDenied
		r.totals.NewlyDenied++
	default:
		r.totals.Otherwise++
	}
	if record.Policy == r.set.Digest() {
		r.engine++
	}
	r.note(kind, record, &now, was, wouldBe)
}

// passes reports whether an answer lets the caller through as it is: an allow after a step-up does not, which
// is an allow of another question, with another credential.
func passes(result *decision.Result) bool {
	return result.Allow && !slices.ContainsFunc(result.Obligations, func(one decision.Obligation) bool {
		return one.Type == decision.ObligationStepUp
	})
}

func (r *Rehearsal) note(kind Kind, record *journal.Record, now *decision.Result, was, wouldBe string) {
	one := key{
		subject: record.Subject, action: record.Action, was: was, wouldBe: wouldBe,
		resource: Resource{Type: record.Resource.Type, ID: record.Resource.ID, Tenant: record.Resource.Tenant},
	}
	group, known := r.groups[kind][one]
	switch {
	case known:
		group.Count++
	case len(r.groups[kind]) >= mostGroups:
		r.more[kind]++
	default:
		r.groups[kind][one] = &Change{
			Kind: kind, Subject: one.subject, Action: one.action, Resource: one.resource, Was: was, WouldBe: wouldBe,
			Count: 1, Example: record.ID, Policies: append([]string{}, now.Policies...),
		}
	}
}

// redacted stands in a record for what was taken out of it; a test holds it together with the journal's.
const redacted = "[redacted]"

// lacks reports whether something was taken out of an input that it is decided by. Policies are told
// neither of prompts nor of what only joins a record with other logs.
func lacks(in *decision.Input) bool {
	asked := *in
	asked.Context.PromptID, asked.Context.RequestID, asked.Context.Trace = "", "", ""
	document, err := json.Marshal(&asked)
	return err != nil || bytes.Contains(document, []byte(redacted))
}

// outcome is an answer in a word, with what it binds to.
func outcome(result *decision.Result) string {
	out := journal.Allow
	if !result.Allow {
		out = string(decision.CodeInternal) // a denial without a reason is a bug of ours
		if len(result.Reasons) > 0 {
			out = string(result.Reasons[0].Code)
		}
	}
	var duties []string
	for _, duty := range result.Obligations {
		duties = append(duties, duty.ID)
	}
	if slices.Sort(duties); len(duties) > 0 {
		out += " with " + strings.Join(slices.Compact(duties), ", ")
	}
	return out
}

// Totals returns what was counted so far.
func (r *Rehearsal) Totals() Totals { return r.totals }

// Result returns what came of all records so far. The order does not depend on theirs, but for examples.
func (r *Rehearsal) Result() Result {
	out := Result{Totals: r.totals, Changes: []Change{}, More: map[Kind]int64{}, Engine: r.engine}
	for _, kind := range Kinds() {
		out.More[kind] = r.more[kind]
		var of []Change
		for _, group := range r.groups[kind] {
			of = append(of, *group)
		}
		slices.SortFunc(of, func(a, b Change) int {
			return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Subject, b.Subject),
				cmp.Compare(a.Action, b.Action), cmp.Compare(a.Resource.Type, b.Resource.Type),
				cmp.Compare(a.Resource.ID, b.Resource.ID), cmp.Compare(a.Resource.Tenant, b.Resource.Tenant),
				cmp.Compare(a.Was, b.Was), cmp.Compare(a.WouldBe, b.WouldBe))
		})
		out.Changes = append(out.Changes, of...)
	}
	return out
}
