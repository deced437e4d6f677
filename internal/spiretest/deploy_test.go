package spiretest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestd/attestd/internal/spiretest/stage"
)

// TestTheDeployedConfigurations runs the files of docs/deploy/spire in both profiles: with their policy,
// their units' programs and no line changed but paths, a node is measured, and a workload identified.
func TestTheDeployedConfigurations(t *testing.T) {
	for _, profile := range []string{"", "-fast"} {
		t.Run("profile"+profile, func(t *testing.T) {
			r := newReader(t)
			r.copiesSPIRE(t)
			r.installs(t)
			for from, to := range map[string]string{
				"server" + profile + ".conf": "/opt/spire/conf/server/server.conf",
				"agent" + profile + ".conf":  "/opt/spire/conf/agent/agent.conf",
				"attestd.rego":               "/opt/spire/conf/server/attestd.rego",
				"attestd.json":               "/opt/spire/conf/server/attestd.json",
				"attestd.yaml":               "/etc/attestd/attestd.yaml",
			} {
				document, err := os.ReadFile(filepath.Join(made.root, "docs/deploy/spire", from))
				if err != nil {
					t.Fatal(err)
				}
				r.writes(t, to, string(document))
			}
			r.logs(t)
			r.types(t, "attestd evidence tpm --identity -o yaml --name node-1 > /etc/attestd/keys.yaml")
			r.types(t, "attestd evidence tpm --nonce "+strings.Repeat("5a", 32)+" --out - | attestd measure - "+
				"--reference /etc/attestd/keys.yaml --state active --name golden > /etc/attestd/golden.yaml")
			r.types(t, "systemctl restart attestd spire-server")
			r.writes(t, "/opt/spire/conf/agent/bundle.pem", r.sees(t, "/opt/spire/bin/spire-server bundle show", "BEGIN"))
			r.types(t, "systemctl restart spire-agent")
			r.sees(t, "attestd subject ls", "trusted")
			for _, entry := range []string{
				"-node -spiffeID spiffe://example.org/measured -selector attestd:measurement:golden",
				"-parentID spiffe://example.org/measured -spiffeID spiffe://example.org/payments " +
					"-selector attestd:admitted:yes",
			} {
				r.types(t, "/opt/spire/bin/spire-server entry create "+entry)
			}
			r.sees(t, "/opt/spire/bin/spire-agent api fetch jwt -audience shop", "example.org/payments")
			// The policy is in force: a copy of SPIRE's program elsewhere has no rights on the socket.
			copied(t, made.spireServer, filepath.Join(r.folder, "copy"))
			if said, err := r.shell(t.Context(), r.folder+"/copy agent list -socketPath "+
				"/run/spire-server/api.sock"); err == nil || !strings.Contains(said, "PermissionDenied") {
				t.Errorf("a copy of spire-server is answered: %v: %s", err, said)
			}
			if err := stage.Until(t.Context(), stage.ReadyLimit, func() error {
				_, err := r.shell(t.Context(), "attestd why spiffe://example.org/payments")
				return err
			}); err != nil {
				t.Errorf("attestd does not see the identity that SPIRE gives: %v", err)
			}
		})
	}
}
