package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/authn"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/authzen"
	"github.com/attestd/attestd/internal/decision/enforcer"
	"github.com/attestd/attestd/internal/decision/export"
	"github.com/attestd/attestd/internal/decision/extauthz"
	"github.com/attestd/attestd/internal/decision/forward"
	"github.com/attestd/attestd/internal/decision/introspect"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/decision/pager"
	"github.com/attestd/attestd/internal/decision/signals"
	"github.com/attestd/attestd/internal/decision/watch"
	"github.com/attestd/attestd/internal/keys"
	"github.com/attestd/attestd/internal/problem"
)

// Sizes of what decisions remember.
const (
	// rememberedCredentials takes some 100 MiB where it is full.
	rememberedCredentials = 1 << 17
	rememberedCallers     = 1 << 20
	credentialAge         = 10 * time.Minute
	// bundleAge is how long a bundle is used that cannot be fetched any more.
	bundleAge = time.Hour
	// atOnce is how many questions of Envoys are looked at at a time.
	atOnce = 1024
	// recordsReserve is what records leave of the disk to holds and the registry.
	recordsReserve = 256 << 20
	pageBackoff    = time.Second
	// decisionHeader is the least room for headers: proxies send certificates in one.
	decisionHeader = 64 << 10
	// pageKeysPath is where those who are paged find the keys that pages are signed by. They are public.
	pageKeysPath = "/v1/pages/jwks.json"
)

// decisions are how callers are decided about; the zero value decides about nobody.
type decisions struct {
	engine   *decision.Engine
	bundles  *authn.Bundles
	book     *enforcer.Book
	policies *policies
	journal  *journal.Journal
	export   *export.Exporter
	replayer *journal.Replayer
	watch    *watch.Watch
	spikes   *watch.Spikes
	pager    *pager.Pager
	ring     *keys.Ring
	web      http.Handler
	envoy    *extauthz.Server
	tls      *tls.Config
}

// addDecisions makes what decides, from what identities are issued by.
func (p *parts) addDecisions(ctx context.Context, options Options) error {
	settings := options.Config
	if !settings.Decisions.Enabled() {
		return nil
	}
	d, o := &p.decisions, settings.Decisions
	var err error
	if d.bundles, err = openBundles(o, p.store.Now, options.Logger); err != nil {
		return err
	}
	identifier, err := authn.New(authn.Config{
		Bundles: d.bundles, Audiences: o.Audiences, Leeway: o.Leeway, MaxAge: credentialAge,
		Entries: rememberedCredentials,
	})
	if err != nil {
		return err
	}
	office := p.spire.office
	d.book, err = enforcer.New(enforcer.Config{
		Path: o.Enforcers, Identifier: identifier, Standings: office, LookupUser: lookupUser, Now: p.store.Now,
	})
	if err != nil {
		return err
	}
	if err := p.openRecords(ctx, options); err != nil {
		return err
	}
	if d.policies, err = openPolicies(o.Policies, d.journal); err != nil {
		return err
	}
	desk, err := p.addRisk(ctx, options)
	if err != nil {
		return err
	}
	d.engine, err = decision.NewEngine(decision.Config{
		Identifier: identifier, Standings: office, Records: p.inventory, Watch: d.watch, Policies: d.policies,
		Journal: d.journal, Spike: d.spikes.Spike, Deadline: o.Deadline, Now: p.store.Now,
		Rules: decision.Rules{
			Fresh: o.Fresh, FreshPrivileged: o.FreshPrivileged, MaxChain: o.MaxChain,
		},
		Registerer: p.metrics, Logger: options.Logger,
	})
	if err != nil {
		return err
	}
	if err := p.countDecisions(); err != nil {
		return err
	}
	return p.addFaces(settings, desk, options.Logger)
}

// openBundles opens the bundles of the trust domains whose SVIDs count.
func openBundles(o config.Decisions, now func() time.Time, logger *slog.Logger) (*authn.Bundles, error) {
	first := map[string]string{}
	for _, entry := range o.Bootstrap {
		domain, path, _ := strings.Cut(entry, "=")
		first[domain] = path
	}
	sources := map[spiffeid.TrustDomain]authn.Source{}
	for _, entry := range o.Bundles {
		domain, text, _ := strings.Cut(entry, "=")
		td, err := spiffeid.TrustDomainFromString(domain)
		if err != nil {
			return nil, unfit(err, "look at decisions.bundles")
		}
		if sources[td], err = authn.ParseSource(td, text, first[domain]); err != nil {
			return nil, err
		}
	}
	return authn.NewBundles(authn.BundlesConfig{
		Sources: sources, MaxAge: bundleAge, Now: now, Logger: logger,
	})
}

