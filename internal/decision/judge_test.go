package decision_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/nhi"
)

var start = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

const caller = "spiffe://example.org/agent/rag"

// allowing is a set that allows everything: what is denied with it was denied by a gate.
type allowing struct{ ruling decision.Ruling }

func allowAll() *allowing {
	return &allowing{decision.Ruling{Allow: true, Policies: []string{"shared/all#all"}}}
}

func (a *allowing) Digest() string                           { return "sha256:00" }
func (a *allowing) Evaluate(*decision.Input) decision.Ruling { return a.ruling }

type breaking struct{ allowing }

func (*breaking) Evaluate(*decision.Input) decision.Ruling { panic("policy") }

// good is an input that every gate lets through.
func good() *decision.Input {
	return &decision.Input{
		Schema: decision.InputSchema, At: start, Via: decision.ViaAuthZEN, Enforcer: "user:www-data",
		Who: decision.Who{ID: caller, TrustDomain: "example.org", Method: decision.MethodJWT, Expires: start.Add(time.Minute)},
		Standing: decision.Standing{
			Attested: true, State: attestd.StateTrusted, Tenant: "blue", Risk: attestd.Risk(10), Tier: attestd.TierLow,
			AttestedAt: start.Add(-time.Minute), DueAt: start.Add(time.Hour),
		},
		Record:   &nhi.Record{ID: caller, Tenant: "blue", Policy: "standard"},
		Action:   decision.Action{Name: decision.ActionToolCall},
		Resource: decision.Resource{Type: "tool", ID: "search", Tenant: "blue"},
		Findings: decision.Findings{Looked: true},
		Rules:    decision.Rules{Fresh: time.Hour, FreshPrivileged: time.Minute, MaxChain: 2},
	}
}

func TestWhatEveryGateLetsThroughIsForPolicies(t *testing.T) {
	got := decision.Judge(good(), allowAll())
	if !got.Allow || !got.Proofs.Who.OK || !got.Proofs.What.OK || !got.Proofs.Policy.OK ||
		got.Proofs.Who.Source != decision.MethodJWT || got.Proofs.Who.Age != time.Minute {
		t.Errorf("got %+v", got)
	}
}

// shut is one fact that shuts a gate, whatever policies say.
type shut struct {
	name, gate string
	change     func(*decision.Input)
	want       decision.Code
}

