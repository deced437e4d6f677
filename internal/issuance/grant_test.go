package issuance_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/plugins/spire/svidext"
)

func TestAWorkloadOnAGoodNodeIsGranted(t *testing.T) {
	w := newWorld(t, nil)
	w.publish(nil, 1)
	w.on(1)
	got := w.granted(jwt(workload))
	want := map[string]any{
		"attested": true, "risk_score": 20, "risk_tier": "low", "ear_status": "affirming",
		"attested_at": "2026-05-04T03:02:01Z", "tee": "tpm", "tenant": "blue", "key_grade": "none",
	}
	if !maps.Equal(got.Claims, want) {
		t.Errorf("got claims %v, want %v", got.Claims, want)
	}
	if got.ExpiresAt != start.Unix()+300 {
		t.Errorf("ends at %d, want what was asked", got.ExpiresAt)
	}
	certified := w.granted(x509SVID(workload))
	info := w.said(certified)
	if !info.Attested || info.Risk != attestd.Risk(20) || info.Tier != attestd.TierLow ||
		info.Tenant != "blue" || info.TEE != "tpm" || certified.ExtensionOID != svidext.DefaultOID {
		t.Errorf("the extension says %+v", info)
	}
	for _, id := range []subject.ID{workload, node(1).ID} {
		if n, until := w.index.Outstanding(id, start); n != 2 || !until.Equal(start.Add(time.Hour)) {
			t.Errorf("%d grants of %s until %v, want 2 for an hour", n, id, until)
		}
	}
	if len(w.asked) != 0 {
		t.Errorf("the controller was asked %v for what the map has", w.asked)
	}
}

// TestNodesThatAreNotGoodLeaveTheSet: alone they leave nobody, and beside a good one they neither
// refuse it nor raise its risk.
func TestNodesThatAreNotGoodLeaveTheSet(t *testing.T) {
	for name, spoil := range map[string]func(*subject.Subject){
		"suspect":      func(s *subject.Subject) { s.State = attestd.StateSuspect },
		"quarantined":  func(s *subject.Subject) { s.State = attestd.StateQuarantined },
		"revoked":      func(s *subject.Subject) { s.State = attestd.StateRevoked },
		"at high risk": func(s *subject.Subject) { s.Floor = attestd.Risk(70) },
		"overdue":      func(s *subject.Subject) { s.DueAt = start },
		"nobody's":     func(s *subject.Subject) { s.Ownership = subject.MethodNone },
		// neg: 148
		"of a risk that was never computed": func(s *subject.Subject) { s.Floor = attestd.RiskScore{} },
	} {
		t.Run(name, func(t *testing.T) {
			for _, mode := range []string{issuance.Observe, issuance.Deny} {
				w := newWorld(t, func(c *issuance.Config) { c.Unattested = mode })
				w.publish(spoil, 1)
				w.on(1)
				w.refused(jwt(workload), attestd.ClassPolicyDeny)
				w.refused(x509SVID(workload), attestd.ClassPolicyDeny)
				if n := w.outstanding(workload) + w.outstanding(node(1).ID); n != 0 {
					t.Errorf("%d grants are counted, and none was given", n)
				}
				w.publish(nil, 2)
				w.on(1, 2)
				if got := w.granted(jwt(workload)); got.Claims["risk_score"] != 20 || got.Claims["attested"] != true {
					t.Errorf("got %v beside a good node", got.Claims)
				}
				if w.outstanding(node(1).ID) != 0 || w.outstanding(node(2).ID) != 1 {
					t.Error("the grant is counted against the wrong node")
				}
			}
		})
	}
}

func TestTheWorstOfTheEntitledCounts(t *testing.T) {
	w := newWorld(t, nil)
	w.publish(nil, 1)
	w.publish(func(s *subject.Subject) {
		s.Floor, s.EvidenceAt, s.Tenant = attestd.Risk(69), start.Add(-time.Hour), "red"
		s.Format, s.DueAt = attestd.FormatNitroTPM, start.Add(10*time.Second)
	}, 2)
	w.on(1, 2)
	got := w.granted(jwt(workload))
	want := map[string]any{
		"attested": true, "risk_score": 69, "risk_tier": "medium", "ear_status": "warning",
		"attested_at": "2026-05-04T02:02:01Z", "tee": "mixed", "key_grade": "none",
	}
	if !maps.Equal(got.Claims, want) {
		t.Errorf("got %v, want %v: the worst of each, and no tenant where there are two", got.Claims, want)
	}
	// neg: 150
	if want := start.Unix() + 60; got.ExpiresAt != want {
		t.Errorf("ends at %d, want %d: medium risk", got.ExpiresAt, want)
	}
	w.wait(time.Second)
	w.publish(func(s *subject.Subject) {
		s.Generation, s.DueAt = 3, start.Add(2*time.Second)
	}, 1)
	// neg: 150
	if got, want := w.granted(jwt(workload)).ExpiresAt, start.Unix()+61; got != want {
		t.Errorf("ends at %d, want %d", got, want)
	}
}

