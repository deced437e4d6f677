package config

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// Ways in which attestd quarantines by itself.
const (
	AutomationOff    = "off"
	AutomationDryRun = "dry-run"
	AutomationOn     = "on"
)

// Admin says where operators are answered. The unix socket always answers those who have the token.
type Admin struct {
	HTTP        string        `key:"http" doc:"IP address and port for operators, with client certificates of attestd's own; or off: the unix socket alone"`
	Names       []string      `key:"names" doc:"DNS names and IP addresses in the certificate of that listener, beside localhost"`
	Certificate time.Duration `key:"certificate" doc:"life of an operator's certificate, at most 720h"`
	LoginToken  time.Duration `key:"login_token" doc:"life of the one-time token that an operator logs in with"`
}

// Subjects says when fresh evidence is due.
type Subjects struct {
	Reattest time.Duration `key:"reattest" doc:"how long a verdict stands; then fresh evidence is due, and the risk rises"`
	Grace    time.Duration `key:"grace" doc:"how long it can be late before the subject is suspect"`
}

// Automation says what attestd does without a person.
type Automation struct {
	Mode    string   `key:"mode" doc:"automatic quarantine: on, dry-run (logs what it would do; the subject is suspect) or off"`
	Codes   []string `key:"codes" doc:"grounds for automatic quarantine: evidence, clone, key-churn, replay, compromised, reappraised"`
	PerHour int      `key:"per_hour" doc:"automatic quarantines an hour for one ground, source and tenant; clone, replay and compromised have no cap"`
	Bad     int      `key:"bad" doc:"verdicts in a row that must be bad before evidence is a ground"`
	Good    int      `key:"good" doc:"verdicts in a row that must be good before a suspect is trusted again"`
}

// Enrolment says how machines become ours.
type Enrolment struct {
	Rules            []string      `key:"rules" doc:"TENANT=KIND:VALUE, as in blue=gce-project:acme-prod: whose machines of a cloud account are; the first that fits counts"`
	PendingPerTenant int           `key:"pending_per_tenant" doc:"machines of one tenant that can wait for approval; more are not queued"`
	PendingPerSource int           `key:"pending_per_source" doc:"machines that one source address can have waiting"`
	PendingKeep      time.Duration `key:"pending_keep" doc:"how long a machine waits for approval"`
}

// Store says how the database is kept.
type Store struct {
	Reserve        int  `key:"reserve" doc:"bytes of free space below which only holds and their audit are written"`
	AcceptRollback bool `key:"accept_rollback" doc:"start on a database that is older than this machine has seen: after a restore, once, for holds since then are lost"`
}

func defaultAdmin() Admin {
	return Admin{HTTP: Off, Certificate: 12 * time.Hour, LoginToken: 15 * time.Minute}
}

func defaultAutomation() Automation {
	return Automation{
		Mode: AutomationOn, Codes: []string{"clone", "replay", "compromised"},
		PerHour: 10, Bad: 2, Good: 1,
	}
}

func defaultEnrolment() Enrolment {
	return Enrolment{PendingPerTenant: 10000, PendingPerSource: 100, PendingKeep: 7 * 24 * time.Hour}
}

// automaticCodes are the grounds on which attestd can act alone.
var automaticCodes = []string{"evidence", "clone", "key-churn", "replay", "compromised", "reappraised"}

func (c Config) checkRegistry(problem report) {
	c.checkAdmin(problem)
	c.checkAutomation(problem)
	seen := map[string]bool{}
	for _, rule := range c.Enrolment.Rules {
		tenant, key, found := strings.Cut(rule, "=")
		kind, value, whole := strings.Cut(key, ":")
		switch {
		case !found, !whole, kind == "", value == "":
			problem("enrolment.rules", "got %q, want TENANT=KIND:VALUE", attestd.Excerpt(rule, 80))
		case !slices.Contains(c.Tenants, tenant):
			problem("enrolment.rules", "%q is none of tenants", attestd.Excerpt(tenant, 40))
		case seen[key]:
			problem("enrolment.rules", "%q stands twice", attestd.Excerpt(key, 80))
		}
		seen[key] = true
	}
	named := map[string]bool{}
	for _, entry := range c.Verify.TenantPolicies {
		tenant, path, found := strings.Cut(entry, "=")
		switch {
		case !found, path == "":
			problem("verify.tenant_policies", "got %q, want TENANT=POLICY", attestd.Excerpt(entry, 80))
		case !slices.Contains(c.Tenants, tenant):
			problem("verify.tenant_policies", "%q is none of tenants", attestd.Excerpt(tenant, 40))
		case named[tenant]:
			problem("verify.tenant_policies", "%q stands twice", attestd.Excerpt(tenant, 40))
		}
		named[tenant] = true
	}
}

func (c Config) checkAdmin(problem report) {
	if c.Admin.HTTP == Off {
		if c.Listen.Unix == Off {
			problem("admin", "operators have no way in: listen.unix and admin.http are both off")
		}
		return
	}
	address, err := netip.ParseAddrPort(c.Admin.HTTP)
	if err != nil {
		problem("admin.http", "got %q, want an IP address and a port, as in 127.0.0.1:8422, or off",
			attestd.Excerpt(c.Admin.HTTP, 60))
	}
	if c.Admin.HTTP == c.Listen.HTTP && address.Port() != 0 {
		problem("admin.http", "is the address of listen.http, want one of its own")
	}
	for _, name := range c.Admin.Names {
		if _, err := netip.ParseAddr(name); err != nil && !hostForm.MatchString(name) {
			problem("admin.names", "got %q, want DNS names and IP addresses", attestd.Excerpt(name, 60))
		}
	}
}

func (c Config) checkAutomation(problem report) {
	switch c.Automation.Mode {
	case AutomationOff, AutomationDryRun, AutomationOn:
	default:
		problem("automation.mode", "got %q, want on, dry-run or off", attestd.Excerpt(c.Automation.Mode, 20))
	}
	if c.Automation.Mode != AutomationOff && len(c.Automation.Codes) == 0 {
		problem("automation.codes", "is empty; name the grounds, or set automation.mode to off")
	}
	for i, code := range c.Automation.Codes {
		if !slices.Contains(automaticCodes, code) {
			problem("automation.codes", "got %q, want one of %s", attestd.Excerpt(code, 40),
				strings.Join(automaticCodes, ", "))
		}
		if slices.Contains(c.Automation.Codes[:i], code) {
			problem("automation.codes", "%q stands twice", attestd.Excerpt(code, 40))
		}
	}
}