// neg: 144, neg: 148, neg: 172, neg: 174, neg: 176: the gates, each by each fact that shuts it.
func shuts() []shut {
	return []shut{
		{"no form", "whole", func(in *decision.Input) { in.Schema = "" }, decision.CodeInternal},
		{"no time", "whole", func(in *decision.Input) { in.At = time.Time{} }, decision.CodeInternal},
		{"no greatest age", "whole", func(in *decision.Input) { in.Rules.Fresh = 0 }, decision.CodeInternal},
		{"no greatest age of what is privileged", "whole", func(in *decision.Input) { in.Rules.FreshPrivileged = 0 }, decision.CodeInternal},
		{"no longest chain", "whole", func(in *decision.Input) { in.Rules.MaxChain = 0 }, decision.CodeInternal},
		{"what an interface refused", "whole", func(in *decision.Input) { in.Refused = decision.CodeTenantMismatch }, decision.CodeTenantMismatch},
		{"too much", "whole", func(in *decision.Input) { in.Oversized = true }, decision.CodeMalformed},
		{"a long chain", "whole", func(in *decision.Input) { in.Context.Chain = make([]decision.Link, 3) }, decision.CodeMalformed},
		{"a fault", "authentic", func(in *decision.Input) { in.Who.Fault = decision.CodeBundleUnavailable }, decision.CodeBundleUnavailable},
		{"nobody", "authentic", func(in *decision.Input) { in.Who.ID = "" }, decision.CodeUnauthenticated},
		{"no method", "authentic", func(in *decision.Input) { in.Who.Method = "" }, decision.CodeUnauthenticated},
		{"neg: 174 a credential that is over", "authentic", func(in *decision.Input) { in.Who.Expires = start }, decision.CodeExpired},
		{"neg: 144 a credential without an end", "authentic", func(in *decision.Input) { in.Who.Expires = time.Time{} }, decision.CodeExpired},
		{"neg: 174 an untold state", "told", func(in *decision.Input) { in.Standing.Fault = decision.CodeStateUnavailable }, decision.CodeStateUnavailable},
		{"neg: 172 quarantined", "not held", func(in *decision.Input) { in.Standing.State = attestd.StateQuarantined }, decision.CodeQuarantined},
		{"revoked", "not held", func(in *decision.Input) { in.Standing.State = attestd.StateRevoked }, decision.CodeRevoked},
		{"not attested", "attested", func(in *decision.Input) { in.Standing.Attested = false }, decision.CodeNotAttested},
		{"suspect", "attested", func(in *decision.Input) { in.Standing.State = attestd.StateSuspect }, decision.CodeNotAttested},
		{"unknown", "attested", func(in *decision.Input) { in.Standing.State = attestd.StateUnknown }, decision.CodeNotAttested},
		{"no evidence", "attested", func(in *decision.Input) { in.Standing.AttestedAt = time.Time{} }, decision.CodeNotAttested},
		{"old evidence", "fresh", func(in *decision.Input) { in.Standing.AttestedAt = start.Add(-2 * time.Hour) }, decision.CodeStale},
		{"evidence from tomorrow", "fresh", func(in *decision.Input) { in.Standing.AttestedAt = start.Add(time.Hour) }, decision.CodeStale},
		{"evidence that is due", "fresh", func(in *decision.Input) { in.Standing.DueAt = start }, decision.CodeStale},
		{"evidence without an end", "fresh", func(in *decision.Input) { in.Standing.DueAt = time.Time{} }, decision.CodeStale},
		{"high", "risk", func(in *decision.Input) { in.Standing.Risk, in.Standing.Tier = attestd.Risk(70), attestd.TierHigh }, decision.CodeRiskSpike},
		{"critical", "risk", func(in *decision.Input) { in.Standing.Risk, in.Standing.Tier = attestd.Risk(100), attestd.TierCritical }, decision.CodeRiskSpike},
		{"neg: 148 no score", "risk", func(in *decision.Input) { in.Standing.Risk = attestd.RiskScore{} }, decision.CodeInternal},
		{"another tier than the score's", "risk", func(in *decision.Input) { in.Standing.Tier = attestd.TierMedium }, decision.CodeInternal},
		{"nobody's hardware", "tenant", func(in *decision.Input) { in.Standing.Tenant = "" }, decision.CodeTenantUnknown},
		{"no record", "inventory", func(in *decision.Input) { in.Record = nil }, decision.CodeUnknownIdentity},
		{"another's record", "inventory", func(in *decision.Input) { in.Record.ID = "spiffe://example.org/agent/Rag" }, decision.CodeUnknownIdentity},
		{"a record of another tenant", "inventory", func(in *decision.Input) { in.Record.Tenant = "green" }, decision.CodeTenantMismatch},
		{"a record of no tenant", "inventory", func(in *decision.Input) { in.Record.Tenant = "" }, decision.CodeTenantMismatch},
		{"retired", "inventory", func(in *decision.Input) { in.Record.Lifecycle = nhi.LifecycleRetired }, decision.CodeRetired},
		{"bound to nothing", "bound", func(in *decision.Input) { in.Record.Policy = "" }, decision.CodeNoPolicy},
		{"nobody looked", "rate", func(in *decision.Input) { in.Findings = decision.Findings{} }, decision.CodeInternal},
		{"too often", "rate", func(in *decision.Input) { in.Findings.Throttled = true }, decision.CodeThrottled},
		{"no action", "named", func(in *decision.Input) { in.Action.Name = "" }, decision.CodeMissingProof},
		{"no resource", "named", func(in *decision.Input) { in.Resource.ID = "" }, decision.CodeMissingProof},
		{"no kind of resource", "named", func(in *decision.Input) { in.Resource.Type = "" }, decision.CodeMissingProof},
		{"nobody's resource", "named", func(in *decision.Input) { in.Resource.Tenant = "" }, decision.CodeMissingProof},
		{"late", "", func(in *decision.Input) { in.Late = true }, decision.CodeDeadline},
	}
}

func TestEachGateIsShutByEachOfItsFacts(t *testing.T) {
	seen := map[string]bool{}
	for _, row := range shuts() {
		seen[row.gate] = true
		t.Run(row.name, func(t *testing.T) {
			in := good()
			row.change(in)
			got := decision.Judge(in, allowAll())
			if got.Allow || len(got.Reasons) != 1 || got.Reasons[0].Code != row.want {
				t.Errorf("got %+v, want %s", got, row.want)
			}
			if got.Proofs.Policy.OK {
				t.Error("policy was asked")
			}
			if (row.want == decision.CodeStale) != (len(got.Obligations) == 1) {
				t.Errorf("obligations %+v", got.Obligations)
			}
		})
	}
	for _, one := range decision.Gates() {
		if !seen[one.Name] {
			t.Errorf("no row shuts the gate %q", one.Name)
		}
	}
}

// The order is fixed: of two gates that are shut the first one decides.
func TestTheFirstShutGateDecides(t *testing.T) {
	order := map[string]int{}
	for i, one := range decision.Gates() {
		order[one.Name] = i
	}
	order[""] = -1 // time
	rows := shuts()
	for _, first := range rows {
		for _, second := range rows {
			if order[first.gate] >= order[second.gate] {
				continue
			}
			in := good()
			second.change(in)
			if in.Record == nil && first.gate == "inventory" {
				continue
			}
			if in.Record != nil || first.gate != "inventory" && first.gate != "bound" {
				first.change(in)
			}
			if got := decision.Judge(in, allowAll()); got.Reasons[0].Code != first.want {
				t.Errorf("%q and %q: got %s, want %s", first.name, second.name, got.Reasons[0].Code, first.want)
			}
		}
	}
}

