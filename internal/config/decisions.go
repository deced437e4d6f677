package config

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// PoliciesStandard are the policies that come with attestd.
const PoliciesStandard = "standard"

// What becomes of a caller whose risk spikes while it asks.
const (
	SpikeOff    = "off"
	SpikeDryRun = "dry-run"
	SpikeOn     = "on"
)

// Decisions say how callers are decided about. With http, unix, grpc and grpc_unix all off there are
// none.
type Decisions struct {
	HTTP     string `key:"http" doc:"IP address and port for AuthZEN, forward-auth, introspection and signals, or off; beyond loopback only with TLS"`
	Unix     string `key:"unix" doc:"path of a unix socket for the same, from state_dir if relative, or off"`
	GRPC     string `key:"grpc" doc:"IP address and port for Envoy's ext_authz, or off; beyond loopback only with TLS"`
	GRPCUnix string `key:"grpc_unix" doc:"path of a unix socket for Envoy's ext_authz, from state_dir if relative, or off"`
	// Certificate and Key are the server's on both addresses.
	Certificate string `key:"certificate" doc:"PEM file with the chain that both addresses show, leaf first; clients then show an X509-SVID"`
	Key         string `key:"key" doc:"PEM file with its private key, readable by its owner only"`
	Enforcers   string `key:"enforcers" doc:"path of the file that names the enforcement points, how each is known and what it may do"`
	// Audiences and Bundles say whose SVIDs count.
	Audiences []string      `key:"audiences" doc:"audiences of which a JWT-SVID must name one; only callers who mean attestd's answer are answered"`
	Bundles   []string      `key:"bundles" doc:"TRUST_DOMAIN=SOURCE: where the keys of a trust domain come from: file:PATH, workload:unix:PATH, https_web:URL or https_spiffe:SPIFFE_ID,URL"`
	Bootstrap []string      `key:"bootstrap" doc:"TRUST_DOMAIN=PATH: the bundle with which an https_spiffe source of that trust domain is first asked"`
	Leeway    time.Duration `key:"leeway" doc:"by how much a caller's clock may differ, at most 1m; a token that is over is over"`
	Policies  string        `key:"policies" doc:"standard, or the folder of Cedar policies that decide"`
	Deadline  time.Duration `key:"deadline" doc:"an answer that is not there by then is a denial, at most 10s"`
	Fresh     time.Duration `key:"fresh" doc:"how old the evidence behind a caller may be"`
	// FreshPrivileged is for privileged resources.
	FreshPrivileged time.Duration `key:"fresh_privileged" doc:"how old it may be for a privileged action"`
	MaxChain        int           `key:"max_chain" doc:"links that a subject chain may have"`
	Rate            int           `key:"rate" doc:"questions a second that one caller at low risk may have; a tenth at medium, none above"`
	Burst           int           `key:"burst" doc:"questions that it may have at once"`
	Quarantine      string        `key:"quarantine" doc:"what a risk spike does beside denying: off, dry-run (records what it would do) or on (quarantines, within automation.per_hour)"`
	Records         Records       `key:"records"`
	Export          Export        `key:"export"`
	Pages           []string      `key:"pages" doc:"https URLs that are told of quarantines, spikes and caps, signed"`
}

// Records say what is kept of decisions.
type Records struct {
	Keep  time.Duration `key:"keep" doc:"how long a record is kept"`
	Bytes int           `key:"bytes" doc:"how many bytes of records are kept; the oldest go first"`
}

// Export says where records go besides.
type Export struct {
	OTLP string `key:"otlp" doc:"URL of an OTLP/HTTP receiver of logs and traces, or off"`
	OCSF string `key:"ocsf" doc:"path of a file that is added OCSF 1.8 events to, a line each, or off"`
	CEF  string `key:"cef" doc:"file:PATH or udp:HOST:PORT for CEF lines, or off"`
}

// Enabled reports whether anybody is decided about.
func (d Decisions) Enabled() bool {
	return d.HTTP != Off || d.Unix != Off || d.GRPC != Off || d.GRPCUnix != Off
}

func defaultDecisions() Decisions {
	return Decisions{
		HTTP: Off, Unix: Off, GRPC: Off, GRPCUnix: Off,
		Policies: PoliciesStandard, Deadline: 200 * time.Millisecond, Leeway: time.Second,
		Fresh: time.Hour + 30*time.Minute, FreshPrivileged: 15 * time.Minute, MaxChain: 8,
		Rate: 200, Burst: 400, Quarantine: SpikeDryRun,
		Records: Records{Keep: 30 * 24 * time.Hour, Bytes: 1 << 30},
		Export:  Export{OTLP: Off, OCSF: Off, CEF: Off},
	}
}