// TestAJWTEndsWithTheEvidence: neg: 150
func TestAJWTEndsWithTheEvidence(t *testing.T) {
	for _, row := range []struct {
		name             string
		due, grace       time.Duration
		asked, want      int64
		risk             int
		longer, refusing bool
	}{
		{name: "as asked", due: time.Hour, asked: 40, want: 40},
		{name: "no longer than its risk allows", due: time.Hour, asked: 3000, want: 300},
		{name: "at medium risk", due: time.Hour, asked: 3000, want: 60, risk: 40},
		{name: "until the evidence is due", due: 20 * time.Second, asked: 300, want: 20},
		{name: "and the grace after it", due: 20 * time.Second, grace: 7 * time.Second, asked: 300, want: 27},
		{name: "and not a second less than one", due: time.Second / 2, asked: 300, refusing: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, func(c *issuance.Config) { c.Lifetimes.Grace = row.grace })
			w.publish(func(s *subject.Subject) {
				s.DueAt, s.Floor = start.Add(row.due), attestd.Risk(row.risk)
			}, 1)
			w.on(1)
			ask := jwt(workload)
			ask.ExpiresAt = start.Unix() + row.asked
			if row.refusing {
				w.refused(ask, attestd.ClassPolicyDeny)
				return
			}
			if got := w.granted(ask).ExpiresAt - start.Unix(); got != row.want {
				t.Errorf("lives %d seconds, want %d", got, row.want)
			}
			_, until := w.index.Outstanding(workload, start)
			if got := until.Unix() - start.Unix(); got != row.want {
				t.Errorf("counted for %d seconds, want %d", got, row.want)
			}
		})
	}
}

// TestAnX509SVIDIsCountedForAsLongAsSPIREIssuesIt: neg: 150
func TestAnX509SVIDIsCountedForAsLongAsSPIREIssuesIt(t *testing.T) {
	for _, row := range []struct {
		name string
		ttls []int
		want time.Duration
	}{
		{"the server's default", []int{0}, time.Hour},
		{"an entry's, where it is longer", []int{60, 5000}, 5000 * time.Second},
		{"never less than the default", []int{60}, time.Hour},
		{"beyond the longest: refused", []int{7201}, 0},
		{"a lifetime that is none: refused", []int{-1}, 0},
		{"no entry: whatever a person asks for", nil, 2 * time.Hour},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, func(c *issuance.Config) { c.Unattested = issuance.Observe })
			w.publish(nil, 1)
			whole := wire.Map{}
			for _, ttl := range row.ttls {
				one := entry(workload, string(node(1).ID))
				one.X509TTL = ttl
				whole.Entries = append(whole.Entries, one)
			}
			must(t, w.office.SetMap(whole))
			if row.want == 0 {
				w.refused(x509SVID(workload), attestd.ClassPolicyDeny)
				return
			}
			w.granted(x509SVID(workload))
			if _, until := w.index.Outstanding(workload, start); until.Sub(start) != row.want {
				t.Errorf("counted for %s, want %s", until.Sub(start), row.want)
			}
		})
	}
}

// TestAHeldWorkloadIsRefusedOnTheBestOfNodes: by its name, in whatever spelling. neg: 197
func TestAHeldWorkloadIsRefusedOnTheBestOfNodes(t *testing.T) {
	w := newWorld(t, func(c *issuance.Config) { c.Unattested = issuance.Observe })
	w.publish(nil, 1)
	w.on(1)
	w.granted(jwt(workload))
	w.hold(subject.ID(strings.Replace(workload, "web", "WEB", 1)))
	w.refused(jwt(workload), attestd.ClassQuarantined)
	if len(w.noted) != 1 || w.noted[0].Class != "QUARANTINED" || w.noted[0].Target != workload ||
		w.noted[0].Outcome != "refused" {
		t.Errorf("noted %+v, want the refusal", w.noted)
	}
	if _, err := audit.Encode(w.noted[0]); err != nil {
		t.Errorf("what is noted is no record: %v", err)
	}
	w.refused(x509SVID(workload), attestd.ClassQuarantined)
	w.refused(jwt(workload+"/.."), attestd.ClassMalformed)
	if w.outstanding(workload) != 1 {
		t.Error("the grant before the hold is counted no more")
	}
	w.index.Publish(nil, []subject.BarWrite{{Key: subject.ID(workload).Key()}})
	w.granted(jwt(workload))
}

