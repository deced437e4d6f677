package cedarset

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/nhi"
)

// groupOf says which group an action is in, as the schema does; a test holds the two together.
var groupOf = map[string]string{
	decision.ActionPromptAssemble: "read", decision.ActionRetrieveQuery: "read", decision.ActionToolList: "read",
	decision.ActionModelInvoke: "read", decision.ActionSecretRead: "read", decision.ActionDataRead: "read",
	decision.ActionHTTPRead: "read", decision.ActionToolCall: "",
	decision.ActionDataWrite: "write", decision.ActionHTTPWrite: "write",
}

// allActions are those of the schema.
var allActions = slices.Sorted(maps.Keys(groupOf))

// actions are Cedar's entities of actions and their groups.
var actions = func() types.EntityMap {
	out := types.EntityMap{}
	for action, group := range groupOf {
		uid := types.NewEntityUID("Action", types.String(action))
		parents := types.NewEntityUIDSet()
		if group != "" {
			of := types.NewEntityUID("Action", types.String(group))
			parents = types.NewEntityUIDSet(of)
			out[of] = types.Entity{UID: of}
		}
		out[uid] = types.Entity{UID: uid, Parents: parents}
	}
	return out
}()

// asked are the entities of one question.
type asked struct{ principal, resource types.Entity }

// Get implements [types.EntityGetter].
func (a *asked) Get(uid types.EntityUID) (types.Entity, bool) {
	switch uid {
	case a.principal.UID:
		return a.principal, true
	case a.resource.UID:
		return a.resource, true
	}
	found, ok := actions[uid]
	return found, ok
}

// speaking are the policies that are asked: those for everybody, the tenant's own, and where the resource
// is another tenant's, what that one's own forbid.
type speaking struct {
	shared, own, theirs []*policy
	bound               string
}

func (s *speaking) lists() [3][]*policy { return [...][]*policy{s.shared, s.own, s.theirs} }

// All implements [cedar.PolicyIterator].
func (s *speaking) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, list := range s.lists() {
			for _, one := range list {
				if (one.bound == "" || one.bound == s.bound) && !yield(one.id, one.cedar) {
					return
				}
			}
		}
	}
}

func (s *speaking) find(id cedar.PolicyID) *policy {
	for _, list := range s.lists() {
		for _, one := range list {
			if one.id == id {
				return one
			}
		}
	}
	return nil
}

// Evaluate implements [decision.PolicySet].
func (s *Set) Evaluate(in *decision.Input) decision.Ruling {
	if in.Record == nil || !s.bound[in.Record.Policy] {
		return decision.Ruling{Failed: decision.CodeNoPolicy, Detail: "no policies of the record's name are in force"}
	}
	asks := speaking{shared: s.shared[in.Action.Name], bound: in.Record.Policy}
	own, theirs := in.Standing.Tenant, in.Resource.Tenant
	if own == theirs {
		asks.own = s.tenants[own][in.Action.Name]
	} else {
		// What belongs to another tenant is not for a tenant's own policies to give. To refuse it is: for the
		// caller's, and for those of whom it belongs to.
		asks.own, asks.theirs = s.forbids[own][in.Action.Name], s.forbids[theirs][in.Action.Name]
	}
	entities := asked{principal: s.made.principal(in), resource: s.made.resource(in)}
	decided, diagnostic := cedar.Authorize(&asks, &entities, cedar.Request{
		Principal: entities.principal.UID, Resource: entities.resource.UID,
		Action:  types.NewEntityUID("Action", types.String(in.Action.Name)),
		Context: s.made.context(in),
	})
	if len(diagnostic.Errors) != 0 {
		first := diagnostic.Errors[0]
		return decision.Ruling{
			Failed: decision.CodePolicyError, Policies: []string{string(first.PolicyID)},
			Detail: attestd.Excerpt(string(first.PolicyID)+": "+first.Message, 200),
		}
	}
	out := decision.Ruling{Allow: decided == cedar.Allow}
	for _, reason := range diagnostic.Reasons {
		out.Policies = append(out.Policies, string(reason.PolicyID))
		one := asks.find(reason.PolicyID)
		out.Obligations = add(out.Obligations, one.duty)
		if !out.Allow && one.reason != "" && !slices.ContainsFunc(out.Reasons, func(r decision.Reason) bool {
			return r.Code == one.reason
		}) {
			out.Reasons = append(out.Reasons, decision.Reason{Code: one.reason, Detail: string(one.id)})
		}
	}
	slices.Sort(out.Policies)
	slices.SortFunc(out.Reasons, func(a, b decision.Reason) int { return rank(a.Code) - rank(b.Code) })
	return out
}

// rank puts what is nobody's to mend by asking again before what is.
func rank(code decision.Code) int {
	for i, one := range [...]decision.Code{
		decision.CodeTenantMismatch, decision.CodeTenantPivot, decision.CodePurposeMismatch,
		decision.CodeBlastRadius, decision.CodeClassification, decision.CodeRing, decision.CodeWeakChain,
		decision.CodeTwoPlaces, decision.CodeNovelScope, decision.CodeDenialBurst, decision.CodeStepUp,
	} {
		if code == one {
			return i
		}
	}
	return 99
}

func add(to, more []decision.Obligation) []decision.Obligation {
	for _, one := range more {
		if !slices.ContainsFunc(to, func(o decision.Obligation) bool { return o.ID == one.ID }) {
			to = append(to, one)
		}
	}
	return to
}

func text[T ~string](value T) types.Value { return types.String(value) }

