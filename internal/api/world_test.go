package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/api"
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

// world is a whole verifier behind a real HTTP server, with a real store and an authority of its own
// that is shaped like AWS's.
type world struct {
	testing.TB
	aws    *forge.AWS
	store  *registry.Store
	signer *challenge.Signer
	local  *service.Local
	policy service.Document
	server *httptest.Server
	log    *lockedBuffer
	path   string // of the store
}

type options struct {
	judge      func(service.Judge) service.Judge
	noRecorded bool
	perSource  int
	limits     api.Limits
	timeout    time.Duration
	slots      int
	waiting    int
	// policy and references replace the recorded policy and no reference values.
	policy     func([]attestd.CheckSpec) []byte
	references []service.Document
	clock      *registry.Clock
	// signed has results signed, and Veraison's sessions served; fence says what is held then.
	signed  bool
	results func(api.Results) api.Results
	fence   *fence
}

var smallLimits = api.Limits{JSONBody: 1 << 20, RawBody: 256 << 10, AllBodies: 64 << 20}

// largeLimits are those of attestd serve.
var largeLimits = api.Limits{JSONBody: 2 << 20, RawBody: 1 << 20, AllBodies: 64 << 20}

func newWorld(t testing.TB, o options) *world {
	t.Helper()
	w := &world{TB: t, log: &lockedBuffer{}, path: filepath.Join(t.TempDir(), "attestd.db")}
	var err error
	w.aws, err = forge.NewAWS(forge.AWSOptions{At: time.Now()})
	w.must(err)
	judging, err := judge.New(judge.Config{InsecureRoots: []*x509.Certificate{w.aws.Root()}})
	w.must(err)
	w.local = service.NewLocal(judging)
	w.signer, err = challenge.NewEphemeralSigner()
	w.must(err)
	limits := registry.Limits{
		Outstanding: 1 << 20, PerTenant: 1 << 20, PerSource: 1 << 20, Appraisals: 1 << 20,
		KeepAppraisals: time.Hour,
	}
	if o.perSource != 0 {
		limits.PerSource = o.perSource
	}
	if o.clock == nil {
		o.clock = registry.SystemClock()
	}
	w.store, err = registry.Open(context.Background(), registry.Config{
		Path: w.path, Clock: o.clock, Limits: limits,
	})
	w.must(err)
	t.Cleanup(func() { _ = w.store.Close() })
	handler := w.handler(o, judging)
	w.server = httptest.NewServer(handler)
	t.Cleanup(w.server.Close)
	return w
}