// TestAHeldNodesWorkloadIsRefused: also where attestd never saw evidence of the node. neg: 197
func TestAHeldNodesWorkloadIsRefused(t *testing.T) {
	const foreign = "spiffe://example.org/spire/agent/join_token/7"
	w := newWorld(t, func(c *issuance.Config) { c.Unattested = issuance.Observe })
	must(t, w.office.SetMap(wire.Map{
		Entries: []wire.Entry{entry(workload, foreign)}, Agents: []wire.Agent{{ID: foreign}},
	}))
	w.granted(jwt(workload))
	w.hold(foreign)
	w.refused(jwt(workload), attestd.ClassPolicyDeny)
	w.refused(agentSVID(foreign, []byte("k")), attestd.ClassQuarantined)
	// A row that a hold made is no evidence: released, the node is as before.
	row := subject.Subject{ID: foreign, State: attestd.StateSuspect, Generation: 1}
	w.index.Publish([]subject.Subject{row}, []subject.BarWrite{{Key: subject.ID(foreign).Key()}})
	w.granted(jwt(workload))
	w.granted(agentSVID(foreign, []byte("k")))
}

// TestWhereNothingWasAttested: what is configured decides, and what is issued says so.
func TestWhereNothingWasAttested(t *testing.T) {
	const foreign = "spiffe://example.org/spire/agent/join_token/7"
	whole := wire.Map{
		Entries: []wire.Entry{entry(workload, foreign)}, Agents: []wire.Agent{{ID: foreign}},
	}
	observe := newWorld(t, func(c *issuance.Config) { c.Unattested = issuance.Observe })
	must(t, observe.office.SetMap(whole))
	for _, id := range []string{workload, "spiffe://example.org/without/entry"} {
		got := observe.granted(jwt(id))
		want := map[string]any{
			"attested": false, "risk_score": 100, "risk_tier": "unknown", "ear_status": "none",
		}
		if !maps.Equal(got.Claims, want) {
			t.Errorf("got %v, want %v", got.Claims, want)
		}
		if lives := got.ExpiresAt - start.Unix(); lives != 30 {
			t.Errorf("it lives %d s, want 30", lives)
		}
		if info := observe.said(observe.granted(x509SVID(id))); info.Attested || info.Risk.Int() != 100 {
			t.Errorf("the extension says %+v", info)
		}
		if observe.outstanding(subject.ID(id)) != 2 {
			t.Error("the grants are not counted")
		}
	}
	if info := observe.said(observe.granted(agentSVID(foreign, []byte("k")))); info.Attested {
		t.Errorf("the agent's extension says %+v", info)
	}
	deny := newWorld(t, nil)
	must(t, deny.office.SetMap(whole))
	for _, ask := range []wire.GrantRequest{
		jwt(workload), x509SVID(workload), jwt("spiffe://example.org/without/entry"),
		agentSVID(foreign, []byte("k")),
	} {
		deny.refused(ask, attestd.ClassPolicyDeny)
	}
}

