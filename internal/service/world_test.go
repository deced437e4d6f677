package service_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/testvectors/forge"
)

// world is a service over a real store, with an authority of its own that is shaped like AWS's.
type world struct {
	testing.TB
	aws     *forge.AWS
	store   *registry.Store
	desk    *enrol.Desk
	service *service.Service
	local   *service.Local
	specs   []attestd.CheckSpec
	path    string
	wall    *wallClock
	notes   *notes
	told    *told
	options worldOptions
}

type worldOptions struct {
	judge   func(service.Judge) service.Judge
	rules   []string
	tenants map[string]service.Document
	codes   []subject.Code
	slots   int
	desk    func(service.Desk) service.Desk
	// machines has certificates of single machines; nil for none.
	machines service.Machines
	// held is a hold that the store does not have yet.
	held subject.Key
	// roots of other vendors than AWS that the judge takes.
	roots []*x509.Certificate
	// moduleID of the enclave; empty for forge's.
	moduleID string
}

// heldNow is what an index says that has the direct hold and no other.
func (o worldOptions) heldNow(keys ...subject.Key) (attestd.State, subject.Key) {
	if slices.Contains(keys, o.held) {
		return attestd.StateQuarantined, o.held
	}
	return attestd.StateUnknown, subject.Key{}
}

// wallClock is a wall clock that can be set.
type wallClock struct {
	mu  sync.Mutex
	off time.Duration
}

func (w *wallClock) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.off)
}

func (w *wallClock) step(by time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.off += by
}

func (w *wallClock) clock() *registry.Clock {
	start := time.Now()
	return registry.NewClock(w.now, func() time.Duration { return time.Since(start) })
}

type notes struct {
	mu      sync.Mutex
	records []audit.Record
}

func (n *notes) Note(record audit.Record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records = append(n.records, record)
}

func (n *notes) all() []audit.Record {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]audit.Record(nil), n.records...)
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

const trustDomain = "example.org"

func newWorld(t testing.TB, o worldOptions) *world {
	t.Helper()
	w := &world{
		TB: t, path: filepath.Join(t.TempDir(), "attestd.db"), wall: &wallClock{}, notes: &notes{},
		told: &told{}, options: o,
	}
	var err error
	w.aws, err = forge.NewAWS(forge.AWSOptions{At: time.Now(), ModuleID: o.moduleID})
	w.must(err)
	judging, err := judge.New(judge.Config{
		InsecureRoots: append([]*x509.Certificate{w.aws.Root()}, o.roots...),
	})
	w.must(err)
	w.specs, w.local = judging.Specs(), service.NewLocal(judging)
	w.must(w.open())
	t.Cleanup(w.close)
	return w
}

func (w *world) close() {
	if w.store != nil {
		w.must(w.store.Close())
		w.store = nil
	}
}

