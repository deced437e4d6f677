package journal

import (
	"time"

	"github.com/google/uuid"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/subject"
)

// Schemas of the lines of a segment.
const (
	RecordSchema  = "attestd.decision.v1"
	FoldSchema    = "attestd.decision-fold.v1"
	SegmentSchema = "attestd.decision-segment.v1"
)

// ATLASVersion is the release of MITRE ATLAS whose techniques a record names.
const ATLASVersion = "5.6.1"

// Outcomes of a decision.
const (
	Allow = "allow"
	Deny  = "deny"
)

// States of a technique: whether a detector saw it, or a denial only suggests it.
const (
	Observed  = "observed"
	Suspected = "suspected"
)

// Technique is one of MITRE ATLAS.
type Technique struct {
	ID    string `json:"id"`
	State string `json:"state"`
}

// Ages are how old what each proof rests on was, in milliseconds.
type Ages struct {
	Who    int64 `json:"who"`
	What   int64 `json:"what"`
	Policy int64 `json:"policy"`
}

// Record is one line: a decision, or with FoldSchema a count of alike ones.
//
// Fields from PromptID to ATLAS are the telemetry of a decision. They stand in every record, empty where
// there is nothing, so that whoever reads them needs no second form.
type Record struct {
	Schema string `json:"schema"`
	// ID (policy_snapshot) is the decision's; that of a fold is the last decision's in it.
	ID uuid.UUID `json:"policy_snapshot"`
	// At is when it was decided; of a fold, when the first was.
	At       time.Time `json:"at"`
	Decision string    `json:"decision"`
	// Reason is the code that decided; empty for what is allowed.
	Reason decision.Code `json:"reason,omitempty"`
	// Subject is the caller; empty for nobody, "*" in a fold for several.
	Subject subject.ID `json:"subject,omitempty"`
	// Tenant is the caller's by the hardware that it runs on. Who may act for that tenant may read the
	// record; one without a tenant is for who may act for all.
	Tenant   string            `json:"tenant,omitempty"`
	Enforcer string            `json:"enforcer,omitempty"`
	Action   string            `json:"action,omitempty"`
	Resource decision.Resource `json:"resource,omitzero"`

	PromptID string             `json:"prompt_id"`
	Chain    []decision.Link    `json:"subject_chain"`
	Datasets []decision.Dataset `json:"dataset_scope"`
	ATLAS    []Technique        `json:"atlas_mapping"`
	// ATLASVersion is [ATLASVersion] of when it was written.
	ATLASVersion string `json:"atlas_version,omitempty"`

	// Policy is the digest of the policies that it was made by; Engine the version of attestd.
	Policy string `json:"policy_digest,omitempty"`
	Engine string `json:"engine,omitempty"`
	// Took is how long the decision took, in microseconds.
	Took int64 `json:"took_us"`
	Ages Ages  `json:"proof_ages_ms"`
	// Scrubbed says that what looked like a token, a key or a prompt was taken out of the input: a replay
	// can differ.
	Scrubbed bool `json:"scrubbed,omitempty"`

	// Count and Last are a fold's: how many alike decisions were not written by themselves, and when the
	// last one was.
	Count int64     `json:"count,omitempty"`
	Last  time.Time `json:"last,omitzero"`

	Input  *decision.Input  `json:"input,omitempty"`
	Result *decision.Result `json:"result,omitempty"`
}

// Folded reports whether the record counts alike decisions.
func (r *Record) Folded() bool { return r.Schema == FoldSchema }

// recordOf returns the record of an answer. It shares what the answer points to.
func recordOf(answer *decision.Answer, engine string) Record {
	in := answer.Input
	record := Record{
		Schema: RecordSchema, ID: answer.ID, At: in.At.UTC(), Decision: Deny, Reason: firstReason(answer),
		Subject: in.Who.ID, Tenant: in.Standing.Tenant, Enforcer: in.Enforcer, Action: in.Action.Name,
		Resource: in.Resource, PromptID: in.Context.PromptID, Chain: in.Context.Chain,
		Datasets: in.Resource.Datasets, ATLAS: techniques(answer), ATLASVersion: ATLASVersion,
		Policy: answer.Policy, Engine: engine, Took: answer.Took.Microseconds(),
		Ages: Ages{
			Who: answer.Proofs.Who.Age.Milliseconds(), What: answer.Proofs.What.Age.Milliseconds(),
			Policy: answer.Proofs.Policy.Age.Milliseconds(),
		},
		Input: in, Result: &answer.Result,
	}
	// They stand in the list of datasets already.
	record.Resource.Datasets = nil
	if answer.Allow {
		record.Decision = Allow
	}
	if record.Chain == nil {
		record.Chain = []decision.Link{}
	}
	if record.Datasets == nil {
		record.Datasets = []decision.Dataset{}
	}
	return record
}

func firstReason(answer *decision.Answer) decision.Code {
	switch {
	case answer.Allow:
		return ""
	case len(answer.Reasons) == 0:
		return decision.CodeInternal // a denial without a reason is a bug of ours
	default:
		return answer.Reasons[0].Code
	}
}

// techniques are those that the reasons of a denial suggest, and those that a detector saw, each once.
func techniques(answer *decision.Answer) []Technique {
	found := []Technique{}
	add := func(code decision.Code, state string) {
		for _, id := range decision.SpecOf(code).ATLAS {
			at := 0
			for at < len(found) && found[at].ID != id {
				at++
			}
			switch {
			case at == len(found):
				found = append(found, Technique{ID: id, State: state})
			case state == Observed:
				found[at].State = Observed
			}
		}
	}
	if !answer.Allow {
		for _, reason := range answer.Reasons {
			add(reason.Code, Suspected)
		}
	}
	for _, code := range answer.Input.Findings.Raised {
		add(code, Observed)
	}
	return found
}