// TestWhatAnUnattestedNodeCanObtainIsNotAttested: SPIRE does not tell which of the nodes asks.
func TestWhatAnUnattestedNodeCanObtainIsNotAttested(t *testing.T) {
	const foreign = "spiffe://example.org/spire/agent/join_token/7"
	entries := []wire.Entry{entry(workload, string(node(1).ID)), entry(workload, foreign)}
	for name, row := range map[string]struct {
		agent    *wire.Agent
		attested bool
	}{
		"that SPIRE knows":          {&wire.Agent{ID: foreign, ExpiresAt: start.Unix() + 60}, false},
		"that SPIRE never saw":      {nil, true},
		"that is banned":            {&wire.Agent{ID: foreign, Banned: true}, true},
		"whose SVID ended long ago": {&wire.Agent{ID: foreign, ExpiresAt: start.Unix() - 60}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *issuance.Config) { c.Unattested = issuance.Observe })
			w.publish(nil, 1)
			whole := wire.Map{Entries: entries, At: start, Agents: []wire.Agent{{ID: string(node(1).ID)}}}
			if row.agent != nil {
				whole.Agents = append(whole.Agents, *row.agent)
			}
			must(t, w.office.SetMap(whole))
			got := w.granted(jwt(workload)).Claims
			if got["attested"] != row.attested || (got["risk_score"] == 20) != row.attested {
				t.Errorf("got %v, want attested %t", got, row.attested)
			}
			w.granted(agentSVID(foreign, []byte("k"))) // it comes by now, and SPIRE's map is older
			if got := w.granted(jwt(workload)).Claims; row.agent == nil && got["attested"] != false {
				t.Errorf("got %v after the agent was granted its SVID", got)
			}
		})
	}
}

// TestNobodyIsGrantedTheServersOwnIDs: nor what is no id at all. neg: 142
func TestNobodyIsGrantedTheServersOwnIDs(t *testing.T) {
	w := newWorld(t, func(c *issuance.Config) { c.Unattested = issuance.Observe })
	for id, class := range map[string]attestd.Class{
		"spiffe://example.org":                              attestd.ClassMalformed,
		"spiffe://example.org/":                             attestd.ClassMalformed,
		"spiffe://example.org/spire/server":                 attestd.ClassForbidden,
		"spiffe://example.org/spire":                        attestd.ClassForbidden,
		"spiffe://example.org/spire/agent":                  attestd.ClassForbidden,
		"spiffe://example.org/spire/anything":               attestd.ClassForbidden,
		"spiffe://example.org/for/health/check/only":        attestd.ClassForbidden,
		"spiffe://example.org/spire/agent/attestd":          attestd.ClassForbidden,
		"spiffe://example.net/shop":                         attestd.ClassMalformed,
		"spiffe://example.orgx/shop":                        attestd.ClassMalformed,
		"spiffe://EXAMPLE.org/shop":                         attestd.ClassMalformed,
		"spiffe://example.org/a/../b":                       attestd.ClassMalformed,
		"spiffe://example.org/%2e%2e/b":                     attestd.ClassMalformed,
		"spiffe://example.org//b":                           attestd.ClassMalformed,
		"spiffe://example.org/b/":                           attestd.ClassMalformed,
		"spiffe://example.org/" + strings.Repeat("x", 2049): attestd.ClassMalformed,
		"https://example.org/b":                             attestd.ClassMalformed,
		"":                                                  attestd.ClassMalformed,
		"spiffe://example.org/b\n":                          attestd.ClassMalformed,
		"spiffe://example.org/spire/agent/join_token/x":     attestd.ClassMalformed,
	} {
		w.refused(jwt(id), class)
		w.refused(x509SVID(id), class)
	}
	w.refused(agentSVID(workload, []byte("k")), attestd.ClassMalformed)
}

func TestWhatIsNoRequestIsRefused(t *testing.T) {
	w := newWorld(t, func(c *issuance.Config) { c.Unattested = issuance.Observe })
	for name, change := range map[string]func(*wire.GrantRequest){
		"an unknown kind":      func(r *wire.GrantRequest) { r.Kind = "wit-svid" },
		"no kind":              func(r *wire.GrantRequest) { r.Kind = "" },
		"no audience":          func(r *wire.GrantRequest) { r.Audience = nil },
		"an empty audience":    func(r *wire.GrantRequest) { r.Audience = []string{"a", ""} },
		"65 audiences":         func(r *wire.GrantRequest) { r.Audience = strings.Split(strings.Repeat("a", 65), "") },
		"a long audience":      func(r *wire.GrantRequest) { r.Audience = []string{strings.Repeat("a", 1025)} },
		"a key for a JWT-SVID": func(r *wire.GrantRequest) { r.KeySHA256 = make([]byte, 32) },
		"an end that is over":  func(r *wire.GrantRequest) { r.ExpiresAt = start.Unix() },
		"no end":               func(r *wire.GrantRequest) { r.ExpiresAt = 0 },
		"an X.509-SVID without a key": func(r *wire.GrantRequest) {
			*r = wire.GrantRequest{Kind: wire.GrantWorkloadX509, ID: workload}
		},
		"an X.509-SVID with an audience": func(r *wire.GrantRequest) {
			*r = x509SVID(workload)
			r.Audience = []string{"db"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w.TB = t
			ask := jwt(workload)
			change(&ask)
			w.refused(ask, attestd.ClassMalformed)
		})
	}
}

