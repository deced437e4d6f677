package reappraisal_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/enrol"
	judges "github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/reappraisal"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/testvectors/forge"
)

// world is a service and the engine over one real store.
type world struct {
	testing.TB
	aws     *forge.AWS
	tpms    *forge.TPMCA
	store   *registry.Store
	service *service.Service
	engine  *reappraisal.Engine
	specs   []attestd.CheckSpec
	told    *told
	judged  *counting
}

type told struct {
	mu      sync.Mutex
	grounds []subject.Grounds
}

func (g *told) take(_ context.Context, grounds []subject.Grounds) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.grounds = append(g.grounds, grounds...)
}

func (g *told) all() []subject.Grounds {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]subject.Grounds(nil), g.grounds...)
}

// counting is a judge that counts what it was asked.
type counting struct {
	judge
	asked atomic.Int64
	// learned says that it has learned to refuse what it took for authentic.
	learned atomic.Bool
}

type judge = service.Judge

func (c *counting) Judge(ctx context.Context, job service.Job) (attestd.Appraisal, error) {
	c.asked.Add(1)
	if c.learned.Load() {
		job.Evidence = bytes.Clone(job.Evidence)
		job.Evidence[len(job.Evidence)-1] ^= 1
	}
	return c.judge.Judge(ctx, job)
}

type noNotes struct{}

func (noNotes) Note(audit.Record) {}

const (
	lax    = "{want: [inventory, cloud-account, enrolment], otherwise: 40}"
	strict = "{want: [cloud-account], otherwise: reject}"
)

// policy is the one for archives, with a rule for ownership, under an id.
func policy(t testing.TB, id, ownership string) service.Document {
	t.Helper()
	recorded, err := appraisal.Builtin(appraisal.Recorded)
	if err != nil {
		t.Fatal(err)
	}
	document := bytes.ReplaceAll(recorded.Document(), []byte("ownership/known: any"),
		[]byte("ownership/known: "+ownership))
	document = bytes.Replace(document, []byte("\nid: recorded"), []byte("\nid: "+id), 1)
	return service.Document{Source: id, Bytes: document}
}

func documents(t testing.TB, one service.Document) service.Documents {
	return service.Documents{Policy: one, Recorded: policy(t, "recorded", lax)}
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, told: &told{}}
	var err error
	w.aws, err = forge.NewAWS(forge.AWSOptions{At: time.Now()})
	w.must(err)
	w.tpms, err = forge.NewTPMCA(forge.TPMCAConfig{})
	w.must(err)
	judging, err := judges.New(judges.Config{
		InsecureRoots: []*x509.Certificate{w.aws.Root(), w.tpms.Root},
	})
	w.must(err)
	w.specs = judging.Specs()
	local := service.NewLocal(judging)
	w.judged = &counting{judge: local}
	w.store, err = registry.Open(context.Background(), registry.Config{
		Path: filepath.Join(t.TempDir(), "attestd.db"), Clock: registry.SystemClock(),
		Limits: registry.Limits{
			Outstanding: 1 << 20, PerTenant: 1 << 20, PerSource: 1 << 20, Appraisals: 1 << 20,
			KeepAppraisals: time.Hour,
		},
	})
	w.must(err)
	t.Cleanup(func() { _ = w.store.Close() })
	signer, err := challenge.NewEphemeralSigner()
	w.must(err)
	issuer, err := challenge.NewIssuer(challenge.Config{
		Store: w.store, Signer: signer, TrustDomain: "example.org", Lifetime: time.Minute, NonceBytes: 32,
	})
	w.must(err)
	tenants := []string{"default", "blue"}
	desk, err := enrol.New(enrol.Config{
		Store: w.store, Now: w.store.Now, Tenants: tenants, Rand: rand.Reader,
		Limits: enrol.Limits{PendingPerTenant: 100, PendingPerSource: 100, PendingKeep: time.Hour},
	})
	w.must(err)
	rules := subject.Rules{
		Reattest: time.Hour, Grace: time.Minute, Bad: 1, Good: 1, Codes: []subject.Code{subject.CodeReappraise},
	}
	w.service, err = service.New(service.Config{
		Store: w.store, Issuer: issuer, Judge: local, Refuse: local, Policy: policy(t, "first", lax),
		RecordedPolicy: policy(t, "recorded", lax), Formats: judging.Formats(), Tenants: tenants,
		Timeout: 30 * time.Second, Concurrency: 64, Waiting: 1 << 16,
		Subjects: service.Subjects{
			Held:        func(...subject.Key) (attestd.State, subject.Key) { return attestd.StateUnknown, subject.Key{} },
			TrustDomain: "example.org", Desk: desk, Specs: w.specs, Notes: noNotes{}, Grounds: w.told.take,
			Rules: rules,
		},
	})
	w.must(err)
	w.engine, err = reappraisal.New(reappraisal.Config{
		Store: w.store, Judge: w.judged, Desk: desk, Rules: rules, InForce: w.service.InForce, Tenants: tenants,
		Grounds: w.told.take, Concurrency: 2, Timeout: 10 * time.Second, Logger: slog.New(slog.DiscardHandler),
	})
	w.must(err)
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// run lets the engine carry out what was begun until the test ends.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { w.engine.Run(ctx) })
	w.Cleanup(func() {
		cancel()
		group.Wait()
	})
}

