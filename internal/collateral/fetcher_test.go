package collateral_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral"
	"github.com/attestd/attestd/testvectors/forge"
)

// TestTheServiceMustBeAMDs: its name is compiled in, and its certificate must have it, whatever a name
// server says. No proxy is taken from the environment.
func TestTheServiceMustBeAMDs(t *testing.T) {
	f := newFetching(t, 0)
	f.service = newService(t, "kds.example.org")
	f.again(0)
	f.undecided("certificate is valid for kds.example.org")
	f.service = newService(t)
	f.service.roots = x509.NewCertPool()
	f.again(0)
	f.mu.Lock()
	f.now = f.now.Add(2 * time.Hour)
	f.mu.Unlock()
	f.undecided("unknown authority")
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	f.service = newService(t)
	f.chains()
	f.service.on(milanList, body(f.crl(made(t, milan), forge.AMDCRLConfig{})))
	f.again(0)
	f.mu.Lock()
	f.now = f.now.Add(4 * time.Hour)
	f.mu.Unlock()
	if err := f.fetcher.Pull(t.Context()); err != nil {
		t.Errorf("a proxy of the environment was asked: %v", err)
	}
}

func TestOneFetcherForAFolder(t *testing.T) {
	f := newFetching(t, 0)
	f.chains()
	inside := make(chan struct{})
	leave := make(chan struct{})
	var once sync.Once
	list := f.crl(made(t, milan), forge.AMDCRLConfig{})
	f.service.on(milanList, func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() { close(inside) })
		<-leave
		_, _ = w.Write(list)
	})
	done := make(chan error, 1)
	go func() { done <- f.fetcher.Pull(t.Context()) }()
	<-inside
	second, err := collateral.NewFetcherFor(f.open(), collateral.FetchConfig{}, 0, time.Second, f.service.roots,
		f.service.dial)
	if err != nil {
		t.Fatal(err)
	}
	var caller *attestd.CallerError
	if err := second.Pull(t.Context()); !errors.As(err, &caller) || caller.Class != attestd.ClassConflict {
		t.Errorf("a second fetcher: %v", err)
	}
	close(leave)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestFetchersAreConfigured(t *testing.T) {
	s := newScene(t)
	for name, config := range map[string]collateral.FetchConfig{
		"a line of no product": {Lines: []string{"Rome"}},
		"no pace to speak of":  {Pace: time.Millisecond},
		"all the time":         {Refresh: time.Second},
	} {
		var caller *attestd.CallerError
		if _, err := collateral.NewFetcher(s.store, config); !errors.As(err, &caller) ||
			caller.Class != attestd.ClassConfig {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := collateral.NewFetcher(s.store, collateral.FetchConfig{}); err != nil {
		t.Error(err)
	}
}

func TestWatchingFetchesWhatIsWanted(t *testing.T) {
	f := newFetching(t, 0)
	f.chains()
	f.take(made(t, milan).ASK.Raw)
	f.service.on(milanList, body(f.crl(made(t, milan), forge.AMDCRLConfig{})))
	report := forge.NewSNPReport("Milan", 3)
	_, wanted := f.store.For(attestd.FormatSEVSNP, report.Bytes())
	path, err := collateral.MachinePath(wanted.Machines[0])
	if err != nil {
		t.Fatal(err)
	}
	f.service.on(path, body(f.vcek(made(t, milan), report)))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	daemon := f.open()
	if err := daemon.Want("x", *wanted); err != nil { // as the daemon wants it
		t.Fatal(err)
	}
	go func() { ended <- f.fetcher.Watch(ctx) }()
	deadline := time.Now().Add(4 * collateral.WatchEvery)
	for time.Now().Before(deadline) {
		if change, err := daemon.Changed(); err != nil {
			t.Error(err)
		} else if change.Machines {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if found, _ := daemon.For(attestd.FormatSEVSNP, report.Bytes()); len(found) != 1 {
		t.Error("what was wanted did not come")
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	asked := fmt.Sprint(f.service.requests())
	if strings.Count(asked, milanList) != 1 {
		t.Errorf("the list was asked for more than once: %s", asked)
	}
}
