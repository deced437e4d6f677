package enrol_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/subject"
)

// onDisk is a desk with the registry that it has in a daemon.
func onDisk(t testing.TB) (*enrol.Desk, *registry.Store) {
	t.Helper()
	start := time.Now()
	elapsed := func() time.Duration { return time.Since(start) }
	store, err := registry.Open(t.Context(), registry.Config{
		Path: filepath.Join(t.TempDir(), "attestd.db"), Clock: registry.NewClock(time.Now, elapsed),
		Limits: registry.Limits{
			Outstanding: 10, PerTenant: 10, PerSource: 10, Appraisals: 10, KeepAppraisals: time.Hour,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	desk, err := enrol.New(enrol.Config{
		Store: store, Now: store.Now, Tenants: []string{"default", "blue"}, Rand: rand.Reader,
		Limits: enrol.Limits{PendingPerTenant: 100, PendingPerSource: 100, PendingKeep: time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	return desk, store
}

// A list of 100,000 is for the soak run; what is shown here of 3,000 is that nothing is lost.
func TestAListOfThousandsOnDisk(t *testing.T) {
	machines := 3000
	if os.Getenv("ATTESTD_SOAK") != "" {
		machines = 100_000
	}
	desk, store := onDisk(t)
	var doc strings.Builder
	doc.WriteString("kind,value,label\n")
	for i := range machines {
		fmt.Fprintf(&doc, "ek,%064x,host %d\n", i+1, i)
	}
	list := listOf([]byte(doc.String()), nil)
	for _, want := range []struct {
		name        string
		added, same int
	}{{"first", machines, 0}, {"again", 0, machines}} {
		start := time.Now()
		done, err := desk.Import(t.Context(), root, list)
		if err != nil || done.Added != want.added || done.Same != want.same {
			t.Fatalf("%s: %d added, %d as they were, %q: %v", want.name, done.Added, done.Same, done.Problems, err)
		}
		t.Logf("%s: %d machines in %v", want.name, machines, time.Since(start).Round(time.Millisecond))
	}
	seen, after := 0, ""
	for {
		page, err := desk.List(t.Context(), blue, subject.Filter{After: after, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		seen += len(page.Enrolments)
		if after = page.Next; after == "" {
			break
		}
	}
	if seen != machines {
		t.Errorf("listed %d of %d", seen, machines)
	}
	known, err := store.Known(t.Context(), subject.Ask{Owners: []subject.Key{ek(machines / 2)}})
	if err != nil || !enrol.Settle([]subject.Key{ek(machines / 2)}, known.Owners, "blue", store.Now()).Owned() {
		t.Errorf("one of them: %+v, %v", known.Owners, err)
	}
}

func TestATokenIsUsedOnceOnDisk(t *testing.T) {
	desk, store := onDisk(t)
	made, err := desk.NewToken(t.Context(), root, wire.TokenRequest{
		Tenant: "default", Formats: []string{"tpm"}, Seconds: 3600,
	})
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	results := make(chan error, 64)
	for number := range 64 { // neg: 152
		wait.Go(func() {
			m := machine(number, "default", "192.0.2.1")
			known, err := store.Known(t.Context(), subject.Ask{Owners: m.Keys})
			if err != nil {
				results <- err
				return
			}
			got, err := desk.Redeem(t.Context(), m, desk.Settle(m, known.Owners), made.Token)
			if err == nil {
				err = store.Write(t.Context(), subject.Write{
					Token: &got.Use, Owners: []subject.OwnershipWrite{got.Owner}, Owned: got.Settled.Expect,
					Audit: []audit.Record{got.Audit},
				})
			}
			results <- err
		})
	}
	wait.Wait()
	close(results)
	enrolled := 0
	for err := range results {
		var moved *subject.MovedError
		if err == nil {
			enrolled++
		} else if !errors.As(err, &moved) && classOf(err) != attestd.ClassUnauthenticated {
			t.Error(err)
		}
	}
	page, err := desk.List(t.Context(), root, subject.Filter{})
	if err != nil || enrolled != 1 || len(page.Enrolments) != 1 ||
		page.Enrolments[0].Method != subject.MethodEnrolment {
		t.Errorf("%d enrolled, %d rows: %v", enrolled, len(page.Enrolments), err)
	}
}

func TestADecisionOnDisk(t *testing.T) {
	desk, store := onDisk(t)
	m := machine(1, "default", "192.0.2.1")
	write, full, err := desk.Asks(t.Context(), m, desk.Settle(m, nil))
	if err != nil || full || write == nil {
		t.Fatal(write, full, err)
	}
	err = store.Write(t.Context(), subject.Write{
		Owners: []subject.OwnershipWrite{*write},
		Audit:  []audit.Record{{At: store.Now(), Actor: "attestd", Tenant: "default", Action: "verify", Outcome: "done"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	done, err := desk.Approve(t.Context(), root, wire.Decide{Key: ek(1).Value[3:]})
	if err != nil || done.Enrolment.Status != subject.StatusApproved || done.Enrolment.Generation == 0 {
		t.Fatalf("got %+v, %v", done, err)
	}
	for name, do := range map[string]decision{"deny": desk.Deny, "approve": desk.Approve, "remove": desk.Remove} {
		if _, err := do(t.Context(), blue, wire.Decide{Key: ek(1).String()}); classOf(err) != attestd.ClassForbidden {
			t.Errorf("%s by another tenant: %v", name, err) // neg: 188
		}
	}
	if _, err := desk.Approve(t.Context(), root, wire.Decide{Key: "%_%_%_%_"}); !errors.Is(err, enrol.ErrUnknown) {
		t.Errorf("wildcards: %v", err) // neg: 183
	}
	if _, err := desk.Remove(t.Context(), root, wire.Decide{Key: ek(1).String()}); err != nil {
		t.Error(err)
	}
	if swept, err := desk.Sweep(t.Context()); swept != 0 || err != nil {
		t.Errorf("swept %d: %v", swept, err)
	}
}
