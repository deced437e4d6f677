package cedarset_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/cedarset"
	"github.com/attestd/attestd/internal/nhi"
)

var start = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// question is one that every gate lets through.
func question(change func(*decision.Input)) *decision.Input {
	in := &decision.Input{
		Schema: decision.InputSchema, At: start, Via: decision.ViaAuthZEN, Enforcer: "user:www-data",
		Who: decision.Who{
			ID: "spiffe://example.org/agent/rag", TrustDomain: "example.org", Method: decision.MethodJWT,
			Expires: start.Add(time.Minute),
		},
		Standing: decision.Standing{
			Attested: true, State: attestd.StateTrusted, Tenant: "blue", Risk: attestd.Risk(10),
			Tier: attestd.TierLow, Status: "affirming", AttestedAt: start.Add(-10 * time.Minute),
			DueAt: start.Add(time.Hour),
		},
		Record: &nhi.Record{
			ID: "spiffe://example.org/agent/rag", Tenant: "blue", Purpose: nhi.PurposeRetrieval,
			Zone: nhi.ZoneSemiTrusted, Tools: []string{"search", "files.*"}, Datasets: []string{"wiki", "features"},
			Policy: "standard", Project: "search", Ring: "stable",
		},
		Action: decision.Action{Name: decision.ActionToolCall},
		Resource: decision.Resource{
			Type: "tool", ID: "search", Tenant: "blue",
		},
		Context:   decision.Context{ExposureScore: -1},
		Findings:  decision.Findings{Looked: true},
		Rules:     decision.Rules{Fresh: time.Hour, FreshPrivileged: 15 * time.Minute, MaxChain: 8},
		Supported: []string{decision.ObligationStepUp, decision.ObligationNotification},
	}
	record := *in.Record
	in.Record = &record
	if change != nil {
		change(in)
	}
	return in
}

