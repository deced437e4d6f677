package revocation_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/revocation"
	"github.com/attestd/attestd/internal/subject"
)

// TestQuarantine holds one machine: no grant from the acknowledgement on, also after a restart, and
// the receipt counts what was granted before. neg: 172, 181
func TestQuarantine(t *testing.T) {
	w := newWorld(t, nil).fleet()
	began := w.now()
	wanted := order(string(idOf("alpha1")))
	wanted.Ticket = "SOC-9"
	before := w.index.Sequence()
	receipt, err := w.authority.Quarantine(t.Context(), anna, wanted)
	if err != nil {
		t.Fatal(err)
	}
	// What is decided at the receipt's number goes by the order: the number is that of a change since.
	if receipt.Sequence <= before || receipt.Sequence > w.index.Sequence() {
		t.Errorf("sequence %d, %d before and %d now", receipt.Sequence, before, w.index.Sequence())
	}
	w.wantGrant("alpha1", false)
	w.wantGrant("alpha2", true)
	if len(receipt.Subjects) != 1 || receipt.Subjects[0].From != attestd.StateTrusted ||
		receipt.Subjects[0].To != attestd.StateQuarantined || receipt.Subjects[0].Tenant != "blue" {
		t.Errorf("subjects %+v", receipt.Subjects)
	}
	if receipt.Grants != 1 || receipt.GrantsUntil.Before(began.Add(300*time.Second)) || receipt.GrantsSince.IsZero() {
		t.Errorf("%d grants until %s since %s", receipt.Grants, receipt.GrantsUntil, receipt.GrantsSince)
	}
	bars := []string{"subject:" + string(idOf("alpha1")), "instance:" + ekOf("alpha1")}
	if !slices.Equal(receipt.Bars, bars) || receipt.Shared != 2 || receipt.Undo == "" || receipt.Hostile == "" {
		t.Errorf("receipt %+v", receipt)
	}
	if len(receipt.Channels) != 2 || receipt.Channels[0].State != "durable" {
		t.Errorf("channels %+v", receipt.Channels)
	}
	records := w.records("quarantine")
	if len(records) != 1 || records[0].Actor != "anna" || records[0].Ticket != "SOC-9" || records[0].Tenant != "blue" {
		t.Errorf("records %+v", records)
	}
	w.restart()
	w.wantState("alpha1", attestd.StateQuarantined)
	w.wantGrant("alpha1", false)
	if got := w.attest(w.seen("alpha1", "blue", 1)); got.Barred == nil {
		t.Error("its evidence is not refused")
	}
	w.wantGrant("alpha1", false)
}

// TestDryRunsChangeNothing and say what would change.
func TestDryRunsChangeNothing(t *testing.T) {
	w := newWorld(t, nil).fleet()
	wanted := order("host:" + chip)
	wanted.DryRun = true
	receipt, err := w.authority.Quarantine(t.Context(), anna, wanted)
	if err != nil || !receipt.DryRun || len(receipt.Subjects) != 3 || len(receipt.Channels) != 0 || receipt.Sequence != 0 {
		t.Errorf("%+v (%v)", receipt, err)
	}
	wanted.Direct = true
	if _, err = w.authority.Revoke(t.Context(), anna, wanted); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"alpha1", "alpha2", "rouge1"} {
		w.wantGrant(name, true)
	}
	if len(w.records("quarantine"))+len(w.records("revoke"))+w.authority.Journaled() != 0 {
		t.Error("a dry run left something")
	}
}