// DecisionSockets returns the paths of the unix sockets for questions over HTTP and over gRPC, or Off.
func (c Config) DecisionSockets() (http, grpc string) {
	return c.below(c.Decisions.Unix), c.below(c.Decisions.GRPCUnix)
}

func (c Config) below(path string) string {
	if path == Off || path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(c.StateDir, path)
}

func (c Config) checkDecisions(problem report) {
	d := c.Decisions
	c.checkDecisionNumbers(problem)
	if !d.Enabled() {
		return
	}
	for key, address := range map[string]string{"http": d.HTTP, "grpc": d.GRPC} {
		if address == Off {
			continue
		}
		parsed, err := netip.ParseAddrPort(address)
		if err != nil {
			problem("decisions."+key, "got %q, want an IP address and a port, or off", attestd.Excerpt(address, 60))
		} else if !parsed.Addr().IsLoopback() && d.Certificate == "" {
			problem("decisions."+key, "%s is not loopback: questions carry tokens; want decisions.certificate", address)
		}
	}
	http, grpc := c.DecisionSockets()
	for key, path := range map[string]string{"unix": http, "grpc_unix": grpc} {
		if path == "" || len(path) > maxSocketPath {
			problem("decisions."+key, "is a path of %d bytes, want 1 to %d, or off", len(path), maxSocketPath)
		}
	}
	if (d.Certificate == "") != (d.Key == "") {
		problem("decisions.certificate", "got one of certificate and key, want both or none")
	}
	if d.Enforcers == "" {
		problem("decisions.enforcers", "is empty: nobody could ask")
	}
	if len(d.Audiences) == 0 || slices.Contains(d.Audiences, "") {
		problem("decisions.audiences", "want one name or more, as in attestd://decide")
	}
	if len(d.Bundles) == 0 {
		problem("decisions.bundles", "is empty: nobody's SVID could be verified")
	}
	for _, list := range []struct {
		key     string
		entries []string
	}{{"bundles", d.Bundles}, {"bootstrap", d.Bootstrap}} {
		for i, entry := range list.entries {
			domain, source, found := strings.Cut(entry, "=")
			if !found || source == "" || !trustDomainPattern.MatchString(domain) {
				problem("decisions."+list.key, "got %q, want TRUST_DOMAIN=SOURCE", attestd.Excerpt(entry, 80))
			}
			if slices.ContainsFunc(list.entries[:i], func(one string) bool {
				return strings.HasPrefix(one, domain+"=")
			}) {
				problem("decisions."+list.key, "%s stands twice", attestd.Excerpt(domain, 60))
			}
		}
	}
	if d.Policies == "" {
		problem("decisions.policies", "is empty; want standard, or a folder")
	}
	if !c.SPIRE.Enabled() {
		problem("decisions", "nobody could be attested: identities come through spire.unix or spire.listen")
	}
}

func (c Config) checkDecisionNumbers(problem report) {
	d := c.Decisions
	if d.Quarantine != SpikeOff && d.Quarantine != SpikeDryRun && d.Quarantine != SpikeOn {
		problem("decisions.quarantine", "got %q, want off, dry-run or on", attestd.Excerpt(d.Quarantine, 20))
	}
	if d.Deadline > 10*time.Second || d.Deadline < time.Millisecond {
		problem("decisions.deadline", "got %s, want 1ms to 10s", d.Deadline)
	}
	if d.Leeway > time.Minute {
		problem("decisions.leeway", "got %s, want at most 1m", d.Leeway)
	}
	if d.FreshPrivileged > d.Fresh {
		problem("decisions.fresh_privileged", "got %s, want at most decisions.fresh, %s", d.FreshPrivileged, d.Fresh)
	}
	for key, number := range map[string]struct{ got, least, most int }{
		"max_chain": {d.MaxChain, 1, 64}, "rate": {d.Rate, 1, 1_000_000}, "burst": {d.Burst, 1, 1_000_000},
		"records.bytes": {d.Records.Bytes, 1 << 20, 1 << 40},
	} {
		if number.got < number.least || number.got > number.most {
			problem("decisions."+key, "got %d, want %d to %d", number.got, number.least, number.most)
		}
	}
	for _, page := range d.Pages {
		if !strings.HasPrefix(page, "https://") {
			problem("decisions.pages", "got %q, want https://", attestd.Excerpt(page, 60))
		}
	}
	for key, value := range map[string]string{
		"otlp": d.Export.OTLP, "ocsf": d.Export.OCSF, "cef": d.Export.CEF,
	} {
		if value == "" {
			problem("decisions.export."+key, "is empty; want off where it is not wanted")
		}
	}
}
