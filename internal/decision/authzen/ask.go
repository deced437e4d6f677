package authzen

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/enforcer"
)

// asker answers the questions of one request.
type asker struct {
	server    *Server
	from      *enforcer.Enforcer
	received  time.Time
	requestID string
	trace     string
}

// answers are those of several evaluations.
type answers struct {
	Evaluations []answer `json:"evaluations"`
}

func (a *asker) answerAll(ctx context.Context, asked *document) answers {
	out := answers{Evaluations: make([]answer, 0, len(asked.evaluations))}
	for _, one := range asked.evaluations {
		one = one.over(asked.question)
		next := answer{}
		if err := one.whole(); err != nil {
			next = failed(err)
		} else {
			next = a.answer(ctx, one)
		}
		out.Evaluations = append(out.Evaluations, next)
		if asked.over(next.Decision) {
			break
		}
	}
	return out
}

// answer asks for a decision, and puts it into AuthZEN's words.
func (a *asker) answer(ctx context.Context, asked question) answer {
	resource := *asked.resource
	if tenant := resource.Tenant; tenant != "" && !a.from.Speaks(tenant) {
		a.server.config.Log.WarnContext(ctx, "an enforcement point asked for a tenant that is not its own",
			"enforcer", a.from.Name(), "tenant", attestd.Excerpt(tenant, 80))
		refused := a.server.config.Decider.Decide(ctx, decision.Ask{
			Via: decision.ViaAuthZEN, Enforcer: a.from.Name(), Action: *asked.action, Resource: resource,
			Context: decision.Context{ExposureScore: -1, RequestID: a.requestID}, Received: a.received,
			Refused: decision.CodeTenantMismatch, RefusedDetail: "the enforcement point does not speak for the tenant",
		})
		return hidden(refused.ID.String())
	}
	labels := said{Context: decision.Context{ExposureScore: -1}}
	if asked.context != nil {
		labels = *asked.context
	}
	labels.RequestID = a.requestID
	if labels.Trace == "" {
		labels.Trace = a.trace
	}
	if !isTrace(labels.Trace) {
		labels.Trace = ""
	}
	credential, remark := a.credential(asked.subject)
	given := a.server.config.Decider.Decide(ctx, decision.Ask{
		Via: decision.ViaAuthZEN, Enforcer: a.from.Name(), Credential: credential,
		Action: *asked.action, Resource: resource, Context: labels.Context, Supported: labels.supported,
		Sees: a.from.Sees, Received: a.received, Deadline: a.received.Add(a.server.config.Deadline),
	})
	// The credential was read for its name before; what was verified must be the same.
	if given.Allow && (given.Input == nil || string(given.Input.Who.ID) != asked.subject.id) {
		a.server.config.Log.ErrorContext(ctx, "an allow is for another subject than was asked about",
			"enforcer", a.from.Name(), "decision", given.ID)
		return answer{Context: answerContext{Codes: []decision.Code{decision.CodeInternal}}}
	}
	if given.Input == nil {
		given.Input = &decision.Input{} // nobody was found out anything about
	}
	if !a.from.Sees(given.Input) {
		if given.Allow {
			return answer{Decision: true, Context: answerContext{
				Decision: given.ID.String(), Obligations: given.Obligations,
			}}
		}
		return hidden(given.ID.String())
	}
	return shown(&given, remark)
}

// hidden denies without a word about the caller: what is another tenant's has one answer, whether it is
// there or not.
func hidden(id string) answer {
	spec := decision.SpecOf(decision.CodeTenantMismatch)
	return answer{Context: answerContext{
		Decision: id, Codes: []decision.Code{spec.Code}, User: map[string]string{
			strconv.Itoa(spec.Status): spec.Meaning,
		},
	}}
}

// credential returns what the caller shows, or none where it shows nothing that could be subject.id's:
// that is a decision too, which denies and is recorded. The remark says why.
func (a *asker) credential(from *entity) (out decision.Credential, remark string) {
	if address, err := netip.ParseAddr(from.address); err == nil {
		out.Source = address.Unmap().WithZone("")
	}
	switch {
	case from.token != "":
		if claimed(from.token) != from.id {
			return out, "subject.id is not the sub of properties.token"
		}
		out.Token = from.token
	case len(from.x5c) != 0 && !a.from.Vouches():
		return out, "the enforcement point may not vouch for certificates (properties.x5c)"
	case len(from.x5c) != 0:
		chain := make([]*x509.Certificate, 0, len(from.x5c))
		for _, der := range from.x5c {
			certificate, err := x509.ParseCertificate(der)
			if err != nil {
				return out, "properties.x5c has what is no certificate"
			}
			chain = append(chain, certificate)
		}
		if uris := chain[0].URIs; len(uris) != 1 || uris[0].String() != from.id {
			return out, "subject.id is not the URI of properties.x5c"
		}
		out.Chain = chain
	default:
		return out, "subject has neither properties.token nor properties.x5c"
	}
	return out, ""
}

// claimed returns the sub of a token that nobody has verified: it is for turning away what cannot be of
// the subject that is named, and shows nothing. Empty for a token that is none.
func claimed(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Subject
}

// shown is the whole answer, for an enforcement point that speaks for the caller's tenant.
func shown(given *decision.Answer, remark string) answer {
	in := given.Input
	out := answer{Decision: given.Allow, Context: answerContext{
		Decision: given.ID.String(), Obligations: given.Obligations,
		Policy: &answerPolicy{Digest: given.Policy, IDs: given.Policies},
		Proofs: &answerProofs{
			Who: proofOf(given.Proofs.Who), What: proofOf(given.Proofs.What),
			Policy: proofOf(given.Proofs.Policy),
		},
	}}
	if in.Who.ID != "" {
		standing := in.Standing
		out.Context.Subject = &answerSubject{
			ID: string(in.Who.ID), Tenant: standing.Tenant, State: standing.State.String(),
			Risk: standing.Risk.Int(), Tier: standing.Tier.String(), Epoch: standing.Epoch,
			Attested: standing.Attested,
		}
		if !standing.AttestedAt.IsZero() {
			out.Context.Subject.AttestedAt = standing.AttestedAt.UTC().Format(time.RFC3339)
		}
	}
	if given.Allow {
		return out
	}
	reasons := given.Reasons
	if len(reasons) == 0 {
		reasons = []decision.Reason{{Code: decision.CodeInternal}}
	}
	for _, reason := range reasons {
		out.Context.Codes = append(out.Context.Codes, reason.Code)
	}
	spec := decision.SpecOf(reasons[0].Code)
	detail := spec.Meaning
	for _, more := range []string{reasons[0].Detail, remark} {
		if more != "" {
			detail += ": " + more
		}
	}
	status := strconv.Itoa(spec.Status)
	out.Context.Admin = map[string]string{status: attestd.Excerpt(detail, 300)}
	out.Context.User = map[string]string{status: spec.Meaning}
	out.Context.ATLAS = spec.ATLAS
	if wait := in.Findings.RetryAfter; wait > 0 && spec.Code == decision.CodeThrottled {
		out.Context.RetryAfter = seconds(wait)
	}
	return out
}
