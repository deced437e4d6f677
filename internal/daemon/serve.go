package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/api"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/service"
)

func (p *parts) serve(ctx context.Context, options Options) error {
	settings := options.Config
	svids, err := p.svids(settings)
	if err != nil {
		return err
	}
	handler, err := api.New(api.Config{
		Metrics: p.metrics, Conditions: p.health.set, SVIDs: svids,
		Results: p.results, Veraison: settings.Verify.Veraison, Version: options.Version,
		Service: p.service, KeySet: p.keys, Logger: options.Logger, Specs: p.specs,
		Limits: api.Limits{
			JSONBody: settings.Limits.JSONBody, RawBody: settings.Limits.RawBody,
			AllBodies: int64(settings.Limits.AllBodies),
		},
	})
	if err != nil {
		return err
	}
	servers, bound, err := p.listen(options, watched(handler))
	if err != nil {
		return err
	}
	questions, calls, err := p.serveDecisions(options, &bound)
	if err != nil {
		for _, one := range servers {
			_ = one.listener.Close()
		}
		return err
	}
	servers = append(servers, questions...)
	var work background
	defer work.stop()
	work.start(ctx, slices.Concat(p.work(options.Logger), p.runSPIRE(options), p.decisions.run(options.Logger), []func(context.Context){
		p.followCollateral, func(ctx context.Context) { runFetcher(ctx, options) },
		func(ctx context.Context) { p.rotateKeys(ctx, settings.Results.Rotate, options.Logger) },
	})...)
	p.engine.Trigger() // policies may have changed while nobody served
	failed := make(chan error, len(servers)+len(calls))
	for _, one := range servers {
		go func() { failed <- one.http.Serve(one.listener) }()
	}
	for _, one := range calls {
		go func() { failed <- one.grpc.Serve(one.listener) }()
	}
	options.Logger.Info("serving", "url", bound.URL, "socket", bound.Socket, "admin", bound.Admin,
		"trust_domain", settings.TrustDomain)
	if options.Ready != nil {
		options.Ready(bound)
	}
	err = p.wait(ctx, failed, options)
	for _, one := range calls {
		one.stop(settings.Limits.ShutdownTimeout)
	}
	return errors.Join(err, stop(ctx, servers, settings, options.Logger))
}

// work is what runs beside the requests.
func (p *parts) work(logger *slog.Logger) []func(context.Context) {
	return []func(context.Context){
		p.health.run, p.health.runLog, p.keeper.Run, p.engine.Run,
		p.sweepQueue(logger),
		func(ctx context.Context) { p.log.Run(ctx, checkpointEvery, p.health.sign) },
		func(ctx context.Context) {
			if err := p.authority.Run(ctx); err != nil {
				logger.ErrorContext(ctx, "holds and deadlines are no longer looked after",
					"err", attestd.Excerpt(err.Error(), 400))
			}
		},
	}
}

// wait returns when a listener failed or ctx ended, and meanwhile reads policies anew when asked to.
func (p *parts) wait(ctx context.Context, failed <-chan error, options Options) error {
	for {
		select {
		case err := <-failed:
			return fmt.Errorf("listener: %w", err)
		case <-ctx.Done():
			return nil
		case <-options.Reload:
			p.reload(ctx, options)
		}
	}
}

// reload puts the policies and reference values of the files in force, or leaves those that are. What
// was judged by the ones before is judged again.
func (p *parts) reload(ctx context.Context, options Options) {
	read, err := readDocuments(options.Config.Verify)
	if err == nil {
		err = p.replace(ctx, func(documents *service.Documents) error {
			documents.Policy, documents.Recorded = read.policy, read.recorded
			documents.Tenants, documents.References = read.tenants, read.references
			return nil
		})
	}
	if err == nil {
		err = p.reloadWorkloads(options)
	}
	if err == nil {
		err = p.decisions.reload()
	}
	p.health.reloaded(ctx, err)
	if err != nil {
		options.Logger.ErrorContext(ctx, "policies were not replaced; those before stay in force",
			"err", attestd.Excerpt(err.Error(), 1000))
		return
	}
	options.Logger.InfoContext(ctx, "policies were read", "policy", p.service.Policies()[0])
	p.engine.Trigger()
}

// stop lets running requests finish within their time and cuts off the rest.
func stop(ctx context.Context, servers []server, settings config.Config, logger *slog.Logger) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), settings.Limits.ShutdownTimeout)
	defer cancel()
	errs := make([]error, len(servers))
	var stopping sync.WaitGroup
	for i, one := range servers {
		stopping.Go(func() {
			errs[i] = one.http.Shutdown(limited)
			if errors.Is(errs[i], context.DeadlineExceeded) {
				logger.Warn("requests were cut off", "after", settings.Limits.ShutdownTimeout)
				errs[i] = one.http.Close()
			}
		})
	}
	stopping.Wait()
	logger.Info("stopped")
	return errors.Join(errs...)
}

