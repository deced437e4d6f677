package nhi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd/internal/nhi"
)

const accounts = `# what kubectl apply is given
apiVersion: v1
kind: ServiceAccount
metadata:
  name: rag
  namespace: search
  creationTimestamp: null
  annotations:
    attestd/tenant: blue
    attestd/purpose: retrieval
    attestd/tools: "search files.*"
    attestd/credential: attested
    kubectl.kubernetes.io/last-applied-configuration: |
      {"apiVersion":"v1","kind":"ServiceAccount"}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: build}
secrets:
- name: build-token
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: old, namespace: jobs}
secrets: [{name: elsewhere}]
---
---
apiVersion: v1
kind: Secret
type: kubernetes.io/service-account-token
metadata:
  name: build-token
  annotations: {kubernetes.io/service-account.name: build}
data: {token: CANARYc2VjcmV0}
---
apiVersion: v1
kind: Secret
type: kubernetes.io/service-account-token
metadata:
  name: lost
  namespace: jobs
  annotations: {kubernetes.io/service-account.name: gone}
---
apiVersion: v1
kind: Secret
type: Opaque
metadata: {name: other}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, generation: -3}
spec: {replicas: 0x2, weight: 1.5}
`

func TestManifestsAreRead(t *testing.T) {
	got, err := nhi.ParseManifests("all.yaml", []byte(accounts), nhi.Cluster{Name: "prod"})
	want := []nhi.Record{
		{ID: "kubernetes:prod/search/rag", Tenant: "blue", Purpose: nhi.PurposeRetrieval,
			Tools: []string{"files.*", "search"}, Credential: nhi.CredentialShortLived, Source: "kubernetes:all.yaml"},
		{ID: "kubernetes:prod/default/build", Credential: nhi.CredentialPermanent, Source: "kubernetes:all.yaml"},
		{ID: "kubernetes:prod/jobs/old", Source: "kubernetes:all.yaml"},
		{ID: "kubernetes:prod/jobs/gone", Credential: nhi.CredentialPermanent, Source: "kubernetes:all.yaml"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for cluster, id := range map[nhi.Cluster]string{
		{}:                           "kubernetes:search/rag",
		{TrustDomain: "example.org"}: "spiffe://example.org/ns/search/sa/rag",
	} {
		got, err := nhi.ParseManifests("all.yaml", []byte(accounts), cluster)
		if err != nil || got[0].ID != id {
			t.Errorf("got %+v, %v, want %s", got, err, id)
		}
	}
}

// TestListsOfKubectlAreRead: as -o json prints them, indented and not.
func TestListsOfKubectlAreRead(t *testing.T) {
	list := map[string]any{
		"apiVersion": "v1", "kind": "List", "metadata": map[string]any{"resourceVersion": ""}, "items": []any{
			map[string]any{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "a", "namespace": "n"}},
			map[string]any{"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
				"metadata": map[string]any{"name": "t", "namespace": "n", "annotations": map[string]any{
					"kubernetes.io/service-account.name": "a",
				}}, "data": map[string]any{}},
		},
	}
	plain, _ := json.Marshal(list)
	indented, _ := json.MarshalIndent(list, "", "    ")
	for _, document := range [][]byte{plain, indented} {
		got, err := nhi.ParseManifests("-", document, nhi.Cluster{})
		want := []nhi.Record{{ID: "kubernetes:n/a", Credential: nhi.CredentialPermanent, Source: "kubernetes:standard input"}}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
	}
}

func TestManifestsThatAreRefused(t *testing.T) {
	const one = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a, annotations: {}}\n"
	for _, row := range []struct{ name, document, says string }{
		{"an account twice", one + "---\n" + one, "stands twice"},
		{"an account without a name", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {}\n", "without metadata.name"},
		{"a key twice", one + "kind: Secret\n", "stands twice"},
		{"an anchor", "apiVersion: &a v1\n" + one[15:], "anchor"},
		{"a tag", strings.Replace(one, "v1", "!!str v1", 1), "a tag"},
		{"a token of nobody", "apiVersion: v1\nkind: Secret\nmetadata: {name: t}\ntype: kubernetes.io/service-account-token\n",
			"does not say whose"},
		{"a purpose that is none", strings.Replace(one, "{}", "{attestd/purpose: No}", 1), "is no purpose"},
		{"a name that is none", strings.Replace(one, "a,", `"a b",`, 1), "KIND:NAME"},
		{"no account", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", "has no record"},
		{"no object", "- a\n", "has no record"},
		{"nothing", "---\n", "has no record"},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := second(nhi.ParseManifests("a.yaml", []byte(row.document), nhi.Cluster{}))
			if found := problemsOf(t, err); !strings.Contains(found.Error(), row.says) {
				t.Errorf("got %v", found)
			}
		})
	}
}

