package pager_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision/pager"
	"github.com/attestd/attestd/internal/keys"
	"github.com/attestd/attestd/internal/subject"
)

var grounds = subject.Grounds{
	ID: "spiffe://example.org/agent/ranker", Tenant: "blue", Code: subject.CodeRiskSpike,
	Source: "token:guard", Detail: "its risk was 85 when it asked",
}

// hit is one request that a receiver got.
type hit struct {
	path, signature string
	body            []byte
}

// receiver is a webhook over TLS.
type receiver struct {
	*httptest.Server
	status atomic.Int32
	bad    atomic.Int32 // how many more are answered with status
	hits   chan hit
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{hits: make(chan hit, 1000)}
	r.status.Store(503)
	r.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		r.hits <- hit{request.URL.Path, request.Header.Get(pager.HeaderSignature), body}
		if r.bad.Add(-1) >= 0 {
			w.Header().Set("Location", r.URL+"/elsewhere")
			w.WriteHeader(int(r.status.Load()))
		}
	}))
	r.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) next(t *testing.T) hit {
	t.Helper()
	select {
	case one := <-r.hits:
		return one
	case <-time.After(20 * time.Second):
		t.Fatal("no page came")
		return hit{}
	}
}

// world is a pager with a real ring of keys.
type world struct {
	t     *testing.T
	ring  *keys.Ring
	log   *bytes.Buffer
	pager *pager.Pager

	mu  sync.Mutex
	now time.Time
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newWorld(t *testing.T, urls []string, change func(*pager.Config)) *world {
	t.Helper()
	w := &world{t: t, log: &bytes.Buffer{}, now: time.Now()}
	var err error
	w.ring, err = keys.Open(t.Context(), keys.Config{
		Purpose: pager.Purpose, Folder: filepath.Join(t.TempDir(), "page"), Lifetime: pager.Lifetime, Now: w.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	config := pager.Config{
		URLs: urls, Signer: w.ring, Roots: roots, Now: w.clock, Backoff: time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(w.log, nil)),
	}
	if change != nil {
		change(&config)
	}
	if w.pager, err = pager.New(config); err != nil {
		t.Fatal(err)
	}
	return w
}

func trusting(r *receiver) func(*pager.Config) {
	return func(c *pager.Config) { c.Roots.AddCert(r.Certificate()) }
}

// run sends until the test stops it.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.pager.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
}

// until waits for figures.
func (w *world) until(what string, holds func(pager.Counts) bool) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(w.pager.Counts()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: %+v", what, w.pager.Counts())
		}
	}
}

// signed verifies a detached JWS over the body, with the published key that its header names.
func (w *world) signed(one hit) error {
	parts := strings.Split(one.signature, ".")
	if len(parts) != 3 || parts[1] != "" {
		return fmt.Errorf("%q is no detached JWS", one.signature)
	}
	decode := func(part string) []byte {
		out, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			w.t.Fatal(err)
		}
		return out
	}
	var header struct{ Alg, Kid, Typ string }
	if err := json.Unmarshal(decode(parts[0]), &header); err != nil {
		return err
	}
	if header.Alg != "ES256" || header.Typ != "attestd-page+jws" {
		return fmt.Errorf("header %+v", header)
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + base64.RawURLEncoding.EncodeToString(one.body)))
	raw := decode(parts[2])
	r, s := new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])
	for _, key := range w.ring.List() {
		point := append(append([]byte{4}, decode(key.X)...), decode(key.Y)...)
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		if err != nil {
			return err
		}
		if key.ID == header.Kid && ecdsa.Verify(public, digest[:], r, s) {
			return nil
		}
	}
	return errors.New("the signature is nobody's")
}

// TestAPageIsSignedOverItsWholeBody, in both forms.
func TestAPageIsSignedOverItsWholeBody(t *testing.T) {
	r := newReceiver(t)
	w := newWorld(t, []string{r.URL + "/hook", r.URL + "/am/api/v2/alerts"}, trusting(r))
	defer w.run()()
	w.pager.Tell(grounds, subject.OutcomeLaid)
	for range 2 {
		one := r.next(t)
		if err := w.signed(one); err != nil {
			t.Error(err)
		}
		changed := one
		changed.body = bytes.Replace(one.body, []byte("ranker"), []byte("parser"), 1)
		if err := w.signed(changed); err == nil {
			t.Error("another body has the signature")
		}
		if one.path == "/hook" {
			var page pager.Page
			if err := json.Unmarshal(one.body, &page); err != nil || page.Schema != pager.Schema ||
				page.Subject != grounds.ID || page.Tenant != "blue" || page.Severity != pager.SeverityCritical ||
				page.Outcome != subject.OutcomeLaid || page.Code != subject.CodeRiskSpike || page.ID == "" {
				t.Errorf("page %s, %v", one.body, err)
			}
			continue
		}
		var alerts []struct {
			Labels, Annotations map[string]string
			StartsAt, EndsAt    time.Time
		}
		if err := json.Unmarshal(one.body, &alerts); err != nil || len(alerts) != 1 ||
			alerts[0].Labels["alertname"] != "AttestdRiskSpike" || alerts[0].Labels["severity"] != "critical" ||
			!strings.Contains(alerts[0].Annotations["summary"], "was quarantined") ||
			alerts[0].EndsAt.Sub(alerts[0].StartsAt) != time.Hour {
			t.Errorf("alert %s, %v", one.body, err)
		}
	}
	w.until("both are sent", func(c pager.Counts) bool { return c.Sent == 2 })
}

