package admin

import (
	"strings"

	"github.com/attestd/attestd/internal/operator"
)

// Row is a row of the table of routes as tests see it.
type Row struct {
	Method, Path, Action string
	Roles                []operator.Role
	Login, Shared, Body  bool
	Query                []string
	ByDoer               bool
}

// Rows returns the table of routes.
func Rows() (rows []Row) {
	for _, one := range routes() {
		rows = append(rows, Row{
			Method: one.method, Path: Prefix + one.path, Action: one.action, Roles: one.roles, Login: one.login,
			Shared: one.shared, Body: one.body != 0, Query: one.query, ByDoer: one.record == byDoer,
		})
	}
	return rows
}

// String draws the row.
func (r Row) String() string {
	who := "login token"
	if !r.Login {
		who = anyOf(r.Roles)
	}
	if r.Shared {
		who += ", all tenants"
	}
	return r.Method + " " + strings.TrimPrefix(r.Path, Prefix) + ": " + who
}

// Redacted is what a support bundle shows of settings.
func Redacted(settings any) any { return redacted(settings) }
