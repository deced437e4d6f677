package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// Options are how a server is asked. The zero Options will do.
type Options struct {
	// TLS is for https; nil for the system's roots, TLS 1.2 or later and no certificate of ours.
	TLS *tls.Config
	// Tenant that is asked for; empty for the server's "default".
	Tenant string
	// Timeout of one request, the answer read; 0 for 30 s. A context can end it sooner.
	Timeout time.Duration
}

const (
	defaultTimeout = 30 * time.Second
	// maxAnswer is the longest answer that is read, in bytes. A verdict with a large event log's facts
	// has some 100 KiB.
	maxAnswer = 4 << 20
)

// Client asks one server. It is safe for concurrent use.
type Client struct {
	named, base, tenant string
	http                *http.Client
}

// New returns a client of the server at the address: unix:PATH, https://HOST, or http://HOST where the
// host is this machine. It dials nothing.
//
// Errors: a [*attestd.CallerError] of class CONFIG for an address that is none, or that is beyond this
// machine and not encrypted: whoever sits on the way would choose the challenge.
func New(address string, options Options) (*Client, error) {
	if options.Timeout < 0 {
		return nil, config("give a time-out above zero", "time-out is %s", options.Timeout)
	}
	if options.Timeout == 0 {
		options.Timeout = defaultTimeout
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 16}
	out := &Client{named: address, tenant: options.Tenant, http: &http.Client{
		Transport: transport, Timeout: options.Timeout,
		// A verifier does not move: evidence that follows a redirect goes to whom nobody named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		if path == "" {
			return nil, config("give it like unix:/run/attestd/attestd.sock", "address %q has no path", address)
		}
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
		out.base = "http://localhost"
		return out, nil
	}
	const hint = "give it like https://verifier.example.org, http://127.0.0.1:8421 or unix:/run/attestd.sock"
	where, err := url.Parse(address)
	switch {
	case err != nil, where.Host == "", where.User != nil, where.RawQuery != "", where.Fragment != "",
		where.Path != "" && where.Path != "/", where.Scheme != "https" && where.Scheme != "http":
		return nil, config(hint, "%q is not the address of a verifier", attestd.Excerpt(address, 100))
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

// Close closes connections that wait for another request.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Media types of answers.
const (
	mediaJSON    = "application/json"
	mediaProblem = "application/problem+json"
)

// answer is one of the server's, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (c *Client) get(ctx context.Context, path string, query url.Values) (answer, error) {
	if len(query) != 0 {
		path += "?" + query.Encode()
	}
	return c.do(ctx, http.MethodGet, path, nil)
}

func (c *Client) post(ctx context.Context, path string, body any) (answer, error) {
	document, err := json.Marshal(body)
	if err != nil {
		return answer{}, fmt.Errorf("ask the verifier: %w", err)
	}
	return c.do(ctx, http.MethodPost, path, document)
}

// do sends a request and reads the answer.
//
// Errors: an [*Error] where there is no answer, or one that is too long.
func (c *Client) do(ctx context.Context, method, path string, body []byte) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, config("check the address", "ask the verifier: %w", err)
	}
	if body != nil {
		request.Header.Set("Content-Type", mediaJSON)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return answer{}, c.unreached(err)
	}
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return answer{}, c.unreached(err)
	case len(read) > maxAnswer:
		return answer{}, c.noAttestd(response.StatusCode, fmt.Sprintf("an answer of more than %d bytes", maxAnswer))
	}
	return answer{response.StatusCode, response.Header, read}, nil
}

// into reads the answer of a request that succeeded with that status.
//
// Errors: an [*Error], of the problem or about an answer that no attestd gives.
func (c *Client) into(got answer, status int, document any) error {
	if got.status != status {
		return c.refused(got)
	}
	if err := json.Unmarshal(got.body, document); err != nil {
		return c.noAttestd(got.status, "an answer that cannot be read: "+attestd.Excerpt(err.Error(), 160))
	}
	return nil
}

// Ready returns nil where the server is fit to judge.
//
// Errors: an [*Error].
func (c *Client) Ready(ctx context.Context) error {
	got, err := c.get(ctx, "/readyz", nil)
	if err != nil {
		return err
	}
	var state struct {
		Status string `json:"status"`
	}
	if err := c.into(got, http.StatusOK, &state); err != nil {
		return err
	}
	if state.Status != "ready" {
		return c.noAttestd(got.status, "an answer that says nothing about readiness")
	}
	return nil
}

// IsRejected reports whether err says that evidence was judged and not accepted, for calls that need an
// accepted verdict to give anything.
func IsRejected(err error) bool {
	var refused *Error
	return errors.As(err, &refused) && refused.Appraisal != nil &&
		refused.Appraisal.Verdict == attestd.VerdictRejected
}
