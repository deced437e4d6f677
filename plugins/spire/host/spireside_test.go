package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/spiffe/spire-plugin-sdk/private"
	composerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/server/credentialcomposer/v1"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
)

// kind is the type of the probe, whose handshake SPIRE does under that name.
const kind = "CredentialComposer"

// spire loads a plugin as SPIRE's catalog does (pkg/common/catalog/external.go): the same library, the
// same handshake, the same order of calls.
type spire struct {
	t       *testing.T
	client  *goplugin.Client
	conn    *grpc.ClientConn
	command *exec.Cmd
	folder  string
	log     *lockedBuffer
}

type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

type clientPlugin struct {
	goplugin.NetRPCUnsupportedPlugin
}

func (clientPlugin) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return errors.New("host side")
}

func (clientPlugin) GRPCClient(_ context.Context, broker *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	if _, err := broker.Accept(private.HostServiceProviderID); err != nil {
		return nil, err
	}
	return conn, nil
}

func load(t *testing.T, name string, environment ...string) (*spire, error) {
	t.Helper()
	return loadAs(t, os.Geteuid(), exec.Command(os.Args[0], name), environment...)
}

// loadAs has the plugin run as another user; only root can.
func loadAs(t *testing.T, uid int, command *exec.Cmd, environment ...string) (*spire, error) {
	t.Helper()
	// Its own short folder for the socket, so that what is left behind can be seen.
	folder, err := os.MkdirTemp("", "h")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	if err := os.Chown(folder, uid, -1); err != nil {
		t.Fatal(err)
	}
	return loadFrom(t, folder, uid, command, environment...)
}

// loadIn has the plugin put its socket below a folder.
func loadIn(t *testing.T, folder, name string) (*spire, error) {
	t.Helper()
	return loadFrom(t, folder, os.Geteuid(), exec.Command(os.Args[0], name))
}

func loadFrom(t *testing.T, folder string, uid int, command *exec.Cmd, environment ...string) (*spire, error) {
	t.Helper()
	name := command.Args[1]
	command.Env = append(environment, goplugin.EnvUnixSocketDir+"="+folder)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if uid != os.Geteuid() {
		command.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	s := &spire{t: t, command: command, folder: folder, log: &lockedBuffer{}}
	s.client = goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: goplugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: kind, MagicCookieValue: kind},
		Cmd:             command, AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		Plugins: map[string]goplugin.Plugin{name: clientPlugin{}},
		Logger:  hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: s.log}),
	})
	t.Cleanup(s.client.Kill)
	client, err := s.client.Client()
	if err != nil {
		return s, err
	}
	conn, err := client.Dispense(name)
	if err != nil {
		return s, err
	}
	s.conn = conn.(*grpc.ClientConn)
	_, err = private.Init(t.Context(), s.conn, nil)
	return s, err
}

func mustLoad(t *testing.T, word string) *spire {
	t.Helper()
	s, err := load(t, probeName)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	if err := s.configure(fmt.Sprintf("word = %q", word)); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *spire) configure(hcl string) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	_, err := configv1.NewConfigClient(s.conn).Configure(ctx, &configv1.ConfigureRequest{
		CoreConfiguration: &configv1.CoreConfiguration{TrustDomain: "example.org"}, HclConfiguration: hcl,
	})
	return err
}

func (s *spire) try(question string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	answer, err := composerv1.NewCredentialComposerClient(s.conn).ComposeWorkloadX509SVID(ctx,
		&composerv1.ComposeWorkloadX509SVIDRequest{SpiffeId: question})
	if err != nil {
		return "", err
	}
	return answer.GetAttributes().GetDnsSans()[0], nil
}

func (s *spire) ask(question string) string {
	s.t.Helper()
	answer, err := s.try(question)
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", question, err, s.log)
	}
	return answer
}

// killChild kills the plugin's code, and returns when SPIRE's connection has noticed: what is sent before
// is lost with it, as with any server that dies.
func (s *spire) killChild(pid int) {
	s.t.Helper()
	kill(s.t, pid, syscall.SIGKILL)
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	if !s.conn.WaitForStateChange(ctx, connectivity.Ready) {
		s.t.Fatal("the connection has not noticed the child's death")
	}
}

// children are the processes whose parent is the supervisor.
func children(t *testing.T, parent int) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		// pid (comm) state ppid: comm may hold anything, so from its last parenthesis on.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if fields[1] == strconv.Itoa(parent) && fields[0] != "Z" {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, pid)
		}
	}
	return out
}

func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func kill(t *testing.T, pid int, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatalf("kill %d: %v", pid, err)
	}
}

func eventually(t *testing.T, within time.Duration, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}
