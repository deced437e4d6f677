package why_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/internal/why"
)

// shelf is a store of a few rows, read as the registry reads them.
type shelf struct {
	subjects []subject.Subject
	owners   []subject.Ownership
	bars     []subject.Bar
	verdicts map[string]attestd.Appraisal
	broken   error
}

func (s *shelf) Find(_ context.Context, tenants []string, prefix string) ([]subject.Subject, error) {
	var found []subject.Subject
	for _, one := range s.subjects {
		if (slices.Contains(tenants, one.Tenant) || slices.Contains(tenants, "*")) &&
			(strings.HasPrefix(one.Instance.Value, prefix) || strings.HasPrefix(string(one.ID), prefix)) {
			found = append(found, one)
		}
	}
	return found[:min(len(found), 2)], s.broken
}

func (s *shelf) Known(_ context.Context, ask subject.Ask) (known subject.Known, err error) {
	for _, one := range s.subjects {
		if one.ID == ask.ID || ask.Instance.Value != "" && one.Instance == ask.Instance {
			known.Subject = &one
		}
	}
	for _, one := range s.bars {
		if slices.Contains(ask.Bars, one.Key) {
			known.Bars = append(known.Bars, one)
		}
	}
	for _, one := range s.owners {
		if slices.Contains(ask.Owners, one.Key) {
			known.Owners = append(known.Owners, one)
		}
	}
	return known, s.broken
}

func (s *shelf) Ownerships(_ context.Context, f subject.Filter) (found []subject.Ownership, _ string, _ error) {
	for _, one := range s.owners {
		if strings.Contains(one.Key.Value, f.Text) && slices.Contains(f.Tenants, one.Tenant) {
			found = append(found, one)
		}
	}
	return found, "", s.broken
}

func (s *shelf) Appraisal(_ context.Context, id string) ([]byte, bool, error) {
	verdict, found := s.verdicts[id]
	document, err := json.Marshal(verdict)
	return document, found, err
}

// index answers with one standing for a name that it has.
type index map[subject.ID]live.Standing

func (x index) Check(id subject.ID, _ time.Time) live.Standing { return x[id] }

func TestWhyFindsWhatIsMeant(t *testing.T) {
	whole := well()
	twin := *whole.Known.Subject
	twin.ID, twin.Instance.Value = "spiffe://example.org/agent/twin", "9c41f3bb"
	digest := strings.Repeat("e1", 32)
	store := &shelf{
		subjects: []subject.Subject{*whole.Known.Subject, twin},
		owners: append(whole.Known.Owners, subject.Ownership{
			Key: subject.Key{Kind: "instance", Value: "77aa77bb77cc"}, Tenant: "blue", Status: subject.StatusPending,
		}, subject.Ownership{
			Key: subject.Key{Kind: "instance", Value: "ek:" + strings.Repeat("d2", 32)}, Tenant: "blue",
			Status: subject.StatusPending,
		}),
		bars: []subject.Bar{
			{Key: subject.Key{Kind: "host", Value: "5d3e77a0"}, Tenant: "blue", State: attestd.StateQuarantined},
			{Key: subject.Key{Kind: "instance", Value: "ek:" + digest}, Tenant: "blue", State: attestd.StateQuarantined},
		},
		verdicts: map[string]attestd.Appraisal{},
	}
	asker, err := why.New(why.Config{
		Store: store, Index: index{id: whole.Standing}, Now: func() time.Time { return noon }, SPIRE: no{},
	})
	if err != nil {
		t.Fatal(err)
	}
	blue := operator.Principal{Name: "ann", Roles: []operator.Role{operator.Viewer}, Tenants: []string{"blue"}}
	red := operator.Principal{Name: "bob", Roles: []operator.Role{operator.Viewer}, Tenants: []string{"red"}}
	ask := func(who operator.Principal, target string) string {
		t.Helper()
		got, err := asker.Why(context.Background(), who, target)
		var caller *attestd.CallerError
		if errors.As(err, &caller) {
			return string(caller.Class)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got.Target != target {
			t.Errorf("target %q, want %q", got.Target, target)
		}
		return got.Code
	}
	for _, row := range []struct {
		name, target string
		who          operator.Principal
		want         string
	}{
		// The bar is on the host: it is found though the question named none.
		{"a name whose host is held", string(id), blue, why.Changing},
		{"the hardware of it", "instance:9c41f3aa", blue, why.Changing},
		{"the beginning of its hardware", "9c41f3a", blue, why.Changing},
		{"the host itself", "host:5d3e77a0", blue, why.Quarantined},
		{"the host in upper case", "host:5D3E77A0", blue, why.Quarantined},
		{"hardware that was never seen", "instance:ek:" + digest, blue, why.Quarantined},
		{"the same in upper case", "instance:EK:" + strings.ToUpper(digest), blue, why.Quarantined},
		{"the same by its digest", strings.ToUpper(digest), blue, why.Quarantined},
		{"a machine that waits, by its digest", "d2d2d2", blue, why.NotEnrolled},
		{"a beginning that two have", "9c41f3", blue, string(attestd.ClassConflict)},
		{"too little", "9c41f", blue, string(attestd.ClassMalformed)},
		{"a machine that waits", "77aa77", blue, why.NotEnrolled},
		{"nobody", "ffffffff", blue, why.NeverSeen},
		{"another tenant's name", string(id), red, why.NeverSeen},
		{"another tenant's hardware", "instance:9c41f3aa", red, why.NeverSeen},
		{"another tenant's beginning that two have", "9c41f3", red, why.NeverSeen},
		{"another tenant's machine that waits", "77aa77", red, why.NeverSeen},
	} {
		if got := ask(row.who, row.target); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
	store.bars = nil
	if got := ask(blue, string(id)); got != why.Granted {
		t.Errorf("without a bar: %s", got)
	}
	store.subjects[0].AppraisalID = "a1"
	store.verdicts["a1"] = attestd.Appraisal{Verdict: attestd.VerdictRejected}
	if got := ask(blue, string(id)); got != why.Changing { // the index grants still
		t.Errorf("with rejected evidence: %s", got)
	}
	store.broken = &attestd.UndecidedError{Class: attestd.ClassStoreUnavailable}
	for _, target := range []string{string(id), "9c41f3aa", "77aa77"} {
		if got := ask(blue, target); got != why.StoreDown {
			t.Errorf("store down, %s: %s", target, got)
		}
	}
}

// no is an attestd that answers no SPIRE.
type no struct{}

func (no) Look(context.Context, string) *why.Shown { return nil }