// TestEachOutcomeSaysWhatCameOfIt.
func TestEachOutcomeSaysWhatCameOfIt(t *testing.T) {
	r := newReceiver(t)
	w := newWorld(t, []string{r.URL}, trusting(r))
	defer w.run()()
	for outcome, want := range map[subject.Outcome][2]string{
		subject.OutcomeLaid:   {pager.SeverityCritical, "was quarantined"},
		subject.OutcomeCapped: {pager.SeverityCritical, "the cap on automatic quarantines is reached"},
		subject.OutcomeDryRun: {pager.SeverityWarning, "would have been quarantined"},
		subject.OutcomeOff:    {pager.SeverityWarning, "the risk of"},
	} {
		w.pager.Tell(grounds, outcome)
		var page pager.Page
		if err := json.Unmarshal(r.next(t).body, &page); err != nil || page.Severity != want[0] ||
			!strings.Contains(page.Summary, want[1]) || !strings.Contains(page.Remedy, "ranker") {
			t.Errorf("%s: %+v, %v", outcome, page, err)
		}
	}
}

// TestAPageIsTriedAgain where that can help, and given up where it cannot: what was refused, and
// where the answer names another address, which is not asked.
func TestAPageIsTriedAgain(t *testing.T) {
	for _, row := range []struct {
		status, bad  int
		tries        int
		sent, failed uint64
	}{
		{503, 3, 4, 1, 0}, {429, 1, 2, 1, 0}, {408, 1, 2, 1, 0}, {500, 100, 8, 0, 1},
		{400, 1, 1, 0, 1}, {401, 1, 1, 0, 1}, {301, 1, 1, 0, 1}, {302, 1, 1, 0, 1}, {307, 1, 1, 0, 1}, {308, 1, 1, 0, 1},
	} {
		t.Run(fmt.Sprint(row.status), func(t *testing.T) {
			r := newReceiver(t)
			r.status.Store(int32(row.status))
			r.bad.Store(int32(row.bad))
			w := newWorld(t, []string{r.URL + "/secret-path"}, trusting(r))
			stop := w.run()
			w.pager.Tell(grounds, subject.OutcomeLaid)
			w.until("it ends", func(c pager.Counts) bool { return c.Sent == row.sent && c.Failed == row.failed })
			stop()
			if len(r.hits) != row.tries {
				t.Errorf("%d tries, want %d", len(r.hits), row.tries)
			}
			for range len(r.hits) {
				if one := <-r.hits; one.path != "/secret-path" {
					t.Errorf("%s was asked", one.path)
				}
			}
			if strings.Contains(w.log.String(), "secret-path") {
				t.Errorf("the log has the path of a webhook: %s", w.log)
			}
		})
	}
}

// TestServersAreKnown: another authority's certificate is nobody's.
func TestServersAreKnown(t *testing.T) {
	r := newReceiver(t)
	w := newWorld(t, []string{r.URL}, nil)
	defer w.run()()
	w.pager.Tell(grounds, subject.OutcomeLaid)
	w.until("it is given up", func(c pager.Counts) bool { return c.Failed == 1 })
	if len(r.hits) != 0 {
		t.Error("a page went to somebody")
	}
}

// TestOnePlaceHoldsUpNoOther.
func TestOnePlaceHoldsUpNoOther(t *testing.T) {
	deaf, good := newReceiver(t), newReceiver(t)
	deaf.bad.Store(1 << 20)
	w := newWorld(t, []string{deaf.URL, good.URL}, func(c *pager.Config) {
		trusting(deaf)(c)
		trusting(good)(c)
		c.Backoff = time.Hour
	})
	defer w.run()()
	for i := range 20 {
		one := grounds
		one.ID += subject.ID(fmt.Sprint(i))
		w.pager.Tell(one, subject.OutcomeLaid)
		good.next(t)
	}
	if c := w.pager.Counts(); c.Sent != 20 && c.Sent != 19 {
		t.Errorf("counts %+v", c)
	}
}

