package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/spiretest/asked"
	"github.com/attestd/attestd/internal/spiretest/stage"
)

// agent is the workload of the last act, which is no agent of SPIRE's.
const agent = "spiffe://" + stage.TrustDomain + "/agent/rag-7"

// others are tenants whose tools stand behind the same nginx.
var others = []string{"globex", "initech"}

// act is the last act: what its parts know of each other.
type act struct {
	*story
	nginx  string
	token  string
	began  time.Time
	passed *atomic.Int64 // requests that reached the tool
	calls  []call
	// subject is the agent as it is in quarantine.
	subject wire.Subject
	// reported is when the guardrail began its report.
	reported time.Duration
}

// call is one request of the agent's, and what attestd recorded of it; or an event between two.
type call struct {
	at     time.Duration
	event  string
	path   string
	status int
	took   time.Duration // as the agent waited
	record journal.Record
}

// decide is the scene: a tool behind nginx, an agent that misbehaves, and what becomes of it.
func (s *story) decide(ctx context.Context) (string, error) {
	a := &act{story: s, passed: new(atomic.Int64)}
	tool := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		a.passed.Add(1)
		_, _ = io.WriteString(w, "found")
	}))
	defer tool.Close()
	if err := a.set(ctx, strings.TrimPrefix(tool.URL, "http://")); err != nil {
		return "", err
	}
	until, err := a.identities(ctx)
	if err != nil {
		return "", err
	}
	if err := a.misbehave(ctx); err != nil {
		return "", err
	}
	refused := a.calls[len(a.calls)-1]
	if err := a.held(ctx); err != nil {
		return "", err
	}
	s.proofs(a.calls)
	if _, err := s.quoted(ctx, 0, "decision", "ls", "--subject", agent, "--reason", "quarantined"); err != nil {
		return "", err
	}
	if err := a.remains(ctx, until); err != nil {
		return "", err
	}
	return fmt.Sprintf("allowed, and then denied with the same token: %s after the guardrail's report was given",
		milliseconds(refused.at-a.reported)), nil
}

// set puts the agent into SPIRE and the inventory, and nginx in front of the tool.
func (a *act) set(ctx context.Context, tool string) (err error) {
	record := fmt.Sprintf(`schema: attestd.inventory.v1
records:
  - id: %s
    tenant: default
    owner: team-search@example.org
    purpose: retrieval
    zone: trusted
    tools: [search]
    policy: standard
    credential: attested
    lifecycle: active
`, agent)
	inventory := filepath.Join(a.folder, "inventory.yaml")
	if err := os.WriteFile(inventory, []byte(record), 0o600); err != nil {
		return err
	}
	if _, err := a.attestd(ctx, "subject", "import", inventory); err != nil {
		return err
	}
	if err := a.enter(ctx, "attestd.rag-7", agent); err != nil {
		return err
	}
	a.fact("agent", "%s: purpose retrieval, tool search, tenant default", agent)
	if a.nginx, err = a.decisions.StartNginx(ctx, a.root, tool, others...); err != nil {
		return err
	}
	a.fact("nginx", "docs/deploy/nginx/attestd.conf; behind it the tool search of default, %s",
		strings.Join(others, ", "))
	return nil
}

// validity is until when credentials are good that the agent holds.
type validity struct{ jwt, x509 time.Time }

// identities fetches what the agent shows.
func (a *act) identities(ctx context.Context) (validity, error) {
	jwt, err := a.fetch(ctx, true)
	if err != nil {
		return validity{}, err
	}
	if !jwt.OK {
		return validity{}, fmt.Errorf("no JWT-SVID: %s", jwt.Error)
	}
	a.token = jwt.Token
	x, err := a.workload.Ask(ctx, asked.Question{Do: asked.X509, Persist: true, Within: soon})
	if err != nil {
		return validity{}, err
	}
	for _, one := range x.SVIDs {
		if one.ID == agent {
			a.fact("JWT-SVID", "%s", claims(jwt))
			return validity{jwt.Expires, one.Until}, nil
		}
	}
	return validity{}, fmt.Errorf("no X509-SVID of %s: %+v", agent, x)
}

// fetch asks the Workload API for the agent's token.
func (a *act) fetch(ctx context.Context, persist bool) (asked.Answer, error) {
	return a.workload.Ask(ctx, asked.Question{
		Do: asked.JWT, Audience: stage.DecideAudience, ID: agent, Persist: persist, Judge: true, Within: soon,
	})
}

