package spiretest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/spiretest/stage"
)

const (
	tenMinutes = "docs/howto/spire-in-ten-minutes.md"
	// toFirstNode are the commands of that page to the first measured node, and how long they may take.
	toFirstNode   = 6
	firstNodeTime = 5 * time.Minute
)

// reader is somebody who types what a page says. The machine is one folder: each path of the page lies
// below it, /dev/tpmrm0 is a software TPM, and for want of systemd the reader starts what a unit starts.
type reader struct {
	folder  string
	paths   *strings.Replacer
	running map[string]*process
	log     string // of the machine's boot
}

// TestTheTenMinutesPage types every command of the page, in its order, on a machine with a SPIRE that
// works without attestd, and times those to the first measured node.
func TestTheTenMinutesPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(made.root, tenMinutes))
	if err != nil {
		t.Fatal(err)
	}
	commands := typed(string(page))
	r := newReader(t)
	r.hasSPIRE(t)
	r.installs(t)
	r.writes(t, "/etc/attestd/attestd.yaml", block(t, string(page), "yaml"))
	began := time.Now()
	for _, command := range commands[:toFirstNode] {
		r.types(t, command)
	}
	r.sees(t, commands[toFirstNode], "trusted")
	took := time.Since(began)
	t.Logf("%d commands to the first measured node, %s", toFirstNode, took.Round(time.Millisecond))
	if took > firstNodeTime {
		t.Errorf("they took %s, want at most %s", took, firstNodeTime)
	}
	rest := commands[toFirstNode+1:]
	for _, command := range rest[:len(rest)-1] {
		r.types(t, command)
	}
	_, claims, _ := strings.Cut(r.sees(t, rest[len(rest)-1], "risk_score"), "Claims")
	claims = strings.TrimLeft(claims, " :")
	var said struct {
		Subject  string `json:"sub"`
		Attested bool   `json:"attested"`
		Risk     int    `json:"risk_score"`
		Grade    string `json:"key_grade"`
		Golden   string `json:"measurement"`
	}
	if err := json.Unmarshal([]byte(claims), &said); err != nil {
		t.Fatalf("%v: %s", err, claims)
	}
	if said.Subject != "spiffe://example.org/payments" || !said.Attested || said.Risk < 1 || said.Risk > 69 ||
		said.Grade != "resident" || said.Golden != "golden" {
		t.Errorf("the workload's JWT-SVID says %+v", said)
	}
}

// typed are the commands of a page's console blocks, each in one piece.
func typed(page string) []string {
	var out []string
	for i, part := range strings.Split(page, "```") {
		text, console := strings.CutPrefix(part, "console\n")
		if i%2 == 0 || !console {
			continue
		}
		for line := range strings.SplitSeq(strings.ReplaceAll(text, "\\\n", ""), "\n") {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				out = append(out, command)
			}
		}
	}
	return out
}

// block is the only block of a page in that language.
func block(t *testing.T, page, language string) string {
	t.Helper()
	parts := strings.Split(page, "```"+language+"\n")
	if len(parts) != 2 {
		t.Fatalf("the page has %d blocks of %s, want 1", len(parts)-1, language)
	}
	text, _, _ := strings.Cut(parts[1], "```")
	return text
}

