package nhi

import (
	"slices"
	"strings"
	"time"
)

// FindingCode names what lint finds. The set is closed.
type FindingCode string

// Findings, the worst first.
const (
	FindingConflict    FindingCode = "tenant-conflict"
	FindingRetired     FindingCode = "retired-in-use"
	FindingUnrecorded  FindingCode = "unrecorded"
	FindingPermanent   FindingCode = "permanent-credential"
	FindingNoTenant    FindingCode = "no-tenant"
	FindingNoPolicy    FindingCode = "no-policy"
	FindingBadPolicy   FindingCode = "unknown-policy"
	FindingNoPurpose   FindingCode = "no-purpose"
	FindingNoOwner     FindingCode = "no-owner"
	FindingNoZone      FindingCode = "no-zone"
	FindingBoundless   FindingCode = "boundless-reach"
	FindingNeverSeen   FindingCode = "never-seen"
	FindingNotAttested FindingCode = "not-attested"
)

// FindingSpec is what there is to say of a finding.
type FindingSpec struct {
	Code FindingCode
	// Meaning is for people; Remedy begins with a command where there is one.
	Meaning, Remedy string
}

var findingSpecs = []FindingSpec{
	{FindingConflict, "the record names another tenant than the hardware; decisions deny",
		"attestd subject import FILE with the right tenant, or settle whose the machine is: attestd enroll ls"},
	{FindingRetired, "the record says retired, and an attested node can still issue it; decisions deny",
		"remove its entry from SPIRE, or attestd subject import FILE with another lifecycle"},
	{FindingUnrecorded, "attested, and the inventory has no record of it; decisions deny",
		"attestd subject import FILE"},
	{FindingPermanent, "it authenticates with what does not end by itself",
		"give it an SVID or a token that ends, then import it with credential short-lived or attested"},
	{FindingNoTenant, "the record names no tenant; decisions deny", "attestd subject import FILE with tenant"},
	{FindingNoPolicy, "the record is bound to no policy; decisions deny",
		"attestd subject import FILE with policy"},
	{FindingBadPolicy, "the record names a policy that is not in force; decisions deny",
		"attestd policy show lists the names"},
	{FindingNoPurpose, "the record names no purpose", "attestd subject import FILE with purpose"},
	{FindingNoOwner, "nobody answers for it", "attestd subject import FILE with owner"},
	{FindingNoZone, "the record names no zone", "attestd subject import FILE with zone"},
	{FindingBoundless, "the blast radius is \"*\": everything there is",
		"name the tools and datasets that it needs"},
	{FindingNeverSeen, "no attested node ever stood behind it",
		"attestd why ID; attestd subject remove ID where it is none any more"},
	{FindingNotAttested, "no attested node stands behind it now", "attestd why ID"},
}

// FindingSpecs returns everything that lint can find, the worst first.
func FindingSpecs() []FindingSpec { return slices.Clone(findingSpecs) }

// Finding is one thing that lint found.
type Finding struct {
	Code   FindingCode `json:"code"`
	ID     string      `json:"id"`
	Tenant string      `json:"tenant,omitempty"`
	Detail string      `json:"detail,omitempty"`
}

// Seen is how an identity stands now, as far as attestd can tell. The zero Seen was never seen.
type Seen struct {
	// Attested says that attested nodes, and none else, stand behind it now.
	Attested bool
	// Tenant follows from the hardware; empty where it does not.
	Tenant     string
	AttestedAt time.Time
	// Unknown says that it could not be told.
	Unknown bool
}

// Lint returns what is wrong with one record beside how its identity stands. Known says whether a
// policy of that name is in force; where it is nil that cannot be told, and nothing is said of it.
// What of a retired record is empty does not matter any more.
func (r *Record) Lint(seen Seen, known func(policy string) bool) (found []Finding) {
	add := func(code FindingCode, detail string) {
		found = append(found, Finding{Code: code, ID: r.ID, Tenant: r.Tenant, Detail: detail})
	}
	spiffe := Kind(r.ID) == "spiffe"
	if r.Lifecycle == LifecycleRetired {
		if seen.Attested {
			add(FindingRetired, "attested "+stamp(seen.AttestedAt))
		}
		return found
	}
	if seen.Tenant != "" && r.Tenant != "" && seen.Tenant != r.Tenant {
		add(FindingConflict, "the hardware is "+seen.Tenant+"'s")
	}
	if r.Credential == CredentialPermanent {
		add(FindingPermanent, "from "+orNobody(r.Source))
	}
	for _, one := range []struct {
		empty bool
		code  FindingCode
	}{
		{r.Tenant == "", FindingNoTenant}, {r.Policy == "", FindingNoPolicy},
		{r.Purpose == "", FindingNoPurpose}, {r.Owner == "", FindingNoOwner}, {r.Zone == "", FindingNoZone},
	} {
		if one.empty {
			add(one.code, "")
		}
	}
	if r.Policy != "" && known != nil && !known(r.Policy) {
		add(FindingBadPolicy, r.Policy)
	}
	var boundless []string
	if slices.Contains(r.Tools, "*") {
		boundless = append(boundless, "tools")
	}
	if slices.Contains(r.Datasets, "*") {
		boundless = append(boundless, "datasets")
	}
	if boundless != nil {
		add(FindingBoundless, strings.Join(boundless, " and "))
	}
	switch {
	case !spiffe || seen.Unknown || seen.Attested:
	case seen.AttestedAt.IsZero():
		add(FindingNeverSeen, "")
	default:
		add(FindingNotAttested, "last "+stamp(seen.AttestedAt))
	}
	return found
}

func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }

func orNobody(source string) string {
	if source == "" {
		return "an unnamed source"
	}
	return source
}
