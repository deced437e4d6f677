package operator_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/operator"
)

func principal(via string, tenants []string, roles ...operator.Role) operator.Principal {
	return operator.Principal{Name: "alice", Roles: roles, Tenants: tenants, Via: via}
}

// neg: 182, 188
func TestWhoNamesWhom(t *testing.T) {
	const token, certificate = operator.ViaToken, operator.ViaCertificate
	all, blue := []string{"*"}, []string{"blue"}
	rows := []struct {
		name    string
		by      operator.Principal
		roles   []operator.Role
		tenants []string
		class   attestd.Class // empty for named
	}{
		{"security names a viewer", principal(certificate, all, operator.Security), viewer, blue, ""},
		{"security of a tenant names an operator of it", principal(certificate, blue, operator.Security),
			[]operator.Role{operator.Operator}, blue, ""},
		{"the bootstrap token names security", principal(token, all, operator.Security),
			[]operator.Role{operator.Security}, all, ""},
		{"the bootstrap token names an issuer", principal(token, all, operator.Security),
			[]operator.Role{operator.Issuer}, all, ""},
		{"security does not name its own second approver", principal(certificate, all, operator.Security),
			[]operator.Role{operator.Security}, all, attestd.ClassForbidden},
		{"security does not name an issuer", principal(certificate, all, operator.Security),
			[]operator.Role{operator.Issuer}, all, attestd.ClassForbidden},
		{"a viewer names nobody", principal(certificate, all, operator.Viewer), viewer, blue, attestd.ClassForbidden},
		{"an operator names nobody", principal(certificate, all, operator.Operator), viewer, blue, attestd.ClassForbidden},
		{"nobody names nobody", operator.Principal{}, viewer, blue, attestd.ClassForbidden},
		{"security of blue does not name for green", principal(certificate, blue, operator.Security), viewer,
			[]string{"green"}, attestd.ClassForbidden},
		{"security of blue does not name for blue and green", principal(certificate, blue, operator.Security), viewer,
			[]string{"blue", "green"}, attestd.ClassForbidden},
		{"security of blue does not name for all", principal(certificate, blue, operator.Security), viewer, all,
			attestd.ClassForbidden},
		{"no role", principal(token, all, operator.Security), nil, blue, attestd.ClassMalformed},
		{"an unknown role", principal(token, all, operator.Security), []operator.Role{"root"}, blue,
			attestd.ClassMalformed},
		{"a role twice", principal(token, all, operator.Security),
			[]operator.Role{operator.Viewer, operator.Viewer}, blue, attestd.ClassMalformed},
		{"an issuer that reads", principal(token, all, operator.Security),
			[]operator.Role{operator.Viewer, operator.Issuer}, blue, attestd.ClassMalformed},
		{"no tenant", principal(token, all, operator.Security), viewer, nil, attestd.ClassMalformed},
		{"all tenants and one", principal(token, all, operator.Security), viewer, []string{"*", "blue"},
			attestd.ClassMalformed},
		{"a tenant that is none", principal(token, all, operator.Security), viewer, []string{"Blue\n"},
			attestd.ClassMalformed},
		{"65 tenants", principal(token, all, operator.Security), viewer, strings.Split(strings.Repeat("x,", 64)+"x", ","),
			attestd.ClassMalformed},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			record, _, err := w.book.Add(t.Context(), row.by, "carol", row.roles, row.tenants)
			if row.class == "" {
				if err != nil || record.By != "alice" || record.Version != 1 {
					t.Fatalf("got %+v, %v", record, err)
				}
				return
			}
			w.refused(err, row.class)
			if len(w.store.records) != 0 {
				t.Error("a refused operator was stored")
			}
		})
	}
}

// neg: 167
func TestNamesThatNobodyCanHave(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{
		"", "admin", "attestd", "evidence", "Alice", "a b", "a\nb", "a\x1b[31m", "../x", "source:10.0.0.1", "ä", ".a",
		strings.Repeat("a", 65), "a~b", "a/b", "a:b",
	} {
		_, _, err := w.book.Add(t.Context(), w.bootstrap(), name, viewer, []string{"blue"})
		w.refused(err, attestd.ClassMalformed)
		if len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("the error repeats %q as it came", name)
		}
	}
}

func TestNamingSomebodyAgain(t *testing.T) {
	w := newWorld(t)
	leaf := parse(t, w.login(w.add("carol", viewer, "blue")).Certificate[0])
	first := w.add("carol", viewer, "blue")
	second := w.add("carol", viewer, "blue")
	if _, err := w.book.ByCertificate(t.Context(), shows(leaf)); err != nil {
		t.Errorf("a new login token ended the certificate: %v", err)
	}
	_, err := w.book.Login(t.Context(), first, w.csr(w.key()))
	w.refused(err, attestd.ClassUnauthenticated, first, second)
	_, _, err = w.book.Add(t.Context(), w.bootstrap(), "carol", []operator.Role{operator.Operator}, []string{"blue"})
	w.refused(err, attestd.ClassConflict)
	_, _, err = w.book.Add(t.Context(), w.bootstrap(), "carol", viewer, []string{"*"})
	w.refused(err, attestd.ClassConflict)

	w.add("dave", []operator.Role{operator.Security}, "*")
	_, _, err = w.book.Add(t.Context(), principal(operator.ViaCertificate, []string{"*"}, operator.Security),
		"dave", []operator.Role{operator.Security}, []string{"*"})
	w.refused(err, attestd.ClassForbidden) // or alice would log in as dave and approve her own release
	if last := w.store.changes[len(w.store.changes)-1]; last.Actor != operator.BootstrapName ||
		last.Action != "operator.add" || last.Next.Name != "dave" || !last.At.Equal(w.clock()) {
		t.Errorf("the last change is told as %+v", last)
	}
}

// neg: 188
func TestAnotherTenantsOperatorsAreNotThere(t *testing.T) {
	w := newWorld(t)
	w.add("carol", viewer, "green")
	w.add("dora", viewer, "*")
	w.add("eve", viewer, "blue")
	blue := principal(operator.ViaCertificate, []string{"blue"}, operator.Security)
	for _, name := range []string{"carol", "dora", "nobody"} {
		if _, err := w.book.Revoke(t.Context(), blue, name); !errors.Is(err, operator.ErrNoOperator) {
			t.Errorf("revoking %s: %v", name, err)
		}
	}
	list, err := w.book.List(t.Context(), blue)
	if err != nil || len(list) != 1 || list[0].Name != "eve" {
		t.Errorf("blue sees %+v, %v", list, err)
	}
	_, err = w.book.Revoke(t.Context(), principal(operator.ViaCertificate, []string{"*"}, operator.Operator), "eve")
	w.refused(err, attestd.ClassForbidden)
	if _, err := w.book.Revoke(t.Context(), blue, "eve"); err != nil {
		t.Error(err)
	}
}