// TestHosts holds what runs on a host, what comes later too, and says how many that are.
func TestHosts(t *testing.T) {
	w := newWorld(t, nil).fleet()
	wanted := order(string(idOf("alpha1")))
	wanted.Host = true
	receipt, err := w.authority.Quarantine(t.Context(), anna, wanted)
	if err != nil || len(receipt.Subjects) != 3 || receipt.Grants != 3 {
		t.Fatalf("%+v (%v)", receipt, err)
	}
	for _, name := range []string{"alpha1", "alpha2", "rouge1"} {
		w.wantState(name, attestd.StateQuarantined)
		w.wantGrant(name, false)
	}
	if got := w.attest(w.seen("later", "blue", 1)); got.Barred == nil {
		t.Error("a machine that comes later passes")
	}
	release := order("host:" + chip)
	_, err = w.authority.Release(t.Context(), ben, release)
	wantClass(t, err, attestd.ClassConflict) // a host is not reborn
	release.Reimaged = "CHG-7"
	if _, err = w.authority.Release(t.Context(), ben, release); err != nil {
		t.Fatal(err)
	}
	w.wantState("alpha2", attestd.StateSuspect)
	w.wantState("alpha1", attestd.StateQuarantined) // its own bars go on
	w.wantGrant("alpha2", false)                    // evidence first
	w.attest(w.seen("alpha2", "blue", 1))
	w.wantGrant("alpha2", true)
}

// TestReleases over the registry. neg: 182
func TestReleases(t *testing.T) {
	w := newWorld(t, nil).fleet()
	target := order(string(idOf("alpha1")))
	if _, err := w.authority.Quarantine(t.Context(), anna, target); err != nil {
		t.Fatal(err)
	}
	_, err := w.authority.Release(t.Context(), ben, target)
	wantClass(t, err, attestd.ClassConflict)
	w.attest(w.seen("alpha1", "blue", 2))
	_, err = w.authority.Release(t.Context(), anna, target)
	wantClass(t, err, attestd.ClassForbidden)
	_, err = w.authority.Release(t.Context(), viewer, target)
	wantClass(t, err, attestd.ClassForbidden)
	direct := target
	direct.Direct = true
	_, err = w.authority.Release(t.Context(), ben, direct)
	wantClass(t, err, attestd.ClassMalformed)
	w.wantState("alpha1", attestd.StateQuarantined)
	receipt, err := w.authority.Release(t.Context(), ben, target)
	if err != nil || receipt.Subjects[0].To != attestd.StateSuspect || len(receipt.Bars) != 2 {
		t.Fatalf("%+v (%v)", receipt, err)
	}
	w.wantGrant("alpha1", false)
	w.attest(w.seen("alpha1", "blue", 2))
	w.wantGrant("alpha1", true)
	// The same order again, and after the next quarantine, releases nothing.
	_, err = w.authority.Release(t.Context(), ben, target)
	wantClass(t, err, attestd.ClassConflict)
	if _, err = w.authority.Quarantine(t.Context(), anna, target); err != nil {
		t.Fatal(err)
	}
	_, err = w.authority.Release(t.Context(), ben, target)
	wantClass(t, err, attestd.ClassConflict)
	w.wantState("alpha1", attestd.StateQuarantined)
}

func TestRevocationsAreForEver(t *testing.T) {
	w := newWorld(t, nil).fleet()
	target := order(ekOf("alpha1"))
	receipt, err := w.authority.Revoke(t.Context(), anna, target)
	if err != nil || receipt.Undo != "" {
		t.Fatalf("%+v (%v)", receipt, err)
	}
	w.attest(w.seen("alpha1", "blue", 2))
	target.Reimaged = "CHG-1"
	_, err = w.authority.Release(t.Context(), ben, target)
	wantClass(t, err, attestd.ClassConflict)
	w.restart()
	w.wantState("alpha1", attestd.StateRevoked)
	w.wantGrant("alpha1", false)
}

