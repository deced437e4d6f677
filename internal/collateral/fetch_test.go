package collateral_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral"
	"github.com/attestd/attestd/testvectors/forge"
)

// service is AMD's service as it could behave: a TLS server whose certificate has AMD's name, under a test
// CA, on loopback.
type service struct {
	t      *testing.T
	server *httptest.Server
	roots  *x509.CertPool

	mu      sync.Mutex
	answers map[string]http.HandlerFunc // by path and query
	asked   []string
	times   []time.Time
	dialled []string
}

const kdsName = "kdsintf.amd.com"

func newService(t *testing.T, names ...string) *service {
	t.Helper()
	s := &service{t: t, roots: x509.NewCertPool(), answers: map[string]http.HandlerFunc{}}
	if len(names) == 0 {
		names = []string{kdsName}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s.roots.AddCert(certificate)
	s.server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.server.Config.ErrorLog = nil
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	return s
}

func (s *service) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.URL.RequestURI())
	s.times = append(s.times, time.Now())
	answer := s.answers[r.URL.RequestURI()]
	s.mu.Unlock()
	if answer == nil {
		http.NotFound(w, r)
		return
	}
	answer(w, r)
}

func (s *service) on(path string, answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[path] = answer
}

func (s *service) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.asked...)
}

// dial leads every name to the test's server, and remembers which was asked for.
func (s *service) dial(ctx context.Context, _, address string) (net.Conn, error) {
	s.mu.Lock()
	s.dialled = append(s.dialled, address)
	s.mu.Unlock()
	return new(net.Dialer).DialContext(ctx, "tcp", s.server.Listener.Addr().String())
}

func body(content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }
}

const (
	milanList  = "/vcek/v1/Milan/crl"
	milanChain = "/vcek/v1/Milan/cert_chain"
	vlekChain  = "/vlek/v1/Milan/cert_chain"
)

// fetching is a scene with the service and a fetcher for Milan.
type fetching struct {
	*scene
	service *service
	fetcher *collateral.Fetcher
	events  []collateral.Event
}

func newFetching(t *testing.T, pace time.Duration) *fetching {
	t.Helper()
	f := &fetching{scene: newScene(t), service: newService(t)}
	f.store = f.open()
	f.again(pace)
	return f
}

func (f *fetching) again(pace time.Duration) {
	f.Helper()
	config := collateral.FetchConfig{Lines: []string{"Milan"}, Report: func(e collateral.Event) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.events = append(f.events, e)
	}}
	fetcher, err := collateral.NewFetcherFor(f.store, config, pace, 500*time.Millisecond, f.service.roots,
		f.service.dial)
	if err != nil {
		f.Fatal(err)
	}
	f.fetcher = fetcher
}

// chains answers with AMD's form: the CA and the root in PEM.
func (f *fetching) chains() {
	f.Helper()
	amd := made(f, milan)
	asvk, err := amd.ASVK()
	if err != nil {
		f.Fatal(err)
	}
	for path, ca := range map[string]*x509.Certificate{milanChain: amd.ASK, vlekChain: asvk} {
		var chain []byte
		for _, certificate := range []*x509.Certificate{ca, amd.ARK} {
			chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})...)
		}
		f.service.on(path, body(chain))
	}
}

func (f *fetching) undecided(words string) {
	f.Helper()
	err := f.fetcher.Pull(f.Context())
	var undecided *attestd.CallerError
	if !errors.As(err, &undecided) || undecided.Class != attestd.ClassCollateralUnavailable ||
		undecided.Hint == "" || !strings.Contains(err.Error(), words) {
		f.Errorf("got %v, want COLLATERAL_UNAVAILABLE that says %q", err, words)
	}
}

func TestPullTakesWhatTheServiceHas(t *testing.T) {
	f := newFetching(t, 0)
	f.take(made(t, milan).ASK.Raw)
	f.chains()
	list := f.crl(made(t, milan), forge.AMDCRLConfig{Number: 4})
	f.service.on(milanList, body(list))
	report := forge.NewSNPReport("Milan", 3)
	key := f.vcek(made(t, milan), report)
	_, wanted := f.store.For(attestd.FormatSEVSNP, report.Bytes())
	path, err := collateral.MachinePath(wanted.Machines[0])
	if err != nil {
		t.Fatal(err)
	}
	f.service.on(path, body(key))
	if err := f.store.Want("a source", *wanted); err != nil {
		t.Fatal(err)
	}
	if err := f.fetcher.Pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	store := f.open()
	if lists := f.lists(store); len(lists) != 1 || !bytes.Equal(lists[0], list) {
		t.Errorf("%d lists are held", len(lists))
	}
	if found, _ := store.For(attestd.FormatSEVSNP, report.Bytes()); len(found) != 1 || !bytes.Equal(found[0], key) {
		t.Error("the machine's certificate is not held")
	}
	if left := store.Queue(); len(left) != 0 {
		t.Errorf("the queue has %v", left)
	}
	if since, err := store.Fetching().Failing(); err != nil || !since.IsZero() {
		t.Errorf("it is failing since %v: %v", since, err)
	}
	for _, address := range f.service.dialled {
		if address != kdsName+":443" {
			t.Errorf("it went to %s", address)
		}
	}
}

