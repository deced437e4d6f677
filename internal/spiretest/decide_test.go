package spiretest_test

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/client/decide"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/nhi"
)

// The callers, each of which one test makes trouble for.
var (
	evaluator = worker("evaluation", tenant, nhi.PurposeEvaluation)
	extractor = worker("features", tenant, nhi.PurposeFeatureExtraction)
	retriever = worker("rag", tenant, nhi.PurposeRetrieval)
	stranger  = worker("globex-rag", globex, nhi.PurposeRetrieval)
	spiking   = worker("spiking", tenant, nhi.PurposeRetrieval)
	provoked  = worker("provoked", tenant, nhi.PurposeRetrieval)
	browsing  = worker("browsing", tenant, nhi.PurposeRetrieval)
	calling   = worker("calling", tenant, nhi.PurposeOrchestration)
	gateway   = worker("gateway", tenant, nhi.PurposeOrchestration)
)

// brief has tokens that end while the test runs.
var brief = func() caller {
	out := worker("brief", tenant, nhi.PurposeRetrieval)
	out.ttl = 5
	return out
}()

// policyProof is the source of a proof that policies were asked for; without one they were not.
const policyProof = "cedar"

// search is a call of a tool of the tenant's.
func search(whose string) decide.Wish {
	return decide.Wish{Action: decision.ActionToolCall, Resource: decide.Resource{
		Type: "tool", ID: "search", Tenant: whose,
	}}
}

// store is an access to the lab's feature store.
func store(action string) decide.Wish {
	return decide.Wish{Action: action, Resource: decide.Resource{
		Type: "dataset", ID: featureStore, Tenant: tenant,
	}}
}

// TestDecisions is what is promised of decisions, with real SVIDs: a SPIRE server and its agents, of which
// two were attested through attestd, the daemon, and enforcement points on all of its interfaces.
func TestDecisions(t *testing.T) {
	began := time.Now()
	s := openDecisions(t, append([]caller{
		evaluator, extractor, retriever, stranger, spiking, provoked, browsing, narrow, calling, gateway, brief,
	}, busy()...))
	s.await(t, retriever, stranger)
	t.Logf("everything is up after %s", time.Since(began).Round(100*time.Millisecond))
	ending := s.remember(t)
	for _, one := range []struct {
		says string
		run  func(*decideSite, *testing.T)
	}{
		{"an evaluation agent that writes to the feature store is denied for its purpose", (*decideSite).purposes},
		{"a worker of one tenant gets nothing of another", (*decideSite).tenants},
		{"an unattested caller is refused before any policy", (*decideSite).unattested},
		{"an enforcement point shows its own SVID", (*decideSite).certified},
		{"an Envoy vouches for the certificates of callers", (*decideSite).vouched},
		{"a risk spike quarantines, and the next call with the same token is refused", (*decideSite).spike},
		{"a provoked denial alone quarantines nobody", (*decideSite).denials},
		{"nginx and Caddy enforce what is decided", (*decideSite).proxies},
		{"an MCP server runs what is allowed", (*decideSite).tools},
		{"a quarantine under load lets nothing through after its number", (*decideSite).underLoad},
		{"a token that is over is over, whoever remembers it", func(s *decideSite, t *testing.T) {
			s.over(t, ending)
		}},
		{"nothing that is secret is kept or told", (*decideSite).secrets},
		{"a quarantined machine takes all that runs on it along", (*decideSite).machines},
		{"another daemon goes on where this one stopped", (*decideSite).again},
	} {
		t.Run(strings.ReplaceAll(one.says, " ", "_"), func(t *testing.T) {
			began := time.Now()
			one.run(s, t)
			t.Logf("%s: %s", one.says, time.Since(began).Round(10*time.Millisecond))
		})
	}
}

// await waits until attestd has the bundles of the Workload API and has seen the entries.
func (s *decideSite) await(t *testing.T, callers ...caller) {
	t.Helper()
	for _, one := range callers {
		token := s.token(t, one.tenant, one.id())
		var last verdict
		if !until(startLimit, func() bool {
			last = s.authzen(t, token, search(one.tenant))
			return last.allow
		}) {
			t.Fatalf("%s is denied for %q: %s", one.id(), last.reason, s.words(t, last.id))
		}
	}
}

