package extauthz

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/attestd/attestd/internal/decision"
)

// Headers that go to the upstream with a request that is allowed, and to the caller with one that is not.
const (
	HeaderSubject  = "x-attestd-subject"
	HeaderTenant   = "x-attestd-tenant"
	HeaderTier     = "x-attestd-risk-tier"
	HeaderDecision = "x-attestd-decision-id"
	HeaderReason   = "x-attestd-reason"

	headerPrefix = "x-attestd-"
)

// ours are all of them: one that an answer does not set is removed, in any case.
var ours = []string{HeaderSubject, HeaderTenant, HeaderTier, HeaderDecision, HeaderReason}

// allow makes the answer that lets a request through.
func allow(asked question, answer *decision.Answer, public bool) *authv3.CheckResponse {
	var set []*corev3.HeaderValueOption
	for _, one := range [...]struct{ name, value string }{
		{HeaderSubject, string(answer.Input.Who.ID)}, {HeaderTenant, answer.Input.Standing.Tenant},
		{HeaderTier, answer.Input.Standing.Tier.String()}, {HeaderDecision, answer.ID.String()},
	} {
		if one.value != "" && isVisible(one.value) {
			set = append(set, header(one.name, one.value))
		}
	}
	return &authv3.CheckResponse{
		Status: &status.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: set, HeadersToRemove: toRemove(asked, set),
		}},
		DynamicMetadata: metadata(answer, public),
	}
}

// toRemove are the headers that the upstream must not see. Envoy removes after it has set, so what is set
// is not among them. Names of ours that are not set are listed whether or not the caller sent them: Envoy
// can be told to send us a part of the headers only.
func toRemove(asked question, set []*corev3.HeaderValueOption) []string {
	var out []string
	add := func(name string) {
		isSet := slices.ContainsFunc(set, func(one *corev3.HeaderValueOption) bool {
			return one.GetHeader().GetKey() == name
		})
		if !isSet && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for _, name := range ours {
		add(name)
	}
	asked.sent.names(func(name string) {
		if strings.HasPrefix(name, headerPrefix) {
			add(name)
		}
	})
	// A token for attestd is worth as much to the upstream as to the caller.
	if asked.ask.Credential.Token != "" && !asked.says.keepToken {
		add(asked.says.TokenHeader)
	}
	return out
}

// deny makes the answer that refuses a request. What the caller is told is what the code means; details
// are in the record, for those who may see the subject.
func deny(
	code decision.Code, answer *decision.Answer, wait time.Duration, shown, public bool,
) *authv3.CheckResponse {
	spec := decision.SpecOf(code)
	headers := []*corev3.HeaderValueOption{
		header("content-type", "application/problem+json"), header("cache-control", "no-store"),
		header(HeaderReason, string(spec.Code)),
	}
	body := problem{Title: "Denied", Status: spec.Status, Reason: spec.Code, Detail: spec.Meaning}
	if answer != nil {
		body.Decision = answer.ID.String()
		headers = append(headers, header(HeaderDecision, body.Decision))
	}
	if challenge := challengeOf(spec, answer, shown); challenge != "" {
		headers = append(headers, header("www-authenticate", challenge))
	}
	if spec.Status == http.StatusTooManyRequests || spec.Status == http.StatusServiceUnavailable {
		headers = append(headers, header("retry-after", seconds(wait)))
	}
	document, err := json.Marshal(body)
	if err != nil {
		document = nil // a struct of texts and a number: unreachable, and no reason to allow
	}
	return &authv3.CheckResponse{
		Status: &status.Status{Code: int32(grpcCode(spec.Status)), Message: string(spec.Code)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(spec.Status)}, //nolint:gosec // of our table
			Headers: headers, Body: string(document),
		}},
		DynamicMetadata: deniedMetadata(spec.Code, answer, public),
	}
}

// problem is the body of a denial (RFC 9457).
type problem struct {
	Title    string        `json:"title"`
	Status   int           `json:"status"`
	Reason   decision.Code `json:"reason"`
	Detail   string        `json:"detail"`
	Decision string        `json:"decision_id,omitempty"`
}

// challengeOf says how a caller authenticates (RFC 6750 section 3), or authenticates better (RFC 9470
// section 3).
func challengeOf(spec decision.Spec, answer *decision.Answer, shown bool) string {
	acr := ""
	if answer != nil {
		for _, one := range answer.Obligations {
			if one.Type == decision.ObligationStepUp {
				acr, _ = one.Properties["acr_value"].(string)
			}
		}
	}
	switch {
	case spec.Code == decision.CodeStepUp || spec.Code == decision.CodeStale:
		if acr == "" || strings.ContainsAny(acr, `"\`) || !isVisible(acr) {
			acr = decision.ACRHardwareFresh
		}
		return `Bearer error="insufficient_user_authentication", acr_values="` + acr + `"`
	case spec.Status != http.StatusUnauthorized:
		return ""
	case !shown: // RFC 6750 section 3.1: no error code for who has shown nothing
		return `Bearer realm="attestd"`
	default:
		return `Bearer realm="attestd", error="invalid_token"`
	}
}

// seconds returns whole seconds for Retry-After (RFC 9110 section 10.2.3), one at least.
func seconds(wait time.Duration) string {
	return strconv.FormatInt(max(1, int64((wait+time.Second-1)/time.Second)), 10)
}

func grpcCode(status int) codes.Code {
	switch status {
	case http.StatusBadRequest:
		return codes.InvalidArgument
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	case http.StatusInternalServerError:
		return codes.Internal
	default:
		return codes.PermissionDenied
	}
}

func header(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// metadata is what other filters and access logs read as envoy.filters.http.ext_authz. How a caller
// stands is in it where the enforcement point may see its tenant.
func metadata(answer *decision.Answer, public bool) *structpb.Struct {
	fields := map[string]*structpb.Value{
		"decision":    structpb.NewStringValue("allow"),
		"decision_id": structpb.NewStringValue(answer.ID.String()),
		"policy":      structpb.NewStringValue(answer.Policy),
	}
	if public && answer.Input != nil {
		fields["subject"] = structpb.NewStringValue(string(answer.Input.Who.ID))
		fields["tenant"] = structpb.NewStringValue(answer.Input.Standing.Tenant)
		fields["risk_score"] = structpb.NewNumberValue(float64(answer.Input.Standing.Risk.Int()))
		fields["risk_tier"] = structpb.NewStringValue(answer.Input.Standing.Tier.String())
	}
	return &structpb.Struct{Fields: fields}
}

func deniedMetadata(code decision.Code, answer *decision.Answer, public bool) *structpb.Struct {
	out := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	if answer != nil {
		out = metadata(answer, public)
	}
	out.Fields["decision"] = structpb.NewStringValue("deny")
	out.Fields["reason"] = structpb.NewStringValue(string(code))
	return out
}