// TestTheSameIsToldOnce in a while, a flood not at all, and the pages that follow say how many were
// left out.
func TestTheSameIsToldOnce(t *testing.T) {
	r := newReceiver(t)
	w := newWorld(t, []string{r.URL}, trusting(r))
	defer w.run()()
	said := uint64(0)
	next := func() {
		var page pager.Page
		if err := json.Unmarshal(r.next(t).body, &page); err != nil {
			t.Error(err)
		}
		said += page.Suppressed
	}
	for range 100 {
		w.pager.Tell(grounds, subject.OutcomeLaid)
	}
	next()
	for i := range 100 {
		one := grounds
		one.ID += subject.ID(fmt.Sprint(i))
		w.pager.Tell(one, subject.OutcomeLaid)
	}
	for range 29 {
		next()
	}
	if c := w.pager.Counts(); c.Suppressed != 99+71 || c.Dropped != 0 {
		t.Errorf("counts %+v", c)
	}
	w.pass(5 * time.Minute)
	w.pager.Tell(grounds, subject.OutcomeLaid)
	next()
	if said != 99+71 || len(r.hits) != 0 {
		t.Errorf("%d are said to be left out, and %d came besides", said, len(r.hits))
	}
}

// TestNobodyWaitsForAPage: with nobody who sends, the queue is full at some time, and telling goes
// on.
func TestNobodyWaitsForAPage(t *testing.T) {
	r := newReceiver(t)
	w := newWorld(t, []string{r.URL}, trusting(r))
	for i := range 40 * 30 {
		one := grounds
		one.ID += subject.ID(fmt.Sprint(i))
		w.pager.Tell(one, subject.OutcomeCapped)
		w.pass(2 * time.Second)
	}
	if c := w.pager.Counts(); c.Dropped != 40*30-256 {
		t.Errorf("counts %+v", c)
	}
	quiet := newWorld(t, nil, nil)
	quiet.pager.Tell(grounds, subject.OutcomeLaid)
	quiet.run()()
}

// failing is a signer that has no key at first.
type failing struct {
	*keys.Ring
	left atomic.Int32
}

func (f *failing) SignJWT(ctx context.Context, typ string, payload []byte, signed keys.Signed) (string, error) {
	if f.left.Add(-1) >= 0 {
		return "", errors.New("no key")
	}
	return f.Ring.SignJWT(ctx, typ, payload, signed)
}

// TestNothingGoesOutUnsigned: it waits for its signature.
func TestNothingGoesOutUnsigned(t *testing.T) {
	r := newReceiver(t)
	signer := &failing{}
	signer.left.Store(2)
	w := newWorld(t, []string{r.URL}, func(c *pager.Config) {
		trusting(r)(c)
		signer.Ring = c.Signer.(*keys.Ring)
		c.Signer = signer
	})
	defer w.run()()
	w.pager.Tell(grounds, subject.OutcomeLaid)
	if err := w.signed(r.next(t)); err != nil {
		t.Error(err)
	}
}

// TestURLsInDoubtAreRefused, without their paths, which are secrets.
func TestURLsInDoubtAreRefused(t *testing.T) {
	for name, url := range map[string]string{
		"http":                       "http://pages.example.org/secret",
		"http to a name":             "http://localhost/secret",
		"http to this machine":       "http://127.0.0.1/secret",
		"a user":                     "https://user:secret@pages.example.org/",
		"a fragment":                 "https://pages.example.org/#secret",
		"no host":                    "https:///secret",
		"another scheme":             "file:///secret",
		"nothing":                    "",
		"what cannot be read":        "https://pages.example.org/%zzsecret",
		"a path":                     "/secret",
		"a scheme without an origin": "https:secret",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := pager.New(pager.Config{
				URLs: []string{url}, Signer: &failing{}, Roots: x509.NewCertPool(), Now: time.Now,
				Backoff: time.Second, Logger: slog.New(slog.DiscardHandler),
			})
			var caller *attestd.CallerError
			if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error has the secret: %v", err)
			}
		})
	}
	good := pager.Config{
		URLs: []string{"http://127.0.0.1:1/x", "http://[::1]:1/x"}, Signer: &failing{}, Roots: x509.NewCertPool(),
		Now: time.Now, Backoff: time.Second, Logger: slog.New(slog.DiscardHandler), Loopback: true,
	}
	if _, err := pager.New(good); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*pager.Config){
		"http elsewhere": func(c *pager.Config) { c.URLs = []string{"http://192.0.2.1/"} },
		"http to a name": func(c *pager.Config) { c.URLs = []string{"http://localhost/"} },
		"too many":       func(c *pager.Config) { c.URLs = make([]string, 17) },
		"no signer":      func(c *pager.Config) { c.Signer = nil },
		"no roots":       func(c *pager.Config) { c.Roots = nil },
		"no clock":       func(c *pager.Config) { c.Now = nil },
		"no back-off":    func(c *pager.Config) { c.Backoff = 0 },
		"no logger":      func(c *pager.Config) { c.Logger = nil },
	} {
		bad := good
		change(&bad)
		if _, err := pager.New(bad); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
