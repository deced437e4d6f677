package host

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
)

// reportEvery is how often a plugin tells attestd that it runs.
const reportEvery = 10 * time.Second

// Uplink is the part of a server plugin's configuration that says where attestd is. A plugin embeds it
// in its own document, so that its keys stand beside the others.
//
// The certificate is one of attestd's own operators with the role issuer, never an SVID: the composer
// runs before any identity exists.
type Uplink struct {
	// Addresses of attestd, the preferred first: "unix:/path" or "tcp:host:port".
	Addresses []string `hcl:"addresses,required"`
	// Certificate and Key are files in PEM, CA is attestd's own; for tcp addresses, which need all three.
	Certificate string `hcl:"certificate"`
	Key         string `hcl:"key"`
	CA          string `hcl:"ca"`
	// Timeout bounds one question to attestd.
	Timeout time.Duration `hcl:"timeout"`
}

// DefaultUplink is an Uplink where no key is given.
func DefaultUplink() Uplink { return Uplink{Timeout: 2 * time.Second} }

// Check returns what is wrong with the values.
func (u *Uplink) Check() []string {
	var problems []string
	tcp := false
	for index, address := range u.Addresses {
		network, _, err := link.ParseAddress(address)
		if err != nil {
			problems = append(problems, fmt.Sprintf("addresses[%d]: %v", index, err))
		}
		tcp = tcp || network == "tcp"
	}
	for _, file := range []struct{ key, path string }{
		{"certificate", u.Certificate}, {"key", u.Key}, {"ca", u.CA},
	} {
		switch {
		case tcp && file.path == "":
			problems = append(problems, file.key+": is missing, and a tcp address needs it")
		case file.path != "" && !filepath.IsAbs(file.path):
			problems = append(problems, file.key+": want an absolute path")
		}
	}
	if u.Timeout < 10*time.Millisecond || u.Timeout > 30*time.Second {
		problems = append(problems, fmt.Sprintf("timeout: got %s, want 10ms to 30s", u.Timeout))
	}
	return problems
}

// Connect keeps a link to attestd, over which it reports every 10 s that the plugin runs. The certificate
// is read again for each connection, so that a renewed one is used without a restart.
//
// Errors: of certificate files that cannot be used, and of a unix socket that anybody could have made:
// who listens there is taken for attestd.
func (u *Uplink) Connect(env Env, repeat ...string) (*link.Client, func(), error) {
	for index, address := range u.Addresses {
		network, place, err := link.ParseAddress(address)
		if err == nil && network == "unix" {
			err = DemandClosed(filepath.Dir(place))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("addresses[%d]: %w", index, err)
		}
	}
	config := link.ClientConfig{
		Addresses: u.Addresses, Logger: Slog(env.Logger),
		Repeat: append(repeat, wire.MethodReport),
	}
	if u.Certificate != "" {
		if _, err := u.tls(); err != nil {
			return nil, nil, err
		}
		config.TLS = u.tls
	}
	client := link.NewClient(config)
	ctx, cancel := context.WithCancel(context.Background())
	reported := make(chan struct{})
	go func() {
		defer close(reported)
		report(ctx, env, client)
	}()
	return client, func() { cancel(); <-reported; client.Close() }, nil
}

func (u *Uplink) tls() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(u.Certificate, u.Key)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	pem, err := os.ReadFile(u.CA)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("ca: " + u.CA + ": no certificate in PEM")
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS13}, nil
}

// report says at once, and then every so often, that the plugin runs.
func report(ctx context.Context, env Env, client *link.Client) {
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	for {
		call, cancel := context.WithTimeout(ctx, reportEvery)
		err := client.Call(call, wire.MethodReport, wire.PluginReport{
			Plugin: env.Name, PID: os.Getpid(), Version: env.Version, Started: env.Started.UTC(),
			Starts: env.Starts, Counts: env.Counts.All(),
		}, &wire.Empty{})
		cancel()
		if err != nil && ctx.Err() == nil {
			env.Logger.Warn("attestd does not take the plugin's report", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
