package admin_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/revocation"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/internal/why"
)

// kept is a store as the audit log reads it.
type kept struct{ *registry.Store }

func (k kept) AuditSize(context.Context) (int64, error) { return k.AuditTree().Size(), nil }

// newWhole returns a world whose parts are those of attestd itself.
func newWhole(t testing.TB) (*world, *registry.Store, *audit.Log) {
	t.Helper()
	w := newWorld(t)
	clock := registry.NewClock(time.Now, func() time.Duration { return time.Duration(time.Now().UnixNano()) })
	index := live.New()
	store, err := registry.Open(t.Context(), registry.Config{
		Path: filepath.Join(w.folder, "attestd.db"), Clock: clock, Index: index,
		Limits: registry.Limits{Outstanding: 10, PerTenant: 10, PerSource: 10, Appraisals: 10, KeepAppraisals: time.Hour},
	})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	authority, err := revocation.New(revocation.Config{
		Store: store, Index: index, Now: store.Now, TrustDomain: "example.org", Logger: w.config.Logger,
		JournalPath: filepath.Join(w.folder, "journal"), Rules: revocation.Rules{
			Rules: subject.Rules{Reattest: time.Hour, Grace: time.Minute, Bad: 2, Good: 1},
			Mode:  subject.ModeOff, PerHour: 1,
		},
	})
	must(t, err)
	t.Cleanup(func() { must(t, authority.Close()) })
	desk, err := enrol.New(enrol.Config{
		Store: store, Now: store.Now, Tenants: []string{"blue", "green"}, Rand: rand.Reader,
		Limits: enrol.Limits{PendingPerTenant: 10, PendingPerSource: 10, PendingKeep: time.Hour},
	})
	must(t, err)
	asker, err := why.New(why.Config{Store: store, Index: index, Now: store.Now, SPIRE: noSPIRE{}})
	must(t, err)
	key, err := audit.NewEphemeralKey(audit.Origin("example.org"))
	must(t, err)
	log, err := audit.Open(t.Context(), audit.Config{
		Store: kept{store}, Signer: key, Path: filepath.Join(w.folder, "checkpoint"),
	})
	must(t, err)
	keeper, err := audit.NewKeeper(audit.KeeperConfig{Write: store.Audit, Now: store.Now})
	must(t, err)
	w.background(keeper.Run)
	w.book, err = operator.NewBook(operator.Config{
		Store: store, PKI: w.pki, Now: w.clock, TokenPath: filepath.Join(w.folder, operator.TokenFile),
		CertificateLifetime: time.Hour, LoginLifetime: time.Minute, Rand: rand.Reader,
	})
	must(t, err)
	whole := w.config
	whole.Book, whole.Orders, whole.Enrolments, whole.Subjects, whole.Index = w.book, authority, desk, store, index
	whole.Explainer, whole.Audit, whole.Now = asker, admin.Ledger{Keeper: keeper, Log: log}, store.Now
	whole.Registerer = prometheus.NewRegistry()
	handler, err := admin.New(whole)
	must(t, err)
	must(t, w.close()) // the listener removes its socket
	w.serve(handler)
	return w, store, log
}

// put stores a subject that is trusted.
func put(t testing.TB, store *registry.Store, name, tenant, instance, host string) subject.Subject {
	t.Helper()
	now := store.Now()
	one := subject.Subject{
		ID: subject.ID("spiffe://example.org/agent/" + name), Tenant: tenant, Format: attestd.FormatTPM,
		Instance: attestd.Handle{Kind: attestd.HandleInstance, Value: instance}, Host: host, Boot: "boot-1",
		Ownership: subject.MethodInventory, State: attestd.StateTrusted, Floor: attestd.Risk(10), Epoch: 1,
		FirstSeenAt: now, EvidenceAt: now, ChangedAt: now, DueAt: now.Add(time.Hour),
	}
	must(t, store.Write(t.Context(), subject.Write{
		Subjects: []subject.SubjectWrite{{Next: one}},
		Audit:    []audit.Record{{At: now, Actor: "attestd", Tenant: tenant, Action: "verify", Outcome: "done"}},
	}))
	return one
}

