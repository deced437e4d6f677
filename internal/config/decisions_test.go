package config_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/config"
)

func TestEveryKeyOfDecisionsIsRead(t *testing.T) {
	got, err := config.Parse("test", []byte(spireOn+`
state_dir: /srv/attestd
decisions:
  http: "127.0.0.1:8425"
  unix: decide.sock
  grpc: "127.0.0.1:8426"
  grpc_unix: /run/attestd/envoy.sock
  certificate: /c
  key: /k
  enforcers: /etc/attestd/enforcers.yaml
  audiences: [attestd://decide]
  bundles: ["example.org=workload:unix:/run/spire/agent.sock", "partner.org=file:/partner.json"]
  bootstrap: ["partner.org=/partner-first.json"]
  leeway: 2s
  policies: /etc/attestd/policies
  deadline: 100ms
  fresh: 50m
  fresh_privileged: 3m
  max_chain: 4
  rate: 5
  burst: 6
  quarantine: "on"
  records: {keep: 7h, bytes: 2097152}
  export: {otlp: "http://127.0.0.1:4318", ocsf: /o, cef: "udp:127.0.0.1:514"}
  pages: ["https://alerts.example.org/api/v2/alerts"]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Decisions{
		HTTP: "127.0.0.1:8425", Unix: "decide.sock", GRPC: "127.0.0.1:8426", GRPCUnix: "/run/attestd/envoy.sock",
		Certificate: "/c", Key: "/k", Enforcers: "/etc/attestd/enforcers.yaml",
		Audiences: []string{"attestd://decide"},
		Bundles: []string{
			"example.org=workload:unix:/run/spire/agent.sock", "partner.org=file:/partner.json",
		},
		Bootstrap: []string{"partner.org=/partner-first.json"}, Leeway: 2 * time.Second,
		Policies: "/etc/attestd/policies", Deadline: 100 * time.Millisecond, Fresh: 50 * time.Minute,
		FreshPrivileged: 3 * time.Minute, MaxChain: 4, Rate: 5, Burst: 6, Quarantine: config.SpikeOn,
		Records: config.Records{Keep: 7 * time.Hour, Bytes: 2 << 20},
		Export:  config.Export{OTLP: "http://127.0.0.1:4318", OCSF: "/o", CEF: "udp:127.0.0.1:514"},
		Pages:   []string{"https://alerts.example.org/api/v2/alerts"},
	}
	if !reflect.DeepEqual(got.Decisions, want) {
		t.Errorf("got  %+v\nwant %+v", got.Decisions, want)
	}
	http, grpc := got.DecisionSockets()
	if http != "/srv/attestd/decide.sock" || grpc != "/run/attestd/envoy.sock" {
		t.Errorf("the sockets are at %s and %s", http, grpc)
	}
}

const decisionsOn = `
decisions:
  unix: decide.sock
  enforcers: /e
  audiences: [a]
  bundles: [example.org=file:/b]
`

func TestDecisionsAreOffUntilTheyAreConfigured(t *testing.T) {
	if config.Default().Decisions.Enabled() {
		t.Error("the default decides")
	}
	settings, err := config.Parse("test", []byte(spireOn+decisionsOn))
	if err != nil || !settings.Decisions.Enabled() {
		t.Errorf("nothing is decided: %v", err)
	}
}

func TestWhatIsInDoubtAboutDecisionsIsRefused(t *testing.T) {
	with := func(key, value string) string {
		var lines []string
		for _, line := range strings.Split(spireOn+decisionsOn, "\n") {
			if !strings.HasPrefix(line, "  "+key+":") {
				lines = append(lines, line)
			}
		}
		return strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n  " + key + ": " + value + "\n"
	}
	for _, row := range []struct{ name, document, want string }{
		{"tokens in plain text beyond loopback", with("http", "'10.0.0.1:1'"), "decisions.http"},
		{"the same for Envoy", with("grpc", "'[::]:1'"), "decisions.grpc"},
		{"an address without a port", with("http", "localhost"), "decisions.http"},
		{"a socket without a path", with("grpc_unix", "''"), "decisions.grpc_unix"},
		{"a certificate without its key", with("certificate", "/c"), "decisions.certificate"},
		{"nobody may ask", with("enforcers", "''"), "decisions.enforcers"},
		{"tokens for anybody count", with("audiences", "[]"), "decisions.audiences"},
		{"tokens for nobody count", with("audiences", "['']"), "decisions.audiences"},
		{"nobody can be verified", with("bundles", "[]"), "decisions.bundles"},
		{"a bundle without a source", with("bundles", "[example.org]"), "decisions.bundles"},
		{"two bundles for one trust domain", with("bundles", "[a=file:/a, a=file:/b]"), "decisions.bundles"},
		{"a first bundle without a path", with("bootstrap", "['a=']"), "decisions.bootstrap"},
		{"no policies", with("policies", "''"), "decisions.policies"},
		{"no deadline to speak of", with("deadline", "11s"), "decisions.deadline"},
		{"clocks that differ by hours", with("leeway", "2h"), "decisions.leeway"},
		{"privileged for longer than plain", with("fresh_privileged", "3h"), "decisions.fresh_privileged"},
		{"no chain", with("max_chain", "0"), "decisions.max_chain"},
		{"no questions", with("rate", "0"), "decisions.rate"},
		{"no room for records", with("records", "{bytes: 1}"), "decisions.records.bytes"},
		{"an unknown choice", with("quarantine", "always"), "decisions.quarantine"},
		{"pages in plain text", with("pages", "['http://x']"), "decisions.pages"},
		{"an export to nowhere", with("export", "{otlp: ''}"), "decisions.export.otlp"},
		{"nobody is attested", schema + "trust_domain: example.org" + decisionsOn, "decisions"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := config.Parse("test", []byte(row.document))
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want a problem with %s", err, row.want)
			}
		})
	}
}
