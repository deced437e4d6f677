package enrol_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/subject"
)

// One call for a key that a whole fleet has would have every machine of another tenant's fleet
// rejected as foreign. neg: 188
func TestWhatManyMachinesShareIsNoOneTenantsToTake(t *testing.T) {
	project := subject.Key{Kind: "gce-project", Value: "acme-prod"}
	fleet := machine(1, "default", "192.0.2.1")
	fleet.Keys = append(fleet.Keys, project)
	b := newBench(t, nil, approved(ek(1), "default"))
	const list = "kind,value\ngce-project,acme-prod\nchip,"
	ask := wire.Import{
		Tenant: "blue", Kind: "csv", Source: "list.csv", Document: []byte(list + strings.Repeat("9c", 64) + "\n"),
	}
	done, err := b.Import(t.Context(), blue, ask)
	if err != nil || done.Added != 0 || len(done.Problems) != 2 ||
		!strings.Contains(done.Problems[0], "every tenant") {
		t.Errorf("import: %+v, %v", done, err)
	}
	_, err = b.Approve(t.Context(), blue, wire.Decide{Key: project.String()})
	if classOf(err) != attestd.ClassForbidden {
		t.Errorf("approve: %v", err)
	}
	if got := b.settle(t, fleet); got.Standing != enrol.StandingOwned {
		t.Errorf("another tenant's machine is %q", got.Standing)
	}
	// Who may act for every tenant gives it, and then the same list changes nothing.
	if done, err = b.Import(t.Context(), root, ask); err != nil || done.Added != 2 {
		t.Fatalf("import for every tenant: %+v, %v", done, err)
	}
	if done, err = b.Import(t.Context(), blue, ask); err != nil || done.Same != 2 {
		t.Errorf("the same again: %+v, %v", done, err)
	}
	ask.ExpiresAt = clock.AddDate(1, 0, 0) // a time that was not given
	if done, err = b.Import(t.Context(), blue, ask); err != nil || len(done.Problems) != 2 {
		t.Errorf("another time: %+v, %v", done, err)
	}
	// Where there is one tenant there is nobody to take it from.
	alone := newBench(t, func(c *enrol.Config) { c.Tenants = []string{"blue"} })
	ask.DryRun = true
	if done, err = alone.Import(t.Context(), blue, ask); err != nil || done.Added != 2 {
		t.Errorf("the only tenant: %+v, %v", done, err)
	}
}

// A machine that goes from one tenant to another takes nothing along that its operators wrote. neg: 188
func TestWhatATenantCalledItsMachineIsNotToldToAnother(t *testing.T) {
	expired := approved(ek(1), "default")
	expired.ExpiresAt, expired.Label = clock, "payroll-db"
	waits := waiting(ek(2), "default")
	waits.Label = "payroll-db"
	b := newBench(t, nil, expired, waits)
	for number := 1; number <= 2; number++ {
		b.ask(t, machine(number, "blue", "192.0.2.1"))
		if row := b.store.row(ek(number)); row.Tenant != "blue" || row.Label != "" {
			t.Errorf("machine %d waits for %s as %q", number, row.Tenant, row.Label)
		}
	}
}

// Who made the certificates of a list is not looked at, so anybody can make one with the issuer and the
// number of another TPM's.
func TestAPlatformWhoseHolderFitsTwoKeysNamesNeither(t *testing.T) {
	one, other := newChip(t, 2, newKey(t), nil), newChip(t, 2, newKey(t), nil)
	whole := platformOf(1, bySerial(2, "maker"))
	for _, list := range [][]byte{
		slices.Concat(one.der, other.der, whole), slices.Concat(other.der, one.der, whole),
	} {
		entries, problems := enrol.ReadList("platform-certificates", list)
		if len(entries) != 0 || !strings.Contains(strings.Join(problems, "\n"), "two keys") {
			t.Errorf("got %+v: %q", entries, problems)
		}
	}
	if entries, problems := enrol.ReadList("platform-certificates",
		slices.Concat(one.der, one.der, whole)); len(entries) != 1 {
		t.Errorf("the same certificate twice: %+v: %q", entries, problems)
	}
}
