package authn_test

import (
	"context"
	"crypto/elliptic"
	"crypto/x509"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/attestd/attestd/internal/authn"
	"github.com/attestd/attestd/internal/decision"
)

func refreshOther(w *world) error {
	_, err := w.bundles.Refresh(context.Background(), spiffeid.RequireTrustDomainFromString("partner.org"))
	return err
}

// neg: 172, neg: 173, neg: 174: what is remembered is good for nothing once anything that it was looked
// at with has changed.
func TestWhatIsRememberedEndsWithWhatItRestedOn(t *testing.T) {
	for name, change := range map[string]func(*world){
		"neg: 172 the subject's state": func(w *world) { w.epoch++ },
		"the key is gone": func(w *world) {
			w.source.bundle.RemoveJWTAuthority("k1")
			must(w, w.refresh())
		},
		"the key is another": func(w *world) {
			w.source.bundle.RemoveJWTAuthority("k1")
			must(w, w.source.bundle.AddJWTAuthority("k1", key(w, elliptic.P256()).Public()))
			must(w, w.refresh())
		},
		"neg: 174 the token is over": func(w *world) { w.wait(5 * time.Minute) },
		"neg: 174 it was remembered for long": func(w *world) {
			w.wait(4 * time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *authn.Config) { c.MaxAge = 3 * time.Minute })
			text := w.token(claims())
			w.shows(text)
			if who := w.shows(text); !who.Cached {
				t.Fatalf("not remembered: %+v", who)
			}
			change(w)
			if who := w.shows(text); who.Cached {
				t.Errorf("still remembered: %+v", who)
			}
		})
	}
}

// neg: 174: a bundle that cannot be fetched is used for its time, and then nobody is identified by what
// it said, nor refused for good.
func TestABundleThatIsNotFetchedAgain(t *testing.T) {
	w := newWorld(t, nil)
	c := claims()
	c["exp"] = start.Add(24 * time.Hour).Unix()
	text := w.token(c)
	w.source.err = errGone
	if err := w.refresh(); err == nil {
		t.Fatal("fetched")
	}
	if who := w.shows(text); who.Fault != "" {
		t.Errorf("within its time: %+v", who)
	}
	w.wait(2 * time.Hour)
	if who := w.shows(text); who.Fault != decision.CodeBundleUnavailable || who.Cached {
		t.Errorf("after its time: %+v", who)
	}
	w.source.err = nil
	must(t, w.refresh())
	if who := w.shows(text); who.Fault != "" {
		t.Errorf("after it was fetched: %+v", who)
	}
}

func TestBundlesThatAreNotTaken(t *testing.T) {
	w := newWorld(t, nil)
	text := w.token(claims())
	good := w.source.bundle
	older := good.Clone()
	older.SetSequenceNumber(6)
	older.RemoveJWTAuthority("k1")
	must(t, older.AddJWTAuthority("k0", key(t, elliptic.P256()).Public()))
	w.source.bundle = older
	if err := w.refresh(); err == nil {
		t.Error("an older bundle was taken")
	}
	w.source.bundle = w.bundle("partner.org")
	if err := w.refresh(); err == nil {
		t.Error("another trust domain's bundle was taken")
	}
	empty := good.Clone()
	empty.SetSequenceNumber(9)
	empty.SetJWTAuthorities(nil)
	empty.SetX509Authorities(nil)
	w.source.bundle = empty
	if err := w.refresh(); err == nil {
		t.Error("a bundle without keys was taken")
	}
	if who := w.shows(text); who.Fault != "" {
		t.Errorf("with the bundle before: %+v", who)
	}
}

// neg: 174: a bad signature is remembered, and not beyond the bundle that it was bad under.
func TestABadSignatureIsBadUnderOneBundle(t *testing.T) {
	w := newWorld(t, nil)
	text := w.token(claims())
	good := w.source.bundle.Clone()
	w.source.bundle.RemoveJWTAuthority("k1")
	must(t, w.source.bundle.AddJWTAuthority("k1", key(t, elliptic.P256()).Public()))
	must(t, w.refresh())
	for range 2 {
		if who := w.shows(text); who.Fault != decision.CodeUnauthenticated {
			t.Fatalf("got %+v", who)
		}
	}
	good.SetSequenceNumber(8)
	w.source.bundle = good
	must(t, w.refresh())
	if who := w.shows(text); who.Fault != "" {
		t.Errorf("under the right bundle: %+v", who)
	}
}

func TestManyWhoShowOneTokenAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	text := w.token(claims())
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for range 50 {
				if who := w.shows(text); who.Fault != "" || who.ID != workload {
					t.Errorf("got %+v", who)
					return
				}
			}
		})
	}
	for range 100 {
		w.mu.Lock()
		w.epoch++
		w.mu.Unlock()
	}
	all.Wait()
}

// neg: 173: credentials that differ in anything are remembered apart.
func TestCredentialsAreRememberedApart(t *testing.T) {
	w := newWorld(t, nil)
	first := w.token(claims())
	c := claims()
	c["sub"] = "spiffe://example.org/agent/other"
	second := w.token(c)
	leaf := w.svid(nil)
	for range 2 {
		if w.shows(first).ID != workload || w.shows(second).ID != "spiffe://example.org/agent/other" {
			t.Error("one was taken for the other")
		}
		who := w.identify(decision.Credential{Chain: []*x509.Certificate{leaf}})
		if who.Fault != "" || who.Method != decision.MethodX509 {
			t.Errorf("the certificate: %+v", who)
		}
	}
	both := decision.Credential{Token: first, Chain: []*x509.Certificate{leaf}}
	if who := w.identify(both); who.Fault != decision.CodeUnauthenticated {
		t.Errorf("both at once: %+v", who)
	}
	if who := w.identify(decision.Credential{}); who.Fault != decision.CodeUnauthenticated {
		t.Errorf("none: %+v", who)
	}
}

// What a known token costs is one digest and two looks; what it allocates is counted.
func TestWhatAKnownTokenCosts(t *testing.T) {
	w := newWorld(t, nil)
	credential := decision.Credential{Token: w.token(claims())}
	w.identify(credential)
	ctx := context.Background()
	epochs := w.epochs
	if n := testing.AllocsPerRun(100, func() {
		w.authn.Identify(ctx, credential, start, epochs)
	}); n > 1 {
		t.Errorf("%v allocations, want at most 1", n)
	}
}