// TestWhatTheServiceSaysIsVerified: nothing of a wrong answer is kept, and the service is not a root.
//
// neg: 175
func TestWhatTheServiceSaysIsVerified(t *testing.T) {
	amd := made(t, milan)
	report := forge.NewSNPReport("Milan", 3)
	other := report
	other.ChipID[0] ^= 1
	for name, row := range map[string]struct {
		path, words string
		answer      func(s *scene) []byte
	}{
		"a web page for a list": {
			milanList, "cannot be read",
			func(*scene) []byte { return []byte("<html>") },
		},
		"an impostor's list": {
			milanList, "not that of",
			func(s *scene) []byte { return s.crl(made(t, impostor), forge.AMDCRLConfig{}) },
		},
		"the list of another": {
			milanList, "the list of ARK-Genoa",
			func(s *scene) []byte { return s.crl(made(t, genoa), forge.AMDCRLConfig{}) },
		},
		"an older list": {
			milanList, "number 1, and 9",
			func(s *scene) []byte { return s.crl(amd, forge.AMDCRLConfig{Number: 1}) },
		},
		"another chip's VCEK": {
			"",
			"the answer is for", func(s *scene) []byte { return s.vcek(amd, other) },
		},
		"an impostor's VCEK": {
			"",
			"not that of", func(s *scene) []byte { return s.vcek(made(t, impostor), report) },
		},
		"a list for a VCEK": {
			"",
			"cannot be read", func(s *scene) []byte { return s.crl(amd, forge.AMDCRLConfig{}) },
		},
		"nothing at all": {milanList, "empty", func(*scene) []byte { return nil }},
		"more than a list": {
			milanList, "more than",
			func(*scene) []byte { return make([]byte, 4<<20+1) },
		},
		"more than a VCEK": {
			"",
			"more than", func(*scene) []byte { return make([]byte, 16<<10+1) },
		},
		"an impostor's list, 2x": {
			milanList, "not that of",
			func(s *scene) []byte { return s.crl(made(t, impostor), forge.AMDCRLConfig{Number: 99}) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFetching(t, 0)
			f.take(amd.ASK.Raw, f.crl(amd, forge.AMDCRLConfig{Number: 9}))
			before := f.setsOf(f.store)
			f.chains()
			path := row.path
			if path == "" {
				_, wanted := f.store.For(attestd.FormatSEVSNP, report.Bytes())
				if err := f.store.Want("x", *wanted); err != nil {
					t.Fatal(err)
				}
				var err error
				if path, err = collateral.MachinePath(wanted.Machines[0]); err != nil {
					t.Fatal(err)
				}
				f.service.on(milanList, body(f.crl(amd, forge.AMDCRLConfig{Number: 9})))
			}
			f.service.on(path, body(row.answer(f.scene)))
			f.undecided(row.words)
			store := f.open()
			if f.setsOf(store) != before {
				t.Error("what judges are given is another")
			}
			if found, _ := store.For(attestd.FormatSEVSNP, report.Bytes()); len(found) != 0 {
				t.Error("a certificate of another is given out")
			}
			if _, err := store.Fetching().Failing(); err == nil && row.path != "" {
				t.Error("nothing says that it fails")
			}
		})
	}
}

