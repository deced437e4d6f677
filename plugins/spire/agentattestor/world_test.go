package agentattestor_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spiffe/spire-plugin-sdk/pluginsdk"
	"github.com/spiffe/spire-plugin-sdk/plugintest"
	keymanagerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/keymanager/v1"
	nodeattestorv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/nodeattestor/v1"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/swtpm"
	"github.com/attestd/attestd/plugins/spire/agentattestor"
	"github.com/attestd/attestd/plugins/spire/attestwire"
	"github.com/attestd/attestd/plugins/spire/host"
	"github.com/attestd/attestd/plugins/spire/keymanager"
)

const (
	trustDomain = "example.org"
	agentID     = "spiffe://example.org/spire/agent/attestd/tpm/m1"
)

// made is what all tests clone their machines from: making a TPM takes seconds.
var made struct {
	ca       *swtpm.CA
	template *swtpm.TPM
}

func TestMain(m *testing.M) {
	if os.Getenv(toolVariable) != "" {
		os.Exit(tool())
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	folder, err := os.MkdirTemp("", "agentattestor")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if made.ca, err = swtpm.NewCA(folder); err != nil {
		return 1, err
	}
	if made.template, err = made.ca.Manufacture(context.Background(), "template"); err != nil {
		return 1, err
	}
	defer func() { _ = made.template.Close() }()
	return m.Run(), nil
}

// machine is a machine with a software TPM and the folders of an agent's plugins.
type machine struct {
	t          *testing.T
	tpm        *swtpm.TPM
	runtimeDir string
	stateDir   string
	chain      string // the certificates that the TPM does not hold
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	chip, err := made.template.Clone(strings.ToLower(rand.Text()))
	must(t, err)
	t.Cleanup(func() { _ = chip.Close() })
	must(t, chip.Start())
	folder, err := os.MkdirTemp("", "aa") // paths of sockets have 107 bytes at most
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	m := &machine{
		t: t, tpm: chip, runtimeDir: filepath.Join(folder, "run"),
		stateDir: filepath.Join(folder, "state"),
		chain:    filepath.Join(folder, "chain.pem"),
	}
	issuer, err := made.ca.IssuerPEM()
	must(t, err)
	must(t, os.WriteFile(m.chain, issuer, 0o600))
	return m
}

func root(t *testing.T) *x509.Certificate {
	t.Helper()
	doc, err := made.ca.RootPEM()
	must(t, err)
	block, _ := pem.Decode(doc)
	certificate, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	return certificate
}

// config is the agent plugin's configuration for the machine.
func (m *machine) config(more ...string) string {
	return strings.Join(append([]string{
		`format = "tpm"`, `tenant = "blue"`, `runtime_dir = "` + m.runtimeDir + `"`,
		`tpm {`, `  device = "swtpm:` + m.tpm.Socket() + `"`, `  ek_chain_file = "` + m.chain + `"`,
		`  event_log = "off"`, `}`,
	}, more...), "\n")
}

// journal is a log that can be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(line)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func newEnv(name string) (host.Env, *journal) {
	log := &journal{}
	return host.Env{
		Name: name, Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: log}),
		Starts:  1,
		Started: time.Now(), Version: "test", Counts: &host.Counts{},
	}, log
}

// manager is the real key manager of the machine, as SPIRE's agent has it.
type manager struct {
	keymanagerv1.KeyManagerPluginClient
	config configv1.ConfigServiceClient
	t      *testing.T
}

// keyManager starts the key manager with keys in "memory" or in the "tpm".
func (m *machine) keyManager(keys string) *manager {
	m.t.Helper()
	env, _ := newEnv("keymanager")
	plugin, err := keymanager.New(env)
	must(m.t, err)
	out := &manager{t: m.t}
	plugintest.ServeInBackground(m.t, plugintest.Config{
		PluginServer: plugin.Server, PluginClient: &out.KeyManagerPluginClient,
		ServiceServers: plugin.Services, ServiceClients: []pluginsdk.ServiceClient{&out.config},
	})
	text := `keys = "` + keys + `"` + "\n" + `runtime_dir = "` + m.runtimeDir + `"` + "\n"
	if keys == "tpm" {
		text += "tpm {\n  device = \"swtpm:" + m.tpm.Socket() + "\"\n  state_dir = \"" +
			m.stateDir + "\"\n}\n"
	}
	must(m.t, configure(out.config, text))
	return out
}

