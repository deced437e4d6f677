package spiretest_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	agentv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"

	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/spiretest/asked"
)

// workloadName is what the program of a workload is called in the list of executables.
const workloadName = "payments"

// houseConfig says what attestd and its SPIRE server are told beside what all of them are.
type houseConfig struct {
	profile    profile
	unattested string   // deny where it is empty
	section    []string // of attestd's configuration, under spire
	gated      bool     // SPIRE asks attestd before each call of an agent
	server     serverConfig
}

// house is attestd and the SPIRE server that its plugins stand in.
type house struct {
	*daemon
	spire *spireServer
	// ann and bob are two operators who guard machines: nobody releases what they held themselves.
	ann, bob *client.Client
}

// open starts attestd, and a SPIRE server with its plugins.
func open(t *testing.T, config houseConfig) *house {
	t.Helper()
	h := arrange(t, config)
	h.start(t)
	return h
}

// start starts both, attestd first.
func (h *house) start(t *testing.T) {
	t.Helper()
	h.daemon.run(t)
	h.ann, h.bob = h.operator(t, "ann", "security"), h.operator(t, "bob", "security")
	h.spire.run(t)
}

// arrange makes the folders of both.
func arrange(t *testing.T, config houseConfig) *house {
	t.Helper()
	names := filepath.Join(made.folder, "workloads.yaml")
	program, err := os.ReadFile(workloadProgram.file(t))
	if err != nil {
		t.Fatal(err)
	}
	write(t, names, fmt.Appendf(nil, "schema: attestd.workloads.v1\nworkloads:\n  %s: [\"%x\"]\n",
		workloadName, sha256.Sum256(program)))
	if config.unattested == "" {
		config.unattested = "deny"
	}
	h := &house{}
	poll := "5s"
	if config.profile.name == fast.name {
		poll = "1s"
	}
	listen := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	folder, err := os.MkdirTemp(made.folder, "s")
	if err != nil {
		t.Fatal(err)
	}
	gate := ""
	if config.gated {
		gate = fmt.Sprintf("127.0.0.1:%d", freePort(t))
		config.section = append(config.section, "gate: '"+gate+"'")
	}
	h.daemon = configureDaemon(t, append([]string{
		"unix: p", "listen: '" + listen + "'", "unattested: " + config.unattested,
		"server: unix:" + (&spireServer{folder: folder}).socket(), "poll: " + poll, "workloads: [" + names + "]",
		"agent_ttl: 1h", "x509_svid_ttl: 10m", "jwt_svid_ttl: 1m",
	}, config.section...)...)
	config.server.profile, config.server.folder = config.profile, folder
	config.server.plugins += h.serverPlugins(t)
	config.server.experimental += policy(t, folder, gate)
	h.spire = configure(t, config.server)
	return h
}

// serverPlugins are attestd's plugins of a SPIRE server on the same host.
func (h *house) serverPlugins(t *testing.T) string {
	t.Helper()
	addresses := fmt.Sprintf("addresses = [%q]", "unix:"+h.plugins())
	canary := fmt.Sprintf("\ncanary_tenant = %q", tenant)
	return pluginBlock(t, "NodeAttestor", "nodeattestor-server", addresses+canary) +
		pluginBlock(t, "CredentialComposer", "composer", addresses)
}

// node is a machine with a SPIRE agent and a workload on it.
type node struct {
	house *house
	*machine
	agent    *spireAgent
	workload *workload
	runtime  string // where the plugins on the node find each other
	path     string // of the workload's SPIFFE ID
	keys     string // "memory" or "tpm"
}

// node makes a node of the machine: its workload is registered for it alone, and nothing runs yet.
func (h *house) node(t *testing.T, m *machine, keys string) *node {
	t.Helper()
	n := &node{
		house: h, machine: m, keys: keys, runtime: filepath.Join(m.folder, "r"),
		path: "/lab/" + filepath.Base(m.folder),
	}
	h.spire.register(t, entry{
		id: n.entryID(), spiffeID: id(n.path), parent: m.id,
		selectors: []string{"unix:uid:0", "attestd:admitted:yes", "attestd:workload:" + workloadName},
	})
	n.agent = h.spire.prepare(t, agentConfig{plugins: n.plugins(t)})
	return n
}

