package why_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/internal/why"
)

// counting notes what is read.
type counting struct {
	*shelf
	read []string
}

func (c *counting) Known(ctx context.Context, ask subject.Ask) (subject.Known, error) {
	c.read = append(c.read, "known")
	return c.shelf.Known(ctx, ask)
}

func (c *counting) Appraisal(ctx context.Context, id string) ([]byte, bool, error) {
	c.read = append(c.read, "appraisal")
	return c.shelf.Appraisal(ctx, id)
}

// TestAnotherTenantsNameTakesNoLonger: whoever asks for a name that is another tenant's has as much read
// for it as for one that nobody has. neg: 188
func TestAnotherTenantsNameTakesNoLonger(t *testing.T) {
	one := *well().Known.Subject
	one.AppraisalID = "a1"
	store := &counting{shelf: &shelf{
		subjects: []subject.Subject{one},
		verdicts: map[string]attestd.Appraisal{"a1": {Verdict: attestd.VerdictRejected}},
	}}
	asker, err := why.New(why.Config{
		Store: store, Index: index{}, Now: func() time.Time { return noon }, SPIRE: no{},
	})
	if err != nil {
		t.Fatal(err)
	}
	read := func(tenant, target string) []string {
		t.Helper()
		store.read = nil
		who := operator.Principal{Name: "x", Roles: []operator.Role{operator.Viewer}, Tenants: []string{tenant}}
		if _, err := asker.Why(t.Context(), who, target); err != nil {
			t.Fatal(err)
		}
		return store.read
	}
	for theirs, none := range map[string]string{
		string(id): string(id) + "x", "instance:" + one.Instance.Value: "instance:ffffffff",
	} {
		if got, want := read("red", theirs), read("red", none); !slices.Equal(got, want) {
			t.Errorf("%s: %q is read for another tenant's, %q for what nobody has", theirs, got, want)
		}
	}
	if got := read(one.Tenant, string(id)); !slices.Equal(got, []string{"known", "known", "appraisal"}) {
		t.Errorf("for its own tenant %q is read", got)
	}
}
