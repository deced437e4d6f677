package keymanager_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	keymanagerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/keymanager/v1"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"

	"github.com/attestd/attestd/internal/swtpm"
	"github.com/attestd/attestd/plugins/spire/host"
	"github.com/attestd/attestd/plugins/spire/keymanager"
	"github.com/attestd/attestd/plugins/spire/keysocket"
)

// trustDomain is SPIRE's.
const trustDomain = "attestd.test"

// asPlugin has the test program be the plugin that SPIRE starts.
const asPlugin = "keymanager"

// template is a TPM as it left its maker; making one takes seconds, so tests work on copies.
var template *swtpm.TPM

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == asPlugin {
		os.Exit(host.Main(asPlugin, keymanager.New))
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if os.Getenv(unprivileged) != "" { // its tests need no TPM
		return m.Run(), nil
	}
	folder, err := os.MkdirTemp("", "keymanager")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	maker, err := swtpm.NewCA(folder)
	if err != nil {
		return 1, err
	}
	if template, err = maker.Manufacture(context.Background(), "template"); err != nil {
		return 1, err
	}
	defer func() { _ = template.Close() }()
	return m.Run(), nil
}

func manufacture(t testing.TB) *swtpm.TPM {
	t.Helper()
	chip, err := template.Clone(strings.ToLower(rand.Text()))
	if err == nil {
		err = chip.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = chip.Close() })
	return chip
}

// node is a machine with one agent, whose key manager may die and be started again.
type node struct {
	t       testing.TB
	hcl     string
	runtime string
	state   string // of keys in the TPM
	bootID  string // the file
	keep    *os.File
	counts  *host.Counts
	chip    *swtpm.TPM
	*keymanager.Plugin
}

const firstBoot, secondBoot = "5f0c2f9e-0d2a-4a4f-8f3e-2f9c0d2a4a4f", "6f0c2f9e-0d2a-4a4f-8f3e-2f9c0d2a4a4f"

// newNode returns a node whose key manager runs; keys is "memory" or "tpm", more is added to its
// HCL.
func newNode(t testing.TB, keys, more string) *node {
	t.Helper()
	base := t.TempDir()
	n := &node{
		t: t, runtime: filepath.Join(base, "run"), state: filepath.Join(base, "tpm"),
		bootID: filepath.Join(base, "boot_id"),
	}
	keep, err := os.Create(filepath.Join(base, "keep"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = keep.Close() })
	n.keep = keep
	n.hcl = fmt.Sprintf("keys = %q\nruntime_dir = %q\n%s\n", keys, n.runtime, more)
	if keys == "tpm" {
		n.chip = manufacture(t)
		n.hcl += fmt.Sprintf("tpm {\n device = %q\n state_dir = %q\n}\n", "swtpm:"+n.chip.Socket(), n.state)
	}
	n.boot(firstBoot)
	n.start()
	t.Cleanup(func() { n.Die() })
	return n
}

func (n *node) boot(id string) {
	n.t.Helper()
	if err := os.WriteFile(n.bootID, []byte(id+"\n"), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

// start makes a new process's key manager and gives it the configuration.
func (n *node) start() {
	n.t.Helper()
	n.make()
	if err := n.configure(n.hcl); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) make() {
	n.counts = &host.Counts{}
	n.Plugin = keymanager.NewPlugin(host.Env{
		Name: asPlugin, Logger: hclog.New(&hclog.LoggerOptions{Output: io.Discard}), Starts: 1,
		Counts: n.counts, Keep: n.keep,
	}, n.bootID)
}

// restart is kill -9 and what the supervisor does then.
func (n *node) restart() {
	n.t.Helper()
	n.Die()
	n.start()
}

func (n *node) configure(hcl string) error {
	_, err := n.Configure(n.t.Context(), &configv1.ConfigureRequest{
		CoreConfiguration: &configv1.CoreConfiguration{TrustDomain: trustDomain}, HclConfiguration: hcl,
	})
	return err
}

func (n *node) socket() *keysocket.Client {
	n.t.Helper()
	client, err := keysocket.Dial(n.runtime)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = client.Close() })
	return client
}

// agentKey is a key as SPIRE's agent holds it (pkg/agent/plugin/keymanager/v1.go).
type agentKey struct {
	n           *node
	id          string
	spki        []byte
	fingerprint string
	public      crypto.PublicKey
}

func (n *node) generate(id string, kind keymanagerv1.KeyType) *agentKey {
	n.t.Helper()
	answer, err := n.GenerateKey(n.t.Context(), &keymanagerv1.GenerateKeyRequest{KeyId: id, KeyType: kind})
	if err != nil {
		n.t.Fatal(err)
	}
	return n.hold(id, answer.GetPublicKey())
}

func (n *node) hold(id string, public *keymanagerv1.PublicKey) *agentKey {
	n.t.Helper()
	if public.GetId() != id || public.GetFingerprint() == "" {
		n.t.Fatalf("answer for %q: %v", id, public)
	}
	parsed, err := x509.ParsePKIXPublicKey(public.GetPkixData())
	if err != nil {
		n.t.Fatal(err)
	}
	return &agentKey{n, id, public.GetPkixData(), public.GetFingerprint(), parsed}
}

func (k *agentKey) Public() crypto.PublicKey { return k.public }

func (k *agentKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	request := &keymanagerv1.SignDataRequest{KeyId: k.id, Data: digest}
	if pss, ok := opts.(*rsa.PSSOptions); ok {
		request.SignerOpts = &keymanagerv1.SignDataRequest_PssOptions{
			PssOptions: &keymanagerv1.SignDataRequest_PSSOptions{
				SaltLength:    int32(pss.SaltLength), //nolint:gosec // small
				HashAlgorithm: keymanagerv1.HashAlgorithm(pss.Hash),
			},
		}
	} else {
		request.SignerOpts = &keymanagerv1.SignDataRequest_HashAlgorithm{
			HashAlgorithm: keymanagerv1.HashAlgorithm(opts.HashFunc()),
		}
	}
	answer, err := k.n.SignData(context.Background(), request)
	if err != nil {
		return nil, err
	}
	if answer.GetKeyFingerprint() != k.fingerprint {
		return nil, errFingerprint
	}
	return answer.GetSignature(), nil
}

var errFingerprint = fmt.Errorf("the signature is by another key of the same id")

// certificate has the key sign, as in a CSR, and checks that it did.
func (k *agentKey) certificate(algorithm x509.SignatureAlgorithm) error {
	der, err := x509.CreateCertificateRequest(rand.Reader,
		&x509.CertificateRequest{SignatureAlgorithm: algorithm}, k)
	if err != nil {
		return err
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return err
	}
	return request.CheckSignature()
}