// remember shows a token that ends soon, so that attestd has verified it.
func (s *decideSite) remember(t *testing.T) (token string) {
	t.Helper()
	token = s.token(t, tenant, brief.id())
	s.wantAllowed(t, s.authzen(t, token, search(tenant)), brief.id())
	if record := s.wantAllowed(t, s.authzen(t, token, search(tenant)), brief.id()); !record.Input.Who.Cached {
		t.Error("a token that was shown twice was verified twice")
	}
	return token
}

func (s *decideSite) over(t *testing.T, token string) {
	if !until(2*time.Duration(brief.ttl)*time.Second, func() bool { return !s.active(t, token) }) {
		t.Fatal("a token outlives its end")
	}
	for name, ask := range s.interfaces() {
		got := ask(t, token, search(tenant))
		if got.allow || got.reason != string(decision.CodeExpired) {
			t.Errorf("%s: a token that is over: %+v", name, got)
		}
	}
}

func (s *decideSite) purposes(t *testing.T) {
	writes, reads := store(decision.ActionDataWrite), store(decision.ActionDataRead)
	token := s.token(t, tenant, evaluator.id())
	for name, ask := range s.interfaces() {
		record := s.wantDenied(t, ask(t, token, writes), decision.CodePurposeMismatch)
		if string(record.Subject) != evaluator.id() || record.Result.Proofs.Policy.Source != policyProof ||
			record.Input.Record.Purpose != nhi.PurposeEvaluation {
			t.Errorf("%s: the record says %+v by %+v", name, record.Result, record.Input.Record)
		}
		// It is the purpose: the same caller may read, and another one write.
		s.wantAllowed(t, ask(t, token, reads), evaluator.id())
		s.wantAllowed(t, ask(t, s.token(t, tenant, extractor.id()), writes), extractor.id())
	}
}

func (s *decideSite) tenants(t *testing.T) {
	tokens := map[string]string{
		tenant: s.token(t, tenant, retriever.id()), globex: s.token(t, globex, stranger.id()),
	}
	for name, ask := range s.interfaces() {
		for own, other := range map[string]string{tenant: globex, globex: tenant} {
			if got := ask(t, tokens[own], search(own)); !got.allow {
				t.Errorf("%s: a worker of %s does not get its own: %s", name, own, got.reason)
			}
			record := s.wantDenied(t, ask(t, tokens[own], search(other)), decision.CodeTenantMismatch)
			if record.Tenant != own || record.Resource.Tenant != other {
				t.Errorf("%s: the record is of %s about %s", name, record.Tenant, record.Resource.Tenant)
			}
		}
	}
}

