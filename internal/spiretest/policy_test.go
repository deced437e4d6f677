package spiretest_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// policy writes the authorization policy of docs/deploy/spire for a server in the folder, and returns
// the lines of its configuration. gate is where attestd is asked, or empty.
//
// The test itself calls the server over its socket: among the programs that may, it stands beside
// spire-server.
func policy(t *testing.T, folder, gate string) string {
	t.Helper()
	deploy := filepath.Join(made.root, "docs/deploy/spire")
	document, err := os.ReadFile(filepath.Join(deploy, "attestd.json"))
	if err != nil {
		t.Fatal(err)
	}
	var data struct {
		Attestd map[string]any `json:"attestd"`
		APIs    any            `json:"apis"`
	}
	if err := json.Unmarshal(document, &data); err != nil {
		t.Fatal(err)
	}
	ourselves, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data.Attestd["trust_domain"] = trustDomain
	data.Attestd["controllers"] = []string{}
	data.Attestd["controller_programs"] = []string{attestdProgram.file(t)}
	data.Attestd["local_programs"] = []string{made.spireServer, ourselves}
	if gate != "" {
		data.Attestd["gate"] = map[string]string{"url": "http://" + gate + "/v1/gate"}
	}
	if document, err = json.Marshal(data); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "attestd.json")
	write(t, path, document)
	return fmt.Sprintf(`
		auth_opa_policy_engine {
			local {
				rego_path = %q
				policy_data_path = %q
			}
		}`, filepath.Join(deploy, "attestd.rego"), path)
}