// TestTenantsAreKeptApart: what is another tenant's is refused as what is not there. neg: 188
func TestTenantsAreKeptApart(t *testing.T) {
	w := newWorld(t, nil).fleet()
	acts := map[string]func(context.Context, operator.Principal, wire.Order) (wire.Receipt, error){
		"quarantine": w.authority.Quarantine, "revoke": w.authority.Revoke, "release": w.authority.Release,
	}
	for name, act := range acts {
		t.Run(name, func(t *testing.T) {
			for _, pair := range [][2]string{
				{string(idOf("rouge1")), string(idOf("rouge2"))}, {"instance:" + ekOf("rouge1"), "instance:" + ekOf("rouge2")},
				{ekOf("rouge1"), ekOf("rouge2")},
			} {
				for _, direct := range []bool{false, true} {
					if direct && name == "release" {
						continue
					}
					there, absent := order(pair[0]), order(pair[1])
					there.Direct, absent.Direct = direct, direct
					there.Tenant, absent.Tenant = "blue", "blue"
					_, errThere := act(t.Context(), blue, there)
					_, errAbsent := act(t.Context(), blue, absent)
					wantClass(t, errThere, attestd.ClassForbidden)
					wantClass(t, errAbsent, attestd.ClassForbidden)
					if errThere == nil || errAbsent == nil {
						continue
					}
					var one, other *attestd.CallerError
					_, _ = errors.As(errThere, &one), errors.As(errAbsent, &other)
					if one.Hint != other.Hint || len(one.Error()) != len(other.Error()) {
						t.Errorf("%s differs from %s", errThere, errAbsent)
					}
				}
			}
		})
	}
	w.wantGrant("rouge1", true)
	host := order("host:" + chip)
	_, err := w.authority.Quarantine(t.Context(), blue, host)
	wantClass(t, err, attestd.ClassForbidden)
	host = order(string(idOf("alpha1")))
	host.Host = true
	_, err = w.authority.Quarantine(t.Context(), blue, host)
	wantClass(t, err, attestd.ClassForbidden)
	if _, err = w.authority.Quarantine(t.Context(), blue, order(string(idOf("alpha1")))); err != nil {
		t.Error(err)
	}
	w.wantGrant("alpha1", false)
}

// TestOrdersThatAreRefused names each reason.
func TestOrdersThatAreRefused(t *testing.T) {
	w := newWorld(t, nil).fleet()
	alpha := string(idOf("alpha1"))
	saying := func(change func(*wire.Order)) wire.Order {
		one := order(ekOf("alpha1"))
		change(&one)
		return one
	}
	rows := map[string]struct {
		who   operator.Principal
		order wire.Order
		want  attestd.Class
	}{
		"without the role security": {viewer, order(alpha), attestd.ClassForbidden},
		"on a stranger, without the role": {
			viewer, wire.Order{Target: string(idOf("omega")), Tenant: "blue", Reason: "r"},
			attestd.ClassForbidden,
		},
		"on a host, without the role": {viewer, order("host:" + chip), attestd.ClassForbidden},
		"by nobody":                   {operator.Principal{}, order(alpha), attestd.ClassForbidden},
		"without a reason":            {anna, wire.Order{Target: alpha, Reason: " "}, attestd.ClassMalformed},
		"without a target":            {anna, wire.Order{Reason: "r"}, attestd.ClassMalformed},
		"of a scope nobody knows": {
			anna, saying(func(o *wire.Order) { o.Scope = "all" }), attestd.ClassMalformed,
		},
		"with a ticket of a re-image": {
			anna, saying(func(o *wire.Order) { o.Reimaged = "x" }), attestd.ClassMalformed,
		},
		"on too short a beginning":    {anna, order("ek:al"), attestd.ClassMalformed},
		"on the beginning of two":     {anna, order(ekOf("alpha1")[:11]), attestd.ClassConflict},
		"on what is there in no case": {anna, order(ekOf("omega1")), attestd.ClassForbidden},
		"on an id that is none":       {anna, order("spiffe://example.org/a//b"), attestd.ClassMalformed},
		"on a stranger of no tenant":  {anna, order(string(idOf("omega"))), attestd.ClassMalformed},
		"with a reason of a megabyte": {
			anna, saying(func(o *wire.Order) { o.Reason = strings.Repeat("a", 1<<20) }), attestd.ClassMalformed,
		},
		"on a wildcard of the store's":      {anna, order("ek:%%%%%%"), attestd.ClassForbidden},
		"on an instance without characters": {anna, order("instance:"), attestd.ClassMalformed},
		"on a part of an instance":          {anna, order("instance:" + ekOf("omega1")[:20]), attestd.ClassMalformed},
		"on a part of a host":               {anna, order("host:" + chip[:40]), attestd.ClassMalformed},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			for _, direct := range []bool{false, true} {
				row.order.Direct = direct
				_, err := w.authority.Quarantine(t.Context(), row.who, row.order)
				wantClass(t, err, row.want)
			}
		})
	}
	if records := w.records("quarantine"); len(records) != 0 {
		t.Errorf("refused orders wrote %v", records)
	}
}