func (w *world) handler(o options, judging *judge.Judge) http.Handler {
	issuer, err := challenge.NewIssuer(challenge.Config{
		Store: w.store, Signer: w.signer, TrustDomain: "example.org", Lifetime: time.Minute, NonceBytes: 32,
	})
	w.must(err)
	var asked service.Judge = w.local
	if o.judge != nil {
		asked = o.judge(asked)
	}
	if o.timeout == 0 {
		o.timeout = 10 * time.Second
	}
	if o.slots == 0 {
		o.slots, o.waiting = 64, 64
	}
	if o.limits == (api.Limits{}) {
		o.limits = smallLimits
	}
	recorded, err := appraisal.Builtin(appraisal.Recorded)
	w.must(err)
	// The recorded policy scores unknown measurements instead of demanding reference values.
	policy := service.Document{Source: "recorded", Bytes: recorded.Document()}
	if o.policy != nil {
		policy = service.Document{Source: "test", Bytes: o.policy(judging.Specs())}
	}
	w.policy = policy
	desk, err := enrol.New(enrol.Config{
		Store: w.store, Now: w.store.Now, Tenants: []string{"default", "blue"}, Rand: rand.Reader,
		Limits: enrol.Limits{PendingPerTenant: 1000, PendingPerSource: 1000, PendingKeep: time.Hour},
	})
	w.must(err)
	served, err := service.New(service.Config{
		Subjects: service.Subjects{
			Held:        func(...subject.Key) (attestd.State, subject.Key) { return attestd.StateUnknown, subject.Key{} },
			TrustDomain: "example.org", Desk: desk, Specs: judging.Specs(), Notes: noNotes{},
			Rules: subject.Rules{Reattest: time.Hour, Grace: time.Minute}, Grounds: noGrounds,
		},
		Store: w.store, Issuer: issuer, Judge: asked, Refuse: w.local,
		Policy: policy, RecordedPolicy: policy, References: o.references, Formats: judging.Formats(),
		Tenants: []string{"default", "blue"}, Timeout: o.timeout, Concurrency: o.slots, Waiting: o.waiting,
		AllowRecorded: !o.noRecorded,
	})
	w.must(err)
	keys, err := w.signer.KeySet()
	w.must(err)
	handler, err := api.New(api.Config{
		Results: w.results(o, served), Veraison: o.signed, Version: "v0.0.0-test",
		Metrics: prometheus.NewRegistry(),
		Service: served, KeySet: keys, Limits: o.limits, Specs: judging.Specs(),
		Logger: slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	w.must(err)
	return handler
}

// noNotes and noGrounds: what becomes of them is tested where they are made.
type noNotes struct{}

func (noNotes) Note(audit.Record) {}

func noGrounds(context.Context, []subject.Grounds) {}

// in is the same world for a test inside this one.
func (w *world) in(t testing.TB) *world {
	inner := *w
	inner.TB = t
	return &inner
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// answer is a response, read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (w *world) do(method, path, media string, body []byte) answer {
	w.Helper()
	request, err := http.NewRequest(method, w.server.URL+path, bytes.NewReader(body))
	w.must(err)
	if media != "" {
		request.Header.Set("Content-Type", media)
	}
	return w.send(request)
}

func (w *world) send(request *http.Request) answer {
	w.Helper()
	var sent []byte
	if request.GetBody != nil {
		again, err := request.GetBody()
		w.must(err)
		sent, err = io.ReadAll(again)
		w.must(err)
	}
	response, err := w.server.Client().Do(request)
	w.must(err)
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(response.Body)
	w.must(err)
	w.record(request, sent, response, read)
	return answer{response.StatusCode, response.Header, read}
}

func (w *world) post(path string, value any) answer {
	w.Helper()
	body, err := json.Marshal(value)
	w.must(err)
	return w.do(http.MethodPost, path, "application/json", body)
}

type object map[string]any

// challenge asks for a challenge with the given members beside the format.
func (w *world) challenge(format attestd.Format, members object) challenge.Reply {
	w.Helper()
	request := object{"format": format}
	for key, value := range members {
		request[key] = value
	}
	got := w.post("/v1/challenges", request)
	if got.status != http.StatusCreated {
		w.Fatalf("got %d %s", got.status, got.body)
	}
	reply, err := challenge.ParseReply(got.body)
	w.must(err)
	return reply
}

// enclave is a document whose nonce field holds what answers the challenge.
func (w *world) enclave(freshness []byte) []byte {
	w.Helper()
	now := uint64(time.Now().UnixMilli()) //nolint:gosec // after 1970
	document, err := w.aws.Document(forge.Document{Nonce: freshness, Milliseconds: &now})
	w.must(err)
	return document
}

func (w *world) bound(issued attestd.Challenge) []byte {
	w.Helper()
	digest, err := issued.Binding(nil).Digest()
	w.must(err)
	return w.enclave(digest)
}

func (w *world) verdict(got answer) attestd.Appraisal {
	w.Helper()
	if got.status != http.StatusOK {
		w.Fatalf("got %d %s", got.status, got.body)
	}
	var given attestd.Appraisal
	w.must(json.Unmarshal(got.body, &given))
	return given
}

// failed returns the last check, if it failed.
func failed(given attestd.Appraisal) attestd.CheckID {
	if len(given.Checks) == 0 {
		return ""
	}
	last := given.Checks[len(given.Checks)-1]
	if last.Result != attestd.ResultFail {
		return ""
	}
	return last.ID
}

type problem struct {
	Type, Title, Detail, Class, Hint, ID string
	Status                               int
	Appraisal                            *attestd.Appraisal
}

func (w *world) problem(got answer, status int, class attestd.Class) problem {
	w.Helper()
	var read problem
	if err := json.Unmarshal(got.body, &read); err != nil {
		w.Fatalf("got %d %.300s: %v", got.status, got.body, err)
	}
	if got.status != status || read.Status != status || read.Class != string(class) {
		w.Fatalf("got %d %s, want %d and class %s", got.status, got.body, status, class)
	}
	if got.header.Get("Content-Type") != "application/problem+json" || read.Type == "" || read.Title == "" ||
		read.Detail == "" || read.Hint == "" {
		w.Fatalf("problem lacks a member: %s", got.body)
	}
	return read
}

type lockedBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *lockedBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(data)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}