// TestWhatTheServiceDoesIsBorne: a redirect leads nowhere, also to an address inside, and nothing takes long.
//
// neg: 163
func TestWhatTheServiceDoesIsBorne(t *testing.T) {
	for name, row := range map[string]struct {
		words  string
		answer http.HandlerFunc
	}{
		"404": {"no such", http.NotFound},
		"400": {
			"no such",
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) },
		},
		"500": {
			"answered 500",
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		},
		"a redirect elsewhere": {"not followed", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://169.254.169.254/latest", http.StatusFound)
		}},
		"a redirect to itself": {"not followed", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusMovedPermanently)
		}},
		"silence": {"ask " + kdsName, func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-time.After(5 * time.Second):
			}
		}},
		"a byte now and then": {"broke off", func(w http.ResponseWriter, r *http.Request) {
			for range 100 {
				_, _ = io.WriteString(w, "x")
				_ = http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		}},
		"an answer without an end": {"more than", func(w http.ResponseWriter, r *http.Request) {
			chunk := make([]byte, 1<<16)
			for r.Context().Err() == nil {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}},
		"a header without an end": {"ask " + kdsName, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<16))
		}},
		"a connection that ends": {"broke off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFetching(t, 0)
			f.chains()
			f.service.on(milanList, row.answer)
			before := f.setsOf(f.store)
			f.undecided(row.words)
			for _, asked := range f.service.requests() {
				if asked == "/elsewhere" {
					t.Error("a redirect was followed")
				}
			}
			if f.setsOf(f.open()) != before {
				t.Error("it changed what is given out")
			}
			if _, err := f.open().Fetching().Failing(); err == nil {
				t.Error("nothing says that it fails")
			}
			// It recovers by itself.
			f.service.on(milanList, body(f.crl(made(t, milan), forge.AMDCRLConfig{})))
			f.mu.Lock()
			f.now = f.now.Add(2 * time.Hour)
			f.mu.Unlock()
			if err := f.fetcher.Pull(t.Context()); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			if since, err := f.open().Fetching().Failing(); err != nil {
				t.Errorf("afterwards it is failing since %v: %v", since, err)
			}
		})
	}
}

// TestTheServiceIsLeftAloneWhenItAsks: also by a process that is started anew.
func TestTheServiceIsLeftAloneWhenItAsks(t *testing.T) {
	for name, row := range map[string]struct {
		after       string
		least, most time.Duration
	}{
		"for two minutes":       {"120", 2 * time.Minute, 3 * time.Minute},
		"for a year":            {"31536000", time.Hour, 76 * time.Minute},
		"for no time":           {"0", 10 * time.Millisecond, time.Minute},
		"with words":            {"soon", time.Minute, 2 * time.Minute},
		"for less than nothing": {"-5", time.Minute, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFetching(t, 10*time.Millisecond)
			f.chains()
			f.service.on(milanList, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", row.after)
				w.WriteHeader(http.StatusTooManyRequests)
			})
			f.undecided("answered 429")
			asked := len(f.service.requests())
			state := f.open().Fetching()
			if wait := state.NotBefore.Sub(f.now); wait < row.least || wait > row.most {
				t.Errorf("it waits %s, want %s to %s", wait, row.least, row.most)
			}
			f.store = f.open()
			f.again(10 * time.Millisecond) // another process
			f.undecided("not to be asked before")
			if got := len(f.service.requests()); got != asked {
				t.Errorf("%d more requests", got-asked)
			}
			f.mu.Lock()
			f.now = state.NotBefore
			f.mu.Unlock()
			f.service.on(milanList, body(f.crl(made(t, milan), forge.AMDCRLConfig{})))
			if err := f.fetcher.Pull(t.Context()); err != nil {
				t.Errorf("when it may be asked again: %v", err)
			}
		})
	}
}

func TestRequestsArePaced(t *testing.T) {
	f := newFetching(t, 100*time.Millisecond)
	f.now = time.Now() // the pace is kept by the clock
	start := time.Now()
	f.store = mustOpen(f, func() time.Time { return forge.AMDTime.Add(time.Since(start)) })
	f.again(100 * time.Millisecond)
	f.chains()
	f.service.on(milanList, body(f.crl(made(t, milan), forge.AMDCRLConfig{})))
	for index := range 3 {
		report := forge.NewSNPReport("Milan", 3)
		report.ChipID[0] = byte(index + 1)
		_, wanted := f.store.For(attestd.FormatSEVSNP, report.Bytes())
		if err := f.store.Want("x", *wanted); err != nil {
			t.Fatal(err)
		}
	}
	pulled := time.Now()
	if err := f.fetcher.Pull(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.service.mu.Lock()
	defer f.service.mu.Unlock()
	if len(f.service.times) < 4 {
		t.Fatalf("%d requests", len(f.service.times))
	}
	// From the beginning, and not from one arrival to the next: a request that is late on its way makes
	// the next one look early, and no request arrives before it was sent.
	for index, at := range f.service.times {
		if since, want := at.Sub(pulled), time.Duration(index)*100*time.Millisecond; since < want {
			t.Errorf("request %d came after %s, want %s at least", index+1, since, want)
		}
	}
	queue := f.store.Queue()
	if len(queue) != 3 || !queue[0].Refused {
		t.Errorf("chips that AMD does not know: %+v", queue)
	}
}

func mustOpen(f *fetching, now func() time.Time) *collateral.Store {
	f.Helper()
	store, err := collateral.Open(f.folder, now, f.roots()...)
	if err != nil {
		f.Fatal(err)
	}
	return store
}