func moduleID(i int) string { return fmt.Sprintf("i-%017x-enc%016x", i+1, i+1) }

func keyOf(i int) subject.Key {
	return subject.Key{Kind: string(subject.BarInstance), Value: moduleID(i)}
}

func idOf(i int) subject.ID {
	return subject.ID("spiffe://example.org/spire/agent/attestd/nitro/" + moduleID(i))
}

// own makes machines a tenant's.
func (w *world) own(tenant string, machines ...int) {
	w.Helper()
	for _, i := range machines {
		w.ownInstance(tenant, moduleID(i))
	}
}

func (w *world) ownInstance(tenant, instance string) {
	w.Helper()
	key := subject.Key{Kind: string(subject.BarInstance), Value: instance}
	w.must(w.store.Write(context.Background(), subject.Write{
		Owners: []subject.OwnershipWrite{{Key: key, Next: &subject.Ownership{
			Key: key, Tenant: tenant, Method: subject.MethodInventory, Status: subject.StatusApproved,
			Source: "test", CreatedAt: w.store.Now(),
		}}},
		Audit: []audit.Record{{
			At: w.store.Now(), Actor: "ann", Tenant: tenant, Action: "enroll.approve", Outcome: "done",
		}},
	}))
}

// attest is a whole exchange of a machine.
func (w *world) attest(tenant string, machine int) attestd.Appraisal {
	w.Helper()
	enclave, err := w.aws.Sibling(forge.AWSOptions{ModuleID: moduleID(machine)})
	w.must(err)
	reply, err := w.service.Challenge(context.Background(), service.Wish{Wish: challenge.Wish{
		Format: attestd.FormatNitro, Tenant: tenant, Purpose: "verify", Source: "192.0.2.1",
	}})
	w.must(err)
	issued := reply.Challenge
	digest, err := issued.Binding(nil).Digest()
	w.must(err)
	now := uint64(w.store.Now().UnixMilli()) //nolint:gosec // after 1970
	evidence, err := enclave.Document(forge.Document{Nonce: digest, Milliseconds: &now})
	w.must(err)
	given, err := w.service.Verify(context.Background(), service.Submission{
		ChallengeID: issued.ID, Tenant: tenant, Purpose: "verify", Format: attestd.FormatNitro,
		Evidence: evidence, Freshness: attestd.FreshnessBinding, Source: "192.0.2.1",
	})
	w.must(err)
	return given
}

func (w *world) trusted(tenant string, machines ...int) {
	w.Helper()
	w.own(tenant, machines...)
	for _, i := range machines {
		if given := w.attest(tenant, i); given.Standing == nil || given.Standing.State != attestd.StateTrusted {
			w.Fatalf("machine %d: got %s %+v", i, given.Verdict, given.Standing)
		}
	}
}

func (w *world) state(machine int) attestd.State {
	w.Helper()
	one, found, err := w.store.Subject(context.Background(), idOf(machine))
	w.must(err)
	if !found {
		w.Fatalf("machine %d is unknown", machine)
	}
	return one.State
}

// ann may do everything, bob acts for the tenant blue alone.
var (
	ann = operator.Principal{
		Name: "ann", Roles: []operator.Role{operator.Operator}, Tenants: []string{operator.AllTenants},
	}
	bob = operator.Principal{Name: "bob", Roles: []operator.Role{operator.Operator}, Tenants: []string{"blue"}}
)

// ended begins a run and waits for its end.
func (w *world) ended(who operator.Principal, ask wire.ReappraisalRequest) wire.Reappraisal {
	w.Helper()
	begun, err := w.engine.Start(context.Background(), who, ask)
	w.must(err)
	return w.wait(who, begun.ID)
}

func (w *world) wait(who operator.Principal, id string) wire.Reappraisal {
	w.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		shown, found, err := w.engine.Find(context.Background(), who, id)
		w.must(err)
		if found && shown.State != "running" {
			return shown
		}
	}
	w.Fatal("the run does not end")
	return wire.Reappraisal{}
}
