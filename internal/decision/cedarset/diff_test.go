package cedarset_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd/internal/decision/cedarset"
)

func TestWhatDiffers(t *testing.T) {
	const (
		ring  = `@id("ring") @reason("ring_mismatch") forbid (principal, action, resource) when { resource.ring == "x" };`
		ring2 = `@id("ring") @reason("ring_mismatch") forbid (principal, action, resource) when { resource.ring == "y" };`
		coded = `@id("ring") @reason("blast_radius") forbid (principal, action, resource) when { resource.ring == "x" };`
		laid  = "// Why.\n\n@id(\"ring\")\n@reason(\"ring_mismatch\")\nforbid (principal, action, resource)\nwhen { resource.ring == \"x\" };"
	)
	for name, row := range map[string]struct {
		before, after map[string]string
		want          []string
	}{
		"nothing": {map[string]string{"shared/a.cedar": permitAll + ring}, map[string]string{"shared/a.cedar": ring + permitAll}, nil},
		"only how it is laid out": {map[string]string{"shared/a.cedar": permitAll + ring},
			map[string]string{"shared/a.cedar": permitAll + laid}, nil},
		"a forbid that is gone opens": {map[string]string{"shared/a.cedar": permitAll + ring},
			map[string]string{"shared/a.cedar": permitAll}, []string{"removed shared/a#ring opens"}},
		"a permit that is gone with what it binds to": {
			map[string]string{"shared/a.cedar": permitAll + `@id("b") @obligation("step-up") permit (principal, action, resource);`},
			map[string]string{"shared/a.cedar": permitAll}, []string{"removed shared/a#b opens"}},
		"a forbid that is new": {map[string]string{"shared/a.cedar": permitAll},
			map[string]string{"shared/a.cedar": permitAll + ring}, []string{"added shared/a#ring"}},
		"a condition": {map[string]string{"shared/a.cedar": permitAll + ring},
			map[string]string{"shared/a.cedar": permitAll + ring2}, []string{"changed shared/a#ring opens"}},
		"an annotation": {map[string]string{"shared/a.cedar": permitAll + ring},
			map[string]string{"shared/a.cedar": permitAll + coded}, []string{"changed shared/a#ring opens"}},
		"another tenant's is another policy": {map[string]string{"shared/a.cedar": ring, "tenants/b/a.cedar": permitAll},
			map[string]string{"shared/a.cedar": ring, "tenants/c/a.cedar": permitAll},
			[]string{"added tenants/c/a#all opens", "removed tenants/b/a#all"}},
	} {
		found, err := cedarset.Diff(load(t, row.before), load(t, row.after))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, one := range found {
			text := fmt.Sprintf("%s %s", one.Change, one.ID)
			if one.Opens {
				text += " opens"
			}
			got = append(got, text)
			if (one.Old == nil) != (one.Change == cedarset.Added) || (one.New == nil) != (one.Change == cedarset.Removed) {
				t.Errorf("%s: %+v", name, one)
			}
		}
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