// TestNothingOfASecretIsKept: its token is in no record and in no message.
func TestNothingOfASecretIsKept(t *testing.T) {
	got, err := nhi.ParseManifests("a.yaml", []byte(accounts), nhi.Cluster{})
	written, _ := json.Marshal(got)
	if err != nil || strings.Contains(string(written), "CANARY") {
		t.Errorf("%v %s", err, written)
	}
	broken := strings.Replace(accounts, "CANARYc2VjcmV0}", "CANARYc2VjcmV0, token: x}", 1)
	if err = second(nhi.ParseManifests("a.yaml", []byte(broken), nhi.Cluster{})); err == nil ||
		strings.Contains(err.Error(), "CANARY") {
		t.Errorf("got %v", err)
	}
}

const entries = `{"entries":[
 {"id":"1","spiffe_id":{"trust_domain":"example.org","path":"/agent/rag"},
  "parent_id":{"trust_domain":"example.org","path":"/spire/agent/attestd/tpm/aa"},"selectors":[{"type":"unix","value":"uid:1"}]},
 {"id":"2","spiffe_id":{"trust_domain":"example.org","path":"/agent/eval"},
  "parent_id":{"trust_domain":"example.org","path":"/spire/agent/attestd/tpm/aa"}},
 {"id":"3","spiffe_id":{"trust_domain":"example.org","path":"/agent/rag"},
  "parent_id":{"trust_domain":"example.org","path":"/spire/agent/join_token/bb"}},
 {"id":"4","spiffe_id":{"trust_domain":"example.org","path":"/nodes"},
  "parent_id":{"trust_domain":"example.org","path":"/spire/server"}}],"next_page_token":""}`

func TestListsOfSPIREAreRead(t *testing.T) {
	got, err := nhi.ParseSPIRE("e.json", []byte(entries))
	want := []nhi.Record{
		{ID: "spiffe://example.org/agent/eval", Credential: nhi.CredentialAttested, Source: "spire:e.json"},
		// One way around hardware is enough.
		{ID: "spiffe://example.org/agent/rag", Credential: nhi.CredentialShortLived, Source: "spire:e.json"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	got, err = nhi.ParseSPIRE("a.json", []byte(`{"agents":[
		{"id":{"trust_domain":"example.org","path":"/spire/agent/attestd/tpm/aa"},"banned":true,"attestation_type":"attestd"},
		{"id":{"trust_domain":"example.org","path":"/spire/agent/join_token/bb"}}]}`))
	want = []nhi.Record{
		{ID: "spiffe://example.org/spire/agent/attestd/tpm/aa", Credential: nhi.CredentialAttested,
			Lifecycle: nhi.LifecycleRetired, Source: "spire:a.json"},
		{ID: "spiffe://example.org/spire/agent/join_token/bb", Credential: nhi.CredentialShortLived, Source: "spire:a.json"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for name, document := range map[string]string{
		"neither": `{"bundle":{}}`, "a key twice": `{"agents":[],"agents":[]}`, "nobody": `{"agents":[]}`,
		"no JSON": "agents", "two values": entries + entries, "an id that is none": strings.Replace(entries, "/agent/eval", "/a b", 1),
		"another form": `{"entries":{"spiffe_id":"x"}}`, "a null": `{"entries":null}`,
	} {
		if err := second(nhi.ParseSPIRE("e.json", []byte(document))); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}
