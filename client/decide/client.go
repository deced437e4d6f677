package decide

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// Options are how a server is asked. The zero Options will do on a unix socket that knows its users.
type Options struct {
	// TLS is for https: roots, and the X509-SVID that this program shows as an enforcement point. Nil is
	// for the system's roots, TLS 1.2 or later and no certificate.
	TLS *tls.Config
	// Token is the bearer token of this program as an enforcement point, where it has one. It is not the
	// credential of anybody whom decisions are about.
	Token string
	// Timeout of one question, the answer read; 0 for 250 ms, which is attestd's deadline and a way.
	Timeout time.Duration
}

const (
	defaultTimeout = 250 * time.Millisecond
	// maxAnswer is the longest answer that is read, in bytes.
	maxAnswer = 1 << 20
	// maxIdle is how many connections wait for the next question.
	maxIdle = 64
)

// Client asks one server. It is safe for concurrent use.
type Client struct {
	named, base, token string
	http               *http.Client
}

// New returns a client of the server at the address: unix:PATH, https://HOST, or http://HOST where the
// host is this machine. It dials nothing.
//
// Errors: a [*attestd.CallerError] of class CONFIG for an address that is none, or that is beyond this
// machine and not encrypted: whoever sits on the way would read credentials and answer instead.
func New(address string, options Options) (*Client, error) {
	if options.Timeout < 0 {
		return nil, config("give a time-out above zero", "time-out is %s", options.Timeout)
	}
	if options.Timeout == 0 {
		options.Timeout = defaultTimeout
	}
	if strings.ContainsAny(options.Token, " \r\n\t") {
		return nil, config("give the token without spaces and line ends", "the token has white space")
	}
	transport := &http.Transport{MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: time.Minute}
	out := &Client{named: address, token: options.Token, http: &http.Client{
		Transport: transport, Timeout: options.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		if path == "" {
			return nil, config("give it like unix:/run/attestd/decisions.sock", "address %q has no path", address)
		}
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
		out.base = "http://localhost"
		return out, nil
	}
	where, err := url.Parse(address)
	switch {
	case err != nil, where.Host == "", where.User != nil, where.RawQuery != "", where.Fragment != "",
		where.Path != "" && where.Path != "/", where.Scheme != "https" && where.Scheme != "http":
		return nil, config("give it like https://decide.example.org or unix:/run/attestd/decisions.sock",
			"%q is not the address of a server", attestd.Excerpt(address, 100))
	case where.Scheme == "http" && !isLoopback(where.Hostname()):
		return nil, config("use https", "%q is beyond this machine and not encrypted",
			attestd.Excerpt(address, 100))
	}
	out.base = where.Scheme + "://" + where.Host
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if options.TLS != nil {
		transport.TLSClientConfig = options.TLS.Clone()
		transport.TLSClientConfig.MinVersion = max(options.TLS.MinVersion, tls.VersionTLS12)
	}
	return out, nil
}

func config(hint, format string, args ...any) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig, Hint: hint, Err: fmt.Errorf(format, args...),
	}
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// Close closes connections that wait for another question.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Error says why there is no decision. The server's words in it are cut, and safe to print.
type Error struct {
	// Status is that of the HTTP answer; 0 where there was none.
	Status int
	// Class is UNAUTHENTICATED or FORBIDDEN where this program is no enforcement point for the question,
	// MALFORMED for a question or an answer that is none, RATE_LIMITED for whatever may pass.
	Class  attestd.Class
	Detail string
	// RetryAfter is how long to wait before the next try, where the server said so; else 0.
	RetryAfter time.Duration
	// Err is the cause where there was no answer, as the context's.
	Err error

	server string
}

// Error names the server and what was wrong.
func (e *Error) Error() string {
	switch {
	case e.Err != nil:
		return fmt.Sprintf("no decision from %q: %v", e.server, e.Err)
	case e.Detail == "":
		return fmt.Sprintf("no decision from %q: status %d", e.server, e.Status)
	default:
		return fmt.Sprintf("no decision from %q: %s", e.server, e.Detail)
	}
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// post sends a question and reads the answer, which has status 200 (AuthZEN 1.0 section 10.1.3: a denial
// has it too).
//
// Errors: an [*Error].
func (c *Client) post(ctx context.Context, path, requestID string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, c.failed(attestd.ClassConfig, 0, "", err)
	}
	request.Header.Set("Content-Type", "application/json")
	if requestID != "" {
		request.Header.Set("X-Request-Id", requestID)
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.unreached(err)
	}
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, c.unreached(err)
	case response.StatusCode != http.StatusOK:
		return nil, c.refused(response, read)
	case len(read) > maxAnswer:
		return nil, c.failed(attestd.ClassMalformed, response.StatusCode,
			fmt.Sprintf("an answer of more than %d bytes", maxAnswer), nil)
	}
	return read, nil
}

func (c *Client) failed(class attestd.Class, status int, detail string, err error) *Error {
	return &Error{
		server: attestd.Excerpt(c.named, 100), Class: class, Status: status,
		Detail: attestd.Excerpt(detail, 300), Err: err,
	}
}

func (c *Client) unreached(err error) *Error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return c.failed(attestd.ClassRateLimited, 0, "", err)
}

// refused reads an answer that is about this program and not about the caller.
func (c *Client) refused(response *http.Response, body []byte) *Error {
	class := attestd.ClassMalformed
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized:
		class = attestd.ClassUnauthenticated
	case status == http.StatusForbidden, status == http.StatusNotFound:
		class = attestd.ClassForbidden
	case status == http.StatusTooManyRequests, status >= http.StatusInternalServerError:
		class = attestd.ClassRateLimited
	}
	out := c.failed(class, response.StatusCode, problemDetail(body), nil)
	// RFC 9110 section 10.2.3; attestd gives no dates.
	if wait, err := strconv.ParseUint(response.Header.Get("Retry-After"), 10, 16); err == nil {
		out.RetryAfter = time.Duration(wait) * time.Second //nolint:gosec // 16 bits
	}
	return out
}