// TestStrangersCanBeHeld: a name and an instance that were never seen, before they come. neg: 182
func TestStrangersCanBeHeld(t *testing.T) {
	w := newWorld(t, nil)
	wanted := order(string(idOf("omega1")))
	var typo *attestd.CallerError
	if _, err := w.authority.Quarantine(t.Context(), anna, wanted); !errors.As(err, &typo) ||
		!strings.Contains(typo.Hint, "check the spelling") || !strings.Contains(err.Error(), "nothing was held") {
		t.Errorf("%v (%+v), want whoever mistyped a name at night sent to the spelling first", err, typo)
	}
	wanted.Tenant = "blue"
	if _, err := w.authority.Quarantine(t.Context(), anna, wanted); err != nil {
		t.Fatal(err)
	}
	if _, err := w.authority.Quarantine(t.Context(), anna, order("instance:"+ekOf("omega2"))); err != nil {
		t.Fatal(err)
	}
	one, err := w.store.Known(t.Context(), subject.Ask{ID: idOf("omega1")})
	if err != nil || one.Subject == nil {
		t.Fatal(err)
	}
	if _, why := one.Subject.RiskAt(w.now()); len(why) != 2 || why[1].Detail != "it never gave authentic evidence" {
		t.Errorf("%+v, want no word of evidence that there was not", why)
	}
	for _, name := range []string{"omega1", "omega2"} {
		if got := w.attest(w.seen(name, "blue", 1)); got.Barred == nil {
			t.Errorf("%s passes", name)
		}
		w.wantGrant(name, false)
	}
	w.wantState("omega1", attestd.StateQuarantined)
}

// TestOfWhatIsRevokedNothingIsUndone: a receipt names no release that would be refused.
func TestOfWhatIsRevokedNothingIsUndone(t *testing.T) {
	w := newWorld(t, nil).fleet()
	wanted := order(string(idOf("alpha1")))
	if receipt, err := w.authority.Quarantine(t.Context(), anna, wanted); err != nil || receipt.Undo == "" {
		t.Errorf("%+v (%v), want what takes it back", receipt, err)
	}
	if _, err := w.authority.Revoke(t.Context(), anna, wanted); err != nil {
		t.Fatal(err)
	}
	for _, direct := range []bool{false, true} {
		wanted.Direct = direct
		if receipt, err := w.authority.Quarantine(t.Context(), anna, wanted); err != nil || receipt.Undo != "" {
			t.Errorf("direct %v: %+v (%v), want no undo", direct, receipt, err)
		}
	}
}

// TestHardwareIsHeldHoweverItIsSpelled: a hold that is acknowledged on another spelling holds nothing.
// neg: 182
func TestHardwareIsHeldHoweverItIsSpelled(t *testing.T) {
	for name, row := range map[string]struct {
		target string
		direct bool
	}{
		"an instance in upper case":               {"instance:" + strings.ToUpper(ekOf("alpha1")), false},
		"an instance as its name ends":            {"instance:" + strings.TrimPrefix(ekOf("alpha1"), "ek:"), false},
		"a host in upper case":                    {"host:" + strings.ToUpper(chip), false},
		"an instance in upper case, round stores": {"instance:" + strings.ToUpper(ekOf("alpha1")), true},
		"a host in upper case, round stores":      {"host:" + strings.ToUpper(chip), true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil).fleet()
			w.store.reads.Store(row.direct)
			wanted := order(row.target)
			wanted.Direct = row.direct
			if _, err := w.authority.Quarantine(t.Context(), anna, wanted); err != nil {
				t.Fatal(err)
			}
			w.wantGrant("alpha1", false)
		})
	}
}

