package controller

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/attestd/attestd"
)

// Config is all that the controller is told. Nothing in it has a default: an empty value is refused.
type Config struct {
	// Server is SPIRE's server API: "unix:" and the path of its socket, or HOST:PORT.
	Server string
	// WorkloadAPI is "unix:" and the path of the Workload API that gives the controller its own SVID;
	// needed where Server is HOST:PORT, and empty otherwise.
	WorkloadAPI string
	// Attestd is where the daemon answers, as in "unix:/run/attestd/spire.sock"; the first that does.
	Attestd []string
	// TrustDomain is that of the SPIRE server.
	TrustDomain string
	// EntryPrefix is how the ids of the entries begin that attestd may hold.
	EntryPrefix string
	// Poll is how often entries and agents are read, Canary how often SPIRE is tried from end to end.
	Poll, Canary time.Duration
	// CanaryID is the SPIFFE ID that the mint canary mints: one that grants nothing anywhere.
	CanaryID string
	Logger   *slog.Logger
}

// What may be minted: SPIFFE IDs of keys in evidence, and those for minutes only. The Rego policy of
// docs/deploy/spire says the same to SPIRE.
const (
	MintPrefix     = "/enclave/"
	MaxMintSeconds = 300
)

const (
	minPoll, maxPoll     = 500 * time.Millisecond, 5 * time.Minute
	minCanary, maxCanary = time.Second, 5 * time.Minute
)

// check returns everything that is wrong with the configuration at once, and the trust domain.
func (c Config) check() (spiffeid.TrustDomain, error) {
	var problems []error
	problem := func(key, format string, args ...any) {
		problems = append(problems, fmt.Errorf("controller: %s: %s", key, fmt.Sprintf(format, args...)))
	}
	if c.Logger == nil {
		problem("logger", "is missing")
	}
	domain, err := spiffeid.TrustDomainFromString(c.TrustDomain)
	if err != nil || domain.Name() != c.TrustDomain {
		problem("trust domain", "got %q, want a name as in example.org", attestd.Excerpt(c.TrustDomain, 60))
	}
	switch path, unix := strings.CutPrefix(c.Server, "unix:"); {
	case unix && !filepath.IsAbs(path):
		problem("server", "got %q, want unix: and an absolute path", attestd.Excerpt(c.Server, 60))
	case unix && c.WorkloadAPI != "":
		problem("workload API", "is set, and the server is reached by a unix socket, without an SVID")
	case !unix && !strings.Contains(c.Server, ":"):
		problem("server", "got %q, want unix:PATH or HOST:PORT", attestd.Excerpt(c.Server, 60))
	case !unix && !strings.HasPrefix(c.WorkloadAPI, "unix:/"):
		problem("workload API", "got %q, want unix:PATH: SPIRE demands an SVID of who comes by network",
			attestd.Excerpt(c.WorkloadAPI, 60))
	}
	if len(c.Attestd) == 0 {
		problem("attestd", "no address of the daemon")
	}
	for _, address := range c.Attestd {
		if path, unix := strings.CutPrefix(address, "unix:"); !unix || !filepath.IsAbs(path) {
			problem("attestd", "got %q, want unix: and an absolute path", attestd.Excerpt(address, 60))
		}
	}
	if c.EntryPrefix == "" {
		problem("entry prefix", "is empty; every entry would be attestd's to hold")
	}
	if c.Poll < minPoll || c.Poll > maxPoll {
		problem("poll", "got %s, want %s to %s", c.Poll, minPoll, maxPoll)
	}
	if c.Canary < minCanary || c.Canary > maxCanary {
		problem("canary", "got %s, want %s to %s", c.Canary, minCanary, maxCanary)
	}
	canary, err := spiffeid.FromString(c.CanaryID)
	if err != nil || canary.Path() == "" || canary.TrustDomain() != domain {
		problem("canary id", "got %q, want a SPIFFE ID of the trust domain",
			attestd.Excerpt(c.CanaryID, 80))
	}
	if len(problems) != 0 {
		return domain, &attestd.CallerError{Class: attestd.ClassConfig, Err: errors.Join(problems...),
			Hint: "see the keys that begin with spire in docs/config.md"}
	}
	return domain, nil
}