func principalOf(in *decision.Input) types.Entity {
	record, standing := in.Record, &in.Standing
	return types.Entity{
		UID:     types.NewEntityUID("Workload", types.String(in.Who.ID)),
		Parents: types.NewEntityUIDSet(types.NewEntityUID("Tenant", types.String(standing.Tenant))),
		Attributes: types.NewRecord(types.RecordMap{
			"tenant": text(standing.Tenant), "project": text(record.Project), "owner": text(record.Owner),
			"purpose": text(record.Purpose), "stage": text(record.Stage), "ring": text(record.Ring),
			"zone": text(record.Zone), "credential": text(record.Credential), "policy": text(record.Policy),
			"method": text(in.Who.Method), "trust_domain": text(in.Who.TrustDomain),
			"risk": types.Long(standing.Risk.Int()), "tier": text(standing.Tier.String()),
			"ear_status": text(standing.Status), "tee": text(standing.TEE),
			"measurement": text(standing.Measurement), "key_grade": text(standing.KeyGrade),
			"devices": text(standing.Devices), "weakest_edge": text(standing.Edge),
		}),
	}
}

func resourceOf(in *decision.Input) types.Entity {
	r := &in.Resource
	var ids, classes []types.Value
	for _, one := range r.Datasets {
		ids = append(ids, text(one.ID))
		for _, class := range one.Classification {
			classes = append(classes, text(strings.ToLower(class)))
		}
	}
	return types.Entity{
		UID:     types.NewEntityUID("Resource", types.String(r.Type+"/"+r.ID)),
		Parents: types.NewEntityUIDSet(types.NewEntityUID("Tenant", types.String(r.Tenant))),
		Attributes: types.NewRecord(types.RecordMap{
			"type": text(r.Type), "name": text(r.ID), "tenant": text(r.Tenant), "project": text(r.Project),
			"ring": text(r.Ring), "privileged": types.Boolean(r.Privileged), "datasets": types.NewSet(ids...),
			"classification": types.NewSet(classes...),
		}),
	}
}

// circumstances are what the context of a question is made of, where it names no lists.
type circumstances struct {
	via                              decision.Via
	enforcer, intent, worst          string
	connectivity                     decision.Connectivity
	reach, fresh, verified           bool
	minutes, exposure, length, novel int
}

func circumstancesOf(in *decision.Input) circumstances {
	c := &in.Context
	age := in.At.Sub(in.Standing.AttestedAt)
	out := circumstances{
		via: in.Via, enforcer: in.Enforcer, intent: c.Intent, connectivity: c.Connectivity, reach: inReach(in),
		fresh: age <= in.Rules.FreshPrivileged, minutes: int(age / time.Minute), exposure: c.ExposureScore,
		length: len(c.Chain), novel: in.Findings.Novel,
	}
	out.verified, out.worst = chainOf(c.Chain)
	return out
}

func (c *circumstances) record(in *decision.Input) types.Record {
	return types.NewRecord(types.RecordMap{
		"via": text(c.via), "enforcer": text(c.enforcer), "in_reach": types.Boolean(c.reach),
		"fresh": types.Boolean(c.fresh), "attested_minutes": types.Long(c.minutes), "intent": text(c.intent),
		"classification": lowered(in.Context.Classification), "exposure_score": types.Long(c.exposure),
		"connectivity": text(c.connectivity), "chain_length": types.Long(c.length),
		"chain_verified": types.Boolean(c.verified), "chain_worst_tier": text(c.worst),
		"novel": types.Long(c.novel), "raised": raised(in.Findings.Raised),
	})
}

func lowered(list []string) types.Set {
	out := make([]types.Value, len(list))
	for i, one := range list {
		out[i] = text(strings.ToLower(one))
	}
	return types.NewSet(out...)
}

func raised(codes []decision.Code) types.Set {
	out := make([]types.Value, len(codes))
	for i, one := range codes {
		out[i] = text(one)
	}
	return types.NewSet(out...)
}

// dataTypes are types of resources that records list as datasets.
var dataTypes = []string{"dataset", "index", "collection", "feature-store", "resource"}

// inReach reports whether tool and datasets lie within the record's blast radius.
func inReach(in *decision.Input) bool {
	record := in.Record
	data := slices.Contains(dataTypes, in.Resource.Type)
	switch in.Action.Name {
	case decision.ActionToolCall:
		if in.Resource.Type != "tool" {
			return false
		}
	case decision.ActionDataRead, decision.ActionDataWrite, decision.ActionRetrieveQuery:
		if !data {
			return false
		}
	}
	switch {
	case slices.Contains([]string{"route", "mcp_server", "model", "secret", "prompt"}, in.Resource.Type):
		// Records list none of these: purposes, tenants and rings say who reaches them.
	case in.Resource.Type == "tool":
		if !nhi.Reaches(record.Tools, in.Resource.ID) {
			return false
		}
	case data:
		if !nhi.Reaches(record.Datasets, in.Resource.ID) {
			return false
		}
	default: // or another spelling of a type would be a way round the record
		return false
	}
	for _, one := range in.Resource.Datasets {
		if !nhi.Reaches(record.Datasets, one.ID) {
			return false
		}
	}
	return true
}

// chainOf says whether every link was verified, and the worst tier that one has; a link whose tier is no
// tier is unknown, which is worse than all.
func chainOf(chain []decision.Link) (verified bool, worst string) {
	order := []string{"low", "medium", "high", "critical", "unknown"}
	verified, at := true, 0
	for _, one := range chain {
		verified = verified && one.Verified
		tier := slices.Index(order, one.RiskTier)
		if tier < 0 {
			tier = len(order) - 1
		}
		at = max(at, tier)
	}
	if len(chain) == 0 {
		return true, "low"
	}
	return verified, order[at]
}
