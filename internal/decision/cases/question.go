package cases

import (
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/nhi"
)

// at is the time that every case is of: what a case comes to does not depend on when it is run.
var at = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Question returns what a case is where it says nothing: an agent of tenant a, attested a minute ago and
// bound to the policies called standard, reads a dataset of its own tenant. Its blast radius is open, so
// that a case denies by what it says and by nothing else.
func Question() decision.Input {
	const id = "spiffe://example.org/tenant/a/agent"
	return decision.Input{
		Schema: decision.InputSchema, At: at, Via: decision.ViaAuthZEN, Enforcer: "user:gateway",
		Who: decision.Who{
			ID: id, TrustDomain: "example.org", Method: decision.MethodJWT, Audience: []string{"attestd://decide"},
			IssuedAt: at.Add(-time.Minute), Expires: at.Add(5 * time.Minute), VerifiedAt: at,
		},
		Standing: decision.Standing{
			Attested: true, State: attestd.StateTrusted, Tenant: "a", Risk: attestd.Risk(10), Tier: attestd.TierLow,
			Status: "affirming", AttestedAt: at.Add(-time.Minute), DueAt: at.Add(time.Hour), TEE: "sev-snp",
			KeyGrade: "bound",
		},
		Record: &nhi.Record{
			ID: id, Tenant: "a", Project: "search", Owner: "team-a", Purpose: nhi.PurposeInference, Ring: "stable",
			Zone: nhi.ZoneTrusted, Tools: []string{"*"}, Datasets: []string{"*"}, Policy: "standard",
			Credential: nhi.CredentialAttested, Lifecycle: nhi.LifecycleActive,
		},
		Action:   decision.Action{Name: decision.ActionDataRead},
		Resource: decision.Resource{Type: "dataset", ID: "docs", Tenant: "a"},
		Context:  decision.Context{ExposureScore: -1, Connectivity: decision.ConnectivityUnknown},
		Findings: decision.Findings{Looked: true},
		Supported: []string{
			decision.ObligationStepUp, decision.ObligationNotification, decision.ObligationCustom,
		},
		Rules: decision.Rules{
			Fresh: 90 * time.Minute, FreshPrivileged: 15 * time.Minute, MaxChain: 8,
		},
	}
}
