package config

import (
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// What becomes of an SVID for an identity that runs on no node that attestd attested.
const (
	// UnattestedObserve issues it, and says in it that nothing was attested.
	UnattestedObserve = "observe"
	// UnattestedDeny issues none.
	UnattestedDeny = "deny"
)

// What becomes of a node whose evidence binds no key of its agent.
const (
	// UnboundRefuse gives it no identity.
	UnboundRefuse = "refuse"
	// UnboundRatchet gives it one until its evidence has bound a key once; from then on it must.
	UnboundRatchet = "ratchet"
)

// What the composer says while attestd is out of its reach.
const (
	DegradedStrict   = "strict"
	DegradedSnapshot = "snapshot"
)

// SPIRE says how identities are issued through SPIRE. With unix and listen both off there are none.
type SPIRE struct {
	Unix         string        `key:"unix" doc:"path of the unix socket for the plugins of a SPIRE server on this host and for attestd's controller, from state_dir if relative, or off"`
	Users        []string      `key:"users" doc:"users whose processes are answered there as plugins, by name or number; root and attestd's own user are, too"`
	Listen       string        `key:"listen" doc:"IP address and port for the plugins on nodes, and for those of SPIRE servers elsewhere, with TLS and client certificates of attestd's own; or off"`
	Reach        []string      `key:"reach" doc:"HOST:PORT under which nodes reach that listener, in the order to try; empty for spire.listen itself"`
	Unattested   string        `key:"unattested" doc:"an identity that runs on no node attested by attestd: observe (SVIDs say attested: false and risk_score 100) or deny; must be written where spire is on"`
	AttestedOnly []string      `key:"attested_only" doc:"beginnings of SPIFFE ID paths under which SVIDs are given for a key in evidence alone; minted by hand they are refused"`
	Unbound      string        `key:"unbound" doc:"a node whose evidence binds no key of its agent: refuse, or ratchet (taken until it has bound one once)"`
	AgentTTL     time.Duration `key:"agent_ttl" doc:"agent_ttl of the SPIRE server: how long an agent's SVID can live"`
	X509TTL      time.Duration `key:"x509_svid_ttl" doc:"default_x509_svid_ttl of the SPIRE server: how long an X509-SVID lives whose entry says nothing"`
	JWTTTL       time.Duration `key:"jwt_svid_ttl" doc:"how long a JWT-SVID lives at most; as default_jwt_svid_ttl of the SPIRE server"`
	JWTMost      []string      `key:"jwt_most" doc:"TIER=DURATION, as in medium=2m: how long a JWT-SVID lives at most on nodes of that tier"`
	Audiences    []string      `key:"audiences" doc:"audiences whose JWT-SVIDs carry the risk; * is every one. A risk says how far a machine is patched"`
	ExtensionOID string        `key:"extension_oid" doc:"OID of the extension in X509-SVIDs; the default lies in the arc for documentation (RFC 5612): take one of your own"`
	Workloads    []string      `key:"workloads" doc:"paths of files that name executables by their SHA-256, for the selector workload:NAME"`
	Degraded     string        `key:"degraded" doc:"what the composer does while attestd is out of reach: strict (issues nothing) or snapshot (goes on for 60 s by the last signed state)"`
	Gate         string        `key:"gate" doc:"loopback address and port where SPIRE's Rego policy asks whether an agent may go on; or off"`
	Server       string        `key:"server" doc:"SPIRE's server API for attestd's controller: unix:PATH of the server's socket, or HOST:PORT; or off for no controller"`
	WorkloadAPI  string        `key:"workload_api" doc:"unix:PATH of a Workload API with the controller's own SVID, where spire.server is HOST:PORT"`
	EntryPrefix  string        `key:"entry_prefix" doc:"how the ids of entries begin that attestd may hold; others belong to somebody else, who would put them back"`
	Poll         time.Duration `key:"poll" doc:"how often the controller reads entries and agents from SPIRE"`
}

// Enabled reports whether there are plugins to answer.
func (s SPIRE) Enabled() bool { return s.Unix != Off || s.Listen != Off }

func defaultSPIRE() SPIRE {
	return SPIRE{
		Unix: Off, Listen: Off, Gate: Off, Server: Off,
		AttestedOnly: []string{"/enclave/"}, Unbound: UnboundRefuse,
		AgentTTL: time.Hour, X509TTL: time.Hour, JWTTTL: 5 * time.Minute, JWTMost: []string{"medium=2m"},
		Audiences: []string{"*"}, ExtensionOID: "1.3.6.1.4.1.32473.1.1", Degraded: DegradedStrict,
		EntryPrefix: "attestd.", Poll: 5 * time.Second,
	}
}

// SPIRESocketPath returns the path of the plugins' unix socket, or Off.
func (c Config) SPIRESocketPath() string {
	if c.SPIRE.Unix == Off || filepath.IsAbs(c.SPIRE.Unix) {
		return c.SPIRE.Unix
	}
	return filepath.Join(c.StateDir, c.SPIRE.Unix)
}

// JWTCaps returns jwt_most by tier.
func (s SPIRE) JWTCaps() map[attestd.Tier]time.Duration {
	caps := map[attestd.Tier]time.Duration{}
	for _, entry := range s.JWTMost {
		if tier, most, ok := parseCap(entry); ok {
			caps[tier] = most
		}
	}
	return caps
}

func parseCap(entry string) (tier attestd.Tier, most time.Duration, ok bool) {
	name, text, found := strings.Cut(entry, "=")
	if !found {
		return tier, 0, false
	}
	most, err := time.ParseDuration(text)
	if err != nil || most < 5*time.Second || most > 24*time.Hour {
		return tier, 0, false
	}
	// Nothing is issued on a node of another tier.
	for _, one := range []attestd.Tier{attestd.TierLow, attestd.TierMedium} {
		if one.String() == name {
			return one, most, true
		}
	}
	return tier, 0, false
}

var (
	oidPattern    = regexp.MustCompile(`^[0-2](?:\.(?:0|[1-9][0-9]{0,8})){2,20}$`)
	entryPattern  = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	prefixPattern = regexp.MustCompile(`^/(?:[a-zA-Z0-9._-]+/)+$`)
	userPattern   = regexp.MustCompile(`^[a-z0-9_][a-z0-9_-]{0,31}$`)
)

func (c Config) checkSPIRE(problem report) {
	s := c.SPIRE
	if !s.Enabled() {
		if s.Server != Off || s.Gate != Off {
			problem("spire", "has a controller or a gate, and no plugins: spire.unix and spire.listen are both off")
		}
		return
	}
	if c.TrustDomain == Default().TrustDomain {
		problem("trust_domain", "is %q; want that of the SPIRE server", c.TrustDomain)
	}
	c.checkSPIREAddresses(problem)
	for _, choice := range []struct{ path, got, one, other string }{
		{"spire.unattested", s.Unattested, UnattestedObserve, UnattestedDeny},
		{"spire.unbound", s.Unbound, UnboundRefuse, UnboundRatchet},
		{"spire.degraded", s.Degraded, DegradedStrict, DegradedSnapshot},
	} {
		if choice.got != choice.one && choice.got != choice.other {
			problem(choice.path, "got %q, want %s or %s", attestd.Excerpt(choice.got, 20), choice.one, choice.other)
		}
	}
	for _, prefix := range s.AttestedOnly {
		if !prefixPattern.MatchString(prefix) {
			problem("spire.attested_only", "got %q, want the beginning of a path, as in /enclave/",
				attestd.Excerpt(prefix, 60))
		}
	}
	if !slices.Contains(s.AttestedOnly, "/enclave/") {
		problem("spire.attested_only", "has no /enclave/, where identities are for keys in evidence alone")
	}
	for _, entry := range s.JWTMost {
		if _, _, ok := parseCap(entry); !ok {
			problem("spire.jwt_most", "got %q, want low=DURATION or medium=DURATION, 5s to 24h",
				attestd.Excerpt(entry, 40))
		}
	}
	if len(s.Audiences) == 0 {
		problem("spire.audiences", "is empty; want * or the audiences that get the risk")
	}
	// Go refuses arcs above 31 bits (crypto/x509, parseObjectIdentifier).
	if !oidPattern.MatchString(s.ExtensionOID) {
		problem("spire.extension_oid", "got %q, want an OID as in 1.3.6.1.4.1.32473.1.1",
			attestd.Excerpt(s.ExtensionOID, 60))
	}
	if !entryPattern.MatchString(s.EntryPrefix) {
		problem("spire.entry_prefix", "got %q, want 1 to 63 of a-z, 0-9, dot, dash and underscore",
			attestd.Excerpt(s.EntryPrefix, 60))
	}
	if c.Subjects.Reattest < s.AgentTTL/2 {
		problem("subjects.reattest", "is %s, and agents attest every %s (half of spire.agent_ttl): they would be late",
			c.Subjects.Reattest, s.AgentTTL/2)
	}
}

func (c Config) checkSPIREAddresses(problem report) {
	s := c.SPIRE
	if path := c.SPIRESocketPath(); path != Off && len(path) > maxSocketPath {
		problem("spire.unix", "the path has %d bytes, want at most %d", len(path), maxSocketPath)
	}
	if path := c.SPIRESocketPath(); path != Off && path == c.SocketPath() {
		problem("spire.unix", "is the path of listen.unix, want one of its own")
	}
	for _, user := range s.Users {
		if !userPattern.MatchString(user) {
			problem("spire.users", "got %q, want the name or number of a user", attestd.Excerpt(user, 40))
		}
	}
	if s.Listen != Off {
		if _, err := netip.ParseAddrPort(s.Listen); err != nil {
			problem("spire.listen", "got %q, want an IP address and a port, as in 127.0.0.1:8423, or off",
				attestd.Excerpt(s.Listen, 60))
		}
	}
	if len(s.Reach) != 0 && s.Listen == Off {
		problem("spire.reach", "names addresses of spire.listen, which is off")
	}
	for _, address := range s.Reach {
		host, port, found := strings.Cut(address, ":")
		if !found || !hostForm.MatchString(host) || port == "" {
			if _, err := netip.ParseAddrPort(address); err != nil {
				problem("spire.reach", "got %q, want HOST:PORT", attestd.Excerpt(address, 60))
			}
		}
	}
	if s.Gate != Off {
		address, err := netip.ParseAddrPort(s.Gate)
		if err != nil || !address.Addr().Unmap().IsLoopback() {
			problem("spire.gate", "got %q, want a loopback address and a port, as in 127.0.0.1:8424, or off",
				attestd.Excerpt(s.Gate, 60))
		}
	}
	switch {
	case s.Server == Off:
		if s.Gate != Off {
			problem("spire.gate", "is on without spire.server: a gate alone leaves cached SVIDs served")
		}
	case strings.HasPrefix(s.Server, "unix:"):
		if !filepath.IsAbs(strings.TrimPrefix(s.Server, "unix:")) {
			problem("spire.server", "got %q, want unix: and an absolute path", attestd.Excerpt(s.Server, 60))
		}
	case !strings.Contains(s.Server, ":"):
		problem("spire.server", "got %q, want unix:PATH or HOST:PORT, or off", attestd.Excerpt(s.Server, 60))
	case !strings.HasPrefix(s.WorkloadAPI, "unix:/"):
		problem("spire.workload_api", "got %q, want unix:PATH: SPIRE demands an SVID of who comes by network",
			attestd.Excerpt(s.WorkloadAPI, 60))
	}
	if s.Server != Off && s.Unix == Off {
		problem("spire.unix", "is off, and the controller of spire.server reaches attestd by it")
	}
}
