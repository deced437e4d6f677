package operator

import "slices"

// Role is a set of things that somebody may do. The empty Role may do nothing.
type Role string

// Roles. None includes another: who may quarantine is not thereby who may enrol.
const (
	// Viewer reads subjects, states, ownerships, conditions and the audit log.
	Viewer Role = "viewer"
	// Operator enrols, re-appraises, sets the log level and takes support bundles; it reads as well.
	Operator Role = "operator"
	// Security quarantines, releases and revokes, and names operators; it reads as well.
	Security Role = "security"
	// Issuer asks for grants: a program that gives out credentials. It reads nothing.
	Issuer Role = "issuer"
)

// Roles lists the roles there are.
func Roles() []Role { return []Role{Viewer, Operator, Security, Issuer} }

// AllTenants is the tenant of whoever may act for every tenant, and of what tenants share.
const AllTenants = "*"

// Ways in which a principal was known.
const (
	ViaToken       = "token"
	ViaCertificate = "certificate"
)

// Principal is whoever a request is from, authenticated. The zero Principal may do nothing.
type Principal struct {
	Name  string
	Roles []Role
	// Tenants it may act for; AllTenants alone is every one.
	Tenants []string
	Via     string
}

// May reports whether the principal has the role for the tenant. Tenant [AllTenants] asks for the
// right to what tenants share.
func (p Principal) May(role Role, tenant string) bool {
	return p.Name != "" && slices.Contains(p.Roles, role) && p.Sees(tenant)
}

// Sees reports whether the tenant is among the principal's.
func (p Principal) Sees(tenant string) bool {
	return tenant != "" && (slices.Contains(p.Tenants, AllTenants) || slices.Contains(p.Tenants, tenant))
}
