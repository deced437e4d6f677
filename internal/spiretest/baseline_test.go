package spiretest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"

	agentv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1"
)

// plain is SPIRE without anything of attestd's: a node that shows a token, a workload that is known by
// its user. What attestd adds is measured against it in the same run.
type plain struct {
	server   *spireServer
	agent    *spireAgent
	workload *workload
	// start is from the agent's start to the first JWT-SVID that go-spiffe accepts.
	start time.Duration
}

const plainWorkload = "/plain/workload"

// plainly starts a server, an agent and a workload.
func plainly(t *testing.T, profile profile) *plain {
	t.Helper()
	return plainNode(t, serve(t, serverConfig{profile: profile}))
}

// plainNode starts an agent and a workload of the server. The entry is in the server's cache before
// the agent starts, so that SPIRE's own waiting for it is not part of what is measured.
func plainNode(t *testing.T, server *spireServer) *plain {
	t.Helper()
	token, err := server.agents.CreateJoinToken(t.Context(), &agentv1.CreateJoinTokenRequest{Ttl: 600})
	if err != nil {
		t.Fatal(err)
	}
	node := id("/spire/agent/join_token/" + token.GetValue())
	server.register(t, entry{
		id: "plain-" + token.GetValue(), spiffeID: id(plainWorkload), parent: node,
		selectors: []string{"unix:uid:0"},
	})
	server.cached(t)
	p := &plain{server: server}
	p.agent = server.prepare(t, agentConfig{
		plugins: memoryKeys + plainWorkloads + `
	NodeAttestor "join_token" {
		plugin_data {
		}
	}`, token: token.GetValue(),
	})
	p.workload = p.agent.workload(t, workloadProgram.file(t))
	p.start = p.agent.firstJWT(t, p.workload)
	return p
}

// cached waits until the server's cache has what was registered before.
func (s *spireServer) cached(t *testing.T) {
	t.Helper()
	time.Sleep(s.profile.bound/2 + 200*time.Millisecond)
}

// firstJWT starts the agent and returns the time to the workload's first JWT-SVID.
func (a *spireAgent) firstJWT(t *testing.T, w *workload) time.Duration {
	t.Helper()
	began := time.Now()
	a.run(t)
	return w.awaitJWT(t, "first").At.Sub(began)
}

// fetches fetches JWT-SVIDs, each for an audience that no cache has, and returns the times in order.
func (w *workload) fetches(t *testing.T, count int) []time.Duration {
	t.Helper()
	var took []time.Duration
	for number := range count {
		answer := w.jwt(t, fmt.Sprintf("fetch-%d-%d", w.pid(), number))
		if !answer.OK {
			t.Fatalf("fetch %d: %s", number, answer.Error)
		}
		took = append(took, answer.Took)
	}
	slices.Sort(took)
	return took
}

// TestPlainSPIREGivesIdentities: the harness itself, before anything of attestd's stands in it.
func TestPlainSPIREGivesIdentities(t *testing.T) {
	for _, profile := range []profile{defaults, fast} {
		t.Run(profile.name, func(t *testing.T) {
			p := plainly(t, profile)
			jwt := p.workload.awaitJWT(t, "somebody")
			if jwt.ID != id(plainWorkload) {
				t.Errorf("the JWT-SVID is for %s", jwt.ID)
			}
			if claim, there := jwt.Claims["risk_score"]; there {
				t.Errorf("plain SPIRE says a risk score: %v", claim)
			}
			x509 := p.workload.awaitX509(t)
			if len(x509.SVIDs) != 1 || x509.SVIDs[0].ID != id(plainWorkload) {
				t.Errorf("the X509-SVIDs are %+v", x509.SVIDs)
			}
			said, err := p.agent.command(t, "api", "validate", "jwt", "-audience", "somebody", "-svid", jwt.Token)
			if err != nil || !strings.Contains(said, "SVID is valid") {
				t.Errorf("spire-agent says of the JWT-SVID: %s, %v", said, err)
			}
			took := p.workload.fetches(t, 30)
			t.Logf("agent start to the first JWT-SVID %s; fetches: median %s, 95th of 100 %s",
				p.start, took[len(took)/2], took[len(took)*95/100])
		})
	}
}

// TestPlainSPIRETakesIdentitiesBack: a banned agent ends, and its workload has nothing to ask.
func TestPlainSPIRETakesIdentitiesBack(t *testing.T) {
	p := plainly(t, fast)
	agents, err := p.server.agents.ListAgents(t.Context(), &agentv1.ListAgentsRequest{
		OutputMask: &types.AgentMask{Banned: true},
	})
	if err != nil || len(agents.GetAgents()) != 1 {
		t.Fatalf("the server knows the agents %v, %v", agents.GetAgents(), err)
	}
	began := time.Now()
	_, err = p.server.agents.BanAgent(t.Context(), &agentv1.BanAgentRequest{Id: agents.GetAgents()[0].GetId()})
	if err != nil {
		t.Fatal(err)
	}
	p.agent.awaitEnd(t, fast.bound)
	t.Logf("the agent ended %s after the ban", time.Since(began))
	if answer := p.workload.jwt(t, "after"); answer.OK {
		t.Errorf("a JWT-SVID of a banned agent: %+v", answer.Claims)
	}
}
