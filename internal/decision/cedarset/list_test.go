package cedarset_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/cedarset"
)

func TestPoliciesAreListed(t *testing.T) {
	set := load(t, map[string]string{
		"shared/a.cedar": "// First.\n" + permitAll + "\n\n@id(\"no\")\n@reason(\"ring_mismatch\") @obligation(\"step-up\")\n" +
			"@notify(\"soc\")\nforbid (principal,\n  action in [Action::\"write\"], resource) when { principal.ring == \"\" };",
		"tenants/blue/b.cedar": permitAll,
	})
	got, err := set.List()
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		if !strings.Contains(got[i].Text, `@id("`) || !strings.HasSuffix(got[i].Text, ";") {
			t.Errorf("text %q", got[i].Text)
		}
		if head := got[i].Head(); strings.ContainsAny(head, "\n@") || !strings.HasPrefix(head, got[i].Effect) {
			t.Errorf("head %q", head)
		}
		got[i].Text = ""
	}
	want := []cedarset.Listed{
		{ID: "shared/a#all", File: "shared/a.cedar", Line: 2, Effect: cedarset.Permit, Bound: "standard"},
		{ID: "shared/a#no", File: "shared/a.cedar", Line: 4, Effect: cedarset.Forbid, Reason: decision.CodeRing,
			Obligations: []string{"notify-soc", "step-up-hardware"}},
		{ID: "tenants/blue/b#all", File: "tenants/blue/b.cedar", Line: 1, Tenant: "blue", Effect: cedarset.Permit,
			Bound: "standard"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	shipped, err := standard(t).List()
	if err != nil || len(shipped) != standard(t).Count() {
		t.Errorf("%d policies of %d are listed: %v", len(shipped), standard(t).Count(), err)
	}
}

// A policy that is only laid out in another way, or has other comments, is the same policy.
func TestTextsDoNotDependOnTheirLayout(t *testing.T) {
	one := load(t, map[string]string{"shared/a.cedar": permitAll})
	other := load(t, map[string]string{"shared/a.cedar": "// Why.\n" + strings.ReplaceAll(permitAll, " ", "\n  ")})
	a, _ := one.List()
	b, _ := other.List()
	if len(a) != 1 || len(b) != 1 || a[0].Text != b[0].Text || a[0].Head() != `permit (principal, action, resource);` {
		t.Errorf("got %+v and %+v", a, b)
	}
}