// addRisk makes what limits and watches callers, and what follows from what is seen.
func (p *parts) addRisk(ctx context.Context, options Options) (*signals.Desk, error) {
	d, o := &p.decisions, options.Config.Decisions
	var err error
	d.ring, err = keys.Open(ctx, keys.Config{
		Purpose: pager.Purpose, Folder: filepath.Join(options.Config.StateDir, "keys", "page"),
		Withdrawn: filepath.Join(options.Config.StateDir, "keys.withdrawn.page"),
		Lifetime:  pager.Lifetime, Now: p.store.Now,
	})
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, d.ring)
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // no page is sent to anybody then, and each says so
	}
	d.pager, err = pager.New(pager.Config{
		URLs: o.Pages, Signer: d.ring, Roots: roots, Now: p.store.Now, Backoff: pageBackoff,
		Logger: options.Logger,
	})
	if err != nil {
		return nil, err
	}
	d.spikes, err = watch.NewSpikes(watch.SpikesConfig{
		Quarantine: p.authority.Spike, Page: d.pager.Tell, Now: p.store.Now, Logger: options.Logger,
	})
	if err != nil {
		return nil, err
	}
	desk, err := signals.New(signals.Config{
		Store: p.store, Standings: p.spire.office, Fades: p.authority.Fades, Spike: d.spikes.Raise,
		Note: p.keeper.Note, Now: p.store.Now, Bounds: signals.StandardBounds(),
	})
	if err != nil {
		return nil, err
	}
	d.watch, err = watch.New(watch.Config{
		Rate: o.Rate, Burst: o.Burst, Subjects: rememberedCallers, Bounds: watch.StandardBounds(), Sink: desk,
		Logger: options.Logger,
	})
	return desk, err
}

// addFaces makes the interfaces that questions come through.
func (p *parts) addFaces(settings config.Config, desk *signals.Desk, logger *slog.Logger) error {
	d, o := &p.decisions, settings.Decisions
	bodies := &problem.Bodies{Most: int64(settings.Limits.AllBodies), Small: 4 << 10}
	mux := http.NewServeMux()
	questions, err := authzen.New(authzen.Config{
		Decider: d.engine, Enforcers: d.book, URL: decisionURL(o), Deadline: o.Deadline, Bodies: bodies,
		Now: p.store.Now, Log: logger,
	})
	if err != nil {
		return err
	}
	questions.Register(mux)
	proxies, err := forward.New(forward.Config{
		Decider: d.engine, Enforcers: d.book, Deadline: o.Deadline, Now: p.store.Now, Log: logger,
	})
	if err != nil {
		return err
	}
	proxies.Register(mux)
	tokens, err := introspect.New(introspect.Config{
		Introspector: d.engine, Enforcers: d.book, Deadline: o.Deadline, Bodies: bodies, Now: p.store.Now, Log: logger,
	})
	if err != nil {
		return err
	}
	tokens.Register(mux)
	reports, err := signals.NewHandler(desk, d.book)
	if err != nil {
		return err
	}
	mux.Handle(signals.Path, reports)
	mux.HandleFunc("GET "+pageKeysPath, func(w http.ResponseWriter, _ *http.Request) {
		document, age := d.ring.JWKS()
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Header().Set("Cache-Control", "max-age="+strconv.Itoa(int(age.Seconds())))
		_, _ = w.Write(document)
	})
	d.web = mux
	d.envoy, err = extauthz.New(extauthz.Config{
		Decider: d.engine, Enforcers: extauthz.Of(d.book), Deadline: o.Deadline, Most: atOnce, Now: p.store.Now,
		Log: logger,
	})
	if err != nil {
		return err
	}
	secure, err := newTLS(config.TLS{Certificate: o.Certificate, Key: o.Key})
	if err != nil {
		return unfit(fmt.Errorf("decisions.certificate: %w", err), "look at the files of decisions.certificate")
	}
	if secure != nil {
		d.tls = enforcer.TLS(secure)
	}
	return nil
}

