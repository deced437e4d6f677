package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/hcl/hcl/ast"
	"github.com/hashicorp/hcl/hcl/parser"
	"github.com/hashicorp/hcl/hcl/printer"
	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/attestd/attestd/plugins/spire/agentattestor"
	"github.com/attestd/attestd/plugins/spire/composer"
	"github.com/attestd/attestd/plugins/spire/host"
	"github.com/attestd/attestd/plugins/spire/keymanager"
	"github.com/attestd/attestd/plugins/spire/nodeattestor"
	"github.com/attestd/attestd/plugins/spire/workloadattestor"
)

// program puts something in the place of attestd-spire.
func program(t *testing.T) (path, digest string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "attestd-spire")
	content := []byte("#!/bin/sh\n")
	if err := os.WriteFile(path, content, 0o700); err != nil {
		t.Fatal(err)
	}
	return path, fmt.Sprintf("%x", sha256.Sum256(content))
}

// validators answer Validate as SPIRE asks it of each plugin.
func validators(t *testing.T) map[string]configv1.ConfigClient {
	t.Helper()
	out := map[string]configv1.ConfigClient{}
	for name, make := range map[string]func(host.Env) (host.Plugin, error){
		"composer": composer.New, "nodeattestor-server": nodeattestor.New,
		"nodeattestor-agent": agentattestor.New, "keymanager": keymanager.New,
		"workloadattestor": workloadattestor.New,
	} {
		plugin, err := make(host.Env{Name: name, Logger: hclog.NewNullLogger(), Counts: &host.Counts{}})
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer()
		for _, service := range plugin.Services {
			service.RegisterServer(server)
		}
		listener := bufconn.Listen(1 << 16)
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(server.Stop)
		conn, err := grpc.NewClient("passthrough:"+name, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				return listener.DialContext(ctx)
			}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		out[name] = configv1.NewConfigClient(conn)
	}
	return out
}

