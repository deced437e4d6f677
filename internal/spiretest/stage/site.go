package stage

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Names that do not matter, and are the same everywhere.
const (
	// TrustDomain is that of attestd and SPIRE.
	TrustDomain = "example.org"
	// WorkloadName is what the list of executables calls the workload.
	WorkloadName = "payments"
)

// Site is one host with all parts: a machine with a TPM, attestd, a SPIRE server and an agent, in the
// profile "fast". Its methods are to be called one after the other.
type Site struct {
	Programs Programs
	Machine  *Machine
	Folder   string

	server, agent *Process
	processes     []*Process
	apiPort       int
	adminPort     int
}

// NewSite makes the folders and the configurations of all parts, and starts none.
func NewSite(ctx context.Context, programs Programs, folder string, machine *Machine) (*Site, error) {
	s := &Site{Programs: programs, Machine: machine, Folder: folder}
	for _, name := range []string{"attestd", "server", "agent", "keys"} {
		if err := os.Mkdir(filepath.Join(folder, name), 0o700); err != nil {
			return nil, err
		}
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	s.apiPort, s.adminPort = ports[0], ports[2]
	workload, err := os.ReadFile(programs.Workload)
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{
		"workloads.yaml": fmt.Sprintf("schema: attestd.workloads.v1\nworkloads:\n  %s: [\"%x\"]\n",
			WorkloadName, sha256.Sum256(workload)),
		"attestd.yaml": s.attestdConfig(ports[1]),
		"server.conf":  s.serverConfig(),
		"agent.conf":   s.agentConfig(),
	} {
		if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return s, s.measure(ctx)
}

func (s *Site) path(words ...string) string {
	return filepath.Join(append([]string{s.Folder}, words...)...)
}

// measure writes down whose the machine is and what it booted, as an operator does on a machine that
// is known to be good.
func (s *Site) measure(ctx context.Context) error {
	tpm := []string{"--tpm", s.Machine.Device(), "--event-log", s.Machine.Log, "--ima-log", "off"}
	keys, err := s.Attestd(ctx, append([]string{
		"evidence", "tpm", "--identity", "-o", "yaml", "--name", "node-1",
	}, tpm...)...)
	if err != nil {
		return err
	}
	if _, err := s.Attestd(ctx, append([]string{
		"evidence", "tpm", "--nonce", strings.Repeat("5a", 32), "--out", s.path("golden.tpm"),
	}, tpm...)...); err != nil {
		return err
	}
	if err := os.WriteFile(s.path("keys.yaml"), []byte(keys), 0o600); err != nil {
		return err
	}
	golden, err := s.Attestd(ctx, "measure", s.path("golden.tpm"), "--name", "golden", "--reference",
		s.path("keys.yaml"), "--state", "active", "--pcrs", "0-9,14")
	if err != nil {
		return err
	}
	return os.WriteFile(s.path("golden.yaml"), []byte(golden), 0o600)
}

func (s *Site) attestdConfig(plugins int) string {
	return fmt.Sprintf(`schema: attestd.config.v1
trust_domain: %[1]s
state_dir: %[2]s
listen: {http: off, unix: s}
admin: {http: '127.0.0.1:%[3]d'}
verify: {workers: 1, policy: laboratory, local_references: [%[4]s, %[5]s]}
spire:
  unix: p
  listen: '127.0.0.1:%[6]d'
  unattested: deny
  server: unix:%[7]s
  poll: 1s
  agent_ttl: 1h
  x509_svid_ttl: 10m
  jwt_svid_ttl: 1m
  workloads: [%[8]s]
`, TrustDomain, s.path("attestd"), s.adminPort, s.path("keys.yaml"), s.path("golden.yaml"), plugins,
		s.serverSocket(), s.path("workloads.yaml"))
}

func (s *Site) serverSocket() string { return s.path("server", "s") }
func (s *Site) agentSocket() string  { return s.path("agent", "a") }

// Address is attestd for its command line.
func (s *Site) Address() string { return "unix:" + s.path("attestd", "s") }

// Operators is where attestd answers operators with certificates.
func (s *Site) Operators() string { return fmt.Sprintf("https://127.0.0.1:%d", s.adminPort) }

func (s *Site) serverConfig() string {
	addresses := fmt.Sprintf("addresses = [%q]", "unix:"+s.path("attestd", "p"))
	return fmt.Sprintf(`server {
	bind_address = "127.0.0.1"
	bind_port = "%d"
	socket_path = %q
	trust_domain = %q
	data_dir = %q
	agent_ttl = "1h"
	default_x509_svid_ttl = "10m"
	default_jwt_svid_ttl = "1m"
	ratelimit {
		attestation = false
	}
	experimental {
		cache_reload_interval = "1s"
		events_based_cache = true
	}
}
plugins {
	DataStore "sql" {
		plugin_data {
			database_type = "sqlite3"
			connection_string = %q
		}
	}
	KeyManager "disk" {
		plugin_data {
			keys_path = %q
		}
	}
%s%s}
`, s.apiPort, s.serverSocket(), TrustDomain, s.path("server"), s.path("server", "store.sqlite3"),
		s.path("server", "keys.json"), s.plugin("NodeAttestor", "nodeattestor-server", addresses),
		s.plugin("CredentialComposer", "composer", addresses))
}

func (s *Site) agentConfig() string {
	runtime := fmt.Sprintf("runtime_dir = %q\n", s.path("keys", "r"))
	tpm := fmt.Sprintf("tpm {\ndevice = %q\nstate_dir = %q\n", s.Machine.Device(), s.path("keys", "tpm"))
	return fmt.Sprintf(`agent {
	data_dir = %q
	server_address = "127.0.0.1"
	server_port = "%d"
	socket_path = %q
	trust_domain = %q
	trust_bundle_path = %q
	experimental {
		sync_interval = "1s"
	}
}
plugins {
%s%s%s	WorkloadAttestor "unix" {
		plugin_data {
		}
	}
}
`, s.path("agent"), s.apiPort, s.agentSocket(), TrustDomain, s.path("bundle.pem"),
		s.plugin("KeyManager", "keymanager", "keys = \"tpm\"\n"+runtime+tpm+"}\n"),
		s.plugin("NodeAttestor", "nodeattestor-agent", fmt.Sprintf(
			"format = \"tpm\"\ntenant = \"default\"\n%s%sevent_log = %q\nima_log = \"off\"\n}\n",
			runtime, tpm, s.Machine.Log)),
		s.plugin("WorkloadAttestor", "workloadattestor", runtime))
}

// plugin is one of attestd's plugins in SPIRE's configuration.
func (s *Site) plugin(kind, command, data string) string {
	return fmt.Sprintf("\t%s \"attestd\" {\n\t\tplugin_cmd = %q\n\t\tplugin_args = [%q]\n\t\tplugin_data {\n%s\n\t\t}\n\t}\n",
		kind, s.Programs.Plugin, command, data)
}

// Attestd runs a command of attestd's and returns what it answered.
func (s *Site) Attestd(ctx context.Context, words ...string) (string, error) {
	command := exec.CommandContext(ctx, s.Programs.Attestd, words...) //nolint:gosec // built here
	command.Env = append(os.Environ(), "ATTESTD_SERVER="+s.Address(), "HOME="+s.path("attestd"))
	return Say(ctx, command)
}

// StartAttestd starts attestd and waits until it is ready.
func (s *Site) StartAttestd(ctx context.Context) error {
	p, err := s.start("attestd", s.Programs.Attestd, "serve", "--config", s.path("attestd.yaml"))
	if err != nil {
		return err
	}
	return p.Until(ctx, func() error {
		_, err := s.Attestd(ctx, "status", "--quiet")
		return err
	})
}

// StartServer starts the SPIRE server, waits until it is healthy, and keeps its bundle for agents.
func (s *Site) StartServer(ctx context.Context) error {
	var err error
	if s.server, err = s.start("spire-server", s.Programs.SPIREServer, "run", "-config", s.path("server.conf")); err != nil {
		return err
	}
	if err := s.server.Until(ctx, func() error {
		_, err := s.Server(ctx, "healthcheck")
		return err
	}); err != nil {
		return err
	}
	bundle, err := s.Server(ctx, "bundle", "show")
	if err != nil {
		return err
	}
	return os.WriteFile(s.path("bundle.pem"), []byte(bundle), 0o600)
}

// Server runs a command of spire-server's that takes the path of its socket.
func (s *Site) Server(ctx context.Context, words ...string) (string, error) {
	words = append(words, "-socketPath", s.serverSocket())
	return Say(ctx, exec.CommandContext(ctx, s.Programs.SPIREServer, words...)) //nolint:gosec // SPIRE's
}

// StartAgent starts the SPIRE agent and waits for nothing. One that ran before has ended.
func (s *Site) StartAgent() error {
	var err error
	s.agent, err = s.start("spire-agent", s.Programs.SPIREAgent, "run", "-config", s.path("agent.conf"))
	return err
}

// Agent is the process of the agent that was started last.
func (s *Site) Agent() *Process { return s.agent }

// StartWorkload starts the workload, which is told what to ask for.
func (s *Site) StartWorkload() (*Workload, error) {
	command := exec.Command(s.Programs.Workload, "-socket", s.agentSocket()) //nolint:gosec // built here
	w, err := startWorkload(command)
	if err == nil {
		s.processes = append(s.processes, w.process)
	}
	return w, err
}

// start starts a part.
func (s *Site) start(name, path string, words ...string) (*Process, error) {
	p, err := Start(name, exec.Command(path, words...)) //nolint:gosec // built here, or SPIRE's
	if err == nil {
		s.processes = append(s.processes, p)
	}
	return p, err
}

// Agents is what the SPIRE server knows of its agents.
func (s *Site) Agents(ctx context.Context) ([]Agent, error) {
	said, err := s.Server(ctx, "agent", "list", "-output", "json")
	if err != nil {
		return nil, err
	}
	var list struct {
		Agents []struct {
			ID struct {
				TrustDomain string `json:"trust_domain"`
				Path        string `json:"path"`
			} `json:"id"`
			Banned    bool `json:"banned"`
			Selectors []struct {
				Type  string `json:"type"`
				Value string `json:"value"`
			} `json:"selectors"`
		} `json:"agents"`
	}
	if err := json.Unmarshal([]byte(said), &list); err != nil {
		return nil, fmt.Errorf("spire-server agent list: %w", err)
	}
	var out []Agent
	for _, one := range list.Agents {
		agent := Agent{ID: "spiffe://" + one.ID.TrustDomain + one.ID.Path, Banned: one.Banned}
		for _, selector := range one.Selectors {
			agent.Selectors = append(agent.Selectors, selector.Type+":"+selector.Value)
		}
		out = append(out, agent)
	}
	return out, nil
}

// Agent is what a SPIRE server knows of an agent.
type Agent struct {
	ID        string
	Banned    bool
	Selectors []string
}

// Stop ends everything, last first, and returns what did not end as it should. What each part said at
// the end is for whoever wants to know why something failed.
func (s *Site) Stop() error {
	var problems []error
	for _, p := range slices.Backward(s.processes) {
		problems = append(problems, p.Stop())
	}
	return errors.Join(append(problems, s.Machine.TPM.Close())...)
}

// Logs are the ends of what each part said.
func (s *Site) Logs() string {
	var out strings.Builder
	for _, p := range s.processes {
		fmt.Fprintf(&out, "--- %s\n%s\n", p.Name, p.Tail(3000))
	}
	return out.String()
}

// freePorts are ports of loopback that nobody listens on.
func freePorts(number int) ([]int, error) {
	var out []int
	for range number {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close() //nolint:errcheck // only its number is wanted
		out = append(out, listener.Addr().(*net.TCPAddr).Port)
	}
	return out, nil
}