func newReader(t *testing.T) *reader {
	t.Helper()
	folder, err := os.MkdirTemp(made.folder, "r")
	if err != nil {
		t.Fatal(err)
	}
	machine, err := stage.NewMachine(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := machine.TPM.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &reader{folder: folder, running: map[string]*process{}}
	r.paths = strings.NewReplacer("/dev/tpmrm0", machine.Device(), "/etc/attestd", folder+"/etc/attestd",
		"/opt/spire", folder+"/opt/spire", "/run/", folder+"/run/", "/var/lib/", folder+"/var/lib/",
		"/usr/local/bin", folder+"/usr/local/bin", "/tmp/spire-", folder+"/tmp/spire-",
		"127.0.0.1:8423", fmt.Sprintf("127.0.0.1:%d", freePort(t)), `"0.0.0.0"`, `"127.0.0.1"`,
		`"8081"`, fmt.Sprintf(`"%d"`, freePort(t)),
		// What is the default on a machine with one TPM is written out here, and for the agent below.
		"attestd evidence tpm", "attestd evidence tpm --ima-log off --tpm "+machine.Device()+
			" --event-log "+machine.Log,
		"spire config --agent", "spire config --agent --device "+machine.Device()+" --runtime-dir "+folder+
			"/run/attestd-agent --state-dir "+folder+"/var/lib/attestd-agent")
	r.log = machine.Log
	for _, path := range []string{
		"etc/attestd", "opt/spire/bin", "opt/spire/conf/server", "opt/spire/conf/agent", "opt/spire/data/server",
		"opt/spire/data/agent", "run", "var/lib", "usr/local/bin", "tmp",
	} {
		if err := os.MkdirAll(filepath.Join(folder, path), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// hasSPIRE starts the SPIRE that the reader has: a server that gives join tokens, and the configuration
// of an agent whose key manager and node attestor were taken out.
func (r *reader) hasSPIRE(t *testing.T) {
	t.Helper()
	r.copiesSPIRE(t)
	port := freePort(t)
	r.writes(t, "/opt/spire/conf/server/server.conf", fmt.Sprintf(`server {
	bind_address = "127.0.0.1"
	bind_port = "%d"
	socket_path = "/tmp/spire-server/private/api.sock"
	trust_domain = "example.org"
	data_dir = "/opt/spire/data/server"
}
plugins {
	DataStore "sql" {
		plugin_data {
			database_type = "sqlite3"
			connection_string = "/opt/spire/data/server/datastore.sqlite3"
		}
	}
	KeyManager "disk" {
		plugin_data {
			keys_path = "/opt/spire/data/server/keys.json"
		}
	}
	NodeAttestor "join_token" {
		plugin_data {
		}
	}
}
`, port))
	r.writes(t, "/opt/spire/conf/agent/agent.conf", fmt.Sprintf(`agent {
	server_address = "127.0.0.1"
	server_port = "%d"
	socket_path = "/tmp/spire-agent/public/api.sock"
	trust_domain = "example.org"
	trust_bundle_path = "/opt/spire/conf/agent/bundle.pem"
	data_dir = "/opt/spire/data/agent"
}
plugins {
	WorkloadAttestor "unix" {
		plugin_data {
		}
	}
}
`, port))
	r.types(t, "systemctl restart spire-server")
	r.writes(t, "/opt/spire/conf/agent/bundle.pem", r.sees(t, "/opt/spire/bin/spire-server bundle show", "BEGIN"))
}

// copiesSPIRE puts SPIRE's programs where a machine has them: the paths of programs count.
func (r *reader) copiesSPIRE(t *testing.T) {
	t.Helper()
	for name, path := range map[string]string{"spire-server": made.spireServer, "spire-agent": made.spireAgent} {
		copied(t, path, filepath.Join(r.folder, "opt/spire/bin", name))
	}
}

// installs does what the page has the reader install.
func (r *reader) installs(t *testing.T) {
	t.Helper()
	for _, one := range []*program{attestdProgram, pluginProgram} {
		copied(t, one.file(t), filepath.Join(r.folder, "usr/local/bin", one.name))
	}
}

// writes writes a file of the machine. attestd.yaml gets two lines that say where on this machine its
// state is, and that no port of the host is taken for its API.
func (r *reader) writes(t *testing.T, path, text string) {
	t.Helper()
	if strings.HasSuffix(path, "attestd.yaml") {
		text += "state_dir: /var/lib/attestd\nlisten: {http: off}\n"
	}
	write(t, filepath.Join(r.folder, path), []byte(r.paths.Replace(text)))
}

// types runs a command of the page; it must succeed.
func (r *reader) types(t *testing.T, command string) {
	t.Helper()
	t.Log("$ " + command)
	if units, ok := strings.CutPrefix(command, "systemctl restart "); ok {
		for unit := range strings.FieldsSeq(units) {
			r.restarts(t, unit)
		}
		return
	}
	if said, err := r.shell(t.Context(), command); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, said)
	}
	if strings.Contains(command, "spire config --agent") {
		r.logs(t)
	}
}

// logs names the boot log for the agent: on a machine with a TPM it is the kernel's, and nobody names it.
func (r *reader) logs(t *testing.T) {
	t.Helper()
	path := filepath.Join(r.folder, "opt/spire/conf/agent/agent.conf")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(string(text), `NodeAttestor "attestd"`)
	if !found || !strings.Contains(after, "tpm {") {
		t.Fatalf("the agent has no node attestor with a TPM:\n%s", text)
	}
	write(t, path, []byte(before+`NodeAttestor "attestd"`+strings.Replace(after, "tpm {",
		fmt.Sprintf("tpm {\nevent_log = %q\nima_log = \"off\"", r.log), 1)))
}

// sees runs a command until it succeeds and its answer has the word, and returns the answer.
func (r *reader) sees(t *testing.T, command, word string) string {
	t.Helper()
	t.Log("$ " + command)
	var said string
	if err := stage.Until(t.Context(), stage.ReadyLimit, func() (err error) {
		if said, err = r.shell(t.Context(), command); err == nil && !strings.Contains(said, word) {
			err = errors.New("it does not say " + word)
		}
		return err
	}); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, said)
	}
	return said
}

