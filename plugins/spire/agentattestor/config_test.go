package agentattestor_test

import (
	"strings"
	"testing"

	configv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/service/common/config/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// neg: 196
func TestConfigurationsThatAreRefused(t *testing.T) {
	a := load(t)
	if _, err := a.aid(t).opening(); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("before it is configured: %v", err)
	}
	const good = "format = \"tpm\"\ntenant = \"blue\"\nruntime_dir = \"/run/spire-agent/attestd\"\n"
	for _, row := range []struct {
		name, hcl string
		want      []string
	}{
		{"an unknown key", good + "tenent = \"x\"\n", []string{"line 4", "tenent"}},
		{"an unknown key in a block", good + "tpm {\n  devise = \"x\"\n}\n",
			[]string{"line 5", "tpm.devise"}},
		{"a key twice", good + "tenant = \"red\"\n", []string{"line 4", "tenant"}},
		{"nothing", "", []string{"format", "tenant", "runtime_dir"}},
		{"an unknown format", strings.Replace(good, "tpm", "sgx", 1),
			[]string{"format", "azure-vtpm, composite, nitro, nitrotpm, sev-snp, tdx, tpm"}},
		{"a tenant that is none", strings.Replace(good, "blue", "Blue Team", 1),
			[]string{"tenant"}},
		{"an empty tenant", strings.Replace(good, "blue", "", 1), []string{"tenant"}},
		{"another trust domain", good + `trust_domain = "example.com"`,
			[]string{"trust_domain", "example.com"}},
		{"a binding that is none", good + `key_binding = "optional"`, []string{"key_binding"}},
		{"no folder of the key manager's", "format = \"tpm\"\ntenant = \"a\"\n",
			[]string{"runtime_dir", "key_binding"}},
		{"a folder and no binding", good + `key_binding = "none"`, []string{"runtime_dir"}},
		{"a folder from here", strings.Replace(good, "/run", "run", 1),
			[]string{"runtime_dir", "whole path"}},
		{"a block of another format", good + "nitro {\n  device = \"/dev/nsm\"\n}\n",
			[]string{"nitro"}},
		{"PCRs that are none", good + "tpm {\n  pcrs = \"0-99\"\n}\n", []string{"tpm.pcrs"}},
		{"a bank that is none", good + "tpm {\n  bank = \"sha1\"\n}\n", []string{"tpm.bank"}},
		{"a handle of the platform's", good + "tpm {\n  ak_handle = \"0x81800000\"\n}\n",
			[]string{"tpm.ak_handle"}},
		{"Azure's PCRs that are none", strings.Replace(good, `"tpm"`, `"azure-vtpm"`, 1) +
			"azure {\n  pcrs = \"0-99\"\n  bank = \"sha1\"\n}\n", []string{"azure.pcrs", "azure.bank"}},
		{"a composite of nothing", strings.Replace(good, `"tpm"`, `"composite"`, 1),
			[]string{"composite", "cpu"}},
		{"a composite block of another format", good + "composite {\n  cpu = \"tdx\"\n}\n",
			[]string{"composite: is for format"}},
		{"a composite of two TPMs", strings.Replace(good, `"tpm"`, `"composite"`, 1) +
			"composite {\n  cpu = \"tpm\"\n  vtpm = \"sev-snp\"\n}\n",
			[]string{"composite.cpu", "composite.vtpm", "nitrotpm, tpm"}},
		{"a composite without its CPU's block but another's",
			strings.Replace(good, `"tpm"`, `"composite"`, 1) +
				"composite {\n  cpu = \"tdx\"\n}\nsnp {\n  path = \"/dev/sev-guest\"\n}\n",
			[]string{"snp: is for format"}},
		{
			"everything at once",
			"format = \"x\"\ntenant = \"A\"\nkey_binding = \"y\"\nz = 1\ntpm {\n  pcrs = \"a\"\n}\n",
			[]string{"format", "tenant", "key_binding", "z", "tpm.pcrs"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			core := &configv1.CoreConfiguration{TrustDomain: trustDomain}
			_, err := a.config.Configure(t.Context(), &configv1.ConfigureRequest{
				CoreConfiguration: core, HclConfiguration: row.hcl,
			})
			checked, checkErr := a.config.Validate(t.Context(), &configv1.ValidateRequest{
				CoreConfiguration: core, HclConfiguration: row.hcl,
			})
			if status.Code(err) != codes.InvalidArgument || checkErr != nil || checked.GetValid() {
				t.Fatalf("got %v, and %v, %v of Validate", err, checked, checkErr)
			}
			for _, want := range row.want {
				if !strings.Contains(err.Error(), want) ||
					!strings.Contains(strings.Join(checked.GetNotes(), "\n"), want) {
					t.Errorf("%q is not in %v, or not in %v", want, err, checked.GetNotes())
				}
			}
		})
	}
	for name, hcl := range map[string]string{
		"a file that is not there": good + "verifier_keys_file = \"/nonexistent/keys\"\n",
		"no enclave":               "format = \"nitro\"\ntenant = \"a\"\nkey_binding = \"none\"\nnitro {\n  device = \"/nonexistent/nsm\"\n}\n",
		"no guest":                 "format = \"sev-snp\"\ntenant = \"a\"\nkey_binding = \"none\"\nsnp {\n  path = \"/nonexistent/sev\"\n}\n",
		"no TDX guest": "format = \"tdx\"\ntenant = \"a\"\nkey_binding = \"none\"\n" +
			"tdx {\n  path = \"/nonexistent/tsm\"\n}\n",
		"no base of the host's services": "format = \"azure-vtpm\"\ntenant = \"a\"\nkey_binding = \"none\"\n" +
			"azure {\n  metadata = \"ftp://x\"\n}\n",
		"a composite without a guest": "format = \"composite\"\ntenant = \"a\"\nkey_binding = \"none\"\n" +
			"composite {\n  cpu = \"tdx\"\n}\ntdx {\n  path = \"/nonexistent/tsm\"\n}\n",
	} {
		if err := configure(a.config, hcl); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := a.aid(t).opening(); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("after all that: %v, want that it is not configured", err)
	}
}

// TestConfiguringWhileItAttests: each attestation goes by one configuration. Its worth is under
// -race. neg: 200
func TestConfiguringWhileItAttests(t *testing.T) {
	m := newMachine(t)
	m.keyManager("memory").generate("agent-svid-A")
	a := newAgent(t, m.config())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 30 {
			if err := configure(a.config, m.config(`key_binding = "required"`,
				"# "+strings.Repeat("x", i))); err != nil {
				t.Error(err)
			}
		}
	}()
	for attested := 0; ; attested++ {
		select {
		case <-done:
			if attested == 0 {
				t.Error("nothing was attested meanwhile")
			}
			return
		default:
		}
		if got, err := a.aid(t).opening(); err != nil || got.Tenant != "blue" {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
}