func (s *decideSite) unattested(t *testing.T) {
	plain := worker(strings.TrimPrefix(plainWorkload, "/"), tenant, nhi.PurposeRetrieval)
	s.record(t, []caller{plain}) // all is well with its record: what it lacks is evidence
	token := s.token(t, "", plain.id())
	forged := token[:strings.LastIndexByte(token, '.')+1] + strings.Repeat("A", 86)
	for name, ask := range s.interfaces() {
		for what, row := range map[string]struct {
			token   string
			code    decision.Code
			subject string
		}{
			"an SVID of a node that SPIRE alone attested": {token, decision.CodeNotAttested, plain.id()},
			"a token that nobody signed":                  {forged, decision.CodeUnauthenticated, ""},
			"no token":                                    {"", decision.CodeUnauthenticated, ""},
		} {
			if name == "AuthZEN" && row.token == "" {
				continue // its client does not ask for nobody; below is what a request without one gets
			}
			record := s.wantDenied(t, ask(t, row.token, search(tenant)), row.code)
			if string(record.Subject) != row.subject || record.Result.Proofs.Who.OK ||
				record.Result.Proofs.Policy.Source != "" || len(record.Result.Policies) != 0 {
				t.Errorf("%s, %s: the record says %q, %+v, by policies %q", name, what, record.Subject,
					record.Result.Proofs, record.Result.Policies)
			}
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		"http://attestd/access/v1/evaluation", strings.NewReader(fmt.Sprintf(
			`{"subject": {"type": "workload", "id": %q}, "action": {"name": "tool.call"},
			"resource": {"type": "tool", "id": "search", "properties": {"tenant": %q}}}`, retriever.id(), tenant)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	got := evaluated(t, overUnix(s.decisions()), request)
	if record := s.wantDenied(t, got, decision.CodeUnauthenticated); record.Result.Proofs.Policy.Source != "" {
		t.Errorf("policies were asked for a caller that showed nothing: %+v", record.Result)
	}
}

func (s *decideSite) certified(t *testing.T) {
	point := s.x509(t, tenant, gateway.id())
	address := fmt.Sprintf("https://127.0.0.1:%d", s.https)
	with := func(svid tls.Certificate) *decide.Client {
		out, err := decide.New(address, decide.Options{
			TLS: &tls.Config{
				RootCAs: s.server.pool, Certificates: []tls.Certificate{svid}, MinVersion: tls.VersionTLS13,
			},
			Timeout: 10 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(out.Close)
		return out
	}
	question := decide.Question{
		Credential: decide.Credential{Token: s.token(t, tenant, retriever.id())}, Wish: search(tenant),
	}
	answer, err := with(tlsOf(point)).Decide(t.Context(), question)
	if err != nil {
		t.Fatal(err)
	}
	record := s.wantAllowed(t, verdict{answer.Allow, answer.Reason, answer.ID}, retriever.id())
	if record.Enforcer != gateway.id() {
		t.Errorf("the record says that %q asked", record.Enforcer)
	}
	// Another workload with as good an SVID is no enforcement point.
	other := s.x509(t, tenant, retriever.id())
	if answer, err := with(tlsOf(other)).Decide(t.Context(), question); err == nil || answer.Allow {
		t.Errorf("whoever has an SVID may ask: %+v", answer)
	}
}

// vouched asks as an Envoy does that ended the caller's TLS connection.
func (s *decideSite) vouched(t *testing.T) {
	for _, row := range []struct {
		svid *x509svid.SVID
		code decision.Code // empty for an allow
	}{
		{s.x509(t, tenant, retriever.id()), ""},
		{s.x509(t, tenant, narrow.id()), decision.CodeBlastRadius},
		{s.x509(t, globex, stranger.id()), decision.CodeTenantMismatch},
		{s.x509(t, "", id(plainWorkload)), decision.CodeNotAttested},
	} {
		question := checked("", search(tenant))
		// Envoy writes the leaf as PEM, escaped as in a URL (AttributeContext.Peer.certificate).
		certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: row.svid.Certificates[0].Raw})
		question.Attributes.Source = &authv3.AttributeContext_Peer{
			Certificate: strings.ReplaceAll(url.QueryEscape(string(certificate)), "+", "%20"),
		}
		answer, err := s.envoy.Check(t.Context(), question)
		if err != nil {
			t.Fatal(err)
		}
		got := judged(t, answer)
		if row.code != "" {
			s.wantDenied(t, got, row.code)
			continue
		}
		record := s.wantAllowed(t, got, row.svid.ID.String())
		if record.Input.Who.Method != decision.MethodX509 || record.Input.Via != decision.ViaExtAuthz {
			t.Errorf("the record says %s by %s", record.Input.Via, record.Input.Who.Method)
		}
		for name, want := range map[string]string{
			"x-attestd-subject": row.svid.ID.String(), "x-attestd-tenant": tenant, "x-attestd-decision-id": got.id,
		} {
			if !slices.ContainsFunc(answer.GetOkResponse().GetHeaders(), func(one *corev3.HeaderValueOption) bool {
				return one.GetHeader().GetKey() == name && one.GetHeader().GetValue() == want
			}) {
				t.Errorf("the upstream does not get %s: %v", name, answer.GetOkResponse())
			}
		}
	}
}

func (s *decideSite) spike(t *testing.T) {
	token := s.token(t, tenant, spiking.id())
	s.wantAllowed(t, s.authzen(t, token, search(tenant)), spiking.id())
	if !s.active(t, token) {
		t.Error("introspection says that a good token is not active")
	}
	signal := map[string]any{
		"id": "guard-1", "subject": spiking.id(), "kind": "exfiltration", "confidence": 1,
		"detail": "promptguard/v2:exfiltration",
	}
	if status, _ := s.report(t, strangerToken, signal); status != http.StatusForbidden {
		t.Errorf("another tenant's guardrail gets %d", status)
	}
	status, _ := s.report(t, "a-token-of-nobody-of-32-bytes-or-so", signal)
	if status != http.StatusUnauthorized {
		t.Errorf("somebody who is no enforcement point gets %d", status)
	}
	// What attestd sees itself, and one report: either alone makes nobody's risk high.
	for _, foreign := range []string{"initech", "umbrella"} {
		s.wantDenied(t, s.authzen(t, token, search(foreign)), decision.CodeTenantMismatch)
	}
	if !until(5*time.Second, func() bool {
		subject, err := s.root.Subject(t.Context(), spiking.id())
		return err == nil && subject.Risk.Int() >= 45
	}) {
		t.Fatal("a tenant pivot left the risk as it was")
	}
	before := s.authzen(t, token, search(tenant))
	if !before.allow {
		t.Fatalf("a pivot alone has %s denied for %s", spiking.id(), before.reason)
	}
	status, receipt := s.report(t, guardrailToken, signal)
	if status != http.StatusOK || receipt.RiskAfter.Tier().Verdict() != attestd.VerdictRejected {
		t.Fatalf("the report is answered %d, %+v", status, receipt)
	}
	// The next call: the hold is laid beside it, and either is a denial.
	next := s.wantDenied(t, s.authzen(t, token, search(tenant)), decision.CodeRiskSpike,
		decision.CodeQuarantined)
	same := s.recorded(t, before.id).Input.Who.Credential
	if next.Input.Sequence < receipt.Sequence || next.Input.Who.Credential != same {
		t.Errorf("the next call was decided at %d, and the receipt says %d", next.Input.Sequence, receipt.Sequence)
	}
	if !until(5*time.Second, func() bool {
		got := s.authzen(t, token, search(tenant))
		return !got.allow && got.reason == string(decision.CodeQuarantined)
	}) {
		t.Fatal("a risk spike did not quarantine")
	}
	subject, err := s.root.Subject(t.Context(), spiking.id())
	if err != nil || subject.State != attestd.StateQuarantined {
		t.Errorf("attestd says %s, %v", subject.State, err)
	}
	if s.active(t, token) {
		t.Error("introspection says that the token is active")
	}
	for name, ask := range s.interfaces() {
		if got := ask(t, token, search(tenant)); got.allow || got.reason != string(decision.CodeQuarantined) {
			t.Errorf("%s: the token that was good a moment ago: %+v", name, got)
		}
	}
	s.held = append(s.held, token)
	// The machine and the others on it are as they were.
	s.wantAllowed(t, s.authzen(t, s.token(t, tenant, retriever.id()), search(tenant)), retriever.id())
}

func (s *decideSite) denials(t *testing.T) {
	token := s.token(t, tenant, provoked.id())
	wish := search(tenant)
	wish.Resource.ID = "payroll" // outside of its record's tools
	for range 60 {
		if got := s.authzen(t, token, wish); got.allow {
			t.Fatal("a tool outside of the blast radius is allowed")
		}
	}
	if !until(5*time.Second, func() bool {
		subject, err := s.root.Subject(t.Context(), provoked.id())
		return err == nil && subject.Risk.Int() >= 15
	}) {
		t.Fatal("sixty denials in a row are no signal")
	}
	subject, err := s.root.Subject(t.Context(), provoked.id())
	if err != nil {
		t.Fatal(err)
	}
	if subject.State == attestd.StateQuarantined || subject.Risk.Tier().Verdict() == attestd.VerdictRejected {
		t.Errorf("denials alone make it %s with risk %d", subject.State, subject.Risk.Int())
	}
	s.wantAllowed(t, s.authzen(t, token, search(tenant)), provoked.id())
	// Nor does a pivot besides: whoever writes the prompt can have it ask for anybody's data.
	for range 20 {
		for _, foreign := range []string{"initech", "umbrella"} {
			s.authzen(t, token, search(foreign))
		}
	}
	if !until(5*time.Second, func() bool {
		subject, err := s.root.Subject(t.Context(), provoked.id())
		return err == nil && subject.Risk.Int() >= 45
	}) {
		t.Fatal("a pivot is no signal")
	}
	s.wantAllowed(t, s.authzen(t, token, search(tenant)), provoked.id())
	for _, one := range s.allDecisions(t, client.DecisionQuery{Subject: provoked.id()}) {
		if one.Reason == decision.CodeQuarantined || one.Reason == decision.CodeRiskSpike {
			t.Errorf("it was denied for %s", one.Reason)
		}
	}
}