// misbehave has the agent call its tool, those of others, and its own again once a guardrail has reported
// it.
func (a *act) misbehave(ctx context.Context) error {
	// The first question may come before the new entry has.
	var first call
	if err := stage.Until(ctx, soon, func() (err error) {
		a.began = time.Now()
		if first, err = a.call(ctx, "/search/"); err == nil && first.status != http.StatusOK {
			err = fmt.Errorf("the agent's tool is answered %d: %q", first.status, first.record.Reason)
		}
		return err
	}); err != nil {
		return err
	}
	a.calls = append(a.calls, first)
	for _, tenant := range others {
		if err := a.want(ctx, "/"+tenant+"/", http.StatusForbidden, decision.CodeTenantMismatch); err != nil {
			return err
		}
	}
	if err := a.pivoted(ctx); err != nil {
		return err
	}
	if err := a.want(ctx, "/search/", http.StatusOK, ""); err != nil {
		return err
	}
	a.reported = time.Since(a.began)
	receipt, err := a.decisions.Report(ctx, map[string]any{
		"id": "guardrail-0001", "subject": agent, "kind": "exfiltration", "confidence": 1,
		"detail": "promptguard/v2:exfiltration",
	})
	if err != nil {
		return err
	}
	a.event("signal: a guardrail reports %s (%s): risk %d -> %d", receipt.Kind,
		strings.Join(receipt.ATLAS, ", "), receipt.RiskBefore.Int(), receipt.RiskAfter.Int())
	passed := a.passed.Load()
	err = a.want(ctx, "/search/", http.StatusForbidden, decision.CodeRiskSpike, decision.CodeQuarantined)
	if err == nil && a.passed.Load() != passed {
		err = errors.New("a denied request reached the tool")
	}
	last := a.calls[len(a.calls)-1]
	if err == nil && last.record.Input.Who.Credential != first.record.Input.Who.Credential {
		err = errors.New("the calls were not made with one token")
	}
	return err
}

// want makes a call that must end so.
func (a *act) want(ctx context.Context, path string, status int, codes ...decision.Code) error {
	one, err := a.call(ctx, path)
	if err == nil && (one.status != status || !slices.Contains(codes, one.record.Reason)) {
		err = fmt.Errorf("%s is answered %d for %q, want %d for %q", path, one.status, one.record.Reason, status,
			codes)
	}
	if err == nil {
		a.calls = append(a.calls, one)
	}
	return err
}

func (a *act) event(format string, args ...any) {
	a.calls = append(a.calls, call{at: time.Since(a.began), event: fmt.Sprintf(format, args...)})
}

// pivoted waits until the registry has what the detector saw, which is written beside the question.
func (a *act) pivoted(ctx context.Context) error {
	var subject wire.Subject
	err := stage.Until(ctx, soon, func() (err error) {
		if subject, err = a.about(ctx, agent); err == nil && len(subject.Signals) == 0 {
			err = errors.New("a tenant pivot is no signal")
		}
		return err
	})
	if err == nil {
		a.event("signal: attestd saw %s: +%d", subject.Signals[0].Code, subject.Signals[0].Points)
	}
	return err
}

// call sends one request through nginx and reads its record.
func (a *act) call(ctx context.Context, path string) (call, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+a.nginx+path,
		strings.NewReader("{}"))
	if err != nil {
		return call{}, err
	}
	request.Header.Set("Authorization", "Bearer "+a.token)
	began := time.Now()
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return call{}, err
	}
	defer answer.Body.Close() //nolint:errcheck // the status decides
	out := call{at: time.Since(a.began), path: path, status: answer.StatusCode, took: time.Since(began)}
	return out, a.read(ctx, answer.Header.Get("X-Attestd-Decision-Id"), &out.record)
}

// read waits for a record, which is on disk within about a second.
func (a *act) read(ctx context.Context, id string, into *journal.Record) error {
	if id == "" {
		return errors.New("nginx answers without a decision")
	}
	return stage.Until(ctx, soon, func() error {
		said, err := a.attestd(ctx, "decision", "show", id, "-o", "json")
		if err == nil {
			err = json.Unmarshal([]byte(said), into)
		}
		return err
	})
}

// about is what attestd knows of an identity.
func (a *act) about(ctx context.Context, id string) (wire.Subject, error) {
	var out wire.Subject
	said, err := a.attestd(ctx, "subject", "show", id, "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(said), &out)
	}
	return out, err
}

