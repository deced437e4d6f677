package issuance

import (
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/svidext"
)

// Claim is one claim that attestd adds to JWT-SVIDs. Numbers are integers below 10^6 and times are
// strings: SPIRE takes every other number through a float, and writes 10^6 and more as 1e+06.
type Claim struct {
	Name, Type, Meaning string
	// Risk says that only the configured audiences get it.
	Risk bool
	// Always says that it is there for whoever may have it.
	Always bool
}

// Claims are all that there are, in the order of docs/svid-claims.md.
func Claims() []Claim {
	return []Claim{
		{
			Name: claimAttested, Type: "boolean", Always: true,
			Meaning: "every node that could have obtained the SVID was attested by attestd",
		},
		{
			Name: claimScore, Type: "integer, 0 to 100", Risk: true, Always: true,
			Meaning: "the worst risk of the nodes entitled to the id; below 70 where `attested`, else 100",
		},
		{
			Name: claimTier, Type: "`low`, `medium` or `unknown`", Risk: true, Always: true,
			Meaning: "the score in words",
		},
		{
			Name: claimStatus, Type: "`affirming`, `warning` or `none`", Risk: true, Always: true,
			Meaning: "the tier as an EAR status (draft-ietf-rats-ear-03, section 3.2)",
		},
		{
			Name: claimAt, Type: "string, RFC 3339 in UTC",
			Meaning: "when the oldest evidence that counts was judged",
		},
		{
			Name: claimTEE, Type: "string", Meaning: "the format of the evidence, or `mixed`",
		},
		{
			Name: claimTenant, Type: "string",
			Meaning: "whose the nodes are; absent where they are not all one tenant's",
		},
		{
			Name: claimGrade, Type: "`resident`, `bound` or `none`",
			Meaning: "how the weakest of the nodes holds its agent's key: in the TPM, named in the " +
				"evidence, or neither",
		},
		{
			Name: claimMeasurement, Type: "string",
			Meaning: "the reference value that the nodes' software matches; absent where it is not one " +
				"for all",
		},
		{
			Name: claimDevices, Type: "string",
			Meaning: "the parts of composed evidence, as in `cpu.sev-snp_vtpm.tpm`; absent where a node's " +
				"evidence was of one device or the nodes differ",
		},
		{
			Name: claimEdge, Type: "`none`, `simultaneous`, `measured` or `cryptographic`",
			Meaning: "the weakest tie between the parts on any of the nodes; absent where a node's evidence " +
				"was of one device",
		},
		{
			Name: ClaimDegraded, Type: "boolean, true",
			Meaning: "attestd could not be asked: this is what held up to a minute before (`spire.degraded`)",
		},
	}
}

// ClaimDegraded is set by a composer that goes on by what it was handed before.
const ClaimDegraded = "attestd_degraded"

// Names of claims.
const (
	claimAttested    = "attested"
	claimScore       = "risk_score"
	claimTier        = "risk_tier"
	claimStatus      = "ear_status"
	claimAt          = "attested_at"
	claimTEE         = "tee"
	claimTenant      = "tenant"
	claimGrade       = "key_grade"
	claimMeasurement = "measurement"
	claimDevices     = "devices"
	claimEdge        = "weakest_edge"
)

// reserved reports whether a claim of that name is not for whoever asks for a ticket to set.
func reserved(name string) bool {
	registered := []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"} // RFC 7519, section 4.1
	return slices.Contains(registered, name) ||
		slices.ContainsFunc(Claims(), func(c Claim) bool { return c.Name == name })
}

// statement is what a credential says of the nodes that it rests on. The zero statement says that
// nothing was attested, with the worst risk.
type statement struct {
	attested bool
	risk     attestd.RiskScore
	tier     attestd.Tier
	at       time.Time
	// tee, tenant and measurement are empty where they are not known or differ.
	tee, tenant, measurement string
	// devices is empty as measurement is. edge is the weakest, and composed says that all of the nodes
	// have one.
	devices  string
	edge     attestd.Grade
	composed bool
	grade    wire.Grade
	// due is the earliest that evidence of one of the nodes is due; zero for none.
	due time.Time
	n   int
}

