package decide

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// Decision is what was decided. The zero Decision denies.
type Decision struct {
	Allow bool
	// Reason is the code that decided, as in "purpose_mismatch"; Reasons are all of them. docs/reference
	// lists them. A denial without one has the reason "internal".
	Reason  string
	Reasons []string
	// ID names the record: attestd decision show ID.
	ID string
	// Policy is the digest of the policies in force.
	Policy string
	// Obligations are what must be done with the answer, whatever it is.
	Obligations []Obligation
	// Subject is the caller, where attestd identified it; Tenant and RiskTier are how it stood.
	Subject, Tenant, RiskTier string
	// RetryAfter is when to ask again where that can help; else 0.
	RetryAfter time.Duration
}

// Types of obligations (AuthZEN, Obligations profile).
const (
	ObligationStepUp       = "step-up"
	ObligationNotification = "notification"
)

// Codes of reasons that enforcement points themselves give, of attestd's list.
const (
	reasonInternal        = "internal"
	reasonObligation      = "obligation_unsupported"
	reasonStepUp          = "step_up_required"
	reasonStale           = "attestation_stale"
	reasonUnauthenticated = "unauthenticated"
	reasonMalformed       = "malformed"
)

// Obligation is what an answer binds to.
type Obligation struct {
	Type string
	ID   string
	// Properties are what the type says more.
	Properties map[string]any
}

// Text returns a property that is a text; else the empty text.
func (o Obligation) Text(name string) string {
	text, _ := o.Properties[name].(string)
	return text
}

// bound denies where an answer binds to what nobody here carries out (Obligations profile, section "PEP
// Compliance Semantics": a PEP that cannot comply treats the answer as a denial).
func (d Decision) bound(supported []string) Decision {
	if !d.Allow {
		return d
	}
	for _, one := range d.Obligations {
		if !slices.Contains(supported, one.Type) {
			return d.refused(reasonObligation)
		}
	}
	return d
}

// refused is the decision as a denial for that reason.
func (d Decision) refused(reason string) Decision {
	d.Allow, d.Reason, d.Reasons = false, reason, append([]string{reason}, d.Reasons...)
	return d
}

// statuses are those codes whose HTTP status is not 403.
var statuses = map[string]int{
	reasonMalformed: http.StatusBadRequest, reasonInternal: http.StatusInternalServerError,
	reasonUnauthenticated: http.StatusUnauthorized, "token_expired": http.StatusUnauthorized,
	reasonStale: http.StatusUnauthorized, reasonStepUp: http.StatusUnauthorized,
	"throttled": http.StatusTooManyRequests, "bundle_unavailable": http.StatusServiceUnavailable,
	"state_unavailable": http.StatusServiceUnavailable, "policy_unavailable": http.StatusServiceUnavailable,
	"deadline": http.StatusServiceUnavailable, "records_unavailable": http.StatusServiceUnavailable,
}

// Status is the HTTP status that says the same: 200 where it allows, 401 where another credential or
// fresher evidence helps, 429 and 503 where time does, else 403.
func (d Decision) Status() int {
	if d.Allow {
		return http.StatusOK
	}
	if status, found := statuses[d.Reason]; found {
		return status
	}
	return http.StatusForbidden
}

// limits of an answer; a document of more is none of attestd's.
var limits = strict.JSONLimits{Bytes: maxAnswer, Depth: 16}

// object is a JSON object with its keys as they are written. encoding/json takes "Decision" for
// "decision", and of two equal keys the last; of an answer only one reading may be possible.
type object map[string]json.RawMessage

func readObject(document []byte) (object, error) {
	var out object
	if err := strict.DecodeJSON(document, limits, &out); err != nil {
		return nil, err
	}
	if out == nil {
		return nil, errors.New("json: null in place of an object")
	}
	return out, nil
}

// get reads a member that is there and not null; one that is absent leaves the target as it is.
func (o object) get(key string, into any) error {
	raw, found := o[key]
	if !found {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("json: %s: %s", key, attestd.Excerpt(err.Error(), 120))
	}
	return nil
}