// shell runs a command line of the page with the paths of this machine.
func (r *reader) shell(ctx context.Context, line string) (string, error) {
	command := exec.CommandContext(ctx, "bash", "-eu", "-o", "pipefail", "-c", r.socketed(line)) //nolint:gosec // ours
	command.Dir = r.folder
	command.Env = append(os.Environ(), "PATH="+r.folder+"/usr/local/bin:"+os.Getenv("PATH"),
		"ATTESTD_SERVER=unix:"+r.folder+"/var/lib/attestd/attestd.sock")
	var problems bytes.Buffer
	command.Stderr = &problems
	out, err := command.Output()
	if err != nil {
		return string(out) + problems.String(), err
	}
	return string(out), nil
}

// spireCommand is a command of SPIRE's that asks a socket.
var spireCommand = regexp.MustCompile(`(spire-(?:server|agent) (?:entry create|bundle show|api fetch jwt|api validate jwt))`)

// socketed names SPIRE's sockets, whose usual paths a reader does not have to name.
func (r *reader) socketed(line string) string {
	which, socket := "server", "/tmp/spire-server/private/api.sock"
	if strings.Contains(line, "spire-agent") {
		which, socket = "agent", "/tmp/spire-agent/public/api.sock"
	}
	if text, err := os.ReadFile(filepath.Join(r.folder, "opt/spire/conf", which, which+".conf")); err == nil &&
		strings.Contains(string(text), r.folder+"/run/spire-") {
		socket = "/run/spire-" + which + "/api.sock"
	}
	return r.paths.Replace(spireCommand.ReplaceAllString(line, "$1 -socketPath "+socket))
}

// unitStart is the program of a unit, with its arguments.
var unitStart = regexp.MustCompile(`(?m)^ExecStart=(.+)$`)

// restarts starts what the unit of docs/deploy/spire starts, with the folders that systemd makes for it,
// and waits as long as the next command would not notice.
func (r *reader) restarts(t *testing.T, unit string) {
	t.Helper()
	if old := r.running[unit]; old != nil {
		old.stop(t)
	}
	text, err := os.ReadFile(filepath.Join(made.root, "docs/deploy/spire", unit+".service"))
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range regexp.MustCompile(`(?m)^(State|Runtime)Directory=(\S+)$`).FindAllStringSubmatch(
		string(text), -1) {
		parent := map[string]string{"State": "var/lib", "Runtime": "run"}[folder[1]]
		if err := os.MkdirAll(filepath.Join(r.folder, parent, folder[2]), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	start := unitStart.FindStringSubmatch(string(text))
	if start == nil {
		t.Fatalf("%s starts nothing", unit)
	}
	words := strings.Fields(r.paths.Replace(start[1]))
	r.running[unit] = launch(t, unit, words[0], words[1:]...)
}

// copied is a copy of a program: a path that is its own, as after an installation.
func copied(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Link(from, to); err == nil {
		return
	}
	program, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, program, 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
}