// decisionURL is where questions over HTTP are taken, as clients are told.
func decisionURL(o config.Decisions) string {
	switch {
	case o.HTTP == config.Off:
		return "http://localhost" // over the unix socket: the host says nothing
	case o.Certificate != "":
		return "https://" + o.HTTP
	default:
		return "http://" + o.HTTP
	}
}

func lookupUser(name string) (uint32, error) {
	numbers, err := userNumbers([]string{name})
	if err != nil {
		return 0, err
	}
	for _, number := range numbers {
		return number, nil
	}
	return 0, fmt.Errorf("no user %s", attestd.Excerpt(name, 40))
}

// run is what goes on beside the questions.
func (d *decisions) run(logger *slog.Logger) []func(context.Context) {
	if d.engine == nil {
		return nil
	}
	until := func(name string, run func(context.Context) error) func(context.Context) {
		return func(ctx context.Context) {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				logger.ErrorContext(ctx, name, "err", attestd.Excerpt(err.Error(), 400))
			}
		}
	}
	return []func(context.Context){
		d.bundles.Run, d.journal.Run, d.export.Run,
		until("callers are no longer watched", d.watch.Run),
		until("spikes are no longer carried out", d.spikes.Run),
		until("nobody is paged any more", d.pager.Run),
	}
}

// reload reads anew who may ask and what decides. What cannot be read leaves what is in force.
func (d *decisions) reload() error {
	if d.engine == nil {
		return nil
	}
	return errors.Join(d.book.Reload(), d.policies.reload())
}

// serveDecisions opens the listeners of decisions.
func (p *parts) serveDecisions(options Options, bound *Bound) (servers []server, calls []*calls, err error) {
	d, settings := &p.decisions, options.Config
	if d.engine == nil {
		return nil, nil, nil
	}
	defer func() {
		if err != nil {
			for _, one := range servers {
				_ = one.listener.Close()
			}
			for _, one := range calls {
				_ = one.listener.Close()
			}
		}
	}()
	web, envoy := settings.DecisionSockets()
	for _, one := range []struct {
		key, network, address string
		envoy                 bool
	}{
		{"http", "tcp", settings.Decisions.HTTP, false}, {"unix", "unix", web, false},
		{"grpc", "tcp", settings.Decisions.GRPC, true}, {"grpc_unix", "unix", envoy, true},
	} {
		if one.address == config.Off {
			continue
		}
		listener, err := listenFor(one.network, one.address)
		if err != nil {
			return servers, calls, fmt.Errorf("decisions.%s: %w", one.key, err)
		}
		secure := d.tls
		if one.network == "unix" {
			secure = nil
		}
		bound.decisions(one.key, listener, secure != nil)
		if one.envoy {
			calls = append(calls, newCalls(listener, d.envoy.GRPC(grpc.Creds(enforcer.Transport(secure)))))
			continue
		}
		var limited net.Listener = limitConnections(listener, settings.Limits.Connections)
		if secure != nil {
			limited = tls.NewListener(limited, secure)
		}
		web := newServer(settings.Limits, watched(d.web), options.Logger)
		web.MaxHeaderBytes = max(web.MaxHeaderBytes, decisionHeader)
		web.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
			return enforcer.ConnContext(remember(ctx, conn), conn)
		}
		servers = append(servers, server{limited, web})
	}
	return servers, calls, nil
}

func listenFor(network, address string) (net.Listener, error) {
	if network == "unix" {
		return listenUnix(address)
	}
	return net.Listen(network, address)
}

func (b *Bound) decisions(key string, listener net.Listener, secure bool) {
	switch key {
	case "http":
		b.Decisions = "http://" + listener.Addr().String()
		if secure {
			b.Decisions = "https://" + listener.Addr().String()
		}
	case "grpc":
		b.Envoy = listener.Addr().String()
	}
}

// calls is a listener of gRPC.
type calls struct {
	listener net.Listener
	grpc     *grpc.Server
}

func newCalls(listener net.Listener, server *grpc.Server) *calls { return &calls{listener, server} }

// stop lets running calls finish within their time and cuts off the rest.
func (c *calls) stop(within time.Duration) {
	done := make(chan struct{})
	go func() {
		c.grpc.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(within):
		c.grpc.Stop()
		<-done
	}
}
