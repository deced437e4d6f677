package authzen_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/authzen"
)

// given is an answer as a client reads it.
type given struct {
	Decision *bool `json:"decision"`
	Context  struct {
		Decision    string                `json:"decision_id"`
		Codes       []decision.Code       `json:"reason_codes"`
		Admin       map[string]string     `json:"reason_admin"`
		User        map[string]string     `json:"reason_user"`
		Policy      map[string]any        `json:"policy"`
		Proofs      map[string]any        `json:"proofs"`
		Subject     map[string]any        `json:"subject"`
		Obligations []decision.Obligation `json:"obligations"`
		Error       map[string]any        `json:"error"`
	} `json:"context"`
	Evaluations []given `json:"evaluations"`
}

func (r reply) read(t *testing.T) given {
	t.Helper()
	var out given
	if err := json.Unmarshal([]byte(r.body), &out); err != nil || r.status != http.StatusOK {
		t.Fatalf("got %d %s: %v", r.status, r.body, err)
	}
	return out
}

func TestAnAllowSaysWhatItRestsOn(t *testing.T) {
	w := newWorld(t, ordinary)
	got := w.post(authzen.PathEvaluation, evaluation("", ""), func(r *http.Request) {
		r.Header.Set("X-Request-ID", "bfe9eb29-ab87")
		r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	})
	if got.header.Get("X-Request-ID") != "bfe9eb29-ab87" || got.header.Get("Content-Type") != "application/json" ||
		got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers are %v", got.header)
	}
	said := got.read(t)
	if said.Decision == nil || !*said.Decision || said.Context.Decision != record.String() ||
		said.Context.Policy["digest"] != "sha256:ab" || said.Context.Subject["risk_tier"] != "low" ||
		said.Context.Subject["risk_score"] != 7.0 || said.Context.Subject["attested_at"] != "2026-01-02T03:04:05Z" {
		t.Errorf("got %s", got.body)
	}
	who, _ := said.Context.Proofs["who"].(map[string]any)
	if who["ok"] != true || who["age_seconds"] != 90.0 {
		t.Errorf("the proof is %v", who)
	}
	asked := w.only()
	if asked.Via != decision.ViaAuthZEN || asked.Enforcer != "token:pep" || asked.Credential.Token != tokenOf(caller) ||
		asked.Context.RequestID != "bfe9eb29-ab87" || !asked.Received.Equal(w.now) ||
		asked.Deadline.Sub(asked.Received) != 200*time.Millisecond ||
		asked.Context.Trace != "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" {
		t.Errorf("was asked %+v", asked)
	}
}

func TestEveryFieldOfAQuestionIsRead(t *testing.T) {
	w := newWorld(t, ordinary)
	w.post(authzen.PathEvaluation, `{"subject":{"type":"workload","id":"`+caller+`","properties":{
		"token":"`+tokenOf(caller)+`","ip_address":"::ffff:192.0.2.7"}},
		"action":{"name":"tools/call","properties":{"any":1}},
		"resource":{"type":"tool","id":"caf\u00e9","properties":{"tenant":"acme","project":"p","ring":"canary",
			"privileged":true,"dataset_scope":["plain",{"id":"hr","classification":["pii","secret"],"x":{}}]}},
		"context":{"prompt_id":"p1:abc","intent":"summarize","exposure_score":40,"connectivity":"air-gapped",
			"classification":["internal"],"labels_from":"guard","supported_obligations":["step-up"],
			"traceparent":"not one","subject_chain":[
				{"type":"human","id":"alice","iss":"https://idp","verified":true,"attested":true,"risk_tier":"low"},
				{"type":"nhi","id":"`+caller+`"}]}}`)
	asked := w.only()
	asked.Received, asked.Deadline = time.Time{}, time.Time{}
	want := decision.Ask{
		Via: decision.ViaAuthZEN, Enforcer: "token:pep",
		Credential: decision.Credential{Token: tokenOf(caller), Source: netip.MustParseAddr("192.0.2.7")},
		Action:     decision.Action{Name: decision.ActionToolCall},
		Resource: decision.Resource{
			Type: "tool", ID: "café", Tenant: "acme", Project: "p", Ring: "canary", Privileged: true,
			Datasets: []decision.Dataset{{ID: "plain"}, {ID: "hr", Classification: []string{"pii", "secret"}}},
		},
		Context: decision.Context{
			PromptID: "p1:abc", Intent: "summarize", ExposureScore: 40, Connectivity: decision.ConnectivityAirGapped,
			Classification: []string{"internal"}, LabelsFrom: "guard",
			// What is written of a link's trust is not read.
			Chain: []decision.Link{{Type: "human", ID: "alice", Issuer: "https://idp"}, {Type: "nhi", ID: caller}},
		},
		Supported: []string{"step-up"},
	}
	asked.Sees, want.Sees = nil, nil // functions do not compare
	if !reflect.DeepEqual(asked, want) {
		t.Errorf("got  %+v\nwant %+v", asked, want)
	}
}

