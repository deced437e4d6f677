package operator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestd/attestd"
)

func (p Principal) hasRole(role Role) bool { return p.Name != "" && slices.Contains(p.Roles, role) }

// Has reports whether the principal has the role, for whichever tenants it may act for.
func (p Principal) Has(role Role) bool { return p.hasRole(role) }

// seesAll reports whether all tenants are among the principal's.
func (p Principal) seesAll(tenants []string) bool {
	return p.Name != "" && len(tenants) != 0 &&
		!slices.ContainsFunc(tenants, func(one string) bool { return !p.Sees(one) })
}

// checkNew collects everything that is wrong with what an operator shall be.
func checkNew(name string, roles []Role, tenants []string) error {
	var problems []string
	if !nameForm.MatchString(name) || name == BootstrapName || name == "attestd" || name == "evidence" {
		problems = append(problems, fmt.Sprintf("name %q is not an operator's (a-z 0-9 . _ @ -, at most 64, "+
			"not admin, attestd or evidence)", attestd.Excerpt(name, 80)))
	}
	if len(roles) == 0 {
		problems = append(problems, "no role")
	}
	for index, role := range roles {
		if !slices.Contains(Roles(), role) || slices.Contains(roles[:index], role) {
			problems = append(problems, fmt.Sprintf("role %q is unknown or stands twice",
				attestd.Excerpt(string(role), 40)))
		}
	}
	if slices.Contains(roles, Issuer) && len(roles) != 1 {
		problems = append(problems, "issuer is a program's role and goes with no other")
	}
	problems = append(problems, checkTenants(tenants)...)
	if len(problems) == 0 {
		return nil
	}
	return &attestd.CallerError{
		Class: attestd.ClassMalformed,
		Hint:  "roles are viewer, operator, security, issuer; tenants are names, or \"*\" alone for all",
		Err:   fmt.Errorf("operator: %s", strings.Join(problems[:min(len(problems), 10)], "; ")),
	}
}

func checkTenants(tenants []string) (problems []string) {
	if len(tenants) == 0 || len(tenants) > maxTenants {
		problems = append(problems, fmt.Sprintf("%d tenants, want 1 to %d", len(tenants), maxTenants))
	}
	for index, tenant := range tenants[:min(len(tenants), maxTenants)] {
		all := tenant == AllTenants && len(tenants) == 1
		if !all && !tenantForm.MatchString(tenant) || slices.Contains(tenants[:index], tenant) {
			problems = append(problems, fmt.Sprintf("tenant %q is not a tenant's name or stands twice",
				attestd.Excerpt(tenant, 40)))
		}
	}
	return problems
}

// mayName says whether by can give these rights to somebody.
func mayName(by Principal, roles []Role, tenants []string) error {
	switch {
	case !by.hasRole(Security):
		return forbidden("only the security role names operators", "ask somebody who has it")
	case !by.seesAll(tenants):
		return forbidden("an operator can be named for your own tenants alone", "leave the other tenants out")
	case by.Via == ViaToken:
		return nil
	case slices.Contains(roles, Security), slices.Contains(roles, Issuer):
		return forbidden("security and issuer are given with the bootstrap token alone",
			"run this on attestd's machine, through its unix socket")
	}
	return nil
}

func forbidden(what, hint string) error {
	return &attestd.CallerError{Class: attestd.ClassForbidden, Hint: hint, Err: fmt.Errorf("%s", what)}
}

func conflict(name, hint string) error {
	return &attestd.CallerError{
		Class: attestd.ClassConflict, Hint: hint, Err: fmt.Errorf("operator %q is there as it is", name),
	}
}

// unknown says that nobody was recognized.
func unknown(what string) error {
	return &attestd.CallerError{
		Class: attestd.ClassUnauthenticated,
		Hint: "on attestd's machine: read the token file as its owner; elsewhere: attestd login with a " +
			"new one-time token (attestd operator add)",
		Err: fmt.Errorf("%s", what),
	}
}

func sorted[T ~string](list []T) []T {
	out := slices.Clone(list)
	slices.Sort(out)
	return out
}

func joinRoles(roles []Role) string {
	names := make([]string, len(roles))
	for index, role := range roles {
		names[index] = string(role)
	}
	return strings.Join(names, " ")
}