func (o object) child(key string) (object, error) {
	raw, found := o[key]
	if !found {
		return object{}, nil
	}
	return readObject(raw)
}

// readDecision reads an answer (Authorization API 1.0 section 5.5): decision must be there and a bool.
func readDecision(document []byte) (Decision, error) {
	answer, err := readObject(document)
	if err != nil {
		return Decision{}, err
	}
	switch string(answer["decision"]) {
	case "true":
		return decisionOf(answer, true)
	case "false":
		return decisionOf(answer, false)
	default:
		return Decision{}, errors.New("json: decision is neither true nor false")
	}
}

func decisionOf(answer object, allow bool) (Decision, error) {
	out := Decision{}
	context, err := answer.child("context")
	if err != nil {
		return Decision{}, err
	}
	policy, policyErr := context.child("policy")
	caller, callerErr := context.child("subject")
	var seconds uint16
	var obligations []json.RawMessage
	if err := errors.Join(policyErr, callerErr,
		context.get("reason_codes", &out.Reasons), context.get("decision_id", &out.ID),
		context.get("retry_after", &seconds), context.get("obligations", &obligations),
		policy.get("digest", &out.Policy), caller.get("id", &out.Subject),
		caller.get("tenant", &out.Tenant), caller.get("risk_tier", &out.RiskTier),
	); err != nil {
		return Decision{}, err
	}
	out.RetryAfter = time.Duration(seconds) * time.Second
	for _, raw := range obligations {
		one, err := readObligation(raw)
		if err != nil {
			return Decision{}, err
		}
		out.Obligations = append(out.Obligations, one)
	}
	if !allow && len(out.Reasons) == 0 {
		out.Reasons = []string{reasonInternal}
	}
	if !allow {
		out.Reason = out.Reasons[0]
	}
	out.Allow = allow
	return out, nil
}

// readObligation reads one, whose properties stand beside type and id (the profile's draft of July 2026)
// or below "properties".
func readObligation(document []byte) (Obligation, error) {
	members, err := readObject(document)
	if err != nil {
		return Obligation{}, err
	}
	out := Obligation{Properties: make(map[string]any, len(members))}
	if err := errors.Join(members.get("type", &out.Type), members.get("id", &out.ID)); err != nil {
		return Obligation{}, err
	}
	if out.Type == "" {
		return Obligation{}, errors.New("json: an obligation has no type")
	}
	below, err := members.child("properties")
	if err != nil {
		return Obligation{}, err
	}
	for _, place := range []object{below, members} {
		for key, raw := range place {
			if key == "type" || key == "id" || key == "properties" {
				continue
			}
			var value any
			if err := json.Unmarshal(raw, &value); err != nil {
				return Obligation{}, fmt.Errorf("json: obligation: %s", attestd.Excerpt(err.Error(), 120))
			}
			out.Properties[key] = value
		}
	}
	return out, nil
}

// readDecisions reads the answer to a batch, which has as many as were asked.
func readDecisions(document []byte, want int) ([]Decision, error) {
	answer, err := readObject(document)
	if err != nil {
		return nil, err
	}
	var parts []json.RawMessage
	if err := answer.get("evaluations", &parts); err != nil {
		return nil, err
	}
	if len(parts) != want {
		return nil, fmt.Errorf("got %d decisions, want %d", len(parts), want)
	}
	out := make([]Decision, 0, want)
	for i, part := range parts {
		one, err := readDecision(part)
		if err != nil {
			return nil, fmt.Errorf("decision %d: %w", i, err)
		}
		out = append(out, one)
	}
	return out, nil
}

// problemDetail returns what a server says is wrong: a problem document, or a text as AuthZEN has it.
func problemDetail(body []byte) string {
	var problem struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(body, &problem) == nil && problem.Detail != "" {
		return problem.Detail
	}
	return attestd.Excerpt(string(body), 200)
}