// neg: 149
func TestWhatAnEnforcementPointSaysOfTrustIsNotRead(t *testing.T) {
	w := newWorld(t, ordinary)
	body := strings.Replace(evaluation(`,"attested":true,"risk_score":0`, `"risk_score":0,"risk_tier":"low",
		"attested":true,"tenant":"globex","state":"trusted","attested_at":"2099-01-01T00:00:00Z"`),
		`"properties":{`, `"properties":{"risk_score":0,"ring":"stable","groups":["admin"],"tenant":"acme","attested":true,`, 1)
	w.post(authzen.PathEvaluation, body)
	asked := w.only()
	w2 := newWorld(t, ordinary)
	w2.post(authzen.PathEvaluation, evaluation("", ""))
	want := w2.only()
	asked.Received, asked.Deadline, want.Received, want.Deadline = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	asked.Sees, want.Sees = nil, nil // functions do not compare
	if !reflect.DeepEqual(asked, want) {
		t.Errorf("got  %+v\nwant %+v", asked, want)
	}
	if asked.Context.ExposureScore != -1 {
		t.Errorf("no exposure score is %d, want -1", asked.Context.ExposureScore)
	}
}

func TestADenialIsAnAnswerWithItsReasons(t *testing.T) {
	for _, spec := range decision.Specs() {
		w := newWorld(t, ordinary)
		w.say = like(because(spec.Code), because(decision.CodeNovelScope))
		got := w.post(authzen.PathEvaluation, evaluation("", "")).read(t)
		if got.Decision == nil || *got.Decision || len(got.Context.Codes) != 2 || got.Context.Codes[0] != spec.Code ||
			len(got.Context.User) != 1 || len(got.Context.Admin) != 1 {
			t.Errorf("%s: got %+v", spec.Code, got)
		}
		for status, text := range got.Context.User {
			if text != spec.Meaning || !strings.Contains(got.Context.Admin[status], "the detail") ||
				strings.Contains(text, "the detail") {
				t.Errorf("%s: user is told %q, admins %q", spec.Code, text, got.Context.Admin[status])
			}
		}
	}
}

func TestADenialWithoutAReasonIsStillOne(t *testing.T) {
	w := newWorld(t, ordinary)
	w.say = func(decision.Ask) decision.Answer { return decision.Answer{} }
	got := w.post(authzen.PathEvaluation, evaluation("", "")).read(t)
	if got.Decision == nil || *got.Decision || len(got.Context.Codes) != 1 || got.Context.Codes[0] != decision.CodeInternal {
		t.Errorf("got %+v", got)
	}
}

func TestObligationsAreInTheAnswer(t *testing.T) {
	w := newWorld(t, ordinary)
	w.say = func(ask decision.Ask) decision.Answer {
		out := like(because(decision.CodeStepUp))(ask)
		out.Obligations = []decision.Obligation{{
			ID: "o1", Type: decision.ObligationStepUp, Properties: map[string]any{"acr_value": decision.ACRHardwareFresh},
		}}
		return out
	}
	got := w.post(authzen.PathEvaluation, evaluation("", `"supported_obligations":["step-up"]`)).read(t)
	if len(got.Context.Obligations) != 1 || got.Context.Obligations[0].Properties["acr_value"] != decision.ACRHardwareFresh {
		t.Errorf("got %+v", got.Context.Obligations)
	}
}

