package collateral

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/attestd/attestd"
)

// Limits of a request.
const (
	requestTime = 30 * time.Second
	dialTime    = 10 * time.Second
	maxHeader   = 16 << 10
	// waitMost caps what a Retry-After can ask for.
	waitMost = time.Hour
)

// errNone says that a service has no such thing.
var errNone = errors.New("the service has no such thing")

// waitError says that the service asks to be left alone for a while.
type waitError struct {
	status int
	after  time.Duration
}

func (e *waitError) Error() string {
	return fmt.Sprintf("the service answered %d and asks to wait %s", e.status, e.after)
}

// client asks services. Everything about it is fixed but where names lead to, which tests replace.
type client struct {
	http *http.Client
	pace time.Duration
	// timeout covers a request from its first byte to its answer's last.
	timeout time.Duration
}

// answer is what a service said.
type answer struct {
	body   []byte
	header http.Header
}

// newClient returns a client that follows no redirect, asks no environment for a proxy, and reads no more than
// it was told to. dial and roots are nil outside of tests; proxy is the operator's, or nil.
func newClient(
	pace time.Duration, proxy *url.URL, roots *x509.CertPool,
	dial func(ctx context.Context, network, address string) (net.Conn, error),
) *client {
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTime}).DialContext
	}
	transport := &http.Transport{
		DialContext: dial, TLSHandshakeTimeout: dialTime, MaxResponseHeaderBytes: maxHeader,
		ResponseHeaderTimeout: requestTime, DisableCompression: true, MaxConnsPerHost: 1,
		IdleConnTimeout: dialTime,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
	}
	if proxy != nil {
		transport.Proxy = http.ProxyURL(proxy)
	}
	return &client{pace: pace, timeout: requestTime, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// get asks for an address that this package made and returns at most limit bytes.
func (c *client) get(ctx context.Context, address string, limit int64) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("User-Agent", "attestd")
	response, err := c.http.Do(request)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) { // it begins with the whole address, chip id and all
			err = wrapped.Err
		}
		return answer{}, fmt.Errorf("ask %s: %s", request.URL.Host, attestd.Excerpt(err.Error(), 160))
	}
	defer func() { _ = response.Body.Close() }()
	switch code := response.StatusCode; {
	case code == http.StatusOK:
	case code == http.StatusNotFound || code == http.StatusBadRequest:
		return answer{}, errNone
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
		return answer{}, &waitError{code, c.retryAfter(response.Header.Get("Retry-After"))}
	case code >= 300 && code < 400:
		return answer{}, fmt.Errorf("the service answered %d, a redirect, which is not followed", code)
	default:
		return answer{}, fmt.Errorf("the service answered %d", code)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err == nil {
		err = ctx.Err() // an answer that ends because we hung up is not a whole one
	}
	switch {
	case err != nil:
		return answer{}, fmt.Errorf("the answer broke off: %s", attestd.Excerpt(err.Error(), 160))
	case int64(len(body)) > limit:
		return answer{}, fmt.Errorf("the answer has more than %d bytes", limit)
	case len(body) == 0:
		return answer{}, errors.New("the answer is empty")
	}
	return answer{body, response.Header}, nil
}

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3), never less than the pace and never more
// than waitMost: an answer must not switch the fetcher off.
func (c *client) retryAfter(value string) time.Duration {
	after := time.Minute
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		after = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		after = time.Until(at)
	}
	return min(max(after, c.pace), waitMost)
}
