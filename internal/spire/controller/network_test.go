package controller_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/spire/controller"
	"github.com/attestd/attestd/internal/spire/wire"
)

// startAgent runs a real SPIRE agent, and returns the path of its Workload API and its id.
func (s *realSPIRE) startAgent(t *testing.T) (socket, id string) {
	t.Helper()
	var token struct{ Value string }
	if err := json.Unmarshal([]byte(s.run(t, "token", "generate", "-output", "json")), &token); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "sa")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "w.sock")
	bundle := filepath.Join(dir, "bundle.pem")
	writeFile(t, bundle, s.run(t, "bundle", "show"))
	host, port, _ := strings.Cut(s.address, ":")
	conf := filepath.Join(dir, "agent.conf")
	writeFile(t, conf, fmt.Sprintf(`agent {
  data_dir = %q
  log_level = "WARN"
  server_address = %q
  server_port = %q
  socket_path = %q
  trust_domain = %q
  trust_bundle_path = %q
  experimental {
    sync_interval = "1s"
  }
}
plugins {
  KeyManager "memory" {
    plugin_data {}
  }
  NodeAttestor "join_token" {
    plugin_data {}
  }
  WorkloadAttestor "unix" {
    plugin_data {}
  }
}
`, dir, host, port, socket, domain, bundle))
	cmd := exec.Command(filepath.Join(s.folder, "spire-agent"), "run", "-config", conf, "-joinToken", token.Value)
	log := &logs{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("log of the agent:\n%s", strings.Join(log.lines, ""))
		}
	})
	return socket, "spiffe://" + domain + "/spire/agent/join_token/" + token.Value
}

// TestTheControllerComesByNetworkWithItsOwnSVID: an ordinary entry, no admin flag, a real agent, and a
// server that knows the controller by its SPIFFE ID alone.
func TestTheControllerComesByNetworkWithItsOwnSVID(t *testing.T) {
	s := startSPIRE(t, serverConfig{policy: policyFile, data: policyData(t, func(a map[string]any) {
		a["agent_prefixes"] = []string{"/spire/agent/join_token/"}
	})})
	socket, agentID := s.startAgent(t)
	s.run(t, "entry", "create", "-parentID", agentID, "-spiffeID", controllerID,
		"-selector", "unix:uid:"+strconv.Itoa(os.Getuid()))
	w := &world{realSPIRE: s, daemon: newDaemon(t), logs: &logs{}}
	w.config = controller.Config{
		Server: s.address, WorkloadAPI: "unix:" + socket, Attestd: []string{"unix:" + w.daemon.socket},
		TrustDomain: domain, EntryPrefix: "attestd.", Poll: 500 * time.Millisecond, Canary: time.Second,
		CanaryID: "spiffe://" + domain + "/attestd/canary", Logger: slog.New(slog.NewTextHandler(w.logs, nil)),
	}
	victim, _ := s.attest(t)
	w.control()
	reached := w.order(func(o *wire.Orders) { o.Bans = append(o.Bans, victim) })
	if len(reached.Done) != 1 || !w.banned(victim) {
		t.Errorf("got %+v, want the ban done", reached)
	}
	w.until("the map is whole", 10*time.Second, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.last.Agents) == 2 && len(w.last.Entries) == 1
	})
	// The same program by the unix socket is nobody there.
	if got := ask(t, s.local(t), "/spire.api.server.agent.v1.Agent/ListAgents"); got != denied {
		t.Errorf("by the socket: got %s, want %s", got, denied)
	}
}

// TestAWaveOfBansIsAcknowledged: many at once, as after an advisory; the first laying of each does not
// wait for the repetitions of the others.
func TestAWaveOfBansIsAcknowledged(t *testing.T) {
	const wave = 60
	w := newWorld(t)
	var ids []string
	for i := range wave {
		id, _ := w.join(fmt.Sprint("n", i))
		ids = append(ids, id)
	}
	w.control()
	began := time.Now()
	reached := w.order(func(o *wire.Orders) { o.Bans = ids })
	took := time.Since(began)
	t.Logf("%d bans acknowledged after %s", wave, took)
	if len(reached.Done) != wave || len(reached.Open) != 0 {
		t.Errorf("done %d, open %d, want all done", len(reached.Done), len(reached.Open))
	}
	// While they are laid again and again, one more is as quick, and SPIRE answers others.
	last, _ := w.join("last")
	began = time.Now()
	w.order(func(o *wire.Orders) { o.Bans = append(o.Bans, last) })
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("one more took %s", took)
	} else {
		t.Logf("one more during the wave: %s", took)
	}
	if !w.banned(last) {
		t.Error("the last is not banned")
	}
}