// ek returns an instance's value, as a TPM's endorsement key has it.
func ek(digit string) string { return "ek:" + strings.Repeat(digit, 64) }

// neg: 188
func TestAttestdItselfTellsATenantNothingOfAnother(t *testing.T) {
	w, store, _ := newWhole(t)
	put(t, store, "b1", "blue", ek("a"), "shared")
	put(t, store, "g1", "green", ek("c"), "shared")
	guard, runner := w.named("sina", "blue", operator.Security), w.named("olga", "blue", operator.Operator)
	viewer, issuer := w.named("vera", "blue", operator.Viewer), w.named("ivo", "blue", operator.Issuer)
	everyone := w.named("all", "*", operator.Operator)
	if got := w.post(everyone, "enrolments/approve",
		map[string]any{"key": "instance:" + ek("c"), "tenant": "green"}); got.status != http.StatusOK {
		t.Fatal(string(got.body))
	}
	pairs := [][2]string{
		{greenID, noID}, {ek("c"), ek("d")}, {ek("c")[:12], ek("d")[:12]},
	}
	for _, pair := range pairs {
		asks := map[string]func(target string) said{
			"subject": func(target string) said { return w.get(viewer, "subject?id="+url.QueryEscape(target)) },
			"history": func(target string) said { return w.get(viewer, "subject/history?id="+url.QueryEscape(target)) },
			"why":     func(target string) said { return w.get(viewer, "why?target="+url.QueryEscape(target)) },
			"text":    func(target string) said { return w.get(viewer, "subjects?text="+url.QueryEscape(target)) },
			"grant": func(target string) said {
				return w.post(issuer, "grants", map[string]any{"id": target, "seconds": 60, "for": "x509-svid"})
			},
			"deny": func(target string) said {
				return w.post(runner, "enrolments/deny", map[string]any{"key": "instance:" + target, "reason": "r"})
			},
			"remove": func(target string) said {
				return w.post(runner, "enrolments/remove", map[string]any{"key": target, "reason": "r"})
			},
		}
		for _, order := range []string{"quarantine", "release", "revoke"} {
			asks[order] = func(target string) said {
				return w.post(guard, order, map[string]any{"target": target, "reason": "r", "dry_run": true})
			}
		}
		for name, ask := range asks {
			theirs, none := ask(pair[0]), ask(pair[1])
			same := bytes.ReplaceAll(theirs.body, []byte(pair[0]), []byte(pair[1]))
			if theirs.status != none.status || !bytes.Equal(same, none.body) {
				t.Errorf("%s of %s is answered with\n%d %s\nof %s with\n%d %s", name, pair[0], theirs.status, theirs.body,
					pair[1], none.status, none.body)
			}
			if bytes.Contains(theirs.body, []byte("green")) {
				t.Errorf("%s names the other tenant: %s", name, theirs.body)
			}
		}
	}
	after, found, err := store.Subject(t.Context(), greenID)
	if err != nil || !found || after.State != attestd.StateTrusted || after.Generation != 1 {
		t.Errorf("green's subject is %+v", after)
	}
	var page wire.Subjects
	w.read(w.get(viewer, "subjects"), &page)
	if len(page.Subjects) != 1 || page.Subjects[0].Tenant != "blue" {
		t.Errorf("blue's list is %+v", page)
	}
}