// entryID begins as those do that attestd may hold.
func (n *node) entryID() string { return "attestd." + filepath.Base(n.folder) }

// plugins are attestd's plugins of a SPIRE agent, and SPIRE's own attestor beside them.
func (n *node) plugins(t *testing.T) string {
	t.Helper()
	return n.keyManager(t) + n.nodeAttestor(t) + n.workloadAttestor(t) + plainWorkloads
}

func (n *node) keyManager(t *testing.T) string {
	t.Helper()
	data := fmt.Sprintf("keys = %q\n\t\t\truntime_dir = %q", n.keys, n.runtime)
	if n.keys == "tpm" {
		data += fmt.Sprintf(`
			tpm {
				device = %q
				state_dir = %q
			}`, "swtpm:"+n.tpm.Socket(), n.state())
	}
	return pluginBlock(t, "KeyManager", "keymanager", data)
}

func (n *node) nodeAttestor(t *testing.T) string {
	t.Helper()
	return pluginBlock(t, "NodeAttestor", "nodeattestor-agent", fmt.Sprintf(`format = "tpm"
			tenant = %q
			trust_domain = %q
			runtime_dir = %q
			tpm {
				device = %q
				state_dir = %q
				event_log = %q
				ima_log = "off"
				ek_chain_file = %q
			}`, tenant, trustDomain, n.runtime, "swtpm:"+n.tpm.Socket(), n.state(), n.bootLog(),
		maker(t).IssuerFile()))
}

func (n *node) workloadAttestor(t *testing.T) string {
	t.Helper()
	return pluginBlock(t, "WorkloadAttestor", "workloadattestor", fmt.Sprintf("runtime_dir = %q", n.runtime))
}

// another is the program of a workload with a byte more, which nobody has a name for.
func another(t *testing.T) string {
	t.Helper()
	program, err := os.ReadFile(workloadProgram.file(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "another")
	if err := os.WriteFile(path, append(program, 0), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	return path
}

// start starts the agent and returns the time to the workload's first JWT-SVID.
func (n *node) start(t *testing.T) time.Duration {
	t.Helper()
	if n.workload == nil {
		n.workload = n.agent.workload(t, workloadProgram.file(t))
	}
	return n.agent.firstJWT(t, n.workload)
}

// ownedNode is a node of the lab that was not started yet. Each of one house is like another TPM: two
// with the same keys would be clones.
func (h *house) ownedNode(t *testing.T, like, keys string) *node {
	t.Helper()
	m := newMachine(t, like, goldenBoot())
	h.owns(t, m)
	n := h.node(t, m, keys)
	h.spire.cached(t)
	return n
}

// measuredNode is a node of the lab that has its first identities.
func (h *house) measuredNode(t *testing.T, like, keys string) *node {
	t.Helper()
	n := h.ownedNode(t, like, keys)
	n.start(t)
	return n
}

// spireAgentOf is what the SPIRE server knows of an agent; nil where it knows none of that name.
func (s *spireServer) spireAgentOf(t *testing.T, name string) *types.Agent {
	t.Helper()
	path := spiffeid.RequireFromString(name).Path()
	agent, err := s.agents.GetAgent(t.Context(), &agentv1.GetAgentRequest{
		Id: &types.SPIFFEID{TrustDomain: trustDomain, Path: path},
	})
	if err != nil {
		return nil
	}
	return agent
}

// banned reports whether SPIRE has banned the node's agent.
func (n *node) banned(t *testing.T) bool {
	t.Helper()
	agent := n.house.spire.spireAgentOf(t, n.id)
	return agent != nil && agent.GetBanned()
}

// refusedJWT asks until a JWT-SVID is refused, and returns when the first refusal came. The audience is
// the same each time, so that what the agent has in its cache is asked for too.
func (w *workload) refusedJWT(t *testing.T, audience string, within time.Duration) time.Time {
	t.Helper()
	for deadline := time.Now().Add(within); ; {
		answer := w.ask(t, asked.Question{Do: asked.JWT, Audience: audience, Within: 2 * time.Second})
		if !answer.OK {
			return answer.At
		}
		if time.Now().After(deadline) {
			t.Fatalf("a JWT-SVID is given %s later: %v", within, answer.Claims)
		}
	}
}
