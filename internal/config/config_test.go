package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/config"
)

const schema = "schema: attestd.config.v1\n"

func TestAnEmptyDocumentIsTheDefaultAndTheDefaultIsSound(t *testing.T) {
	got, err := config.Parse("test", []byte(schema))
	if err != nil || !reflect.DeepEqual(got, config.Default()) {
		t.Errorf("got %+v, %v; want the default", got, err)
	}
	if err := config.Default().Check(); err != nil {
		t.Error(err)
	}
	if d := config.Default(); d.Listen.HTTP != "127.0.0.1:8421" || d.Verify.AllowRecorded ||
		d.Verify.Isolation != config.IsolateProcess || d.SocketPath() != "/var/lib/attestd/attestd.sock" {
		t.Errorf("got %+v", d)
	}
}

func TestEveryKeyIsRead(t *testing.T) {
	got, err := config.Parse("test", []byte(schema+`
trust_domain: example.org
state_dir: /srv/attestd
tenants: [default, blue]
log_level: warn
listen:
  http: "[::1]:9000"
  unix: off
  tls: {certificate: /c, key: /k, client_ca: /ca}
challenges: {lifetime: 30s, nonce_bytes: 64, per_source: 1, per_tenant: 2, outstanding: 3, ephemeral_key: true}
verify:
  policy: /p.yaml
  tenant_policies: [blue=/b.yaml]
  references: [/r1, /r2]
  reference_keys: [/rk]
  local_references: [/r3]
  veraison: true
  allow_recorded: true
  insecure_roots: [/root]
  isolation: none
  workers: 4
  waiting: 5
  timeout: 6s
appraisals: {keep: 1h, most: 7}
results: {profile: ietf-03, lifetime: 1m, rotate: 2h}
collateral:
  folder: /col
  fetch: true
  refresh: 13m
  intel_update: early
  intel_pccs: https://pccs.example.org/pccs
  intel_ca: /pccs-ca
subjects: {reattest: 10m, grace: 5m}
automation: {mode: dry-run, codes: [evidence], per_hour: 3, bad: 4, good: 5}
enrolment:
  rules: ["blue=gce-project:acme"]
  pending_per_tenant: 11
  pending_per_source: 12
  pending_keep: 2h
admin: {http: "127.0.0.1:8422", names: [attestd.example.org], certificate: 1h, login_token: 5m}
store: {reserve: 2097152, accept_rollback: true}
limits:
  json_body: 8192
  raw_body: 8193
  all_bodies: 8388608
  header_bytes: 8194
  connections: 8
  read_header_timeout: 1s
  read_timeout: 2s
  write_timeout: 9s
  idle_timeout: 3s
  shutdown_timeout: 4s
`))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		TrustDomain: "example.org", StateDir: "/srv/attestd", Tenants: []string{"default", "blue"}, LogLevel: "warn",
		Listen: config.Listen{HTTP: "[::1]:9000", Unix: "off", TLS: config.TLS{Certificate: "/c", Key: "/k", ClientCA: "/ca"}},
		Challenges: config.Challenges{
			Lifetime: 30 * time.Second, NonceBytes: 64, PerSource: 1, PerTenant: 2, Outstanding: 3, EphemeralKey: true,
		},
		Verify: config.Verify{
			Policy: "/p.yaml", TenantPolicies: []string{"blue=/b.yaml"}, References: []string{"/r1", "/r2"},
			ReferenceKeys: []string{"/rk"}, LocalReferences: []string{"/r3"}, Veraison: true, AllowRecorded: true, InsecureRoots: []string{"/root"},
			Isolation: "none", Workers: 4, Waiting: 5, Timeout: 6 * time.Second,
		},
		Appraisals: config.Appraisals{Keep: time.Hour, Most: 7},
		Results:    config.Results{Profile: "ietf-03", Lifetime: time.Minute, Rotate: 2 * time.Hour},
		Collateral: config.Collateral{Folder: "/col", Fetch: true, Refresh: 13 * time.Minute,
			IntelUpdate: "early", IntelPCCS: "https://pccs.example.org/pccs", IntelCA: "/pccs-ca",
		},
		Subjects: config.Subjects{Reattest: 10 * time.Minute, Grace: 5 * time.Minute},
		Automation: config.Automation{
			Mode: config.AutomationDryRun, Codes: []string{"evidence"}, PerHour: 3, Bad: 4, Good: 5,
		},
		Enrolment: config.Enrolment{
			Rules: []string{"blue=gce-project:acme"}, PendingPerTenant: 11, PendingPerSource: 12,
			PendingKeep: 2 * time.Hour,
		},
		Admin: config.Admin{
			HTTP: "127.0.0.1:8422", Names: []string{"attestd.example.org"}, Certificate: time.Hour,
			LoginToken: 5 * time.Minute,
		},
		SPIRE:     config.Default().SPIRE,     // spire_test.go
		Decisions: config.Default().Decisions, // decisions_test.go
		Store:     config.Store{Reserve: 2 << 20, AcceptRollback: true},
		Limits: config.Limits{
			JSONBody: 8192, RawBody: 8193, AllBodies: 8 << 20, HeaderBytes: 8194, Connections: 8,
			ReadHeaderTimeout: time.Second, ReadTimeout: 2 * time.Second, WriteTimeout: 9 * time.Second,
			IdleTimeout: 3 * time.Second, ShutdownTimeout: 4 * time.Second,
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestWhatIsInDoubtIsRefusedByTheNameOfItsKey(t *testing.T) {
	for name, row := range map[string]struct{ document, key string }{
		"no schema":                         {"trust_domain: a", "schema"},
		"another schema":                    {"schema: attestd.config.v2", "schema"},
		"an unknown key":                    {schema + "trust_domian: a", "trust_domian"},
		"references that nobody signed":     {schema + "verify: {references: [/r]}", "verify.references"},
		"a profile that nobody reads":       {schema + "results: {profile: mine}", "results.profile"},
		"collateral fetched into no folder": {schema + "collateral: {folder: off, fetch: true}", "collateral.fetch"},
		"a channel of Intel's that is none": {schema + "collateral: {intel_update: next}", "collateral.intel_update"},
		"a PCCS in the clear":               {schema + "collateral: {intel_pccs: 'http://a', intel_ca: /c}", "collateral.intel_pccs"},
		"a PCCS with a user":                {schema + "collateral: {intel_pccs: 'https://u@a', intel_ca: /c}", "collateral.intel_pccs"},
		"a PCCS without its CA":             {schema + "collateral: {intel_pccs: 'https://a'}", "collateral.intel_ca"},
		"a CA of no PCCS":                   {schema + "collateral: {intel_ca: /c}", "collateral.intel_ca"},
		"an unknown key below":              {schema + "listen: {htpp: a}", "listen.htpp"},
		"a key twice":                       {schema + "trust_domain: a\ntrust_domain: b", "trust_domain"},
		"an empty value":                    {schema + "trust_domain: \"\"", "trust_domain"},
		"a null":                            {schema + "trust_domain:", "trust_domain"},
		"an alias":                          {schema + "trust_domain: &a x\nstate_dir: *a", "state_dir"},
		"a number for a text":               {schema + "trust_domain: 5", "trust_domain"},
		"a text for a number":               {schema + "challenges: {nonce_bytes: \"32\"}", "challenges.nonce_bytes"},
		"a text for a flag":                 {schema + "verify: {allow_recorded: \"false\"}", "verify.allow_recorded"},
		"a number too large":                {schema + "limits: {json_body: 99999999999999}", "limits.json_body"},
		"a duration without a unit":         {schema + "challenges: {lifetime: \"60\"}", "challenges.lifetime"},
		"a negative duration":               {schema + "challenges: {lifetime: -1s}", "challenges.lifetime"},
		"a lifetime over a minute":          {schema + "challenges: {lifetime: 61s}", "challenges.lifetime"},
		"a short nonce":                     {schema + "challenges: {nonce_bytes: 31}", "challenges.nonce_bytes"},
		"no room for challenges":            {schema + "challenges: {per_source: 0}", "challenges.per_source"},
		"a trust domain with a path":        {schema + "trust_domain: a/b", "trust_domain"},
		"a relative state folder":           {schema + "state_dir: attestd", "state_dir"},
		"a level nobody knows":              {schema + "log_level: loud", "log_level"},
		"no tenants":                        {schema + "tenants: []", "tenants"},
		"a tenant twice":                    {schema + "tenants: [a, a]", "tenants"},
		"a tenant that is no name":          {schema + "tenants: [A]", "tenants"},
		"plaintext on every address":        {schema + "trust_domain: a\nlisten: {http: \"0.0.0.0:8421\"}", "listen.http"},
		"plaintext on an IPv6 address":      {schema + "trust_domain: a\nlisten: {http: \"[::]:8421\"}", "listen.http"},
		"plaintext on a mapped address":     {schema + "trust_domain: a\nlisten: {http: \"[::ffff:192.0.2.1]:1\"}", "listen.http"},
		"plaintext on a private address":    {schema + "trust_domain: a\nlisten: {http: \"10.0.0.1:8421\"}", "listen.http"},
		"a name in place of an address":     {schema + "listen: {http: \"localhost:8421\"}", "listen.http"},
		"no port":                           {schema + "listen: {http: 127.0.0.1}", "listen.http"},
		"the default name beyond loopback":  {schema + "listen: {http: \"192.0.2.1:1\", tls: {certificate: /c, key: /k}}", "trust_domain"},
		"a certificate without a key":       {schema + "listen: {tls: {certificate: /c}}", "listen.tls"},
		"client certificates without TLS":   {schema + "listen: {tls: {client_ca: /c}}", "listen.tls.client_ca"},
		"TLS on no listener":                {schema + "listen: {http: off, tls: {certificate: /c, key: /k}}", "listen.tls"},
		"no listener":                       {schema + "listen: {http: off, unix: off}", "listen"},
		"a socket path that is too long":    {schema + "listen: {unix: /" + strings.Repeat("a", 107) + "}", "listen.unix"},
		"an admin address that is none":     {schema + "admin: {http: everywhere}", "admin.http"},
		"operators among the callers":       {schema + "admin: {http: \"127.0.0.1:8421\"}", "admin.http"},
		"a certificate for a sentence":      {schema + "admin: {http: \"127.0.0.1:1\", names: [\"a b\"]}", "admin.names"},
		"operators without a way in":        {schema + "listen: {unix: off}", "admin"},
		"a certificate for a year":          {schema + "admin: {certificate: 8760h}", "admin.certificate"},
		"automation of a kind nobody knows": {schema + "automation: {mode: maybe}", "automation.mode"},
		"grounds nobody knows":              {schema + "automation: {codes: [mood]}", "automation.codes"},
		"automation without grounds":        {schema + "automation: {codes: []}", "automation.codes"},
		"automation without a cap":          {schema + "automation: {per_hour: 0}", "automation.per_hour"},
		"a rule without a value":            {schema + "enrolment: {rules: [\"default=gce-project:\"]}", "enrolment.rules"},
		"a rule for nobody's tenant":        {schema + "enrolment: {rules: [\"red=gce-project:a\"]}", "enrolment.rules"},
		"two owners of one project": {
			schema + "tenants: [a, b]\nenrolment: {rules: [\"a=gce-project:x\", \"b=gce-project:x\"]}", "enrolment.rules",
		},
		"a policy for nobody":               {schema + "verify: {tenant_policies: [\"red=/p\"]}", "verify.tenant_policies"},
		"two policies for one tenant":       {schema + "verify: {tenant_policies: [\"default=/p\", \"default=/q\"]}", "verify.tenant_policies"},
		"a verdict that stands forever":     {schema + "subjects: {reattest: 87600h}", "subjects.reattest"},
		"no reserve":                        {schema + "store: {reserve: 0}", "store.reserve"},
		"the recorded policy for fresh":     {schema + "verify: {policy: recorded}", "verify.policy"},
		"an isolation nobody knows":         {schema + "verify: {isolation: some}", "verify.isolation"},
		"a body limit switched off":         {schema + "limits: {json_body: 0}", "limits.json_body"},
		"a body limit of everything":        {schema + "limits: {raw_body: 2000000000}", "limits.raw_body"},
		"no read time-out":                  {schema + "limits: {read_timeout: 0s}", "limits.read_timeout"},
		"an answer cut off by its time-out": {schema + "limits: {write_timeout: 10s}", "limits.write_timeout"},
		"two documents":                     {schema + "---\n" + schema, "2 documents"},
		"no YAML":                           {"{", "test"},
		"nothing":                           {"", "test"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := config.Parse("test", []byte(row.document))
			if err == nil {
				t.Fatalf("got %+v, want a refusal", got)
			}
			if !strings.Contains(err.Error(), row.key) {
				t.Errorf("got %q, want the key %q in it", err, row.key)
			}
			if !reflect.DeepEqual(got, config.Config{}) {
				t.Error("a configuration came with the error")
			}
		})
	}
}

func TestAllProblemsAreReportedAtOnceWithTheirLines(t *testing.T) {
	_, err := config.Parse("attestd.yaml", []byte(schema+"trust_domain: A/B\nlisten:\n  http: nowhere\nlog_level: loud\n"))
	for _, want := range []string{
		"attestd.yaml: 3 problems", "line 2: trust_domain: ", "line 4: listen.http: ", "line 5: log_level: ",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestAConfigurationMadeByHandIsCheckedToo(t *testing.T) {
	made := config.Default()
	made.Listen.HTTP = "0.0.0.0:1"
	if err := made.Check(); err == nil || !strings.Contains(err.Error(), "listen.http") {
		t.Errorf("got %v, want listen.http refused", err)
	}
}

func TestAFileThatIsNotThereIsAnError(t *testing.T) {
	if _, err := config.Load(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("got a configuration")
	}
}

// docs/config.md has one row for each key, with its default: no key is missing, none is made up.
func TestEveryKeyIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	for _, key := range config.Keys() {
		if key.Doc == "" || strings.Contains(key.Path, "..") || strings.HasSuffix(key.Path, ".") {
			t.Errorf("key %q has no words or no name", key.Path)
		}
		fmt.Fprintf(&table, "| `%s` | `%s` | %s |\n", key.Path, key.Default, key.Doc)
	}
	if !strings.Contains(string(page), "\n"+table.String()+"\n") {
		t.Errorf("docs/config.md differs from the code, want this table:\n%s", table.String())
	}
}
