package cedarset

import (
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/attestd/attestd/internal/decision"
)

// Effects of a policy.
const (
	Permit = "permit"
	Forbid = "forbid"
)

// Listed is one policy of a set, for people.
type Listed struct {
	// ID is as in answers and records: its file and its @id.
	ID   string `json:"id"`
	File string `json:"file"`
	// Line is where its first annotation stands.
	Line int `json:"line"`
	// Tenant is whose callers it speaks for; empty for those of every tenant.
	Tenant string `json:"tenant,omitempty"`
	// Effect is [Permit] or [Forbid].
	Effect string `json:"effect"`
	// Bound is the name that a record must be bound to; empty for all records.
	Bound string `json:"policy,omitempty"`
	// Reason is the code of the denial; of a forbid without one it is not_permitted.
	Reason decision.Code `json:"reason,omitempty"`
	// Obligations are the ids of those that it adds.
	Obligations []string `json:"obligations,omitempty"`
	// Text is the policy as Cedar writes it, without comments: two that differ in how they are laid out
	// have the same.
	Text string `json:"text"`
}

// Head is the policy on one line, without its annotations.
func (l *Listed) Head() string {
	lines := strings.Split(l.Text, "\n")
	for len(lines) > 1 && strings.HasPrefix(lines[0], "@") {
		lines = lines[1:]
	}
	head := strings.Join(strings.Fields(strings.Join(lines, " ")), " ")
	return strings.NewReplacer("( ", "(", " )", ")").Replace(head)
}

// List returns every policy of the set: by file, and within a file in its order.
func (s *Set) List() ([]Listed, error) {
	read := loader{set: s}
	var err error
	if read.check, err = validator(); err != nil {
		return nil, err
	}
	out := make([]Listed, 0, s.count)
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		list, err := cedar.NewPolicyListFromBytes(name, s.files[name])
		if err != nil {
			return nil, unfit(err) // it was read when the set was made
		}
		seen := map[string]bool{}
		for _, one := range list {
			parsed, err := read.policy(name, one, seen)
			if err != nil {
				return nil, unfit(err)
			}
			out = append(out, listed(name, one, parsed))
		}
	}
	return out, nil
}

func listed(name string, one *cedar.Policy, parsed *policy) Listed {
	out := Listed{
		ID: string(parsed.id), File: name, Line: one.Position().Line, Effect: Permit, Bound: parsed.bound,
		Reason: parsed.reason, Text: string(one.MarshalCedar()),
	}
	if one.Effect() == types.Forbid {
		out.Effect = Forbid
	}
	if parts := strings.Split(name, "/"); parts[0] == "tenants" {
		out.Tenant = parts[1]
	}
	for _, duty := range parsed.duty {
		out.Obligations = append(out.Obligations, duty.ID)
	}
	return out
}