// What is shown must be the subject's that is named; else nothing counts as shown, and that is denied and
// recorded as such.
func TestACredentialOfSomebodyElseIsNone(t *testing.T) {
	other := "spiffe://example.org/agent/other"
	encode := base64.StdEncoding.EncodeToString
	for _, row := range []struct {
		name, entry, properties, remark string
		want                            bool
	}{
		{"the subject's token", ordinary, `"token":"` + tokenOf(caller) + `"`, "", true},
		{"another's token", ordinary, `"token":"` + tokenOf(other) + `"`, "not the sub", false},
		{"no token at all", ordinary, `"token":"a.b"`, "not the sub", false},
		{"a payload that is none", ordinary, `"token":"a.!.c"`, "not the sub", false},
		{"a token without a sub", ordinary, `"token":"a.e30.c"`, "not the sub", false},
		{"nothing", ordinary, `"department":"Sales"`, "neither", false},
		{"a certificate", ordinary + "    vouches: true\n", `"x5c":["` + encode(certificate(t, caller)) + `"]`, "", true},
		{"a certificate, from one who may not vouch", ordinary, `"x5c":["` + encode(certificate(t, caller)) + `"]`,
			"may not vouch", false},
		{"another's certificate", ordinary + "    vouches: true\n", `"x5c":["` + encode(certificate(t, other)) + `"]`,
			"not the URI", false},
		{"a certificate of two", ordinary + "    vouches: true\n",
			`"x5c":["` + encode(certificate(t, caller, other)) + `"]`, "not the URI", false},
		{"no certificate", ordinary + "    vouches: true\n", `"x5c":["` + encode([]byte("x")) + `"]`,
			"no certificate", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, row.entry)
			got := w.post(authzen.PathEvaluation, `{"subject":{"type":"workload","id":"`+caller+`","properties":{`+
				row.properties+`}},"action":{"name":"data.read"},"resource":{"type":"t","id":"r"}}`).read(t)
			asked := w.only()
			if shown := asked.Credential.Token != "" || len(asked.Credential.Chain) != 0; shown != row.want ||
				*got.Decision != row.want {
				t.Errorf("was shown: %v, decision %v, want %v", shown, *got.Decision, row.want)
			}
			if !row.want && !strings.Contains(got.Context.Admin["401"], row.remark) {
				t.Errorf("admins are told %q, want %q", got.Context.Admin, row.remark)
			}
		})
	}
}

// certificate returns one in DER; nobody trusts it.
func certificate(t *testing.T, ids ...string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	for _, id := range ids {
		uri, err := url.Parse(id)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, uri)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// Two parsers that read one token differently would let a token of one subject be asked about as
// another's: what was verified is compared as well.
func TestAnAllowForSomebodyElseIsADenial(t *testing.T) {
	w := newWorld(t, ordinary)
	w.say = func(ask decision.Ask) decision.Answer {
		out := like()(ask)
		out.Input.Who.ID = "spiffe://example.org/agent/other"
		return out
	}
	got := w.post(authzen.PathEvaluation, evaluation("", "")).read(t)
	if *got.Decision || got.Context.Codes[0] != decision.CodeInternal || got.Context.Subject != nil {
		t.Errorf("got %+v", got)
	}
	w.say = func(ask decision.Ask) decision.Answer {
		out := like()(ask)
		out.Input = nil
		return out
	}
	if got := w.post(authzen.PathEvaluation, evaluation("", "")).read(t); *got.Decision {
		t.Errorf("an allow for nobody: %+v", got)
	}
}

// neg: 188
func TestOfAnotherTenantNothingIsLearned(t *testing.T) {
	body := func(tenant string) string {
		return strings.Replace(evaluation("", ""), `"tenant":"acme"`, `"tenant":"`+tenant+`"`, 1)
	}
	w := newWorld(t, ordinary)
	there, none := w.post(authzen.PathEvaluation, body("globex")), w.post(authzen.PathEvaluation, body("no-such"))
	if there.status != 200 || there.body != none.body || *there.read(t).Decision {
		t.Errorf("a tenant that is there: %s\none that is not: %s", there.body, none.body)
	}
	if len(w.asked) != 0 {
		t.Errorf("%d decisions were made about another tenant's resource", len(w.asked))
	}
	if len(w.refused) != 2 || w.refused[0].Resource.Tenant != "globex" || w.refused[0].Enforcer != "token:pep" {
		t.Errorf("recorded %+v", w.refused)
	}
	// A caller of another tenant: how it stands is not shown, whatever it is that denies.
	var bodies []string
	for _, code := range []decision.Code{decision.CodeQuarantined, decision.CodeTenantMismatch, decision.CodeStale} {
		w.say = func(ask decision.Ask) decision.Answer {
			out := like(because(code))(ask)
			out.Input.Standing.Tenant = "globex"
			return out
		}
		bodies = append(bodies, w.post(authzen.PathEvaluation, body("acme")).body)
	}
	if bodies[0] != bodies[1] || bodies[0] != bodies[2] || strings.Contains(bodies[0], "risk") ||
		strings.Contains(bodies[0], "globex") || !strings.Contains(bodies[0], "tenant_mismatch") {
		t.Errorf("of another tenant's callers is said %q", bodies)
	}
	w.say = func(ask decision.Ask) decision.Answer {
		out := like()(ask)
		out.Input.Standing.Tenant = "globex"
		return out
	}
	allowed := w.post(authzen.PathEvaluation, body("acme"))
	if got := allowed.read(t); !*got.Decision || got.Context.Subject != nil || strings.Contains(allowed.body, "globex") {
		t.Errorf("where policies allow another tenant's caller: %s", allowed.body)
	}
}
