package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/attestd/attestd"
)

func refuse(class attestd.Class, hint, format string, args ...any) error {
	return &attestd.CallerError{Class: class, Hint: hint, Err: fmt.Errorf(format, args...)}
}

// shown cuts an address or a path to what fits a message.
func shown(text string) string { return attestd.Excerpt(text, 200) }

// readFile reads a small file whole.
func readFile(what, path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fileTrouble(what, path, err)
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err != nil {
		return nil, fileTrouble(what, path, err)
	}
	if int64(len(data)) > most {
		return nil, refuse(attestd.ClassTooLarge, "check that this is the right file",
			"%s %q has more than %d bytes", what, shown(path), most)
	}
	return data, nil
}

func fileTrouble(what, path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist) && what == "token":
		return refuse(attestd.ClassUnauthenticated, "attestd serve writes it beside its socket; name "+
			"another with --token-file, or log in over https: attestd login --help",
			"token %q does not exist", shown(path))
	case errors.Is(err, fs.ErrNotExist):
		return refuse(attestd.ClassUnauthenticated,
			"log in first: attestd login --server https://HOST:PORT --token-file FILE",
			"%s %q does not exist", what, shown(path))
	case errors.Is(err, fs.ErrPermission):
		return refuse(attestd.ClassUnauthenticated,
			"run as attestd's user or as root (sudo), or log in as yourself: attestd login --help",
			"%s %q may not be read by this user", what, shown(path))
	}
	var withPath *fs.PathError
	if errors.As(err, &withPath) {
		err = withPath.Err
	}
	return refuse(attestd.ClassUnauthenticated, "check that the path names a readable file",
		"%s %q: %w", what, shown(path), err)
}

// unreached says why there is no answer. sent says that the request changes something and may have
// reached the server.
func (c *Client) unreached(err error, sent bool) error {
	var withURL *url.Error
	if errors.As(err, &withURL) {
		err = withURL.Err
	}
	hint, what := c.cause(err)
	if sent && !beforeSending(err) {
		hint = "it may have been carried out all the same: look before you repeat it (attestd subject " +
			"show, attestd enroll ls, attestd operator ls); then: " + hint
	}
	return refuse(attestd.ClassStoreUnavailable, hint, "no answer from %q: %w", shown(c.named), what)
}

// beforeSending reports whether the connection failed before a request could be on it.
func beforeSending(err error) bool {
	var dial *net.OpError
	return errors.Is(err, fs.ErrNotExist) || errors.As(err, &dial) && dial.Op == "dial" || asTLS(err) != ""
}

// cause names what is behind a failed connection, and what to do about it.
func (c *Client) cause(err error) (hint string, what error) {
	var unknownHost *net.DNSError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "see whether it runs (systemctl status attestd) and where listen.unix is; name another with " +
			"--server or ATTESTD_SERVER", errors.New("there is no such socket")
	case errors.Is(err, fs.ErrPermission):
		return "run as attestd's user, one of its group, or as root (sudo); or log in over https",
			errors.New("this user may not use the socket")
	case errors.Is(err, syscall.ECONNREFUSED) && c.unix:
		return "attestd stopped or was killed: systemctl status attestd, journalctl -u attestd -n 50",
			errors.New("nothing listens on the socket")
	case errors.Is(err, syscall.ECONNREFUSED):
		return "check the port against admin.http of the configuration, and on that machine: systemctl " +
			"status attestd", errors.New("nothing listens there")
	case errors.As(err, &unknownHost):
		return "check the name, or give the IP address",
			fmt.Errorf("the name %q is not known", shown(unknownHost.Name))
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		isTimeout(err):
		return "check the way there (firewall, proxy) and the server: attestd doctor on that machine; " +
			"--timeout gives it longer", errors.New("it took too long")
	}
	if hint := asTLS(err); hint != "" {
		return hint, err
	}
	return "check that attestd runs: attestd doctor on that machine", err
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// asTLS returns the hint for a handshake that failed; empty for other errors.
func asTLS(err error) string {
	var (
		unknown *tls.CertificateVerificationError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
		alert   tls.AlertError
	)
	switch {
	case errors.As(err, &name):
		return "ask for it by a name that it has, or add this one to admin.names of its configuration"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "check the clocks of both machines; a running attestd renews its certificate by itself"
	case errors.As(err, &unknown), errors.Is(err, errOtherAuthority):
		return "this is not the attestd of your identity, or it has a new authority: if that is meant, " +
			"log in again with a new token: attestd login --help"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "what listens there does not speak TLS: check the port against admin.http"
	case errors.As(err, &alert), strings.Contains(err.Error(), "remote error: tls:"):
		return "the server does not take your certificate: it was revoked or has expired; ask for a new " +
			"token (attestd operator add NAME) and log in again"
	}
	return ""
}

// problem is a problem document (RFC 9457) as attestd writes it.
type problem struct {
	Class  attestd.Class `json:"class"`
	Detail string        `json:"detail"`
	Hint   string        `json:"hint"`
	ID     string        `json:"id"`
}

// refused turns an answer that is none into an error of the class that the server gave.
func (c *Client) refused(status int, header http.Header, doc []byte) error {
	var said problem
	if err := json.Unmarshal(doc, &said); err != nil || !known(said.Class) {
		class := attestd.ClassMalformed
		if status >= http.StatusInternalServerError || status == http.StatusTooManyRequests {
			class = attestd.ClassStoreUnavailable
		}
		return refuse(class, "check that --server names the admin listener of an attestd of this version",
			"%q answered with status %d and no reason", shown(c.named), status)
	}
	hint := attestd.Excerpt(said.Hint, 400)
	switch {
	case said.Class == attestd.ClassInternal:
		// The server's bug is not this program's: exit code 1 would say so.
		said.Class, hint = attestd.ClassStoreUnavailable, "look for it in the server's log: "+shown(said.ID)
	case hint == "" && said.Class == attestd.ClassUnauthenticated:
		hint = "attestd login --help; on the server's machine sudo does"
	case hint == "" && said.Class == attestd.ClassForbidden:
		hint = "attestd operator whoami says which roles you have; security names operators"
	case hint == "":
		hint = "attestd explain " + string(said.Class)
	}
	if after := header.Get("Retry-After"); after != "" && len(after) <= 4 {
		hint += "; try again in " + attestd.Excerpt(after, 4) + " s"
	}
	return refuse(said.Class, hint, "%s", attestd.Excerpt(said.Detail, 600))
}

// known reports whether the class is one that this program knows: what it does not know it must not
// act upon.
func known(class attestd.Class) bool {
	switch class {
	case attestd.ClassMalformed, attestd.ClassTooLarge, attestd.ClassUnsupported,
		attestd.ClassQuarantined, attestd.ClassRevokedSubject, attestd.ClassPolicyDeny,
		attestd.ClassUnauthenticated, attestd.ClassForbidden, attestd.ClassConflict,
		attestd.ClassConfig, attestd.ClassInternal, attestd.ClassKeyProperties:
		return true
	}
	return class.Undecided()
}