func newServer(limits config.Limits, handler http.Handler, logger *slog.Logger) *http.Server {
	// HTTP/1.1 alone: callers send one request at a time, and what HTTP/2 adds here is rapid reset,
	// CONTINUATION floods and a second parser.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler: handler, Protocols: &protocols, ConnContext: remember,
		ReadHeaderTimeout: limits.ReadHeaderTimeout, ReadTimeout: limits.ReadTimeout,
		WriteTimeout: limits.WriteTimeout, IdleTimeout: limits.IdleTimeout,
		MaxHeaderBytes: limits.HeaderBytes, DisableGeneralOptionsHandler: true,
		ErrorLog: log.New(lineLogger{logger}, "", 0),
	}
}

// lineLogger takes the lines that net/http writes, which can quote what a caller sent.
type lineLogger struct{ logger *slog.Logger }

// Write implements [io.Writer].
func (l lineLogger) Write(line []byte) (int, error) {
	l.logger.Debug("http server", "err", attestd.Excerpt(string(line), 200))
	return len(line), nil
}

// server is one listener with what answers there.
type server struct {
	listener net.Listener
	http     *http.Server
}

// listen opens every listener. The unix socket answers everybody and, those who have the token, as
// operators; the public address nobody as an operator; the operators' address nobody else.
func (p *parts) listen(options Options, public http.Handler) (servers []server, bound Bound, err error) {
	settings := options.Config
	defer func() {
		if err != nil {
			for _, one := range servers {
				_ = one.listener.Close()
			}
		}
	}()
	operators := watched(p.admin.handler)
	add := func(listener net.Listener, secure *tls.Config, handler http.Handler) {
		var limited net.Listener = limitConnections(listener, settings.Limits.Connections)
		if secure != nil {
			limited = tls.NewListener(limited, secure)
		}
		servers = append(servers, server{limited, newServer(settings.Limits, handler, options.Logger)})
	}
	if path := settings.SocketPath(); path != config.Off {
		listener, err := listenUnix(path)
		if err != nil {
			return servers, Bound{}, fmt.Errorf("listen.unix: %w", err)
		}
		bound.Socket = path
		add(listener, nil, either(operators, public))
	}
	if settings.Listen.HTTP != config.Off {
		secure, err := newTLS(settings.Listen.TLS)
		if err != nil {
			return servers, Bound{}, unfit(fmt.Errorf("listen.tls: %w", err), "look at the files of listen.tls")
		}
		listener, err := net.Listen("tcp", settings.Listen.HTTP)
		if err != nil {
			return servers, Bound{}, fmt.Errorf("listen.http: %w", err)
		}
		bound.URL = "http://" + listener.Addr().String()
		if secure != nil {
			bound.URL = "https://" + listener.Addr().String()
		}
		add(listener, secure, public)
	}
	if p.admin.tls != nil {
		listener, err := net.Listen("tcp", settings.Admin.HTTP)
		if err != nil {
			return servers, Bound{}, fmt.Errorf("admin.http: %w", err)
		}
		bound.Admin = "https://" + listener.Addr().String()
		add(listener, p.admin.tls, operators)
	}
	return servers, bound, nil
}

// newTLS returns the TLS configuration of the HTTP listener; nil where there is none.
func newTLS(settings config.TLS) (*tls.Config, error) {
	if !settings.Enabled() {
		return nil, nil //nolint:nilnil // no TLS is an answer; check has demanded loopback then
	}
	info, err := os.Stat(settings.Key)
	if err != nil {
		return nil, err
	}
	if open := info.Mode().Perm() & 0o077; open != 0 {
		return nil, fmt.Errorf("key file has mode %04o, want 0600", info.Mode().Perm())
	}
	certificate, err := tls.LoadX509KeyPair(settings.Certificate, settings.Key)
	if err != nil {
		return nil, err
	}
	secure := &tls.Config{
		Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
	}
	if settings.ClientCA == "" {
		return secure, nil
	}
	clients, err := readCertificates(settings.ClientCA)
	if err != nil {
		return nil, err
	}
	secure.ClientCAs = x509.NewCertPool()
	for _, client := range clients {
		secure.ClientCAs.AddCert(client)
	}
	secure.ClientAuth = tls.RequireAndVerifyClientCert
	// A resumed session keeps the identity of a certificate whose CA was removed since.
	secure.SessionTicketsDisabled = true
	return secure, nil
}
