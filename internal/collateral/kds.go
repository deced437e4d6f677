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

// kdsHost is AMD's key distribution service (AMD 57230, chapter 4). There is no other: no configuration, no
// environment and no evidence names one.
const kdsHost = "kdsintf.amd.com"

// Limits of a request.
const (
	requestTime = 30 * time.Second
	dialTime    = 10 * time.Second
	maxHeader   = 16 << 10
	maxChain    = 64 << 10
	// waitMost caps what a Retry-After can ask for.
	waitMost = time.Hour
)

// listPath, chainPath and machinePath format what is asked from a closed list of names, hex and numbers.
func listPath(line string) (string, error) {
	if knownLine(line) == "" {
		return "", fmt.Errorf("no product line %q", attestd.Excerpt(line, 20))
	}
	return "/vcek/v1/" + knownLine(line) + "/crl", nil
}

func chainPath(kind Kind, line string) (string, error) {
	if knownLine(line) == "" || kind != VCEK && kind != VLEK {
		return "", fmt.Errorf("no chain of %q", attestd.Excerpt(line, 20))
	}
	return "/" + string(kind) + "/v1/" + knownLine(line) + "/cert_chain", nil
}

func machinePath(machine Machine) (string, error) {
	if err := machine.check(); err != nil {
		return "", err
	}
	if machine.Kind != VCEK {
		return "", errors.New("AMD gives VLEKs to cloud providers alone")
	}
	level := machine.Levels
	query := fmt.Sprintf("blSPL=%02d&teeSPL=%02d&snpSPL=%02d&ucodeSPL=%02d", level[1], level[2], level[3],
		level[4])
	if machine.Line == lineTurin {
		query = fmt.Sprintf("fmcSPL=%02d&", level[0]) + query
	}
	return "/vcek/v1/" + knownLine(machine.Line) + "/" + machine.Chip + "?" + query, nil
}

// errNone says that the service has no such thing.
var errNone = errors.New("AMD's key distribution service has no such certificate")

// waitError says that the service asks to be left alone for a while.
type waitError struct {
	status int
	after  time.Duration
}

func (e *waitError) Error() string {
	return fmt.Sprintf("the service answered %d and asks to wait %s", e.status, e.after)
}

// kds asks the service. Everything about it is fixed but where the name leads to, which tests replace.
type kds struct {
	client *http.Client
	pace   time.Duration
	// timeout covers a request from its first byte to its answer's last.
	timeout time.Duration
}

// newKDS returns a client that follows no redirect, asks no environment for a proxy, and reads no more than
// it was told to. dial and roots are nil outside of tests; proxy is the operator's, or nil.
func newKDS(
	pace time.Duration, proxy *url.URL, roots *x509.CertPool,
	dial func(ctx context.Context, network, address string) (net.Conn, error),
) *kds {
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
	return &kds{pace: pace, timeout: requestTime, client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// get asks for a path of this file's and returns at most limit bytes.
func (k *kds) get(ctx context.Context, path string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+kdsHost+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "attestd")
	response, err := k.client.Do(request)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) { // it begins with the whole address, chip id and all
			err = wrapped.Err
		}
		return nil, fmt.Errorf("ask %s: %s", kdsHost, attestd.Excerpt(err.Error(), 160))
	}
	defer func() { _ = response.Body.Close() }()
	switch code := response.StatusCode; {
	case code == http.StatusOK:
	case code == http.StatusNotFound || code == http.StatusBadRequest:
		return nil, errNone
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
		return nil, &waitError{code, k.retryAfter(response.Header.Get("Retry-After"))}
	case code >= 300 && code < 400:
		return nil, fmt.Errorf("the service answered %d, a redirect, which is not followed", code)
	default:
		return nil, fmt.Errorf("the service answered %d", code)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err == nil {
		err = ctx.Err() // an answer that ends because we hung up is not a whole one
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("the answer broke off: %s", attestd.Excerpt(err.Error(), 160))
	case int64(len(body)) > limit:
		return nil, fmt.Errorf("the answer has more than %d bytes", limit)
	case len(body) == 0:
		return nil, errors.New("the answer is empty")
	}
	return body, nil
}

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3), never less than the pace and never more
// than waitMost: an answer must not switch the fetcher off.
func (k *kds) retryAfter(value string) time.Duration {
	after := time.Minute
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		after = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		after = time.Until(at)
	}
	return min(max(after, k.pace), waitMost)
}
