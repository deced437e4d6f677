package forward

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/enforcer"
)

// Headers of an answer. Those of an allow are for the upstream; each is set in every allow, so that a
// proxy that copies headers never leaves the caller's own in place of one that is missing.
const (
	HeaderSubject  = "X-Attestd-Subject"
	HeaderTenant   = "X-Attestd-Tenant"
	HeaderTier     = "X-Attestd-Risk-Tier"
	HeaderDecision = "X-Attestd-Decision-Id"
	HeaderReason   = "X-Attestd-Reason"
)

// unsaid stands where there is nothing to say.
const unsaid = "-"

// allow answers 204.
func allow(w http.ResponseWriter, answer *decision.Answer, sees bool) {
	tenant, tier := unsaid, unsaid
	if sees {
		tenant, tier = answer.Input.Standing.Tenant, answer.Input.Standing.Tier.String()
	}
	for _, one := range [...]struct{ name, value string }{
		{HeaderSubject, string(answer.Input.Who.ID)}, {HeaderTenant, tenant}, {HeaderTier, tier},
		{HeaderDecision, answer.ID.String()}, {HeaderReason, unsaid},
	} {
		if one.value == "" || !isVisible(one.value) {
			one.value = unsaid
		}
		w.Header().Set(one.name, one.value)
	}
	timing(w, answer.Took)
	w.WriteHeader(http.StatusNoContent)
}

// denial is an answer that refuses.
type denial struct {
	code decision.Code
	// answer is nil where nothing was decided.
	answer *decision.Answer
	wait   time.Duration
	// shown says that the caller showed something for a credential.
	shown bool
	from  *enforcer.Enforcer
}

// body is that of a denial (RFC 9457). What the caller is told is what the code means; details are in
// the record, for those who may see the subject.
type body struct {
	Title    string        `json:"title"`
	Status   int           `json:"status"`
	Reason   decision.Code `json:"reason"`
	Detail   string        `json:"detail"`
	Decision string        `json:"decision_id,omitempty"`
}

func (s *Server) deny(w http.ResponseWriter, d denial) {
	if d.answer != nil && d.answer.Input != nil && !d.from.Sees(d.answer.Input) {
		// Of another tenant's caller the proxy learns nothing, and its challenge would say something.
		d.code, d.wait = decision.CodeTenantMismatch, 0
	}
	spec := decision.SpecOf(d.code)
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Set(HeaderReason, string(spec.Code))
	out := body{Title: "Denied", Status: spec.Status, Reason: spec.Code, Detail: spec.Meaning}
	if d.answer != nil {
		out.Decision = d.answer.ID.String()
		header.Set(HeaderDecision, out.Decision)
		timing(w, d.answer.Took)
	}
	if spec.Status == http.StatusUnauthorized {
		header.Set("WWW-Authenticate", challenge(spec.Code, d))
	}
	if spec.Status == http.StatusTooManyRequests || spec.Status == http.StatusServiceUnavailable {
		header.Set("Retry-After", strconv.FormatInt(max(1, int64((d.wait+time.Second-1)/time.Second)), 10))
	}
	document, err := json.Marshal(out)
	if err != nil {
		document = nil // a struct of texts and a number: unreachable, and no reason to allow
	}
	w.WriteHeader(spec.Status)
	_, _ = w.Write(append(document, '\n'))
}

// challenge says how a caller authenticates (RFC 6750 section 3), or authenticates better (RFC 9470
// section 3).
func challenge(code decision.Code, d denial) string {
	if code == decision.CodeStepUp || code == decision.CodeStale {
		acr := ""
		if d.answer != nil {
			for _, one := range d.answer.Obligations {
				if one.Type == decision.ObligationStepUp {
					acr, _ = one.Properties["acr_value"].(string)
				}
			}
		}
		if acr == "" || strings.ContainsAny(acr, `"\`) || !isVisible(acr) {
			acr = decision.ACRHardwareFresh
		}
		return `Bearer error="insufficient_user_authentication", acr_values="` + acr + `"`
	}
	if !d.shown { // RFC 6750 section 3.1: no error code for who has shown nothing
		return `Bearer realm="attestd"`
	}
	return `Bearer realm="attestd", error="invalid_token"`
}

// timing says how long the decision took, in milliseconds (W3C Server Timing).
func timing(w http.ResponseWriter, took time.Duration) {
	w.Header().Set("Server-Timing",
		"attestd;dur="+strconv.FormatFloat(float64(took.Microseconds())/1000, 'f', 3, 64))
}

// isVisible reports whether text is printable ASCII: nothing that ends a header or begins another.
func isVisible(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}