func load(tb testing.TB, files map[string]string) *cedarset.Set {
	tb.Helper()
	set, err := cedarset.Load(folder(files))
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

func folder(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range files {
		out[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return out
}

func standard(tb testing.TB) *cedarset.Set {
	tb.Helper()
	set, err := cedarset.Load(cedarset.Standard())
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// The answers of the policies that come with attestd.
func TestTheStandardPolicies(t *testing.T) {
	set := standard(t)
	for name, row := range map[string]struct {
		change func(*decision.Input)
		want   decision.Code // empty: allowed
	}{
		"a tool within reach":     {func(*decision.Input) {}, ""},
		"a tool by its beginning": {func(in *decision.Input) { in.Resource.ID = "files.read" }, ""},
		"the list of an MCP server": {func(in *decision.Input) {
			in.Action.Name, in.Resource = decision.ActionToolList, decision.Resource{Type: "mcp_server", ID: "x", Tenant: "blue"}
		}, ""},
		"a read through a proxy": {func(in *decision.Input) {
			in.Action.Name, in.Resource = decision.ActionHTTPRead, decision.Resource{Type: "route", ID: "/x", Tenant: "blue"}
		}, ""},
		"a tool out of reach":    {func(in *decision.Input) { in.Resource.ID = "shell" }, decision.CodeBlastRadius},
		"a dataset out of reach": {func(in *decision.Input) { in.Resource.Datasets = []decision.Dataset{{ID: "wiki"}, {ID: "payroll"}} }, decision.CodeBlastRadius},
		"another tenant's tool":  {func(in *decision.Input) { in.Resource.Tenant = "green" }, decision.CodeTenantMismatch},
		"another project's":      {func(in *decision.Input) { in.Resource.Project = "billing" }, decision.CodeTenantMismatch},
		"its own project's":      {func(in *decision.Input) { in.Resource.Project = "search" }, ""},
		"another ring's":         {func(in *decision.Input) { in.Resource.Ring = "canary" }, decision.CodeRing},
		"the evaluation agent that writes to the feature store": {func(in *decision.Input) {
			in.Record.Purpose, in.Action.Name = nhi.PurposeEvaluation, decision.ActionDataWrite
			in.Resource = decision.Resource{Type: "feature-store", ID: "features", Tenant: "blue"}
		}, decision.CodePurposeMismatch},
		"the same through a proxy that names no action": {func(in *decision.Input) {
			in.Record.Purpose, in.Action.Name = nhi.PurposeEvaluation, decision.ActionHTTPWrite
			in.Resource = decision.Resource{Type: "feature-store", ID: "features", Tenant: "blue"}
		}, decision.CodePurposeMismatch},
		"the feature extraction that writes to it": {func(in *decision.Input) {
			in.Record.Purpose, in.Action.Name = nhi.PurposeFeatureExtraction, decision.ActionDataWrite
			in.Resource = decision.Resource{Type: "feature-store", ID: "features", Tenant: "blue"}
		}, ""},
		"the same at a medium risk": {func(in *decision.Input) {
			in.Record.Purpose, in.Action.Name = nhi.PurposeFeatureExtraction, decision.ActionDataWrite
			in.Resource = decision.Resource{Type: "feature-store", ID: "features", Tenant: "blue"}
			in.Standing.Risk, in.Standing.Tier = attestd.Risk(50), attestd.TierMedium
		}, decision.CodeStepUp},
		"the same from an untrusted zone": {func(in *decision.Input) {
			in.Record.Purpose, in.Action.Name = nhi.PurposeFeatureExtraction, decision.ActionDataWrite
			in.Resource = decision.Resource{Type: "feature-store", ID: "features", Tenant: "blue"}
			in.Record.Zone = nhi.ZoneUntrusted
		}, decision.CodeBlastRadius},
		"no purpose": {func(in *decision.Input) { in.Record.Purpose = "" }, decision.CodePurposeMismatch},
		"training that retrieves": {func(in *decision.Input) {
			in.Record.Purpose, in.Action.Name = nhi.PurposeTraining, decision.ActionRetrieveQuery
			in.Resource = decision.Resource{Type: "index", ID: "wiki", Tenant: "blue"}
		}, decision.CodePurposeMismatch},
		"training that asks a model": {func(in *decision.Input) {
			in.Record.Purpose, in.Action.Name = nhi.PurposeTraining, decision.ActionModelInvoke
			in.Resource = decision.Resource{Type: "model", ID: "m", Tenant: "blue"}
		}, decision.CodePurposeMismatch},
		"retrieval that reads a secret": {func(in *decision.Input) {
			in.Action.Name, in.Resource = decision.ActionSecretRead, decision.Resource{Type: "secret", ID: "s", Tenant: "blue"}
		}, decision.CodePurposeMismatch},
		"inference that reads a secret": {func(in *decision.Input) {
			in.Record.Purpose = nhi.PurposeInference
			in.Action.Name, in.Resource = decision.ActionSecretRead, decision.Resource{Type: "secret", ID: "s", Tenant: "blue"}
		}, ""},
		"the same with evidence of half an hour": {func(in *decision.Input) {
			in.Record.Purpose = nhi.PurposeInference
			in.Action.Name, in.Resource = decision.ActionSecretRead, decision.Resource{Type: "secret", ID: "s", Tenant: "blue"}
			in.Standing.AttestedAt = start.Add(-30 * time.Minute)
		}, decision.CodeStepUp},
		"a privileged tool with fresh evidence": {func(in *decision.Input) { in.Resource.Privileged = true }, ""},
		"a privileged tool with older evidence": {func(in *decision.Input) {
			in.Resource.Privileged, in.Standing.AttestedAt = true, start.Add(-30*time.Minute)
		}, decision.CodeStepUp},
		"a privileged tool at a medium risk": {func(in *decision.Input) {
			in.Resource.Privileged, in.Standing.Risk, in.Standing.Tier = true, attestd.Risk(50), attestd.TierMedium
		}, decision.CodeStepUp},
		"a privileged tool for somebody who only says so": {func(in *decision.Input) {
			in.Resource.Privileged = true
			in.Context.Chain = []decision.Link{{Type: "human", ID: "u", RiskTier: "low"}}
		}, decision.CodeWeakChain},
		"a privileged tool for somebody at a high risk": {func(in *decision.Input) {
			in.Resource.Privileged = true
			in.Context.Chain = []decision.Link{{Type: "nhi", ID: "u", RiskTier: "high", Verified: true}}
		}, decision.CodeWeakChain},
		"a privileged tool for somebody who is known": {func(in *decision.Input) {
			in.Resource.Privileged = true
			in.Context.Chain = []decision.Link{{Type: "nhi", ID: "u", RiskTier: "low", Verified: true}}
		}, ""},
		"personal data in a semi-trusted zone": {func(in *decision.Input) {
			in.Resource.Datasets = []decision.Dataset{{ID: "wiki", Classification: []string{"PII"}}}
		}, decision.CodeClassification},
		"personal data in a trusted zone": {func(in *decision.Input) {
			in.Record.Zone = nhi.ZoneTrusted
			in.Resource.Datasets = []decision.Dataset{{ID: "wiki", Classification: []string{"pii"}}}
		}, ""},
		"a pivot":                     {func(in *decision.Input) { in.Findings.Raised = []decision.Code{decision.CodeTenantPivot} }, decision.CodeTenantPivot},
		"two places":                  {func(in *decision.Input) { in.Findings.Raised = []decision.Code{decision.CodeTwoPlaces} }, decision.CodeTwoPlaces},
		"much that is new":            {func(in *decision.Input) { in.Findings.Raised = []decision.Code{decision.CodeNovelScope} }, decision.CodeNovelScope},
		"no policy of that name":      {func(in *decision.Input) { in.Record.Policy = "strict" }, decision.CodeNoPolicy},
		"an action that nobody knows": {func(in *decision.Input) { in.Action.Name = "tool.destroy" }, decision.CodeNotPermitted},
		"another tenant's, out of reach": {func(in *decision.Input) {
			in.Resource.Tenant, in.Resource.ID = "green", "shell"
		}, decision.CodeTenantMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			in := question(row.change)
			got := decision.Judge(in, set)
			if got.Allow != (row.want == "") {
				t.Fatalf("got %+v, want %q", got, row.want)
			}
			if row.want != "" && got.Reasons[0].Code != row.want {
				t.Errorf("got %+v, want %s first", got.Reasons, row.want)
			}
			if got.Allow && (!got.Proofs.Who.OK || !got.Proofs.What.OK || !got.Proofs.Policy.OK || len(got.Policies) == 0) {
				t.Errorf("allowed without its proofs: %+v", got)
			}
			stepUp := row.want == decision.CodeStepUp
			if stepUp != (len(got.Obligations) != 0) && row.want != decision.CodeTwoPlaces && row.want != decision.CodeNovelScope {
				t.Errorf("obligations %+v", got.Obligations)
			}
		})
	}
}

const permitAll = `@id("all") @policy("standard") permit (principal, action, resource);`

// neg: 176, neg: 177: policies in doubt are refused when they are read.
func TestFoldersThatAreRefused(t *testing.T) {
	for name, row := range map[string]struct {
		files map[string]string
		says  string
	}{
		"neg: 176 nothing":              {nil, "no policies"},
		"neg: 176 an empty file":        {map[string]string{"shared/a.cedar": ""}, "no policies"},
		"neg: 176 no Cedar":             {map[string]string{"shared/a.cedar": "allow all"}, "shared/a.cedar"},
		"neg: 176 half a policy":        {map[string]string{"shared/a.cedar": `@id("a") permit (principal, action, resource) when {`}, "shared/a.cedar"},
		"neg: 177 a misspelt attribute": {map[string]string{"shared/a.cedar": `@id("a") permit (principal, action, resource) when { principal.tenannt == "blue" };`}, "tenannt"},
		"neg: 177 another type":         {map[string]string{"shared/a.cedar": `@id("a") permit (principal, action, resource) when { principal.risk == "low" };`}, "shared/a.cedar:1"},
		"neg: 177 an unknown action":    {map[string]string{"shared/a.cedar": `@id("a") permit (principal, action == Action::"tool.destroy", resource);`}, "shared/a.cedar:1"},
		"neg: 177 an unknown entity":    {map[string]string{"shared/a.cedar": `@id("a") permit (principal is User, action, resource);`}, "shared/a.cedar:1"},
		"neg: 177 an unknown note":      {map[string]string{"shared/a.cedar": `@id("a") @resaon("x") permit (principal, action, resource);`}, "resaon"},
		"a reason that is none":         {map[string]string{"shared/a.cedar": `@id("a") @reason("because") forbid (principal, action, resource);`}, "because"},
		"a gate's reason":               {map[string]string{"shared/a.cedar": `@id("a") @reason("quarantined") forbid (principal, action, resource);`}, "quarantined"},
		"a reason to permit":            {map[string]string{"shared/a.cedar": `@id("a") @reason("blast_radius") permit (principal, action, resource);`}, "forbid"},
		"an obligation that is none":    {map[string]string{"shared/a.cedar": `@id("a") @obligation("dance") permit (principal, action, resource);`}, "dance"},
		"no id":                         {map[string]string{"shared/a.cedar": `permit (principal, action, resource);`}, "@id"},
		"one id twice":                  {map[string]string{"shared/a.cedar": permitAll + "\n" + permitAll}, "twice"},
		"a file beside":                 {map[string]string{"shared/a.cedar": permitAll, "b.cedar": permitAll}, "b.cedar"},
		"a file of another name":        {map[string]string{"shared/a.cedar": permitAll, "shared/b.cedar.bak": permitAll}, "b.cedar.bak"},
		"a tenant that is none":         {map[string]string{"tenants/Blue/a.cedar": permitAll}, "Blue"},
		"a folder in a folder":          {map[string]string{"tenants/blue/x/a.cedar": permitAll}, "tenants/blue/x"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := cedarset.Load(folder(row.files))
			var caller *attestd.CallerError
			if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig || !strings.Contains(err.Error(), row.says) {
				t.Errorf("got %v, want CONFIG that says %q", err, row.says)
			}
		})
	}
	if _, err := cedarset.Load(nil); err == nil {
		t.Error("no folder was read")
	}
}

// neg: 176: what fails while it decides denies, whatever else permits.
func TestAPolicyThatFailsDenies(t *testing.T) {
	set := load(t, map[string]string{
		"shared/a.cedar": permitAll,
		"shared/b.cedar": `@id("overflow") permit (principal, action, resource)
			when { principal.risk * 9223372036854775807 > 0 };`,
	})
	got := decision.Judge(question(nil), set)
	if got.Allow || got.Reasons[0].Code != decision.CodePolicyError ||
		!strings.Contains(got.Reasons[0].Detail, "shared/b#overflow") {
		t.Errorf("got %+v", got)
	}
}

// Policies of a tenant's folder speak for its own callers, about its own resources.
func TestTenantsSpeakForThemselves(t *testing.T) {
	set := load(t, map[string]string{
		"shared/a.cedar":        `@id("none") @policy("standard") permit (principal, action, resource) when { false };`,
		"tenants/green/a.cedar": permitAll,
		"tenants/blue/a.cedar":  `@id("search") @policy("standard") permit (principal, action == Action::"tool.call", resource) when { resource.name == "search" };`,
	})
	if got := decision.Judge(question(nil), set); !got.Allow || got.Policies[0] != "tenants/blue/a#search" {
		t.Errorf("its own: %+v", got)
	}
	if got := decision.Judge(question(func(in *decision.Input) { in.Resource.ID = "files.read" }), set); got.Allow {
		t.Error("another tenant's policy spoke for blue")
	}
	if got := decision.Judge(question(func(in *decision.Input) {
		in.Standing.Tenant, in.Record.Tenant = "green", "green"
	}), set); got.Allow {
		t.Error("green's policy gave what is blue's")
	}
}

func TestRecordsAreBoundToPoliciesByName(t *testing.T) {
	set := load(t, map[string]string{
		"shared/a.cedar": permitAll + `@id("strict-own") @policy("strict") permit (principal, action, resource) when { principal.risk < 5 };
			@id("floor") @reason("blast_radius") forbid (principal, action, resource) when { !context.in_reach };`,
	})
	strict := question(func(in *decision.Input) { in.Record.Policy = "strict" })
	if got := decision.Judge(strict, set); got.Allow || got.Reasons[0].Code != decision.CodeNotPermitted {
		t.Errorf("bound to strict: %+v", got)
	}
	strict.Resource.ID = "shell"
	if got := decision.Judge(strict, set); got.Allow || got.Reasons[0].Code != decision.CodeBlastRadius {
		t.Errorf("what is bound to nobody counts for all: %+v", got)
	}
}

func TestADigestIsOverEveryByte(t *testing.T) {
	files := map[string]string{"shared/a.cedar": permitAll}
	first := load(t, files)
	if again := load(t, maps.Clone(files)); again.Digest() != first.Digest() {
		t.Error("the same files have two digests")
	}
	files["shared/a.cedar"] += "\n"
	if other := load(t, files); other.Digest() == first.Digest() {
		t.Error("a byte more, and the same digest")
	}
	back, err := cedarset.Load(standard(t).Files())
	if err != nil || back.Digest() != standard(t).Digest() || back.Count() != standard(t).Count() {
		t.Errorf("what a set gives back is another: %v", err)
	}
	if err := fstest.TestFS(standard(t).Files(), "shared/permits.cedar"); err != nil {
		t.Error(err)
	}
}

// neg: 178: each ruling is of exactly one set, whatever is put in force meanwhile.
func TestReloadsRaceQuestions(t *testing.T) {
	allow := load(t, map[string]string{"shared/a.cedar": permitAll})
	deny := load(t, map[string]string{"shared/a.cedar": `@id("no") @policy("standard") forbid (principal, action, resource);`})
	var holder cedarset.Holder
	if got := decision.Judge(question(nil), holder.InForce()); got.Allow || got.Reasons[0].Code != decision.CodePolicyUnavailable {
		t.Fatalf("without policies: %+v", got)
	}
	holder.Replace(allow)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			in := question(nil)
			for range 1000 {
				set := holder.InForce()
				if got := decision.Judge(in, set); got.Allow != (set.Digest() == allow.Digest()) {
					t.Errorf("%s says %+v", set.Digest(), got)
					return
				}
			}
		})
	}
	for n := range 1000 {
		if n%2 == 0 {
			holder.Replace(deny)
		} else {
			holder.Replace(allow)
		}
	}
	all.Wait()
	holder.Replace(nil)
	if holder.InForce() == nil {
		t.Error("nothing took the place of what was in force")
	}
}