// open opens the store and makes the service over it anew, as after a start.
func (w *world) open() error {
	store, err := registry.Open(context.Background(), registry.Config{
		Path: w.path, Clock: w.wall.clock(), Limits: registry.Limits{
			Outstanding: 1 << 20, PerTenant: 1 << 20, PerSource: 1 << 20, Appraisals: 1 << 20,
			KeepAppraisals: time.Hour,
		},
	})
	if err != nil {
		return err
	}
	w.store = store
	signer, err := challenge.NewEphemeralSigner()
	w.must(err)
	issuer, err := challenge.NewIssuer(challenge.Config{
		Store: w.store, Signer: signer, TrustDomain: trustDomain, Lifetime: time.Minute, NonceBytes: 32,
	})
	w.must(err)
	w.desk, err = enrol.New(enrol.Config{
		Store: w.store, Now: w.store.Now, Tenants: []string{"default", "blue"}, Rules: w.options.rules,
		Rand:   rand.Reader,
		Limits: enrol.Limits{PendingPerTenant: 100, PendingPerSource: 100, PendingKeep: time.Hour},
	})
	w.must(err)
	var asked service.Judge = w.local
	if w.options.judge != nil {
		asked = w.options.judge(asked)
	}
	var desk service.Desk = w.desk
	if w.options.desk != nil {
		desk = w.options.desk(desk)
	}
	slots := max(w.options.slots, 64)
	w.service, err = service.New(service.Config{
		Store: w.store, Issuer: issuer, Judge: asked, Refuse: w.local,
		Policy: owned(w, "test"), RecordedPolicy: owned(w, "recorded"), TenantPolicies: w.options.tenants,
		Formats: []attestd.Format{attestd.FormatNitro, attestd.FormatTPM, attestd.FormatComposite},
		Tenants: []string{"default", "blue"}, Timeout: 30 * time.Second, Concurrency: slots, Waiting: 1 << 16,
		AllowRecorded: true, Machines: w.options.machines,
		Subjects: service.Subjects{
			Held:        w.options.heldNow,
			TrustDomain: trustDomain, Desk: desk, Specs: w.specs, Notes: w.notes, Grounds: w.told.take,
			Rules: subject.Rules{
				Reattest: time.Hour, Grace: time.Minute, Bad: 2, Good: 1, Codes: w.options.codes,
			},
		},
	})
	w.must(err)
	return nil
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// owned is the policy for archives, with ownership scored as in production, under an id.
func owned(t interface {
	Helper()
	Fatal(args ...any)
}, id string) service.Document {
	t.Helper()
	recorded, err := appraisal.Builtin(appraisal.Recorded)
	if err != nil {
		t.Fatal(err)
	}
	bytes := bytes.ReplaceAll(recorded.Document(), []byte("ownership/known: any"),
		[]byte("ownership/known: {want: [inventory, cloud-account, enrolment], otherwise: 40}"))
	return service.Document{Source: id, Bytes: withID(bytes, id)}
}

func withID(document []byte, id string) []byte {
	return bytes.Replace(document, []byte("\nid: recorded"), []byte("\nid: "+id), 1)
}

// machine is another enclave before the same service.
func (w *world) machine(moduleID string) *world {
	w.Helper()
	other := *w
	var err error
	other.options.moduleID = moduleID
	other.aws, err = w.aws.Sibling(forge.AWSOptions{ModuleID: moduleID})
	w.must(err)
	return &other
}

// issue returns a challenge for an enclave of a tenant.
func (w *world) issue(tenant string) attestd.Challenge {
	w.Helper()
	reply, err := w.service.Challenge(context.Background(), service.Wish{Wish: challenge.Wish{
		Format: attestd.FormatNitro, Tenant: tenant, Purpose: "verify", Source: "192.0.2.1",
	}})
	w.must(err)
	return reply.Challenge
}

// enclave is evidence of the authority's enclave that answers the challenge.
func (w *world) enclave(issued attestd.Challenge) []byte {
	w.Helper()
	digest, err := issued.Binding(nil).Digest()
	w.must(err)
	return w.document(digest)
}

// document is evidence of the authority's enclave with that nonce.
func (w *world) document(nonce []byte) []byte {
	w.Helper()
	now := uint64(w.store.Now().UnixMilli()) //nolint:gosec // after 1970
	// PCR4 of an enclave is its parent instance's.
	parent, _, _ := strings.Cut(w.instance().Value, "-enc")
	pcr4 := sha512.Sum384(append(make([]byte, 48), parent...))
	document, err := w.aws.Document(forge.Document{
		Nonce: nonce, Milliseconds: &now, PCRs: map[uint64][]byte{4: pcr4[:]},
	})
	w.must(err)
	return document
}

func submission(issued attestd.Challenge, evidence []byte) service.Submission {
	return service.Submission{
		ChallengeID: issued.ID, Tenant: issued.Tenant, Purpose: issued.Purpose, Format: issued.Format,
		Evidence: evidence, Freshness: attestd.FreshnessBinding, Source: "192.0.2.1",
	}
}

// attest is a whole exchange of the enclave; change may be nil.
func (w *world) attest(
	tenant string, change func(*service.Submission),
) (attestd.Appraisal, error) {
	w.Helper()
	issued := w.issue(tenant)
	handed := submission(issued, w.enclave(issued))
	if change != nil {
		change(&handed)
	}
	return w.service.Verify(context.Background(), handed)
}

func (w *world) accepted(tenant string) attestd.Appraisal {
	w.Helper()
	given, err := w.attest(tenant, nil)
	w.must(err)
	if given.Verdict != attestd.VerdictAccepted || given.Standing == nil {
		w.Fatalf("got %s with %+v for %+v", given.Verdict, given.Standing, given.Reasons)
	}
	return given
}

// refused demands an error of that class and returns it.
func (w *world) refused(err error, class attestd.Class) *attestd.CallerError {
	w.Helper()
	var caller *attestd.CallerError
	if !errors.As(err, &caller) || caller.Class != class {
		w.Fatalf("got %v, want an error of class %s", err, class)
	}
	return caller
}

// instance is the key of the authority's enclave.
func (w *world) instance() subject.Key {
	id := w.options.moduleID
	if id == "" {
		id = forge.AWSModuleID
	}
	return subject.Key{Kind: string(subject.BarInstance), Value: id}
}

func (w *world) owner(tenant string, status subject.Status) *subject.Ownership {
	return &subject.Ownership{
		Key: w.instance(), Tenant: tenant, Method: subject.MethodInventory, Status: status, Source: "test",
		CreatedAt: w.store.Now(),
	}
}

// own makes the enclave a tenant's.
func (w *world) own(tenant string) { w.Helper(); w.put(w.owner(tenant, subject.StatusApproved)) }

func (w *world) put(owner *subject.Ownership) {
	w.Helper()
	known := w.known()
	expect := uint64(0)
	for _, row := range known.Owners {
		expect = row.Generation
	}
	w.must(w.store.Write(context.Background(), subject.Write{
		Owners: []subject.OwnershipWrite{{Key: w.instance(), Expect: expect, Next: owner}},
		Audit:  []audit.Record{w.record("enroll.approve")},
	}))
}

func (w *world) record(action string) audit.Record {
	return audit.Record{
		At: w.store.Now(), Actor: "ann", Tenant: "default", Action: action, Outcome: "done",
	}
}

func (w *world) bar(key subject.Key, state attestd.State) {
	w.Helper()
	w.must(w.store.Write(context.Background(), w.hold(key, state)))
}

func (w *world) hold(key subject.Key, state attestd.State) subject.Write {
	return subject.Write{
		Bars: []subject.BarWrite{{Key: key, Next: &subject.Bar{
			Key: key, State: state, Tenant: "default", Code: subject.CodeOperator,
			Text: "the-reason-nobody-may-read", By: "ann", At: w.store.Now(),
		}}},
		Audit: []audit.Record{w.record("quarantine")},
	}
}

func (w *world) known() subject.Known {
	w.Helper()
	known, err := w.store.Known(context.Background(), subject.Ask{
		Instance: attestd.Handle{Kind: attestd.HandleInstance, Value: w.instance().Value},
		Owners:   []subject.Key{w.instance()}, Bars: []subject.Key{w.instance()},
	})
	w.must(err)
	return known
}

func text(t testing.TB, value any) string {
	t.Helper()
	written, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(written)
}