// TestOnlyTheAudiencesThatAreNamedLearnTheRisk: all who read a token must be among them.
func TestOnlyTheAudiencesThatAreNamedLearnTheRisk(t *testing.T) {
	for name, row := range map[string]struct {
		configured, asked []string
		told              bool
	}{
		"everybody":               {[]string{"*"}, []string{"db", "x"}, true},
		"the one":                 {[]string{"db"}, []string{"db"}, true},
		"each of two":             {[]string{"db", "x"}, []string{"x", "db"}, true},
		"one of two":              {[]string{"db"}, []string{"db", "x"}, false},
		"another":                 {[]string{"db"}, []string{"x"}, false},
		"nobody":                  {nil, []string{"db"}, false},
		"one that is called star": {[]string{"db"}, []string{"*"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *issuance.Config) { c.Audiences = row.configured })
			w.publish(nil, 1)
			w.on(1)
			ask := jwt(workload)
			ask.Audience = row.asked
			claims := w.granted(ask).Claims
			for _, claim := range issuance.Claims() {
				if _, there := claims[claim.Name]; claim.Always && there != (row.told || !claim.Risk) {
					t.Errorf("claim %s is there: %t, for %v", claim.Name, there, row.asked)
				}
			}
			everybody := len(row.configured) == 1 && row.configured[0] == "*"
			if info := w.said(w.granted(x509SVID(workload))); info.RiskShown != everybody || !info.Attested {
				t.Errorf("the extension, which everybody reads, says %+v", info)
			}
		})
	}
}

// TestUnknownIDsAreAskedFor: once for all, and where nobody answers there is no answer.
func TestUnknownIDsAreAskedFor(t *testing.T) {
	const alias = "spiffe://example.org/alias"
	w := newWorld(t, nil)
	w.publish(nil, 1, 2)
	must(t, w.office.SetMap(wire.Map{Agents: []wire.Agent{{
		ID: string(node(2).ID), Selectors: []wire.Selector{{Type: "attestd", Value: "tier:low"}},
	}}}))
	w.refused(jwt(workload), attestd.ClassPolicyDeny)
	w.entries[workload] = []wire.Entry{
		entry(workload, string(node(1).ID)), entry(workload, alias), entry("spiffe://example.org/other", alias),
	}
	w.entries[alias] = []wire.Entry{
		entry(alias, server, wire.Selector{Type: "attestd", Value: "tier:low"}),
	}
	w.refused(jwt(workload), attestd.ClassPolicyDeny) // that there is none stands for a second
	if len(w.asked) != 1 {
		t.Errorf("asked %v within a second, want once", w.asked)
	}
	w.wait(time.Second)
	w.granted(jwt(workload))
	if w.outstanding(node(1).ID) != 1 || w.outstanding(node(2).ID) != 1 {
		t.Error("the grant is not counted against the node of an alias of an entry that was asked for")
	}
	w.wait(time.Second)
	w.broken = errors.New("no controller")
	_, err := w.office.Grant(context.Background(), jwt(workload))
	w.undecided(err)
	w.on(1)
	w.granted(jwt(workload))
	w.wait(time.Minute) // nobody vouches for the map any more
	_, err = w.office.Grant(context.Background(), jwt(workload))
	w.undecided(err)
	w.on(1) // the same again
	w.granted(jwt(workload))
	if known := fmt.Sprint(w.office.Nodes(workload)); known != fmt.Sprintf("[%s] true", node(1).ID) {
		t.Errorf("it can be issued to %s", known)
	}
}

func TestAControllerThatDoesNotAnswerIsNotWaitedForLong(t *testing.T) {
	w := newWorld(t, func(c *issuance.Config) {
		c.Refresh = func(ctx context.Context, _ []string) (wire.Map, error) {
			<-ctx.Done()
			return wire.Map{}, ctx.Err()
		}
	})
	began := time.Now()
	_, err := w.office.Grant(context.Background(), jwt(workload))
	w.undecided(err)
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %s, want a quarter of a second", took)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.office.Grant(ctx, jwt(workload)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that nobody waits", err)
	}
}
