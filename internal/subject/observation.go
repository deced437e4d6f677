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
	// Hearsay says that the instance's name comes from a part of the machine that vouches for the key of
	// the others by what it runs, and that it was not shown to run what is known: whoever has such
	// hardware can start that part with another machine's name in it. It moves nobody, also accepted.
	Hearsay bool
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
	var facts tpmFacts
	verified := len(verdict.Claims) != 0 && string(verdict.Claims) != "null" &&
		json.Unmarshal(verdict.Claims, &facts) == nil
	seen.Proven = verified && verdict.Freshness == attestd.FreshnessBinding
	seen.Hearsay = hearsay(verdict)
	if verified {
		seen.Clock = clockOf(verdict)
	}
	return seen
}

// hearsay reports whether a device that vouches for another's key was not shown to run what is known, or
// its memory is open to its host. In evidence of one device, and where the other's key vouches for
// itself, there is none.
func hearsay(verdict attestd.Appraisal) bool {
	return slices.ContainsFunc(verdict.Edges, func(edge attestd.Edge) bool {
		return edge.Grade == attestd.GradeCryptographic &&
			(spokenAgainst(verdict, edge.From) || !vouched(verdict, edge.From))
	})
}

func spokenAgainst(verdict attestd.Appraisal, device string) bool {
	return slices.ContainsFunc(verdict.Reasons, func(r attestd.Reason) bool {
		return r.Device == device && (r.Check == checkMeasurement || r.Group == attestd.GroupDebug)
	})
}

// checkMeasurement is the check of a device's measurements.
const checkMeasurement attestd.CheckID = "measurement/known"

// vouched reports whether somebody answers for what a device runs. A paravisor of AMD's has a signer; a
// trust domain has none, so that there the policy must have asked, whatever it makes of the answer.
func vouched(verdict attestd.Appraisal, device string) bool {
	var whole struct {
		Signer string `json:"paravisor_signer"`
	}
	if json.Unmarshal(verdict.Claims, &whole) != nil || whole.Signer != "td" {
		return true
	}
	var part struct {
		Debug *bool `json:"debug"`
	}
	at := slices.IndexFunc(verdict.Devices, func(d attestd.DeviceAppraisal) bool { return d.Path == device })
	if at < 0 || json.Unmarshal(verdict.Devices[at].Claims, &part) != nil || part.Debug == nil || *part.Debug {
		return false
	}
	return slices.ContainsFunc(verdict.Checks, func(c attestd.Check) bool {
		return c.ID == checkMeasurement && c.Device == device && c.Result == attestd.ResultPass
	})
}

// tpmFacts are what a TPM states of its clock.
type tpmFacts struct {
	Clock     *uint64 `json:"clock"`
	Safe      bool    `json:"clock_safe"`
	Resets    uint32  `json:"reset_count"`
	Hierarchy string  `json:"ak_hierarchy"`
}

// clockOf returns the clock of the machine's TPM, whether its evidence stood alone or beside that of
// other devices; nil where there is none. Its counts are plain in the endorsement hierarchy alone.
func clockOf(verdict attestd.Appraisal) *Clock {
	var facts tpmFacts
	claims, found := verdict.PartOf(attestd.FormatTPM)
	if !found || json.Unmarshal(claims, &facts) != nil || facts.Clock == nil {
		return nil
	}
	return &Clock{
		Milliseconds: *facts.Clock, Safe: facts.Safe, Resets: facts.Resets,
		Plain: facts.Hierarchy == "endorsement",
	}
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
