package subject

import (
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/attestd/attestd"
)

// Observation is what evidence showed, once. The zero Observation proves nothing and moves nobody.
type Observation struct {
	// Proven says that signature, freshness and residency were shown, and against our own challenge.
	// Endorsement keys and chip ids are public: what is not proven says nothing about the machine it
	// names, and counts against whoever sent it.
	Proven bool
	// ID of the subject that the instance names; see [AgentID].
	ID       ID
	Format   attestd.Format
	Instance attestd.Handle
	// Boot and Host are empty where the evidence has none.
	Boot, Host string
	// Clock of the TPM; nil where there is none.
	Clock *Clock
	// Verdict by the policy of Tenant, with the ownership in it.
	Verdict attestd.Verdict
	Risk    attestd.RiskScore
	// Tenant that asked and whose policy judged.
	Tenant string
	// Owner is the ownership that counts, the zero Ownership for none; Owned are the rows that this
	// was decided upon.
	Owner Ownership
	Owned []OwnershipExpect

	AppraisalID string
	// Evidence is the SHA-256 of the evidence, Key that of the SubjectPublicKeyInfo it bound.
	Evidence, Key [32]byte
	// Source is the address it came from.
	Source string
	At     time.Time
	// Asked is when the challenge was issued that the evidence answers, which is older than whatever the
	// evidence says; zero for not known.
	Asked time.Time
	// Again says that stored evidence was judged again: nothing new was shown, and it is as old as it
	// was. It can take trust away and never gives it.
	Again bool
	// Detail says in a few words why the verdict is what it is, as in the ids of failed checks.
	Detail string
}

// Observe reads from a verdict what it says about a machine. The caller adds ID, Tenant, Owner, Owned,
// Key and Source. Facts that are missing or of another kind are not there.
func Observe(verdict attestd.Appraisal) Observation {
	seen := Observation{
		Format: verdict.Format, Verdict: verdict.Verdict, Risk: verdict.Risk, At: verdict.At,
		AppraisalID: verdict.ID, Detail: detailOf(verdict),
	}
	for _, handle := range verdict.Handles {
		switch handle.Kind {
		case attestd.HandleInstance:
			handle.Value = FoldHardware(BarInstance, handle.Value)
			seen.Instance = handle
		case attestd.HandleBoot:
			seen.Boot = FoldHardware(BarBoot, handle.Value)
		case attestd.HandleHost:
			seen.Host = handle.Value
		}
	}
	if digest, err := hex.DecodeString(verdict.EvidenceSHA256); err == nil && len(digest) == 32 {
		seen.Evidence = [32]byte(digest)
	}
	var facts struct {
		Clock  *uint64 `json:"clock"`
		Safe   bool    `json:"clock_safe"`
		Resets uint32  `json:"reset_count"`
	}
	verified := len(verdict.Claims) != 0 && string(verdict.Claims) != "null" &&
		json.Unmarshal(verdict.Claims, &facts) == nil
	seen.Proven = verified && verdict.Freshness == attestd.FreshnessBinding
	if verified && verdict.Format == attestd.FormatTPM && facts.Clock != nil {
		seen.Clock = &Clock{
			Milliseconds: *facts.Clock, Safe: facts.Safe, Resets: facts.Resets, Plain: seen.Boot != "",
		}
	}
	return seen
}

// detailOf names the checks that speak against it, worst first, at most three.
func detailOf(verdict attestd.Appraisal) string {
	out := verdict.Verdict.String()
	var named []attestd.CheckID
	for _, reason := range verdict.Reasons {
		if len(named) == 3 {
			break
		}
		if !slices.Contains(named, reason.Check) {
			named = append(named, reason.Check)
		}
	}
	for i, check := range named {
		if i == 0 {
			out += ": "
		} else {
			out += ", "
		}
		out += string(check)
	}
	return out
}

// Keys under which the machine can be barred: name, instance, boot and host, as far as it has them.
func (o Observation) Keys() []Key {
	return keysOf(o.ID, o.Instance.Value, o.Boot, o.Host)
}

// Keys under which the subject can be barred.
func (s Subject) Keys() []Key { return keysOf(s.ID, s.Instance.Value, s.Boot, s.Host) }

func keysOf(id ID, instance, boot, host string) []Key {
	keys := make([]Key, 0, 4)
	if id != "" {
		keys = append(keys, id.Key())
	}
	for _, key := range []Key{
		{string(BarInstance), instance}, {string(BarBoot), boot}, {string(BarHost), host},
	} {
		if key.Value != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// Mode says what attestd does by itself. The zero Mode is off.
type Mode string

// Modes. In every one of them a subject with grounds against it is suspect at once.
const (
	ModeOff    Mode = "off"
	ModeDryRun Mode = "dry-run"
	ModeOn     Mode = "on"
)

// Rules are what an installation decides.
type Rules struct {
	// Reattest is how long a verdict stands, Grace how long after that fresh evidence can be late.
	Reattest, Grace time.Duration
	// Bad and Good are how many verdicts in a row it takes: bad ones until evidence or key changes are
	// grounds, good ones until a suspect is trusted again. Less than 1 counts as 1.
	Bad, Good int
	// Codes are the grounds on which attestd quarantines by itself.
	Codes []Code
}

// Grounds are a reason to quarantine by itself. React makes a subject suspect on them at once, in the
// write of the verdict; the quarantine is whoever keeps the caps' matter.
type Grounds struct {
	ID     ID
	Tenant string
	Code   Code
	Source string
	Detail string
	// AppraisalID names the verdict that showed it.
	AppraisalID string
}

// Reaction is what follows from an observation.
type Reaction struct {
	// Write is to be carried out whatever the rest says; it may change nothing ([Write.Empty]).
	Write Write
	// Standing is what the verdict's document says.
	Standing attestd.Standing
	// Subject as it is after Write, nil where nobody is named or it is not the asking tenant's.
	Subject *Subject
	// Barred is the hold for which the caller gets no verdict; nil for none.
	Barred *Bar
	// Grounds for a quarantine, to be told to whoever may lay one once Write was carried out.
	Grounds []Grounds
}

// Empty reports whether the write changes nothing.
func (w Write) Empty() bool {
	return len(w.Subjects) == 0 && len(w.Bars) == 0 && len(w.Owners) == 0 && w.Token == nil &&
		w.NewToken == nil
}
