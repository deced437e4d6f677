package revocation_test

import (
	"testing"

	"github.com/attestd/attestd/internal/operator"
)

// TestSharedHostsCountTheOperatorsTenantsAlone: a dry run of one's own machine must not tell how many of
// other tenants run beside it. neg: 188
func TestSharedHostsCountTheOperatorsTenantsAlone(t *testing.T) {
	w := newWorld(t, nil).fleet() // blue has two machines on the host, red one
	for _, row := range []struct {
		who  operator.Principal
		want int
	}{{anna, 2}, {blue, 1}} {
		wanted := order(string(idOf("alpha1")))
		wanted.DryRun = true
		receipt, err := w.authority.Quarantine(t.Context(), row.who, wanted)
		if err != nil || receipt.Shared != row.want {
			t.Errorf("%s is told of %d others, want %d (%v)", row.who.Name, receipt.Shared, row.want, err)
		}
	}
}
