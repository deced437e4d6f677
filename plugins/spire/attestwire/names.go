package attestwire

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/attestd/attestd"
)

// SPIFFE-ID, section 2: a trust domain of lower-case letters, digits, dots, dashes and underscores,
// a path of segments without escapes, none empty and none "." or "..", at most 2,048 bytes in all.
var agentForm = regexp.MustCompile(
	`^spiffe://([a-z0-9._-]{1,255})/spire/agent/attestd((?:/[A-Za-z0-9._-]+)+)$`)

const maxID = 2048

// CheckTenant refuses a name that no tenant can have.
func CheckTenant(name string) error {
	if !tenantForm.MatchString(name) {
		return fmt.Errorf("%q is no tenant: want 1 to 64 of a-z, 0-9 and -",
			attestd.Excerpt(name, 80))
	}
	return nil
}

// CheckAgentID refuses an id that attestd may not give to an agent of the trust domain. SPIRE
// itself only warns where a node attestor names an id outside of its own part of the trust domain,
// so an id of a workload or of another attestor's agent would be signed.
//
// Errors: what is wrong with the id, which is escaped.
func CheckAgentID(id, trustDomain string) error {
	if len(id) > maxID {
		return fmt.Errorf("agent id has %d bytes, want at most %d", len(id), maxID)
	}
	shown := attestd.Excerpt(id, 120)
	parts := agentForm.FindStringSubmatch(id)
	if parts == nil {
		return fmt.Errorf("%q is no id of an agent: want spiffe://%s/spire/agent/attestd/...",
			shown, trustDomain)
	}
	if parts[1] != trustDomain {
		return fmt.Errorf("agent id %q is of another trust domain, want %s", shown, trustDomain)
	}
	for segment := range strings.SplitSeq(parts[2][1:], "/") {
		if segment == "." || segment == ".." {
			return fmt.Errorf("agent id %q has a segment %q", shown, segment)
		}
	}
	return nil
}

// Selectors are NAME:VALUE. A value holds only characters that stand for themselves and %XX for all
// others, so that no text from evidence can look like another selector.
var selectorForm = regexp.MustCompile(`^([a-z][a-z0-9-]{0,31}):((?:[a-z0-9._-]|%[0-9A-F]{2})+)$`)

const (
	maxSelectors = 64
	maxSelector  = 256
	// selectorTenant names whose node it is.
	selectorTenant = "tenant"
)

// severalValues are the names that a node may have several values of.
var severalValues = []string{"measurement"}

// CheckSelectors refuses selectors that are not attestd's, or not those of a node of the tenant.
//
// Errors: what is wrong, with foreign text escaped.
func CheckSelectors(selectors []string, tenant string) error {
	if len(selectors) > maxSelectors {
		return fmt.Errorf("%d selectors, want at most %d", len(selectors), maxSelectors)
	}
	values := make(map[string]string, len(selectors))
	for at, selector := range selectors {
		parts := selectorForm.FindStringSubmatch(selector)
		if parts == nil || len(selector) > maxSelector {
			return fmt.Errorf("selector %q is not NAME:VALUE of a-z, 0-9, '.', '_', '-' and %%XX",
				attestd.Excerpt(selector, 80))
		}
		if _, twice := values[parts[1]]; twice && !slices.Contains(severalValues, parts[1]) ||
			slices.Contains(selectors[:at], selector) {
			return fmt.Errorf("selector %q is there twice", parts[1])
		}
		values[parts[1]] = parts[2]
	}
	// Whoever registers entries for tenant:blue must not get a node that was judged by another
	// tenant's policy.
	if got := values[selectorTenant]; got != tenant {
		if got == "" {
			return errors.New("no selector says which tenant the node is of")
		}
		return fmt.Errorf("the node is of tenant %q, and %q was asked for", got, tenant)
	}
	return nil
}