// A decision costs the same among a thousand tenants: others' policies are not asked.
func TestOthersPoliciesCostNothing(t *testing.T) {
	files := map[string]string{"shared/a.cedar": permitAll}
	for n := range 300 {
		var text strings.Builder
		for m := range 30 {
			fmt.Fprintf(&text, "@id(\"p%d\") permit (principal, action == Action::\"tool.call\", resource) when { resource.name == \"t%d\" };\n", m, m)
		}
		files[fmt.Sprintf("tenants/t%d/a.cedar", n)] = text.String()
	}
	many, few := load(t, files), load(t, map[string]string{"shared/a.cedar": permitAll})
	in := question(nil)
	cost := func(set *cedarset.Set) float64 {
		return testing.AllocsPerRun(50, func() { set.Evaluate(in) })
	}
	if a, b := cost(few), cost(many); a != b {
		t.Errorf("%v allocations, and %v with 9,000 policies of others", a, b)
	}
}

func FuzzPolicies(f *testing.F) {
	f.Add([]byte(permitAll))
	f.Fuzz(func(t *testing.T, document []byte) {
		set, err := cedarset.Load(fstest.MapFS{"shared/a.cedar": &fstest.MapFile{Data: document}})
		if err == nil {
			decision.Judge(question(nil), set)
		}
	})
}

