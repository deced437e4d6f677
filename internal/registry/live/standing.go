package live

import (
	"fmt"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

// Standing is what holds for a subject at one moment. The zero Standing is unknown: it grants
// nothing.
type Standing struct {
	// ID as the registry spells it; as it was asked for where there is no such subject.
	ID subject.ID
	// Known says that there is a row.
	Known     bool
	Tenant    string
	Format    attestd.Format
	Ownership subject.Method
	// State is the worst of the subject's own, of the bars on anything it has, and of its deadline: a
	// trusted subject whose evidence is overdue is suspect from that moment on.
	State attestd.State
	// Barred says what kind of key a bar lies on; empty for no bar.
	Barred subject.BarKind
	// Overdue says that fresh evidence is late.
	Overdue bool
	Tier    attestd.Tier
	Risk    attestd.RiskScore
	// Epoch is the subject's risk_epoch, Generation that of its row.
	Epoch, Generation uint64
	DueAt, EvidenceAt time.Time
}

// Grants reports whether an identity may be issued: known, trusted, accepted and somebody's.
func (s Standing) Grants() bool {
	return s.Known && s.State.Grants() && s.Barred == "" && !s.Overdue && s.Tenant != "" &&
		s.Tier.Verdict() == attestd.VerdictAccepted && s.owned()
}

func (s Standing) owned() bool {
	switch s.Ownership {
	case subject.MethodInventory, subject.MethodCloud, subject.MethodEnrolment:
		return true
	default:
		return false
	}
}

// refusal says why nothing is granted, in words that a caller may see.
func (s Standing) refusal() *Refused {
	refused := &Refused{Standing: s, Kind: attestd.ClassPolicyDeny}
	switch {
	case s.State == attestd.StateQuarantined:
		refused.Kind = attestd.ClassQuarantined
		refused.Hint = "ask who runs attestd: a person releases it, after the machine began anew"
	case s.State == attestd.StateRevoked:
		refused.Kind = attestd.ClassRevokedSubject
		refused.Hint = "this name and hardware are barred for ever; enrol other hardware"
	case !s.Known:
		refused.Hint = "it has never given evidence that was accepted; attest it first"
	case s.Tenant == "" || !s.owned():
		refused.Hint = "enrol the machine: attestd enroll ls --pending"
	case s.Overdue:
		refused.Hint = "fresh evidence is late; attest the machine again"
	default:
		refused.Hint = "attestd why " + attestd.Excerpt(string(s.ID), 200)
	}
	return refused
}

// Refused says that nothing was granted. Its words name the state, not the grounds for it.
type Refused struct {
	Standing Standing
	// Kind is QUARANTINED, REVOKED_SUBJECT or POLICY_DENY.
	Kind attestd.Class
	// Hint says what to do.
	Hint string
}

// Error names the state.
func (e *Refused) Error() string {
	switch {
	case !e.Standing.Known && e.Standing.State == attestd.StateUnknown:
		return "no grant: the subject is unknown"
	case e.Standing.Barred != "":
		return fmt.Sprintf("no grant: the %s is %s", e.Standing.Barred, e.Standing.State)
	case e.Standing.Overdue:
		return "no grant: fresh evidence is overdue"
	case e.Standing.State.Grants():
		return "no grant: trusted, but nobody's or at too high a risk"
	default:
		return fmt.Sprintf("no grant: the subject is %s", e.Standing.State)
	}
}

// Class returns QUARANTINED, REVOKED_SUBJECT or POLICY_DENY.
func (e *Refused) Class() attestd.Class { return e.Kind }

// Counts are figures over the subjects of some tenants, by name of state, tier and format.
type Counts struct {
	States, Tiers, Formats map[string]int
	Subjects, Overdue      int
	// Oldest is the oldest evidence that a trusted subject stands on; zero where there is none.
	Oldest time.Time
}
