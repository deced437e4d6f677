package config_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/config"
)

const spireOn = schema + `
trust_domain: example.org
spire:
  unix: /run/attestd/spire.sock
  unattested: deny
`

func TestEveryKeyOfSPIREIsRead(t *testing.T) {
	got, err := config.Parse("test", []byte(schema+`
trust_domain: example.org
state_dir: /srv/attestd
spire:
  unix: spire.sock
  users: [spire, "998"]
  listen: "127.0.0.1:8423"
  reach: ["attestd.example.org:8423", "[::1]:8423"]
  unattested: observe
  attested_only: [/enclave/, /payments/]
  unbound: ratchet
  agent_ttl: 2m
  x509_svid_ttl: 3m
  jwt_svid_ttl: 1m
  jwt_most: [low=1m, medium=30s]
  audiences: [gateway]
  extension_oid: 1.3.6.1.4.1.99999.1
  workloads: [/etc/attestd/workloads.yaml]
  degraded: snapshot
  gate: "127.0.0.1:8424"
  server: "spire.example.org:8081"
  workload_api: unix:/run/spire/agent.sock
  entry_prefix: attestd-
  poll: 1s
`))
	if err != nil {
		t.Fatal(err)
	}
	want := config.SPIRE{
		Unix: "spire.sock", Users: []string{"spire", "998"}, Listen: "127.0.0.1:8423",
		Reach:      []string{"attestd.example.org:8423", "[::1]:8423"},
		Unattested: config.UnattestedObserve, AttestedOnly: []string{"/enclave/", "/payments/"},
		Unbound: config.UnboundRatchet, AgentTTL: 2 * time.Minute, X509TTL: 3 * time.Minute,
		JWTTTL: time.Minute, JWTMost: []string{"low=1m", "medium=30s"}, Audiences: []string{"gateway"},
		ExtensionOID: "1.3.6.1.4.1.99999.1", Workloads: []string{"/etc/attestd/workloads.yaml"},
		Degraded: config.DegradedSnapshot, Gate: "127.0.0.1:8424", Server: "spire.example.org:8081",
		WorkloadAPI: "unix:/run/spire/agent.sock", EntryPrefix: "attestd-", Poll: time.Second,
	}
	if !reflect.DeepEqual(got.SPIRE, want) {
		t.Errorf("got  %+v\nwant %+v", got.SPIRE, want)
	}
	if path := got.SPIRESocketPath(); path != "/srv/attestd/spire.sock" {
		t.Errorf("the socket is at %s", path)
	}
	caps := map[attestd.Tier]time.Duration{attestd.TierLow: time.Minute, attestd.TierMedium: 30 * time.Second}
	if !reflect.DeepEqual(got.SPIRE.JWTCaps(), caps) {
		t.Errorf("got caps %v, want %v", got.SPIRE.JWTCaps(), caps)
	}
}

func TestSPIREIsOffUntilItIsConfigured(t *testing.T) {
	if config.Default().SPIRE.Enabled() {
		t.Error("the default answers plugins")
	}
	settings, err := config.Parse("test", []byte(spireOn))
	if err != nil {
		t.Fatal(err)
	}
	if !settings.SPIRE.Enabled() {
		t.Error("plugins are not answered")
	}
}

func TestWhatIsInDoubtAboutSPIREIsRefused(t *testing.T) {
	for _, row := range []struct{ name, add, want string }{
		{"nothing said about what is not attested", "spire: {unix: /run/s.sock}", "spire.unattested"},
		{"an unknown choice", "spire: {unix: /run/s.sock, unattested: allow}", "spire.unattested"},
		{"a controller without plugins", "spire: {server: unix:/run/spire.sock}", "spire:"},
		{"a gate without a controller", on("gate: '127.0.0.1:1'"), "spire.gate"},
		{"a gate beyond this machine", on("gate: '10.0.0.1:1', server: unix:/s"), "spire.gate"},
		{"a server by network without an SVID", on("server: 'spire:8081'"), "spire.workload_api"},
		{"a relative server socket", on("server: unix:s.sock"), "spire.server"},
		{"the socket of everybody", on("unix: /run/attestd.sock") + "\nlisten: {unix: /run/attestd.sock}", "spire.unix"},
		{"an empty audience list", on("audiences: []"), "spire.audiences"},
		{"an OID with an arc that Go refuses", on("extension_oid: 2.25.340282366920938463463374607431768211455"), "spire.extension_oid"},
		{"a namespace without its slash", on("attested_only: [/enclave/, /payments]"), "spire.attested_only"},
		{"no namespace for enclaves", on("attested_only: [/payments/]"), "spire.attested_only"},
		{"a cap for a tier without identities", on("jwt_most: [high=1m]"), "spire.jwt_most"},
		{"a cap of nothing", on("jwt_most: [low=0s]"), "spire.jwt_most"},
		{"no entry prefix", on("entry_prefix: ''"), "spire.entry_prefix"},
		{"addresses of nothing", on("reach: ['a:1']"), "spire.reach"},
		{"an address without a port", on("listen: '127.0.0.1:1', reach: [host]"), "spire.reach"},
		{"verdicts that end before agents come again", on("agent_ttl: 4h"), "subjects.reattest"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := config.Parse("test", []byte(schema+"\ntrust_domain: example.org\n"+row.add+"\n"))
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want a problem with %s", err, row.want)
			}
		})
	}
	if _, err := config.Parse("test", []byte(strings.Replace(spireOn, "trust_domain: example.org", "", 1))); err == nil {
		t.Error("SVIDs of the trust domain localhost")
	}
}

func on(more string) string {
	keys := "unix: /run/s.sock, "
	if strings.HasPrefix(more, "unix:") {
		keys = ""
	}
	return "spire: {" + keys + "unattested: deny, " + more + "}"
}
