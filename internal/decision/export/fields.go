package export

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/attestd/attestd/internal/decision/journal"
)

// Field is one value of a record as every form has it.
type Field struct{ Name, Value string }

// Names of fields, in the order of [Fields].
var names = []string{
	"decision_id", "decision", "reason", "detail", "subject", "source", "tenant", "enforcer", "via", "action",
	"resource_type", "resource_id", "resource_tenant", "prompt_id", "subject_chain", "dataset_scope",
	"policy_snapshot", "atlas_mapping", "atlas_version", "policy_digest", "policies", "attested", "state",
	"risk_score", "risk_tier", "risk_epoch", "request_id", "trace_id", "span_id", "took_us", "count", "engine",
}

// Names returns the names of all fields.
func Names() []string { return append([]string(nil), names...) }

// Fields returns the values of a record that are not empty.
func Fields(record *journal.Record) []Field {
	values := map[string]string{
		"decision_id": record.ID.String(), "decision": record.Decision, "reason": string(record.Reason),
		"subject": string(record.Subject), "tenant": record.Tenant, "enforcer": record.Enforcer,
		"action": record.Action, "resource_type": record.Resource.Type, "resource_id": record.Resource.ID,
		"resource_tenant": record.Resource.Tenant, "prompt_id": record.PromptID,
		"subject_chain": list(len(record.Chain), record.Chain), "dataset_scope": list(len(record.Datasets), record.Datasets),
		"policy_snapshot": record.ID.String(), "atlas_mapping": list(len(record.ATLAS), record.ATLAS),
		"atlas_version": record.ATLASVersion, "policy_digest": record.Policy, "engine": record.Engine,
		"took_us": strconv.FormatInt(record.Took, 10),
	}
	if record.Folded() {
		values["count"] = strconv.FormatInt(record.Count, 10)
	}
	if result := record.Result; result != nil {
		values["policies"] = strings.Join(result.Policies, ",")
		if len(result.Reasons) > 0 {
			values["detail"] = result.Reasons[0].Detail
		}
	}
	if in := record.Input; in != nil {
		values["via"], values["request_id"] = string(in.Via), in.Context.RequestID
		values["attested"], values["state"] = strconv.FormatBool(in.Standing.Attested), in.Standing.State.String()
		values["risk_score"], values["risk_tier"] = in.Standing.Risk.String(), in.Standing.Tier.String()
		values["risk_epoch"] = strconv.FormatUint(in.Standing.Epoch, 10)
		if in.Source.IsValid() {
			values["source"] = in.Source.String()
		}
		if trace, ok := parseTrace(in.Context.Trace); ok {
			values["trace_id"], values["span_id"] = trace.trace, trace.span
		}
	}
	fields := make([]Field, 0, len(names))
	for _, name := range names {
		if value := values[name]; value != "" {
			fields = append(fields, Field{Name: name, Value: value})
		}
	}
	return fields
}

// list writes a list as JSON; empty for none.
func list(length int, values any) string {
	if length == 0 {
		return ""
	}
	text, err := json.Marshal(values)
	if err != nil {
		return "" // lists of texts always can be written
	}
	return string(text)
}

// parent is the span that a question came from.
type parent struct {
	trace, span string
	sampled     bool
}

// parseTrace reads a traceparent (W3C Trace Context, level 1, section 3.2.2): version 00 alone, and
// neither id all zeros.
func parseTrace(text string) (parent, bool) {
	if len(text) != 55 || text[:3] != "00-" || text[35] != '-' || text[52] != '-' {
		return parent{}, false
	}
	one := parent{trace: text[3:35], span: text[36:52]}
	flags, err := strconv.ParseUint(text[53:], 16, 8)
	if err != nil || !lowHex(text[53:]) || !lowHex(one.trace) || !lowHex(one.span) ||
		strings.Trim(one.trace, "0") == "" || strings.Trim(one.span, "0") == "" {
		return parent{}, false
	}
	one.sampled = flags&1 == 1
	return one, true
}

func lowHex(text string) bool {
	return strings.Trim(text, "0123456789abcdef") == ""
}