func BenchmarkEvaluate(b *testing.B) {
	set := standard(b)
	in := question(nil)
	b.ReportAllocs()
	for b.Loop() {
		if ruling := set.Evaluate(in); !ruling.Allow {
			b.Fatal(ruling)
		}
	}
}

// TestWhatATenantForbidsItForbidsAbroadToo: where a shared policy gives one tenant what is another's, the own
// policies of both still refuse. What they permit counts at home alone.
func TestWhatATenantForbidsItForbidsAbroadToo(t *testing.T) {
	shared := `@id("share") @policy("standard") permit (principal, action, resource)
		when { resource.tenant == "commons" || principal.tenant == resource.tenant };`
	forbid := `@id("no-calls") @reason("not_permitted") forbid (principal, action == Action::"tool.call", resource);`
	abroad := question(func(in *decision.Input) { in.Resource.Tenant = "commons" })
	for name, files := range map[string]map[string]string{
		"the caller's":   {"shared/p.cedar": shared, "tenants/blue/f.cedar": forbid},
		"the resource's": {"shared/p.cedar": shared, "tenants/commons/f.cedar": forbid},
	} {
		if got := decision.Judge(abroad, load(t, files)); got.Allow || got.Reasons[0].Code != decision.CodeNotPermitted {
			t.Errorf("%s own: %+v", name, got)
		}
	}
	if got := decision.Judge(abroad, load(t, map[string]string{"shared/p.cedar": shared})); !got.Allow {
		t.Errorf("nobody forbids it: %+v", got.Reasons)
	}
	home := `@id("all") @policy("standard") permit (principal, action, resource);`
	for _, tenant := range []string{"blue", "commons"} {
		if got := decision.Judge(abroad, load(t, map[string]string{
			"shared/ring.cedar":              `@id("x") @reason("ring_mismatch") forbid (principal, action, resource) when { resource.ring == "x" };`,
			"tenants/" + tenant + "/p.cedar": home,
		})); got.Allow {
			t.Errorf("%s gave what is another's", tenant)
		}
	}
}

