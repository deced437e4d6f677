package front

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
)

func (f *Front) listen() error {
	var err error
	if f.config.Unix != Off {
		if f.unix, err = listenUnix(f.config.Unix); err != nil {
			return fmt.Errorf("spire.unix: %w", err)
		}
		f.bound.Unix = f.unix.Addr()
	}
	if f.config.Listen != Off {
		plain, err := net.Listen("tcp", f.config.Listen)
		if err != nil {
			return fmt.Errorf("spire.listen: %w", err)
		}
		f.tcp, f.bound.Listen = tls.NewListener(plain, secure(f.config.TLS)), plain.Addr()
	}
	if f.config.Gate != Off {
		plain, err := net.Listen("tcp", f.config.Gate)
		if err != nil {
			return fmt.Errorf("spire.gate: %w", err)
		}
		f.gate, f.bound.Gate = newCrowd(plain, mostAtGate), plain.Addr()
	}
	return nil
}

// secure returns the TLS configuration of the listener for nodes and remote plugins. Clients show a
// certificate, but TLS does not judge it: there are two CAs, and who is known by which is looked at by
// the two packages that issue them. No CA is named to clients, since one whose certificate is of a CA
// that is not named would send none (RFC 8446, section 4.2.4).
func secure(server *tls.Config) *tls.Config {
	config := server.Clone()
	config.MinVersion, config.SessionTicketsDisabled = tls.VersionTLS13, true
	config.ClientAuth, config.ClientCAs = tls.RequireAnyClientCert, nil
	config.NextProtos = []string{link.ALPN}
	return config
}

// listenUnix listens on a path, in place of a socket that nobody serves any more. Everybody may
// connect: who is there is known by the uid, and strangers are turned away.
func listenUnix(path string) (net.Listener, error) {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != os.ModeSocket:
		return nil, taken(path, "is there and is no socket", "name another path")
	default:
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			_ = conn.Close()
			return nil, taken(path, "is served by somebody already", "stop it, or name another path")
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil { //nolint:gosec // peers are known by their uid
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

func taken(path, what, hint string) error {
	return &attestd.CallerError{Class: attestd.ClassConfig, Hint: hint, Err: fmt.Errorf("%s %s", path, what)}
}