// No two facts that shut gates open one together, and no policy opens any.
func TestNothingOpensAGate(t *testing.T) {
	rows := shuts()
	rapid.Check(t, func(t *rapid.T) {
		in := good()
		in.Record.Lifecycle = nhi.LifecycleActive
		for _, at := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(rows)-1), 1, 5, rapid.ID).Draw(t, "facts") {
			if in.Record != nil || rows[at].gate != "inventory" && rows[at].gate != "bound" {
				rows[at].change(in)
			}
		}
		if got := decision.Judge(in, allowAll()); got.Allow {
			t.Fatalf("allowed: %+v", in)
		}
	})
}

// neg: 176: what policies there are not, or that break, deny.
func TestPoliciesThatDecideNothingDeny(t *testing.T) {
	for name, row := range map[string]struct {
		set  decision.PolicySet
		want decision.Code
	}{
		"neg: 176 none":      {nil, decision.CodePolicyUnavailable},
		"neg: 176 a panic":   {&breaking{}, decision.CodePolicyError},
		"neg: 176 a failure": {&allowing{decision.Ruling{Allow: true, Policies: []string{"p"}, Failed: decision.CodePolicyError}}, decision.CodePolicyError},
		"nobody's word":      {&allowing{decision.Ruling{Allow: true}}, decision.CodePolicyError},
		"no permit":          {&allowing{}, decision.CodeNotPermitted},
		"a duty that cannot be done": {&allowing{decision.Ruling{Allow: true, Policies: []string{"p"},
			Obligations: []decision.Obligation{{ID: "x", Type: decision.ObligationNotification}}}}, decision.CodeObligation},
	} {
		t.Run(name, func(t *testing.T) {
			got := decision.Judge(good(), row.set)
			if got.Allow || got.Reasons[0].Code != row.want || got.Proofs.Policy.OK != (row.want == decision.CodeObligation) {
				t.Errorf("got %+v, want %s", got, row.want)
			}
		})
	}
	in := good()
	in.Supported = []string{decision.ObligationNotification}
	set := &allowing{decision.Ruling{Allow: true, Policies: []string{"p"},
		Obligations: []decision.Obligation{{ID: "x", Type: decision.ObligationNotification}}}}
	if got := decision.Judge(in, set); !got.Allow || len(got.Obligations) != 1 {
		t.Errorf("a duty that can be done: %+v", got)
	}
}

// A stored input is judged as it was.
func TestAStoredInputGivesTheSameResult(t *testing.T) {
	for _, row := range append(shuts(), shut{name: "good", change: func(*decision.Input) {}}) {
		in := good()
		row.change(in)
		before, _ := json.Marshal(in)
		want := decision.Judge(in, allowAll())
		after, _ := json.Marshal(in)
		if string(before) != string(after) {
			t.Errorf("%s: the input was changed", row.name)
		}
		var again decision.Input
		if err := json.Unmarshal(before, &again); err != nil {
			t.Fatal(err)
		}
		if got := decision.Judge(&again, allowAll()); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", row.name, got, want)
		}
	}
}

func FuzzJudge(f *testing.F) {
	for _, row := range shuts() {
		in := good()
		row.change(in)
		document, _ := json.Marshal(in)
		f.Add(document)
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		var in decision.Input
		if json.Unmarshal(document, &in) != nil {
			return
		}
		got := decision.Judge(&in, allowAll())
		if !got.Allow && len(got.Reasons) == 0 {
			t.Fatal("a denial without a reason")
		}
		stored, err := json.Marshal(&in)
		if err != nil {
			return // a time that JSON has no form for
		}
		var again decision.Input
		if err := json.Unmarshal(stored, &again); err != nil {
			t.Fatal(err)
		}
		if more := decision.Judge(&again, allowAll()); more.Allow != got.Allow {
			t.Fatalf("%v, and %v when it was stored", got, more)
		}
	})
}

func TestEveryCodeIsWhole(t *testing.T) {
	seen := map[decision.Code]bool{}
	for _, one := range decision.Specs() {
		if seen[one.Code] || one.Status < 400 || one.Status > 599 || one.Meaning == "" || one.Remedy == "" {
			t.Errorf("%+v", one)
		}
		seen[one.Code] = true
		for _, technique := range one.ATLAS {
			if !strings.HasPrefix(technique, "AML.T") {
				t.Errorf("%s names %s", one.Code, technique)
			}
		}
	}
	if decision.SpecOf("made-up").Code != decision.CodeInternal {
		t.Error("a code that is none has a meaning")
	}
}