// TestScopeInstance holds the hardware and leaves the name.
func TestScopeInstance(t *testing.T) {
	w := newWorld(t, nil).fleet()
	wanted := order(string(idOf("alpha1")))
	wanted.Scope = revocation.ScopeInstance
	receipt, err := w.authority.Quarantine(t.Context(), anna, wanted)
	if err != nil || !slices.Equal(receipt.Bars, []string{"instance:" + ekOf("alpha1")}) {
		t.Fatalf("%+v (%v)", receipt, err)
	}
	w.wantGrant("alpha1", false)
	other := w.seen("alpha1", "blue", 1)
	other.ID = idOf("newname")
	if got := w.attest(other); got.Barred == nil {
		t.Error("the hardware passes under another name")
	}
}

// TestStoreDown: an order that could not be made durable is not acknowledged. neg: 179
func TestStoreDown(t *testing.T) {
	w := newWorld(t, nil).fleet()
	w.store.writes.Store(true)
	_, err := w.authority.Quarantine(t.Context(), anna, order(string(idOf("alpha1"))))
	var undecided *attestd.UndecidedError
	if !errors.As(err, &undecided) || undecided.Class != attestd.ClassStoreUnavailable {
		t.Errorf("%v", err)
	}
	if w.authority.Journaled() != 0 || len(subjectBars(t, w)) != 0 {
		t.Error("something was held by an order that failed")
	}
}

func subjectBars(t *testing.T, w *world) []subject.Bar {
	t.Helper()
	bars, _, err := w.store.Bars(t.Context(), subject.Filter{Tenants: []string{"*"}, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	return bars
}

// TestShortNamesLookAtOwnTenantsAlone: what others have neither makes a beginning ambiguous nor is
// named in the answer. neg: 188
func TestShortNamesLookAtOwnTenantsAlone(t *testing.T) {
	w := newWorld(t, nil)
	w.attest(w.seen("shared1", "blue", 1))
	w.attest(w.seen("shared2", "red", 1))
	receipt, err := w.authority.Quarantine(t.Context(), blue, order(ekOf("shared1")[:15]))
	if err != nil || len(receipt.Subjects) != 1 || receipt.Subjects[0].ID != idOf("shared1") {
		t.Errorf("%+v (%v)", receipt.Subjects, err)
	}
	w.attest(w.seen("shared2", "red", 1))
	w.wantState("shared2", attestd.StateTrusted)
}

// TestBarsOfAllTenantsAreLiftedByThose: the tenant that a held machine is enrolled for later does not
// lift what an operator of all tenants laid on it.
func TestBarsOfAllTenantsAreLiftedByThose(t *testing.T) {
	w := newWorld(t, nil).fleet()
	target := order("instance:" + ekOf("omega2"))
	if _, err := w.authority.Quarantine(t.Context(), anna, target); err != nil {
		t.Fatal(err)
	}
	key := subject.Key{Kind: string(subject.BarInstance), Value: ekOf("omega2")}
	err := w.store.Store.Write(t.Context(), subject.Write{
		Owners: []subject.OwnershipWrite{{Key: key, Next: &subject.Ownership{
			Key: key, Tenant: "blue", Method: subject.MethodInventory, Status: subject.StatusApproved,
			Source: "list.csv", CreatedAt: w.now(),
		}}},
		Audit: w.records("quarantine"),
	})
	if err != nil {
		t.Fatal(err)
	}
	target.Reimaged = "CHG-1"
	_, err = w.authority.Release(t.Context(), blue, target)
	wantClass(t, err, attestd.ClassForbidden)
	if bars := subjectBars(t, w); len(bars) != 1 {
		t.Errorf("bars %v", bars)
	}
	if _, err = w.authority.Release(t.Context(), ben, target); err != nil {
		t.Error(err)
	}
}