// neg: 172, 182
func TestNobodyButASecondPersonTakesAQuarantineBack(t *testing.T) {
	w, store, log := newWhole(t)
	one := put(t, store, "b1", "blue", "aaaaaa11", "")
	sina, tom := w.named("sina", "*", operator.Security), w.named("tom", "*", operator.Security)
	olga, issuer := w.named("olga", "*", operator.Operator), w.named("ivo", "*", operator.Issuer)
	grant := map[string]any{"id": one.ID, "seconds": 60, "for": "x509-svid"}
	w.read(w.post(issuer, "grants", grant), new(wire.Grant))
	var receipt wire.Receipt
	hold := map[string]any{"target": one.ID, "reason": "exfil alert", "ticket": "T-1"}
	w.read(w.post(sina, "quarantine", hold), &receipt)
	if receipt.Grants != 1 || len(receipt.Subjects) != 1 || receipt.Subjects[0].To != attestd.StateQuarantined {
		t.Errorf("the receipt is %+v", receipt)
	}
	w.refused(w.post(issuer, "grants", grant), http.StatusForbidden, attestd.ClassQuarantined)

	release := map[string]any{"target": one.ID, "reason": "false alarm", "reimaged": "T-2"}
	rows := []struct {
		name   string
		as     asker
		change map[string]any
		status int
		class  attestd.Class
	}{
		{"without the role", olga, nil, http.StatusForbidden, attestd.ClassForbidden},
		{"by whoever laid it", sina, nil, http.StatusForbidden, attestd.ClassForbidden},
		{"without a rebirth", tom, map[string]any{"reimaged": ""}, http.StatusConflict, attestd.ClassConflict},
		{"of the name in capitals", sina, map[string]any{"target": "spiffe://example.org/agent/B1"}, http.StatusForbidden,
			attestd.ClassForbidden},
	}
	for _, row := range rows {
		t.Run("a release "+row.name, func(t *testing.T) {
			w.TB = t
			body := map[string]any{}
			for name, value := range release {
				body[name] = value
			}
			for name, value := range row.change {
				body[name] = value
			}
			got := w.post(row.as, "release", body)
			if got.status == http.StatusOK {
				t.Fatalf("released: %s", got.body)
			}
			w.refused(got, row.status, row.class)
			w.refused(w.post(issuer, "grants", grant), http.StatusForbidden, attestd.ClassQuarantined)
		})
	}
	// She cannot name a second self who would do it.
	w.refused(w.post(sina, "operators", `{"name":"second","roles":["security"],"tenants":["*"]}`),
		http.StatusForbidden, attestd.ClassForbidden)
	w.read(w.post(tom, "release", release), &receipt)
	w.refused(w.post(issuer, "grants", grant), http.StatusForbidden, attestd.ClassPolicyDeny) // until fresh evidence

	w.settle(log, "quarantine", "release", "operator.add", "operator.login", "grant")
	must(t, log.Verify(t.Context()))
}

// settle waits until the log has records of the actions, done and refused alike where both were.
func (w *world) settle(log *audit.Log, actions ...string) {
	w.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		page, err := log.Entries(context.Background(), 0, 1000)
		must(w, err)
		missing := slices.DeleteFunc(slices.Clone(actions), func(action string) bool {
			return slices.ContainsFunc(page.Records, func(one audit.Record) bool { return one.Action == action })
		})
		for _, record := range page.Records {
			if text := fmt.Sprint(record); strings.Contains(text, w.token()) || strings.Contains(text, "attestd-login~") {
				w.Fatalf("the audit log has a token: %s", text)
			}
		}
		if len(missing) == 0 {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("the audit log has nothing of %v: %+v", missing, page.Records)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// neg: 182
func TestLoginAndRevocationInTheRegistry(t *testing.T) {
	w, store, _ := newWhole(t)
	alice := w.named("alice", "blue", operator.Viewer)
	if got := w.get(alice, "whoami"); got.status != http.StatusOK {
		t.Fatal(string(got.body))
	}
	record, found, err := store.Operator(t.Context(), "alice")
	if err != nil || !found || record.CertificateUntil.IsZero() || record.Login != [32]byte{} || record.Generation != 2 {
		t.Errorf("the record is %+v, %v", record, err)
	}
	err = store.PutOperator(t.Context(), operator.Change{
		Expect: 1, Next: record, At: store.Now(), Actor: "x", Action: "operator.add",
	})
	if !errors.Is(err, operator.ErrMoved) {
		t.Errorf("a change of what has changed meanwhile: %v", err)
	}
	w.read(w.post(w.root(), "operators/revoke", `{"name":"alice"}`), new(wire.Operators))
	w.refused(w.get(alice, "whoami"), http.StatusUnauthorized, attestd.ClassUnauthenticated)
}

// noSPIRE is an attestd that answers no SPIRE.
type noSPIRE struct{}

func (noSPIRE) Look(context.Context, string) *why.Shown { return nil }
