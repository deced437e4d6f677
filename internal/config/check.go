package config

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
)

// report is how a check says what is wrong with the value of a key.
type report func(path, format string, args ...any)

var (
	// SPIFFE-ID section 2.1: lower-case letters, digits, dots, dashes and underscores.
	trustDomainPattern = regexp.MustCompile(`^[a-z0-9._-]{1,255}$`)
	hostForm           = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$`)
	tenantPattern      = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$`)
)

// maxSocketPath is what fits into sun_path of unix(7) with its final zero.
const maxSocketPath = 107

func (c Config) check(problem report) {
	if !trustDomainPattern.MatchString(c.TrustDomain) {
		problem("trust_domain", "got %q, want lower-case letters, digits, dots and dashes",
			attestd.Excerpt(c.TrustDomain, 40))
	}
	if !filepath.IsAbs(c.StateDir) {
		problem("state_dir", "got %q, want an absolute path", attestd.Excerpt(c.StateDir, 60))
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil || strings.ToLower(c.LogLevel) != c.LogLevel {
		problem("log_level", "got %q, want debug, info, warn or error", attestd.Excerpt(c.LogLevel, 20))
	}
	c.checkTenants(problem)
	c.checkListen(problem)
	c.checkVerify(problem)
	c.checkRegistry(problem)
	c.checkSPIRE(problem)
	c.checkResults(problem)
	c.checkDecisions(problem)
	c.checkNumbers(problem)
}

func (c Config) checkTenants(problem report) {
	if len(c.Tenants) == 0 {
		problem("tenants", "is empty; want one name or more")
	}
	for i, tenant := range c.Tenants {
		if !tenantPattern.MatchString(tenant) {
			problem("tenants", "got %q, want 1 to 64 of a-z, 0-9 and -", attestd.Excerpt(tenant, 40))
		}
		if slices.Contains(c.Tenants[:i], tenant) {
			problem("tenants", "%q stands twice", attestd.Excerpt(tenant, 40))
		}
	}
}

func (c Config) checkListen(problem report) {
	tls := c.Listen.TLS
	if (tls.Certificate == "") != (tls.Key == "") {
		problem("listen.tls", "got one of certificate and key, want both or none")
	}
	if tls.ClientCA != "" && !tls.Enabled() {
		problem("listen.tls.client_ca", "demands client certificates of a listener without TLS")
	}
	if c.Listen.HTTP == Off && c.Listen.Unix == Off {
		problem("listen", "both listeners are off")
	}
	if c.Listen.HTTP == Off {
		if tls.Enabled() {
			problem("listen.tls", "is for listen.http, which is off")
		}
	} else if address, err := netip.ParseAddrPort(c.Listen.HTTP); err != nil {
		problem("listen.http", "got %q, want an IP address and a port, as in 127.0.0.1:8421, or off",
			attestd.Excerpt(c.Listen.HTTP, 60))
	} else if !address.Addr().Unmap().IsLoopback() {
		// Whoever is on the path of a plaintext request could swap challenge, evidence and verdict.
		if !tls.Enabled() {
			problem("listen.http", "got %s without TLS, want loopback, or listen.tls", address)
		}
		if c.TrustDomain == Default().TrustDomain {
			problem("trust_domain", "is %q on a listener beyond this machine, want a name of your own", c.TrustDomain)
		}
	}
	if c.Listen.Unix != Off && len(c.SocketPath()) > maxSocketPath {
		problem("listen.unix", "the path has %d bytes, want at most %d", len(c.SocketPath()), maxSocketPath)
	}
}

func (c Config) checkVerify(problem report) {
	if c.Verify.Policy == "" || c.Verify.Policy == appraisal.Recorded {
		problem("verify.policy", "got %q, want production, laboratory or the path of a policy for fresh evidence",
			c.Verify.Policy)
	}
	if c.Verify.Isolation != IsolateProcess && c.Verify.Isolation != IsolateNone {
		problem("verify.isolation", "got %q, want %s or %s", attestd.Excerpt(c.Verify.Isolation, 20),
			IsolateProcess, IsolateNone)
	}
}

// checkNumbers holds every number between its bounds. The bounds of the nonce are those of
// attestd.Binding; the rest keep a slip of the keyboard from switching a limit off.
func (c Config) checkNumbers(problem report) {
	for _, number := range []struct {
		path             string
		got, least, most int
	}{
		{"challenges.nonce_bytes", c.Challenges.NonceBytes, attestd.MinNonce, 2 * attestd.MinNonce},
		{"challenges.per_source", c.Challenges.PerSource, 1, 1_000_000},
		{"challenges.per_tenant", c.Challenges.PerTenant, 1, 1_000_000},
		{"challenges.outstanding", c.Challenges.Outstanding, 1, 1_000_000},
		{"verify.workers", c.Verify.Workers, 0, 256},
		{"verify.waiting", c.Verify.Waiting, 0, 65536},
		{"appraisals.most", c.Appraisals.Most, 1, 100_000_000},
		{"automation.per_hour", c.Automation.PerHour, 1, 10_000},
		{"automation.bad", c.Automation.Bad, 1, 100},
		{"automation.good", c.Automation.Good, 1, 100},
		{"enrolment.pending_per_tenant", c.Enrolment.PendingPerTenant, 1, 1_000_000},
		{"enrolment.pending_per_source", c.Enrolment.PendingPerSource, 1, 1_000_000},
		{"store.reserve", c.Store.Reserve, 1 << 20, 1 << 30},
		{"limits.json_body", c.Limits.JSONBody, 4 << 10, 8 << 20},
		{"limits.raw_body", c.Limits.RawBody, 4 << 10, 1 << 20},
		{"limits.all_bodies", c.Limits.AllBodies, 8 << 20, 1 << 30},
		{"limits.header_bytes", c.Limits.HeaderBytes, 2 << 10, 1 << 20},
		{"limits.connections", c.Limits.Connections, 8, 65536},
	} {
		if number.got < number.least || number.got > number.most {
			problem(number.path, "got %d, want %d to %d", number.got, number.least, number.most)
		}
	}
	for _, duration := range []struct {
		path             string
		got, least, most time.Duration
	}{
		{"challenges.lifetime", c.Challenges.Lifetime, time.Second, time.Minute},
		{"verify.timeout", c.Verify.Timeout, 100 * time.Millisecond, time.Minute},
		{"appraisals.keep", c.Appraisals.Keep, time.Minute, 10 * 365 * 24 * time.Hour},
		{"results.lifetime", c.Results.Lifetime, time.Second, time.Hour},
		{"results.rotate", c.Results.Rotate, time.Hour, 366 * 24 * time.Hour},
		{"collateral.refresh", c.Collateral.Refresh, 10 * time.Minute, 7 * 24 * time.Hour},
		{"subjects.reattest", c.Subjects.Reattest, time.Second, 30 * 24 * time.Hour},
		{"subjects.grace", c.Subjects.Grace, time.Second, 30 * 24 * time.Hour},
		{"enrolment.pending_keep", c.Enrolment.PendingKeep, time.Minute, 365 * 24 * time.Hour},
		{"spire.agent_ttl", c.SPIRE.AgentTTL, time.Second, 24 * time.Hour},
		{"spire.x509_svid_ttl", c.SPIRE.X509TTL, time.Second, 24 * time.Hour},
		{"spire.jwt_svid_ttl", c.SPIRE.JWTTTL, time.Second, 24 * time.Hour},
		{"spire.poll", c.SPIRE.Poll, 100 * time.Millisecond, time.Minute},
		{"admin.certificate", c.Admin.Certificate, time.Minute, 30 * 24 * time.Hour},
		{"admin.login_token", c.Admin.LoginToken, time.Minute, time.Hour},
		{"limits.read_header_timeout", c.Limits.ReadHeaderTimeout, 100 * time.Millisecond, time.Minute},
		{"limits.read_timeout", c.Limits.ReadTimeout, 100 * time.Millisecond, 5 * time.Minute},
		{"limits.write_timeout", c.Limits.WriteTimeout, 100 * time.Millisecond, 5 * time.Minute},
		{"limits.idle_timeout", c.Limits.IdleTimeout, 100 * time.Millisecond, time.Hour},
		{"limits.shutdown_timeout", c.Limits.ShutdownTimeout, 100 * time.Millisecond, 5 * time.Minute},
	} {
		if duration.got < duration.least || duration.got > duration.most {
			problem(duration.path, "got %s, want %s to %s", duration.got, duration.least, duration.most)
		}
	}
	if c.Limits.WriteTimeout <= c.Verify.Timeout {
		problem("limits.write_timeout", "got %s, want more than verify.timeout, which is %s",
			c.Limits.WriteTimeout, c.Verify.Timeout)
	}
}

// SocketPath returns the path of the unix socket; Off where there is none.
func (c Config) SocketPath() string {
	if c.Listen.Unix == Off || filepath.IsAbs(c.Listen.Unix) {
		return c.Listen.Unix
	}
	return filepath.Join(c.StateDir, c.Listen.Unix)
}
