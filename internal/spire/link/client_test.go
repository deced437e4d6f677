package link_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
)

// serve answers on a listener until the test or stop ends it.
func serve(
	t testing.TB, listener net.Listener, handler link.Handler, limits link.Limits,
	accept ...func(net.Conn) (link.Peer, link.Handler, error),
) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	take := func(conn net.Conn) (link.Peer, link.Handler, error) { return link.PeerOf(conn), handler, nil }
	if len(accept) != 0 {
		take = accept[0]
	}
	go func() { ended <- link.Serve(ctx, listener, take, limits) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Serve does not return")
		}
	})
	t.Cleanup(stop)
	return stop
}

func client(t testing.TB, config link.ClientConfig) *link.Client {
	t.Helper()
	c := link.NewClient(config)
	t.Cleanup(c.Close)
	return c
}

func unix(listener net.Listener) string { return "unix:" + listener.Addr().String() }

func TestAClientFindsTheOneThatAnswers(t *testing.T) {
	first, second := listen(t), listen(t)
	one := func(n int) link.Handler {
		return func(context.Context, link.Peer, string, json.RawMessage) (any, error) { return number{N: n}, nil }
	}
	stop := serve(t, first, one(1), link.Limits{})
	serve(t, second, one(2), link.Limits{})
	c := client(t, link.ClientConfig{Addresses: []string{unix(first), unix(second)}, Repeat: []string{"x"}})
	var got number
	if err := c.Call(soon(t), "x", nil, &got); err != nil || got.N != 1 || !c.Connected() {
		t.Fatal(got, err)
	}
	stop()
	if err := c.Call(soon(t), "x", nil, &got); err != nil || got.N != 2 {
		t.Fatal("no failover:", got, err)
	}
}

// TestOneThatOnlyListensIsPassedOver: a stopped process takes connections, and says nothing.
func TestOneThatOnlyListensIsPassedOver(t *testing.T) {
	silent, second := listen(t), listen(t)
	defer func() { _ = silent.Close() }()
	serve(t, second, echo, link.Limits{})
	c := client(t, link.ClientConfig{Addresses: []string{unix(silent), unix(second)}})
	if err := c.Call(soon(t), "echo", number{N: 1}, nil); err != nil {
		t.Fatal(err)
	}
}

// TestOneThatFallsSilentIsLeft: what was asked of it is undecided, what comes next goes elsewhere.
func TestOneThatFallsSilentIsLeft(t *testing.T) {
	listener := listen(t)
	defer func() { _ = listener.Close() }()
	go func() { // greets, and is stopped then
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			text := `{"method":"link.greeting","body":{"v":1}}`
			_, _ = conn.Write(append([]byte{0, 0, 0, byte(len(text))}, text...))
			defer func() { _ = conn.Close() }()
		}
	}()
	var lost atomic.Int32
	c := client(t, link.ClientConfig{
		Addresses: []string{unix(listener)},
		OnConnect: func(context.Context, *link.Conn) error { lost.Add(1); return nil },
	})
	ctx, cancel := context.WithTimeout(context.Background(), 700*time.Millisecond)
	defer cancel()
	if err := c.Call(ctx, "x", nil, nil); !errors.Is(err, link.ErrUnreached) {
		t.Fatal(err)
	}
	for began := time.Now(); lost.Load() < 2; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			t.Fatal("the silent link is kept")
		}
	}
}

// TestOnlyWhatIsSafeIsAskedAgain: the first answerer dies with each call that it has read.
func TestOnlyWhatIsSafeIsAskedAgain(t *testing.T) {
	for method, want := range map[string]int32{"grant": 2, "node.finish": 1} {
		t.Run(method, func(t *testing.T) {
			listener := listen(t)
			var asked atomic.Int32
			handler := func(ctx context.Context, _ link.Peer, _ string, _ json.RawMessage) (any, error) {
				if asked.Add(1) == 1 {
					conn, _ := link.From(ctx)
					_ = conn.Close()
				}
				return number{N: 7}, nil
			}
			serve(t, listener, handler, link.Limits{})
			c := client(t, link.ClientConfig{Addresses: []string{unix(listener)}, Repeat: []string{"grant"}})
			err := c.Call(soon(t), method, nil, nil)
			if asked.Load() != want || (err == nil) != (want == 2) || err != nil && !errors.Is(err, link.ErrUnreached) {
				t.Errorf("asked %d times, want %d: %v", asked.Load(), want, err)
			}
		})
	}
}

func TestAClientIsBackAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	begin := func() func() {
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return serve(t, listener, echo, link.Limits{})
	}
	stop := begin()
	c := client(t, link.ClientConfig{Addresses: []string{"unix:" + path}})
	for range 3 {
		if err := c.Call(soon(t), "echo", number{N: 1}, nil); err != nil {
			t.Fatal(err)
		}
		stop()
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		err := c.Call(ctx, "echo", number{N: 1}, nil)
		cancel()
		var said *link.Error
		if !errors.As(err, &said) || !said.Class.Undecided() || !errors.Is(err, link.ErrUnreached) {
			t.Fatalf("without attestd: %v", err)
		}
		stop = begin()
	}
}

func TestAConfigurationThatWillNeverDoIsTold(t *testing.T) {
	for name, config := range map[string]link.ClientConfig{
		"no address":          {},
		"no scheme":           {Addresses: []string{"/run/x"}},
		"another scheme":      {Addresses: []string{"http://x"}},
		"a relative path":     {Addresses: []string{"unix:x"}},
		"a path too long":     {Addresses: []string{"unix:/" + strings.Repeat("a", 107)}},
		"no port":             {Addresses: []string{"tcp:example.org"}},
		"tcp without TLS":     {Addresses: []string{"tcp:127.0.0.1:1"}},
		"one good, one wrong": {Addresses: []string{"unix:/x", ""}},
	} {
		c := client(t, config)
		var said *link.Error
		if err := c.Call(soon(t), "x", nil, nil); !errors.As(err, &said) || said.Class != attestd.ClassConfig ||
			said.Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.Notify("x", nil); !errors.As(err, &said) || said.Class != attestd.ClassConfig {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// authority is a CA with certificates of its own for one name.
type authority struct {
	pool *x509.CertPool
	leaf tls.Certificate
}

func newAuthority(t testing.TB, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return authority{pool, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

func TestTCPIsSpokenToOneThatIsTrustedAlone(t *testing.T) {
	ours, others := newAuthority(t, link.ServerName), newAuthority(t, link.ServerName)
	elsewhere := newAuthority(t, "another")
	start := func(by authority, change func(*tls.Config)) string {
		config := &tls.Config{Certificates: []tls.Certificate{by.leaf}, NextProtos: []string{link.ALPN}}
		change(config)
		listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
		if err != nil {
			t.Fatal(err)
		}
		serve(t, listener, echo, link.Limits{})
		return "tcp:" + listener.Addr().String()
	}
	same := func(*tls.Config) {}
	good := start(ours, same)
	trust := func(pool *x509.CertPool) func() (*tls.Config, error) {
		return func() (*tls.Config, error) { return &tls.Config{RootCAs: pool}, nil }
	}
	for name, row := range map[string]struct {
		address string
		tls     func() (*tls.Config, error)
		fine    bool
	}{
		"the one":          {good, trust(ours.pool), true},
		"another CA":       {start(others, same), trust(ours.pool), false},
		"another name":     {start(elsewhere, same), trust(elsewhere.pool), false},
		"TLS 1.2":          {start(ours, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), trust(ours.pool), false},
		"another protocol": {start(ours, func(c *tls.Config) { c.NextProtos = []string{"h2"} }), trust(ours.pool), false},
		"nobody trusted":   {good, trust(nil), false},
		"no configuration": {good, func() (*tls.Config, error) { return nil, nil }, false},
		"no key any more":  {good, func() (*tls.Config, error) { return nil, errors.New("gone") }, false},
		"everybody trusted": {
			good, func() (*tls.Config, error) {
				return &tls.Config{RootCAs: ours.pool, InsecureSkipVerify: true}, nil //nolint:gosec // is refused
			}, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client(t, link.ClientConfig{Addresses: []string{row.address}, TLS: row.tls})
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			if !row.fine {
				ctx, cancel = context.WithTimeout(context.Background(), 200*time.Millisecond)
			}
			defer cancel()
			err := c.Call(ctx, "echo", number{N: 1}, nil)
			if (err == nil) != row.fine {
				t.Error(err)
			}
			// Not the machine's roots: they would do for anybody's certificate of that name.
			if name == "nobody trusted" && !strings.Contains(err.Error(), "does not say whom to trust") {
				t.Error(err)
			}
		})
	}
}

func TestWhoIsTurnedAwayIsToldWhy(t *testing.T) {
	listener := listen(t)
	serve(t, listener, nil, link.Limits{}, func(conn net.Conn) (link.Peer, link.Handler, error) {
		return link.PeerOf(conn), nil, &attestd.CallerError{
			Class: attestd.ClassForbidden, Hint: "x", Err: errors.New("uid 7 is not named"),
		}
	})
	c := client(t, link.ClientConfig{Addresses: []string{unix(listener)}})
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	var said *link.Error
	err := c.Call(ctx, "echo", nil, nil)
	if !errors.As(err, &said) || !said.Class.Undecided() || !strings.Contains(said.Message, "uid 7 is not named") ||
		said.Hint != "x" {
		t.Errorf("got %v; hint %q", err, said.Hint)
	}
}
