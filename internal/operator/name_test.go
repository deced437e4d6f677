package operator_test

import (
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/operator"
)

// TestNameOfAnothersFormerOperatorIsNotTaken: whoever could be called what somebody of another tenant
// was called would stand in the log as that person, and take the record out of that tenant's list.
func TestNameOfAnothersFormerOperatorIsNotTaken(t *testing.T) {
	w := newWorld(t)
	root := w.bootstrap()
	w.add("bob", []operator.Role{operator.Viewer}, "green")
	if _, err := w.book.Revoke(t.Context(), root, "bob"); err != nil {
		t.Fatal(err)
	}
	blue := operator.Principal{
		Name: "mallory", Roles: []operator.Role{operator.Security}, Tenants: []string{"blue"},
		Via: operator.ViaCertificate,
	}
	_, _, err := w.book.Add(t.Context(), blue, "bob", []operator.Role{operator.Viewer}, []string{"blue"})
	w.refused(err, attestd.ClassConflict, "green")
	green := blue
	green.Tenants = []string{"green"}
	if list, err := w.book.List(t.Context(), green); err != nil || len(list) != 1 || list[0].RevokedAt.IsZero() {
		t.Errorf("green's list is %+v (%v)", list, err)
	}
	for _, by := range []operator.Principal{green, root} {
		_, _, err := w.book.Add(t.Context(), by, "bob", []operator.Role{operator.Viewer}, []string{"green"})
		if err != nil {
			t.Errorf("%s cannot name bob again: %v", by.Name, err)
		}
	}
}
