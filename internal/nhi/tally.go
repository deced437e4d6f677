package nhi

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// ReportSchema is the form of a [Report].
const ReportSchema = "attestd.inventory-report.v1"

// Report is what an inventory comes to: who there is, what for, and what is wrong with it.
type Report struct {
	Schema string    `json:"schema"`
	At     time.Time `json:"at"`
	// Records is how many there are; Retired of them are counted in Lifecycles alone.
	Records int `json:"records"`
	Retired int `json:"retired"`

	Kinds       []Count `json:"by_kind"`
	Purposes    []Count `json:"by_purpose"`
	Zones       []Count `json:"by_zone"`
	Tenants     []Count `json:"by_tenant"`
	Credentials []Count `json:"by_credential"`
	Lifecycles  []Count `json:"by_lifecycle"`
	// Findings counts what lint finds, the worst first; what it does not find is left out.
	Findings []Count `json:"findings"`
	// Permanent is the share of permanent credentials among records whose kind of credential is
	// known, in percent; Unclassified are those whose is not.
	Permanent    float64 `json:"permanent_percent"`
	Unclassified int     `json:"unclassified_credentials"`
	// Unbound, Unattested and Unrecorded are who is bound to no policy, who has no attested node
	// behind it of those with a SPIFFE ID, and who is attested without a record.
	Unbound    int `json:"unbound"`
	Unattested int `json:"unattested"`
	Unrecorded int `json:"unrecorded"`
	// Oldest are the records that were written longest ago; Stalest the identities that were
	// attested longest ago.
	Oldest  []Dated `json:"oldest_records"`
	Stalest []Dated `json:"oldest_attestations"`
	// PoliciesKnown says whether the names of policies could be compared with those in force.
	PoliciesKnown bool `json:"policies_known"`
}

// Count is how many there are of a name; "" is those that say none.
type Count struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

// Dated is an identity with a time.
type Dated struct {
	ID     string    `json:"id"`
	Tenant string    `json:"tenant,omitempty"`
	At     time.Time `json:"at"`
}

// oldest is how many of the oldest are listed.
const oldest = 10

// maxNames is how many names one count tells apart; the rest are one.
const maxNames = 200

// otherNames stands for the names beyond maxNames. No name can be spelled so.
const otherNames = "(others)"

// Tally makes a report of records, one after the other. The zero Tally is empty.
type Tally struct {
	records, retired, permanent, classified, unclassified, unbound, unattested, unrecorded int

	kinds, purposes, zones, tenants, credentials, lifecycles, findings map[string]int
	oldest, stalest                                                    []Dated
}

// Add counts a record with what lint found about it.
func (t *Tally) Add(record *Record, seen Seen, found []Finding) {
	t.records++
	count(&t.lifecycles, string(record.Lifecycle))
	t.find(found)
	if record.Lifecycle == LifecycleRetired {
		t.retired++
		return
	}
	count(&t.kinds, Kind(record.ID))
	count(&t.purposes, string(record.Purpose))
	count(&t.zones, string(record.Zone))
	count(&t.tenants, record.Tenant)
	count(&t.credentials, string(record.Credential))
	switch record.Credential {
	case "":
		t.unclassified++
	case CredentialPermanent:
		t.permanent++
		t.classified++
	default:
		t.classified++
	}
	if record.Policy == "" {
		t.unbound++
	}
	if Kind(record.ID) == "spiffe" && !seen.Attested {
		t.unattested++
	}
	t.oldest = keepOldest(t.oldest, Dated{record.ID, record.Tenant, record.Updated})
	t.stalest = keepOldest(t.stalest, Dated{record.ID, record.Tenant, seen.AttestedAt})
}

// Unrecorded counts an identity that is attested and has no record.
func (t *Tally) Unrecorded(found Finding) {
	t.unrecorded++
	t.find([]Finding{found})
}

func (t *Tally) find(found []Finding) {
	for _, one := range found {
		count(&t.findings, string(one.Code))
	}
}

func count(of *map[string]int, name string) {
	if *of == nil {
		*of = map[string]int{}
	}
	if _, there := (*of)[name]; !there && len(*of) >= maxNames {
		name = otherNames
	}
	(*of)[name]++
}

func keepOldest(list []Dated, one Dated) []Dated {
	if one.At.IsZero() {
		return list
	}
	if len(list) == oldest && !one.At.Before(list[oldest-1].At) {
		return list
	}
	at, _ := slices.BinarySearchFunc(list, one, func(a, b Dated) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(a.ID, b.ID))
	})
	list = slices.Insert(list, at, one)
	return list[:min(len(list), oldest)]
}

// Report returns what was counted.
func (t *Tally) Report(at time.Time) Report {
	out := Report{
		Schema: ReportSchema, At: at, Records: t.records, Retired: t.retired,
		Kinds: most(t.kinds), Purposes: most(t.purposes), Zones: most(t.zones), Tenants: most(t.tenants),
		Credentials: most(t.credentials), Lifecycles: most(t.lifecycles), Findings: t.worst(),
		Unclassified: t.unclassified, Unbound: t.unbound, Unattested: t.unattested,
		Unrecorded: t.unrecorded, Oldest: t.oldest, Stalest: t.stalest,
	}
	if t.classified > 0 {
		// One decimal, so that the same inventory is the same text everywhere.
		out.Permanent = float64((t.permanent*1000+t.classified/2)/t.classified) / 10
	}
	for _, list := range []*[]Dated{&out.Oldest, &out.Stalest} {
		if *list == nil {
			*list = []Dated{}
		}
	}
	return out
}

// worst returns what was found, the worst first.
func (t *Tally) worst() []Count {
	out := []Count{}
	for _, spec := range findingSpecs {
		if n := t.findings[string(spec.Code)]; n > 0 {
			out = append(out, Count{string(spec.Code), n})
		}
	}
	return out
}

func most(of map[string]int) []Count {
	out := make([]Count, 0, len(of))
	for name, n := range of {
		out = append(out, Count{name, n})
	}
	slices.SortFunc(out, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Name, b.Name))
	})
	return out
}
