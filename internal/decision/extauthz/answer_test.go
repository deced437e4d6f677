package extauthz_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/extauthz"
)

func check(
	t *testing.T, d decision.Decider, from extauthz.Enforcer, change ...func(*authv3.AttributeContext),
) *authv3.CheckResponse {
	t.Helper()
	out, err := serve(t, d, from).Check(context.Background(), request(change...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAnAllowTellsTheUpstreamWhoItIs(t *testing.T) {
	response := check(t, saying(answered()), envoy,
		sent("x-attestd-reason", "forged"), sent("X-Attestd-Subject", "spiffe://example.org/admin"),
		sent("x-attestd-other", "forged"))
	ok := response.GetOkResponse()
	if response.GetStatus().GetCode() != int32(codes.OK) || ok == nil {
		t.Fatalf("got %v", response)
	}
	if diff := cmp.Diff(map[string]string{
		"x-attestd-subject": caller, "x-attestd-tenant": "acme", "x-attestd-risk-tier": "low",
		"x-attestd-decision-id": snapshot.String(),
	}, set(t, ok.Headers)); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	slices.Sort(ok.HeadersToRemove)
	if diff := cmp.Diff([]string{"authorization", "x-attestd-other", "x-attestd-reason"},
		ok.HeadersToRemove); diff != "" {
		t.Errorf("removed headers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{
		"decision": "allow", "decision_id": snapshot.String(), "policy": "sha256:ab", "subject": caller,
		"tenant": "acme", "risk_score": 7.0, "risk_tier": "low",
	}, response.GetDynamicMetadata().AsMap()); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
}

// TestHeadersOfOursAreNeverTheCallers: what an answer does not set is removed, whether or not Envoy sent
// us the header.
func TestHeadersOfOursAreNeverTheCallers(t *testing.T) {
	bare := answered()
	bare.Input.Standing.Tenant = "a\r\nx-attestd-risk-tier: low"

	removed := check(t, saying(bare), envoy).GetOkResponse().GetHeadersToRemove()
	for _, name := range []string{extauthz.HeaderTenant, extauthz.HeaderReason} {
		if !slices.Contains(removed, name) {
			t.Errorf("%s of a caller reaches the upstream", name)
		}
	}
	if slices.Contains(removed, extauthz.HeaderSubject) {
		t.Error("the subject is set and removed again")
	}
}

func TestTokensStayBehind(t *testing.T) {
	removes := func(name string, change ...func(*authv3.AttributeContext)) bool {
		return slices.Contains(check(t, saying(answered()), envoy, change...).GetOkResponse().GetHeadersToRemove(), name)
	}
	if !removes("authorization") {
		t.Error("the upstream gets the caller's token")
	}
	if !removes("x-agent", sent("x-agent", token), extension("credential", "token"), extension("token_header", "x-agent")) {
		t.Error("the upstream gets the caller's token in a header of its own")
	}
	if removes("authorization", extension("keep_token", "true")) {
		t.Error("a route that keeps the token loses it")
	}
}

// TestEveryDenialSaysWhy goes over all codes there are: none becomes an allow, an error of gRPC or an
// error_response, which Envoy could be told to let pass.
func TestEveryDenialSaysWhy(t *testing.T) {
	for _, spec := range decision.Specs() {
		answer := answered(spec.Code, decision.CodeRing)
		answer.Input.Findings.RetryAfter = 1500 * time.Millisecond
		response := check(t, saying(answer), envoy)
		denied := denial(t, response, nil)
		headers := set(t, denied.Headers)
		if int(denied.GetStatus().GetCode()) != spec.Status || headers["x-attestd-reason"] != string(spec.Code) ||
			headers["x-attestd-decision-id"] != snapshot.String() || headers["cache-control"] != "no-store" {
			t.Errorf("%s: status %d, headers %v", spec.Code, denied.GetStatus().GetCode(), headers)
		}
		if _, has := headers["www-authenticate"]; has != (spec.Status == http.StatusUnauthorized) {
			t.Errorf("%s: challenge %q with status %d", spec.Code, headers["www-authenticate"], spec.Status)
		}
		if waits := headers["retry-after"] == "2"; waits != (spec.Status == 429 || spec.Status == 503) {
			t.Errorf("%s: Retry-After %q with status %d", spec.Code, headers["retry-after"], spec.Status)
		}
		var body map[string]any
		if err := json.Unmarshal([]byte(denied.Body), &body); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]any{
			"title": "Denied", "status": float64(spec.Status), "reason": string(spec.Code),
			"detail": spec.Meaning, "decision_id": snapshot.String(),
		}, body); diff != "" {
			t.Errorf("%s: body (-want +got):\n%s", spec.Code, diff)
		}
		meta := response.GetDynamicMetadata().AsMap()
		if meta["decision"] != "deny" || meta["reason"] != string(spec.Code) || meta["tenant"] != "acme" {
			t.Errorf("%s: metadata %v", spec.Code, meta)
		}
		if code := codes.Code(response.GetStatus().GetCode()); code == codes.OK || //nolint:gosec // of our table
			(code == codes.Unavailable) != (spec.Status == 503) || (code == codes.Unauthenticated) != (spec.Status == 401) {
			t.Errorf("%s: status %s of gRPC", spec.Code, code)
		}
		if strings.Contains(response.String(), "for the record only") {
			t.Errorf("%s: the caller sees details: %v", spec.Code, response)
		}
	}
}

func TestChallengesSayWhatHelps(t *testing.T) {
	stepUp := func(acr any) decision.Answer {
		out := answered(decision.CodeStepUp)
		out.Obligations = []decision.Obligation{{
			Type: decision.ObligationStepUp, Properties: map[string]any{"acr_value": acr},
		}}
		return out
	}
	for name, row := range map[string]struct {
		answer decision.Answer
		change []func(*authv3.AttributeContext)
		want   string
	}{
		"nothing was shown": {answered(decision.CodeUnauthenticated),
			[]func(*authv3.AttributeContext){noToken}, `Bearer realm="attestd"`},
		"a token that is none": {answered(decision.CodeUnauthenticated), nil,
			`Bearer realm="attestd", error="invalid_token"`},
		"something that cannot be read": {answered(decision.CodeUnauthenticated),
			[]func(*authv3.AttributeContext){sent("authorization", "Basic x")},
			`Bearer realm="attestd", error="invalid_token"`},
		"a step-up": {stepUp("urn:a"), nil,
			`Bearer error="insufficient_user_authentication", acr_values="urn:a"`},
		"a step-up that would end the quotes": {stepUp(`a", realm="x`), nil,
			`Bearer error="insufficient_user_authentication", acr_values="urn:attestd:acr:hw-fresh"`},
		"a step-up that is no text": {stepUp(7), nil,
			`Bearer error="insufficient_user_authentication", acr_values="urn:attestd:acr:hw-fresh"`},
		"evidence that is old": {answered(decision.CodeStale), nil,
			`Bearer error="insufficient_user_authentication", acr_values="urn:attestd:acr:hw-fresh"`},
	} {
		got := set(t, denial(t, check(t, saying(row.answer), envoy, row.change...), nil).Headers)["www-authenticate"]
		if got != row.want {
			t.Errorf("%s: got %s, want %s", name, got, row.want)
		}
	}
}

// TestAllowsThatAreNone: neg: 176
func TestAllowsThatAreNone(t *testing.T) {
	bound := func(kind string) decision.Answer {
		out := answered()
		out.Obligations = []decision.Obligation{{Type: kind}}
		return out
	}
	nobody, noInput := answered(), answered()
	nobody.Input.Who.ID, noInput.Input = "", nil
	for name, row := range map[string]struct {
		answer decision.Answer
		want   decision.Code
	}{
		"the zero answer":               {decision.Answer{}, decision.CodeInternal},
		"an allow of nobody":            {nobody, decision.CodeInternal},
		"an allow without what it saw":  {noInput, decision.CodeInternal},
		"an allow after a step-up":      {bound(decision.ObligationStepUp), decision.CodeStepUp},
		"an allow that wants a message": {bound(decision.ObligationNotification), decision.CodeObligation},
		"an allow that wants something": {bound(""), decision.CodeObligation},
	} {
		headers := set(t, denial(t, check(t, saying(row.answer), envoy), nil).Headers)
		if headers["x-attestd-reason"] != string(row.want) {
			t.Errorf("%s: denied for %q, want %q", name, headers["x-attestd-reason"], row.want)
		}
	}
}

// TestTenantsOfEnforcementPoints: neg: 188
func TestTenantsOfEnforcementPoints(t *testing.T) {
	d := saying(answered())
	other := denial(t, check(t, d, envoy, extension("tenant", "umbrella")), nil)
	missing := denial(t, check(t, d, envoy, extension("tenant", "never-heard-of")), nil)
	if d.count() != 0 || other.String() != missing.String() {
		t.Errorf("asked %d times; another's tenant %v, none %v", d.count(), other, missing)
	}
	foreign := answered()
	foreign.Input.Standing.Tenant = "umbrella"
	for name, answer := range map[string]decision.Answer{"allow": foreign, "deny": func() decision.Answer {
		out := answered(decision.CodeTenantMismatch)
		out.Input = foreign.Input
		return out
	}()} {
		meta := check(t, saying(answer), envoy).GetDynamicMetadata().AsMap()
		for _, key := range []string{"subject", "tenant", "risk_score", "risk_tier"} {
			if meta[key] != nil {
				t.Errorf("%s: an enforcement point sees %s of another tenant's caller", name, key)
			}
		}
	}
}

func TestWhoIsNoEnforcementPointLearnsNothing(t *testing.T) {
	d := saying(answered())
	response, err := serve(t, d, nil).Check(context.Background(), request())
	if denied := denial(t, response, err); denied.GetStatus().GetCode() != 503 || d.count() != 0 {
		t.Errorf("got %v after %d questions", response, d.count())
	}
}

func TestEnforcementPointsHaveARate(t *testing.T) {
	hasty, d := envoy, saying(answered())
	hasty.wait = 1100 * time.Millisecond
	denied := denial(t, check(t, d, hasty), nil)
	if denied.GetStatus().GetCode() != 429 || set(t, denied.Headers)["retry-after"] != "2" || d.count() != 0 {
		t.Errorf("got %v after %d questions", denied, d.count())
	}
}

// TestMoreThanCanBeLookedAtIsRefusedAtOnce: and the places are given back.
func TestMoreThanCanBeLookedAtIsRefusedAtOnce(t *testing.T) {
	var wait sync.WaitGroup
	entered, leave := make(chan bool), make(chan bool)
	d := &decider{say: func(context.Context, decision.Ask) decision.Answer {
		entered <- true
		<-leave
		return answered()
	}}
	server := serve(t, d, envoy, func(c *extauthz.Config) { c.Most = 1 })
	wait.Go(func() {
		if out, err := server.Check(context.Background(), request()); err != nil || out.GetOkResponse() == nil {
			t.Errorf("the first: %v, %v", out, err)
		}
	})
	<-entered
	out, err := server.Check(context.Background(), request())
	if denied := denial(t, out, err); denied.GetStatus().GetCode() != 503 {
		t.Errorf("the second: %v", denied)
	}
	close(leave)
	wait.Wait()
	go func() { <-entered }()
	if out, err := server.Check(context.Background(), request()); err != nil || out.GetOkResponse() == nil {
		t.Errorf("the third: %v, %v", out, err)
	}
}

// TestDeadlinesAreTheSoonerOfTwo: neg: 176
func TestDeadlinesAreTheSoonerOfTwo(t *testing.T) {
	for _, row := range []struct{ given, least, most time.Duration }{
		{0, 200 * time.Millisecond, 200 * time.Millisecond},
		{time.Hour, 200 * time.Millisecond, 200 * time.Millisecond},
		{50 * time.Millisecond, 1, 48 * time.Millisecond},
		{-time.Second, 0, 0},
	} {
		var left time.Duration
		d := &decider{say: func(ctx context.Context, ask decision.Ask) decision.Answer {
			left = ask.Deadline.Sub(ask.Received)
			if own, ok := ctx.Deadline(); !ok || time.Until(own) > row.most {
				t.Errorf("call with %s: the context ends at %s", row.given, own)
			}
			return answered(decision.CodeDeadline)
		}}
		ctx, cancel := context.Background(), func() {}
		if row.given != 0 {
			ctx, cancel = context.WithTimeout(ctx, row.given)
		}
		out, err := serve(t, d, envoy).Check(ctx, request())
		cancel()
		if denial(t, out, err); left < row.least || left > row.most {
			t.Errorf("call with %s: %s for the decision, want %s to %s", row.given, left, row.least, row.most)
		}
	}
}

func TestAPanicIsADenial(t *testing.T) {
	server := serve(t, &decider{say: func(context.Context, decision.Ask) decision.Answer {
		panic("canary " + token)
	}}, envoy)
	out, err := server.Check(context.Background(), request())
	if denied := denial(t, out, err); denied.GetStatus().GetCode() != 500 {
		t.Errorf("got %v", denied)
	}
	if log := server.logged.String(); !strings.Contains(log, "made attestd fail") || strings.Contains(log, "canary") {
		t.Errorf("logged %s", log)
	}
}

// TestTokensAreNeverWritten: in what is logged, answered or put into metadata.
func TestTokensAreNeverWritten(t *testing.T) {
	for name, change := range map[string][]func(*authv3.AttributeContext){
		"allowed": nil, "no question": {extension("typo", token)}, "two": {sent("authorization", "Bearer "+token+","+token)},
		"basic": {sent("authorization", "Basic "+token)}, "as certificate": {noToken, certified(token)},
		"another's": {extension("tenant", "umbrella")},
	} {
		server := serve(t, saying(answered()), envoy)
		out, err := server.Check(context.Background(), request(change...))
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{server.logged.String(), out.String()} {
			if strings.Contains(text, token[:20]) || strings.Contains(text, "secret") {
				t.Errorf("%s: the token or the query stands in %s", name, text)
			}
		}
	}
}

// TestLogsAreNotTheCallersToFill: a thousand bad requests are a line or two.
func TestLogsAreNotTheCallersToFill(t *testing.T) {
	server := serve(t, saying(answered()), envoy)
	for range 1000 {
		if _, err := server.Check(context.Background(), request(extension("typo", "x"))); err != nil {
			t.Fatal(err)
		}
	}
	if lines := strings.Count(server.logged.String(), "\n"); lines == 0 || lines > 5 {
		t.Errorf("1000 requests made %d lines", lines)
	}
}

func TestConfigurationsThatAreRefused(t *testing.T) {
	whole := extauthz.Config{
		Decider: saying(answered()), Enforcers: known{envoy}, Deadline: time.Second, Most: 1, Now: time.Now,
		Log: serveLog(),
	}
	for name, change := range map[string]func(*extauthz.Config){
		"no decider": func(c *extauthz.Config) { c.Decider = nil }, "no enforcers": func(c *extauthz.Config) { c.Enforcers = nil },
		"no deadline": func(c *extauthz.Config) { c.Deadline = 0 }, "no places": func(c *extauthz.Config) { c.Most = 0 },
		"no clock": func(c *extauthz.Config) { c.Now = nil }, "no log": func(c *extauthz.Config) { c.Log = nil },
	} {
		config := whole
		change(&config)
		if _, err := extauthz.New(config); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := extauthz.New(whole); err != nil {
		t.Error(err)
	}
}
