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

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/api"
	"github.com/attestd/attestd/internal/config"
)

func (p *parts) serve(ctx context.Context, options Options) error {
	settings := options.Config
	handler, err := api.New(api.Config{
		Service: p.service, KeySet: p.keys, Logger: options.Logger, Specs: p.specs,
		Limits: api.Limits{
			JSONBody: settings.Limits.JSONBody, RawBody: settings.Limits.RawBody,
			AllBodies: int64(settings.Limits.AllBodies),
		},
	})
	if err != nil {
		return err
	}
	listeners, bound, err := listen(settings)
	if err != nil {
		return err
	}
	server := newServer(settings.Limits, watched(handler), options.Logger)
	failed := make(chan error, len(listeners))
	for _, listener := range listeners {
		go func() { failed <- server.Serve(listener) }()
	}
	options.Logger.Info("serving", "url", bound.URL, "socket", bound.Socket,
		"trust_domain", settings.TrustDomain)
	if options.Ready != nil {
		options.Ready(bound)
	}
	select {
	case err = <-failed:
		err = fmt.Errorf("listener: %w", err)
	case <-ctx.Done():
	}
	return errors.Join(err, stop(ctx, server, settings, options.Logger))
}

// stop lets running requests finish within their time and cuts off the rest.
func stop(ctx context.Context, server *http.Server, settings config.Config, logger *slog.Logger) error {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), settings.Limits.ShutdownTimeout)
	defer cancel()
	err := server.Shutdown(limited)
	if errors.Is(err, context.DeadlineExceeded) {
		logger.Warn("requests were cut off", "after", settings.Limits.ShutdownTimeout)
		err = server.Close()
	}
	logger.Info("stopped")
	return err
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

func listen(settings config.Config) (listeners []net.Listener, bound Bound, err error) {
	defer func() {
		if err != nil {
			for _, listener := range listeners {
				_ = listener.Close()
			}
		}
	}()
	if path := settings.SocketPath(); path != config.Off {
		listener, err := listenUnix(path)
		if err != nil {
			return listeners, Bound{}, fmt.Errorf("listen.unix: %w", err)
		}
		listeners = append(listeners, limitConnections(listener, settings.Limits.Connections))
		bound.Socket = path
	}
	if settings.Listen.HTTP == config.Off {
		return listeners, bound, nil
	}
	secure, err := newTLS(settings.Listen.TLS)
	if err != nil {
		return listeners, Bound{}, unfit(fmt.Errorf("listen.tls: %w", err), "look at the files of listen.tls")
	}
	listener, err := net.Listen("tcp", settings.Listen.HTTP)
	if err != nil {
		return listeners, Bound{}, fmt.Errorf("listen.http: %w", err)
	}
	bound.URL = "http://" + listener.Addr().String()
	var limited net.Listener = limitConnections(listener, settings.Limits.Connections)
	if secure != nil {
		bound.URL = "https://" + listener.Addr().String()
		limited = tls.NewListener(limited, secure)
	}
	return append(listeners, limited), bound, nil
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
