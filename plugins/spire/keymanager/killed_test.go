package keymanager_test

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
	keymanagerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/keymanager/v1"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"
	"google.golang.org/grpc"

	"github.com/attestd/attestd/plugins/spire/keysocket"
)

// log collects what the plugin writes for SPIRE's log.
type log struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.String()
}

// agentSide is what SPIRE's catalog has of an external plugin.
type agentSide struct {
	goplugin.NetRPCUnsupportedPlugin
}

func (agentSide) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return errors.New("SPIRE's side")
}

func (agentSide) GRPCClient(
	_ context.Context, broker *goplugin.GRPCBroker, conn *grpc.ClientConn,
) (any, error) {
	_, err := broker.Accept(private.HostServiceProviderID)
	return conn, err
}

// load starts the plugin as two processes, as SPIRE's agent does (pkg/common/catalog/external.go).
func load(t *testing.T, hcl string) (keymanagerv1.KeyManagerClient, int, *log) {
	t.Helper()
	sockets, err := os.MkdirTemp("", "k")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	written := &log{}
	command := exec.Command(os.Args[0], asPlugin)
	command.Env = append(os.Environ(), goplugin.EnvUnixSocketDir+"="+sockets)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: goplugin.HandshakeConfig{
			ProtocolVersion: 1, MagicCookieKey: "KeyManager", MagicCookieValue: "KeyManager",
		},
		Cmd: command, AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		Plugins: map[string]goplugin.Plugin{asPlugin: agentSide{}},
		Logger:  hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: written}),
	})
	t.Cleanup(client.Kill)
	spoken, err := client.Client()
	if err != nil {
		t.Fatalf("%v\n%s", err, written)
	}
	dispensed, err := spoken.Dispense(asPlugin)
	if err != nil {
		t.Fatalf("%v\n%s", err, written)
	}
	conn := dispensed.(*grpc.ClientConn)
	if _, err := private.Init(t.Context(), conn, nil); err != nil {
		t.Fatalf("%v\n%s", err, written)
	}
	if _, err := configv1.NewConfigClient(conn).Configure(t.Context(), &configv1.ConfigureRequest{
		CoreConfiguration: &configv1.CoreConfiguration{TrustDomain: trustDomain}, HclConfiguration: hcl,
	}); err != nil {
		t.Fatalf("%v\n%s", err, written)
	}
	return keymanagerv1.NewKeyManagerClient(conn), command.Process.Pid, written
}

// child returns the process that a supervisor has started; 0 while there is none.
func child(supervisor int) int {
	found, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", supervisor))
	if err != nil {
		return 0
	}
	for _, file := range found {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for _, word := range strings.Fields(string(content)) {
			if pid, err := strconv.Atoi(word); err == nil {
				return pid
			}
		}
	}
	return 0
}

// TestTheAgentsKeySignsAfterTheProcessWasKilled: SPIRE neither starts a key manager again nor asks
// for another key before the half-life of its SVID.
func TestTheAgentsKeySignsAfterTheProcessWasKilled(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			base := t.TempDir()
			runtime := filepath.Join(base, "run")
			hcl := fmt.Sprintf("keys = %q\nruntime_dir = %q\n", kind, runtime)
			if kind == "tpm" {
				hcl += fmt.Sprintf("tpm {\n device = %q\n state_dir = %q\n}\n",
					"swtpm:"+manufacture(t).Socket(), filepath.Join(base, "tpm"))
			}
			manager, supervisor, written := load(t, hcl)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			made, err := manager.GenerateKey(ctx, &keymanagerv1.GenerateKeyRequest{
				KeyId: slotA, KeyType: p256,
			})
			if err != nil {
				t.Fatalf("%v\n%s", err, written)
			}
			client, err := keysocket.Dial(runtime)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			signer, err := client.SignerOf(made.GetPublicKey().GetPkixData())
			if err != nil {
				t.Fatal(err)
			}
			request := &keymanagerv1.SignDataRequest{
				KeyId: slotA, Data: make([]byte, 32),
				SignerOpts: &keymanagerv1.SignDataRequest_HashAlgorithm{
					HashAlgorithm: keymanagerv1.HashAlgorithm_SHA256,
				},
			}
			for range 5 {
				before := child(supervisor)
				if err := syscall.Kill(before, syscall.SIGKILL); err != nil || before == 0 {
					t.Fatalf("kill %d: %v", before, err)
				}
				began := time.Now()
				answer, err := manager.SignData(ctx, request, grpc.WaitForReady(true))
				for deadline := began.Add(5 * time.Second); err != nil && time.Now().Before(deadline); {
					// The call that was on its way when the process died is lost; the agent makes
					// another.
					answer, err = manager.SignData(ctx, request, grpc.WaitForReady(true))
				}
				if err != nil || answer.GetKeyFingerprint() != made.GetPublicKey().GetFingerprint() {
					t.Fatalf("after the kill: %v\n%s", err, written)
				}
				t.Logf("signed %s after the kill", time.Since(began).Round(time.Millisecond))
				if _, err := signer.Sign(nil, make([]byte, 32), keysHash); err != nil {
					t.Errorf("over the key socket: %v", err)
				}
				if child(supervisor) == before {
					t.Error("the same process signed")
				}
			}
		})
	}
}
