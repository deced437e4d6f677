package enrol

import (
	"time"

	"github.com/attestd/attestd/internal/subject"
)

// Standing says how it stands with a machine's owner. The zero Standing owns nothing.
type Standing string

// Standings.
const (
	StandingNone    Standing = "not-asked" // nothing names the machine
	StandingPending Standing = "pending"   // it waits for an operator
	StandingDenied  Standing = "denied"    // an operator said no
	StandingExpired Standing = "expired"   // it was ours until then
	StandingForeign Standing = "foreign"   // it is another tenant's, or two tenants'
	StandingOwned   Standing = "owned"
)

// Settlement is what the rows of a machine's keys come to.
type Settlement struct {
	Standing Standing
	// Owner is the ownership that Standing rests on; zero for none. Of a foreign machine it is not to
	// be shown to anybody who may not see its tenant.
	Owner subject.Ownership
	// Expect are the rows that this was decided upon, those that are not there too: a denial that
	// lands beside a verdict must not be missed.
	Expect []subject.OwnershipExpect
	// instance is the row of the machine's own key; zero where there is none.
	instance subject.Ownership
}

// Owned reports whether the machine is known to be the tenant's.
func (s Settlement) Owned() bool { return s.Standing == StandingOwned }

// Method returns how the machine is known to be ours; none unless it is.
func (s Settlement) Method() subject.Method {
	if s.Owned() {
		return s.Owner.Method
	}
	return subject.MethodNone
}

// Tenant returns whose the machine is; nobody's unless it is owned.
func (s Settlement) Tenant() string {
	if s.Owned() {
		return s.Owner.Tenant
	}
	return ""
}

// Enrolment says in a verdict how it stands where the machine is not owned. That it is another
// tenant's it does not say.
func (s Settlement) Enrolment() string {
	switch s.Standing {
	case StandingOwned:
		return ""
	case StandingPending, StandingDenied, StandingExpired:
		return string(s.Standing)
	default:
		return string(StandingNone)
	}
}

// Settle says whose the machine with those keys is, by the rows that the registry has of them, at that
// time. Tenant is the one that the evidence was judged for. A denial of any key wins over everything;
// then an owner that is another tenant, so that no key of several can move a machine across tenants;
// then the ownership of the first key that is owned. Rows of other keys do not count.
func Settle(
	keys []subject.Key, owners []subject.Ownership, tenant string, at time.Time,
) Settlement {
	made := Settlement{Standing: StandingNone}
	rank := map[Standing]int{
		StandingNone: 0, StandingPending: 1, StandingExpired: 2, StandingOwned: 3, StandingForeign: 4,
		StandingDenied: 5,
	}
	for _, key := range keys {
		row, found := rowOf(owners, key)
		made.Expect = append(made.Expect, subject.OwnershipExpect{Key: key, Expect: row.Generation})
		if !found {
			continue
		}
		if key.Kind == KindInstance {
			made.instance = row
		}
		if stands := standingOf(row, tenant, at); rank[stands] > rank[made.Standing] {
			made.Standing, made.Owner = stands, row
		}
	}
	return made
}

func standingOf(row subject.Ownership, tenant string, at time.Time) Standing {
	switch {
	case row.Status == subject.StatusDenied:
		return StandingDenied
	case row.Owns(at) && !ownMethod(row.Method):
		return StandingNone
	case row.Owns(at) && row.Tenant != tenant:
		return StandingForeign
	case row.Owns(at):
		return StandingOwned
	case row.Status == subject.StatusPending && row.Tenant == tenant && at.Before(row.ExpiresAt):
		return StandingPending
	case row.Status == subject.StatusApproved && row.Tenant == tenant:
		return StandingExpired
	default:
		return StandingNone
	}
}

func ownMethod(method subject.Method) bool {
	switch method {
	case subject.MethodInventory, subject.MethodCloud, subject.MethodEnrolment:
		return true
	default:
		return false
	}
}

func rowOf(owners []subject.Ownership, key subject.Key) (subject.Ownership, bool) {
	for _, row := range owners {
		if row.Key == key {
			return row, true
		}
	}
	return subject.Ownership{}, false
}