// generate makes a key as SPIRE's agent does before it attests.
func (m *manager) generate(id string) []byte {
	m.t.Helper()
	got, err := m.GenerateKey(m.t.Context(), &keymanagerv1.GenerateKeyRequest{
		KeyId: id, KeyType: keymanagerv1.KeyType_EC_P256,
	})
	must(m.t, err)
	return got.GetPublicKey().GetPkixData()
}

func configure(client configv1.ConfigServiceClient, hcl string) error {
	_, err := client.Configure(context.Background(), &configv1.ConfigureRequest{
		CoreConfiguration: &configv1.CoreConfiguration{TrustDomain: trustDomain},
		HclConfiguration:  hcl,
	})
	return err
}

// agent is the agent's plugin as SPIRE has it: behind gRPC.
type agent struct {
	nodeattestorv1.NodeAttestorPluginClient
	config configv1.ConfigServiceClient
	log    *journal
}

func load(t *testing.T) *agent {
	t.Helper()
	return serve(t, agentattestor.New)
}

func serve(t *testing.T, build func(host.Env) (host.Plugin, error)) *agent {
	t.Helper()
	env, log := newEnv("nodeattestor-agent")
	plugin, err := build(env)
	must(t, err)
	a := &agent{log: log}
	plugintest.ServeInBackground(t, plugintest.Config{
		PluginServer: plugin.Server, PluginClient: &a.NodeAttestorPluginClient,
		ServiceServers: plugin.Services, ServiceClients: []pluginsdk.ServiceClient{&a.config},
	})
	return a
}

func newAgent(t *testing.T, hcl string) *agent {
	t.Helper()
	a := load(t)
	must(t, configure(a.config, hcl))
	return a
}

// aiding is one attestation, message by message.
type aiding struct {
	t      *testing.T
	stream nodeattestorv1.NodeAttestor_AidAttestationClient
}

func (a *agent) aid(t *testing.T) *aiding {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	stream, err := a.AidAttestation(ctx)
	must(t, err)
	return &aiding{t, stream}
}

func (a *aiding) opening() (attestwire.Opening, error) {
	a.t.Helper()
	var out attestwire.Opening
	got, err := a.stream.Recv()
	if err != nil {
		return out, err
	}
	must(a.t, attestwire.Decode(got.GetPayload(), &out))
	return out, nil
}

func (a *aiding) tell(text []byte) {
	a.t.Helper()
	// what became of it, the next receive says
	_ = a.stream.Send(&nodeattestorv1.Challenge{Challenge: text})
}

func (a *aiding) hear(into attestwire.Document) error {
	a.t.Helper()
	got, err := a.stream.Recv()
	if err != nil {
		return err
	}
	must(a.t, attestwire.Decode(got.GetChallengeResponse(), into))
	return nil
}

// verifier signs challenges as an attestd does.
type verifier struct {
	t      *testing.T
	signer *challenge.Signer
}

func newVerifier(t *testing.T) *verifier {
	t.Helper()
	signer, err := challenge.NewEphemeralSigner()
	must(t, err)
	return &verifier{t, signer}
}

func (v *verifier) keys() json.RawMessage {
	v.t.Helper()
	keys, err := v.signer.KeySet()
	must(v.t, err)
	return keys
}

// issue returns a challenge and the message that carries it; change may be nil.
func (v *verifier) issue(change func(*challenge.Reply)) (attestd.Challenge, []byte) {
	v.t.Helper()
	now := time.Now()
	issued := attestd.Challenge{
		ID: "0190", Nonce: bytes.Repeat([]byte{3}, 32), TrustDomain: trustDomain,
		VerifierKeyID: v.signer.KeyID(),
		Tenant:        "blue", Purpose: "node-attestation", Format: attestd.FormatTPM, IssuedAt: now,
		ExpiresAt: now.Add(time.Minute),
	}
	reply := challenge.Reply{Schema: challenge.Schema, Challenge: issued}
	if change != nil {
		change(&reply)
	}
	var err error
	reply.Signature, err = v.signer.Sign(reply.Challenge)
	must(v.t, err)
	doc, err := json.Marshal(reply)
	must(v.t, err)
	return reply.Challenge, v.message(wire.NodeChallenge{Challenge: doc, Keys: v.keys()})
}

func (v *verifier) message(given wire.NodeChallenge) []byte {
	v.t.Helper()
	return written(v.t, &attestwire.Challenge{V: 1, Challenge: given})
}

func written(t *testing.T, document attestwire.Document) []byte {
	t.Helper()
	text, err := attestwire.Encode(document)
	must(t, err)
	return text
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