// TestSPIREConfigIsTakenByThePlugins: what is printed is HCL whose plugin_data each plugin takes, with
// the digest of the program that is there.
func TestSPIREConfigIsTakenByThePlugins(t *testing.T) {
	binary, digest := program(t)
	attestdConfig := filepath.Join(t.TempDir(), "attestd.yaml")
	if err := os.WriteFile(attestdConfig, []byte("schema: attestd.config.v1\nstate_dir: /srv/attestd\n"+
		"trust_domain: example.org\ntenants: [blue, red]\nspire:\n  unix: spire.sock\n  unattested: deny\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	servers := []string{"NodeAttestor nodeattestor-server", "CredentialComposer composer"}
	agents := []string{
		"KeyManager keymanager", "NodeAttestor nodeattestor-agent", "WorkloadAttestor workloadattestor",
	}
	for _, row := range []struct {
		name   string
		args   []string
		blocks []string
		has    []string
		lines  int
	}{
		{"a server", []string{"--server"}, servers, []string{"unix:/run/attestd/spire.sock"}, 18},
		{"a server beside a configured attestd", []string{"--server", "--config", attestdConfig}, servers,
			[]string{`addresses = ["unix:/srv/attestd/spire.sock"]`, `canary_tenant = "blue"`}, 19},
		{"a server elsewhere", []string{"--server", "--address", "tcp:10.0.0.7:8444", "--certificate", "/c.pem", "--key",
			"/k.pem", "--ca", "/ca.pem"}, servers, []string{"tcp:10.0.0.7:8444", `key = "/k.pem"`}, 24},
		{"only the composer", []string{"--server", "--only", "composer"}, servers[1:], nil, 10},
		{"a machine with a TPM", []string{"--agent"}, agents, []string{`keys = "tpm"`, `format = "tpm"`}, 36},
		{"a machine with a software TPM", []string{"--agent", "--device", "swtpm:/tpm/s", "--tenant", "lab",
			"--enrolment-token", "/token"}, agents, []string{`device = "swtpm:/tpm/s"`, `tenant = "lab"`}, 40},
		{"a machine with a TPM and keys in memory", []string{"--agent", "--keys", "memory"}, agents,
			[]string{`keys = "memory"`}, 34},
		{"an enclave's parent", []string{"--agent", "--format", "nitro", "--config", attestdConfig}, agents,
			[]string{`keys = "memory"`, `tenant = "blue"`, `trust_domain = "example.org"`}, 34},
		{"a NitroTPM", []string{"--agent", "--format", "nitrotpm"}, agents, nil, 34},
		{"SEV-SNP", []string{"--agent", "--format", "sev-snp"}, agents, nil, 34},
		{"TDX", []string{"--agent", "--format", "tdx"}, agents, []string{`format = "tdx"`}, 34},
		{"Azure", []string{"--agent", "--format", "azure-vtpm", "--device", "swtpm:/tpm/s"}, agents,
			[]string{`keys = "memory"`, "azure {", `device = "swtpm:/tpm/s"`}, 37},
		{"a TDX guest with a TPM", []string{"--agent", "--format", "composite", "--cpu", "tdx"}, agents,
			[]string{`keys = "tpm"`, "composite {", `cpu = "tdx"`}, 40},
	} {
		t.Run(row.name, func(t *testing.T) {
			code, stdout, stderr := runAt("", append([]string{"spire", "config", "--plugin", binary}, row.args...)...)
			if code != 0 || stderr.Len() != 0 {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			text := stdout.String()
			if lines := strings.Count(text, "\n"); lines > row.lines {
				t.Errorf("%d lines, want at most %d:\n%s", lines, row.lines, text)
			}
			for _, want := range row.has {
				if !strings.Contains(text, want) {
					t.Errorf("there is no %q in\n%s", want, text)
				}
			}
			if got := taken(t, text, binary, digest); !slices.Equal(got, row.blocks) {
				t.Errorf("got the blocks %q, want %q", got, row.blocks)
			}
			code, stdout, _ = runAt("", append([]string{"spire", "config", "--plugin", binary, "-o", "json"}, row.args...)...)
			if err := obeysSchema("attestd.spire-config.v1", stdout.Bytes()); code != 0 || err != nil {
				t.Errorf("exit code %d, %v", code, err)
			}
			var doc pluginBlocks
			if err := json.Unmarshal(stdout.Bytes(), &doc); err != nil || doc.HCL != text {
				t.Errorf("the document has another text: %v", err)
			}
		})
	}
}

// taken reads the blocks as SPIRE does, and has each plugin judge its data.
func taken(t *testing.T, text, binary, digest string) (blocks []string) {
	t.Helper()
	judges := validators(t)
	file, err := parser.Parse([]byte(text))
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	for _, item := range file.Node.(*ast.ObjectList).Items {
		value := func(key string) string {
			found := item.Val.(*ast.ObjectType).List.Filter(key).Items
			if len(found) != 1 {
				t.Fatalf("%d of %s in\n%s", len(found), key, text)
			}
			var out strings.Builder
			if err := printer.Fprint(&out, found[0].Val); err != nil {
				t.Fatal(err)
			}
			return out.String()
		}
		if value("plugin_cmd") != `"`+binary+`"` || value("plugin_checksum") != `"`+digest+`"` ||
			item.Keys[1].Token.Value() != "attestd" {
			t.Errorf("a block starts something else:\n%s", text)
		}
		command := strings.Trim(value("plugin_args"), "[] \"")
		blocks = append(blocks, item.Keys[0].Token.Text+" "+command)
		data := strings.TrimSuffix(strings.TrimPrefix(value("plugin_data"), "{"), "}")
		said, err := judges[command].Validate(context.Background(), &configv1.ValidateRequest{
			HclConfiguration: data, CoreConfiguration: &configv1.CoreConfiguration{TrustDomain: "example.org"},
		})
		if err != nil || !said.GetValid() {
			t.Errorf("%s says of its data: %v %v\n%s", command, said.GetNotes(), err, data)
		}
	}
	return blocks
}

func TestSPIREConfigRefusesWhatDoesNotGoTogether(t *testing.T) {
	binary, _ := program(t)
	plain := filepath.Join(t.TempDir(), "notes")
	if err := os.WriteFile(plain, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		why  string
		args []string
		says string
	}{
		{"neither side", []string{"--plugin", binary}, "give one of --server and --agent"},
		{"both sides", []string{"--server", "--agent", "--plugin", binary}, "give one of"},
		{"no plugin of that side", []string{"--server", "--only", "keymanager", "--plugin", binary}, "is one of these"},
		{"an unknown plugin", []string{"--server", "--only", "signer", "--plugin", binary}, "unknown --plugin"},
		{"an unknown format", []string{"--agent", "--format", "sgx", "--plugin", binary}, "unknown --format"},
		{"a composite of an unknown CPU", []string{"--agent", "--format", "composite", "--plugin", binary},
			"--format composite of --cpu"},
		{"a CPU of nothing", []string{"--agent", "--cpu", "tdx", "--plugin", binary}, "--cpu has no meaning"},
		{"unknown keys", []string{"--agent", "--keys", "disk", "--plugin", binary}, "unknown --keys"},
		{"tcp without a certificate", []string{"--server", "--address", "tcp:h:1", "--plugin", binary},
			"needs --certificate, --key and --ca"},
		{"no program", []string{"--server", "--plugin", binary + "x"}, "attestd-spire is not at"},
		{"a file that is no program", []string{"--server", "--plugin", plain}, "is no program"},
		{"a folder", []string{"--server", "--plugin", filepath.Dir(plain)}, "is no program"},
		{"half a path", []string{"--server", "--plugin", binary, "--installed", "bin/x"}, "is not a whole path"},
		{"a value that ends its quotes", []string{"--agent", "--plugin", binary, "--tenant", `x" } evil {`},
			"has no place in SPIRE's file"},
		{"a variable of the environment", []string{"--agent", "--plugin", binary, "--runtime-dir", "/run/$HOME"},
			"has no place in SPIRE's file"},
	} {
		code, stdout, stderr := runAt("", append([]string{"spire", "config"}, row.args...)...)
		if code != exitUsage || stdout.Len() != 0 || !strings.Contains(stderr.String(), row.says) ||
			!strings.Contains(stderr.String(), "hint: ") {
			t.Errorf("%s: exit code %d: %s%s", row.why, code, stdout, stderr)
		}
	}
}