const mixed = "mixed"

// add takes a node that is entitled into the statement: the worst of all counts.
func (s *statement) add(node live.Standing, shown facts) {
	shown = shown.of(node.EvidenceAt)
	s.n++
	if s.n == 1 {
		s.attested, s.risk, s.at, s.due = true, node.Risk, node.EvidenceAt, node.DueAt
		s.tee, s.tenant = string(node.Format), node.Tenant
		s.measurement, s.grade = shown.measurement, worse(shown.grade, wire.GradeResident)
		s.devices, s.edge, s.composed = shown.devices, shown.edge, shown.devices != ""
		return
	}
	if node.Risk.Int() > s.risk.Int() {
		s.risk = node.Risk
	}
	if node.EvidenceAt.Before(s.at) {
		s.at = node.EvidenceAt
	}
	if node.DueAt.Before(s.due) {
		s.due = node.DueAt
	}
	if s.tee != string(node.Format) {
		s.tee = mixed
	}
	if s.tenant != node.Tenant {
		s.tenant = ""
	}
	if s.measurement != shown.measurement {
		s.measurement = ""
	}
	if s.devices != shown.devices {
		s.devices = ""
	}
	s.edge, s.composed = min(s.edge, shown.edge), s.composed && shown.devices != ""
	s.grade = worse(s.grade, shown.grade)
}

// close ends the statement. Others are nodes that could have obtained the id too and that nobody
// attested: it then says that nothing is known, and is held to the times of those that are.
func (s *statement) close(others bool) {
	if others || s.n == 0 {
		*s = statement{due: s.due, n: s.n}
		return
	}
	s.tier = s.risk.Tier()
}

// status is the tier as an EAR status.
func (s *statement) status() string {
	switch s.tier {
	case attestd.TierLow:
		return "affirming"
	case attestd.TierMedium:
		return "warning"
	default:
		return "none"
	}
}

// claims are those of a JWT-SVID.
func (s *statement) claims(risk bool) map[string]any {
	out := map[string]any{claimAttested: s.attested}
	if risk {
		out[claimScore] = s.risk.Int()
		out[claimTier] = s.tier.String()
		out[claimStatus] = s.status()
	}
	if !s.attested {
		return out
	}
	out[claimAt] = s.at.UTC().Format(time.RFC3339)
	out[claimGrade] = word(string(s.grade))
	for name, value := range map[string]string{
		claimTEE: s.tee, claimTenant: s.tenant, claimMeasurement: s.measurement,
		claimDevices: s.devices,
	} {
		if value != "" {
			out[name] = word(value)
		}
	}
	if s.composed {
		out[claimEdge] = s.edge.String()
	}
	return out
}

// extension is that of an X.509-SVID.
func (s *statement) extension(risk bool) ([]byte, error) {
	info := svidext.Info{Attested: s.attested}
	if risk {
		info.RiskShown, info.Risk, info.Tier, info.Status = true, s.risk, s.tier, s.status()
	}
	if s.attested {
		info.AttestedAt, info.TEE, info.Tenant = s.at, word(s.tee), word(s.tenant)
		info.KeyGrade, info.Measurement = word(string(s.grade)), word(s.measurement)
	}
	return info.Marshal()
}

// tells reports whether all of the audiences get claims about risk: a token is read by every one of
// them. An X.509-SVID has none, and is read by everybody.
func (o *Office) tells(audience []string) bool {
	if slices.Contains(o.config.Audiences, "*") {
		return true
	}
	for _, one := range audience {
		if !slices.Contains(o.config.Audiences, one) {
			return false
		}
	}
	return len(audience) != 0
}