// proofs is the table of the calls: each proof, and each time.
func (s *story) proofs(calls []call) {
	s.line("")
	s.row("at", "tool of", "nginx", "who is it", "what", "policy", "decided in", "agent waited")
	for _, one := range calls {
		if one.event != "" {
			s.line(fmt.Sprintf("     +%.3f s %s", one.at.Seconds(), one.event))
			continue
		}
		tenant := strings.Trim(one.path, "/")
		if tenant == "search" {
			tenant = "default"
		}
		proofs, who, policy := one.record.Result.Proofs, "", ""
		if who = "no: " + string(one.record.Reason); proofs.Who.OK {
			who = fmt.Sprintf("yes, %.0f s old", (time.Duration(one.record.Ages.Who) * time.Millisecond).Seconds())
		}
		switch {
		case proofs.Policy.OK:
			policy = "yes"
		case proofs.Policy.Source == "":
			policy = "not asked"
		default:
			policy = "no: " + string(one.record.Reason)
		}
		what := map[bool]string{true: "yes", false: "-"}[proofs.What.OK]
		s.row(fmt.Sprintf("+%.3f s", one.at.Seconds()), tenant, fmt.Sprint(one.status), who, what, policy,
			fmt.Sprintf("%.2f ms", float64(one.record.Took)/1000),
			milliseconds(one.took))
	}
	s.line("")
}

// row prints a line of the table.
func (s *story) row(cells ...string) {
	line := "    "
	for i, width := range []int{8, 7, 5, 15, 4, 19, 10, 0} {
		line += fmt.Sprintf(" %-*s", width, cells[i])
	}
	s.line(strings.TrimRight(line, " "))
}

// held waits until the spike has become a quarantine, which a person has to lift, and calls once more.
func (a *act) held(ctx context.Context) error {
	if err := stage.Until(ctx, soon, func() (err error) {
		if a.subject, err = a.about(ctx, agent); err == nil && a.subject.State != attestd.StateQuarantined {
			err = fmt.Errorf("the agent is %s", a.subject.State)
		}
		return err
	}); err != nil {
		return err
	}
	if len(a.subject.Bars) == 0 || !a.subject.Bars[0].Automatic {
		return fmt.Errorf("the quarantine is %+v", a.subject.Bars)
	}
	return a.want(ctx, "/search/", http.StatusForbidden, decision.CodeQuarantined)
}

// remains says what goes on and what is still good, until when.
func (a *act) remains(ctx context.Context, until validity) error {
	refused := asked.Answer{}
	if err := stage.Until(ctx, soon, func() error {
		answer, err := a.workload.Ask(ctx, asked.Question{
			Do: asked.JWT, Audience: stage.DecideAudience, ID: agent, Within: 2 * time.Second,
		})
		if refused = answer; err == nil && answer.OK {
			err = errors.New("the agent still gets JWT-SVIDs")
		}
		return err
	}); err != nil {
		return err
	}
	neighbour, err := a.workload.Ask(ctx, asked.Question{
		Do: asked.JWT, Audience: audience, ID: payments, Persist: true, Within: soon,
	})
	if err == nil && !neighbour.OK {
		err = fmt.Errorf("payments on the same machine has no JWT-SVID: %s", neighbour.Error)
	}
	if err != nil {
		return err
	}
	reported := a.began.Add(a.reported)
	a.fact("quarantine", "of the name %s, by attestd, %s after the report; a person lifts it",
		strings.TrimPrefix(agent, "spiffe://"+stage.TrustDomain), milliseconds(a.subject.Bars[0].At.Sub(reported)))
	a.fact("SPIRE", "no new JWT-SVID (%s) %.1f s after the report; payments beside it gets its own",
		refused.Code, refused.At.Sub(reported).Seconds())
	a.fact("still valid", "JWT-SVID until %s, X509-SVID until %s: for those who ask neither attestd nor a "+
		"proxy that does. Nobody can recall them", clock(until.jwt), clock(until.x509))
	a.fact("not valid", "either of them, wherever attestd is asked: from its answer to the report on")
	return nil
}

func milliseconds(took time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(took.Microseconds())/1000)
}

// clock is a time of day, and how far away it is.
func clock(at time.Time) string {
	return fmt.Sprintf("%s (in %s)", at.UTC().Format(time.TimeOnly), max(0, time.Until(at)).Round(time.Second))
}