// TestATypeThatNobodyKnowsIsOutOfReach, or another spelling would be a way round the record.
func TestATypeThatNobodyKnowsIsOutOfReach(t *testing.T) {
	set := standard(t)
	for kind, id := range map[string]string{
		"Tool": "delete", "tools": "delete", "Dataset": "hr", "feature_store": "hr", "bucket": "hr",
		"resource": "file:///etc/hr.csv", "task": "another's", "": "x",
	} {
		got := decision.Judge(question(func(in *decision.Input) { in.Resource.Type, in.Resource.ID = kind, id }), set)
		if got.Allow {
			t.Errorf("%s %s is allowed", kind, id)
		}
	}
	for action, kind := range map[string]string{
		decision.ActionToolCall: "route", decision.ActionDataRead: "route", decision.ActionRetrieveQuery: "model",
	} {
		got := decision.Judge(question(func(in *decision.Input) {
			in.Action.Name, in.Resource.Type, in.Resource.ID = action, kind, "x"
		}), set)
		if got.Allow {
			t.Errorf("%s of %s is allowed", action, kind)
		}
	}
	for kind, id := range map[string]string{
		"tool": "search", "dataset": "wiki", "resource": "wiki", "mcp_server": "any", "route": "/x", "prompt": "p",
	} {
		got := decision.Judge(question(func(in *decision.Input) {
			in.Action.Name, in.Resource.Type, in.Resource.ID = decision.ActionHTTPRead, kind, id
		}), set)
		if !got.Allow {
			t.Errorf("%s %s is denied: %v", kind, id, got.Reasons)
		}
	}
}
