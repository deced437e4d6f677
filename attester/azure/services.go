package azure

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// DefaultMetadata is where Azure's hosts answer their guests.
const DefaultMetadata = "http://169.254.169.254"

// Paths of the host's services.
const (
	quotePath       = "/acc/tdquote"
	certificatePath = "/metadata/THIM/amd/certification"
)

const (
	// maxAnswer bounds an answer in bytes: a quote has 5,000 in base64, three certificates 7,000.
	maxAnswer = 256 << 10
	// perTry and tries bound how long a service may take: it is on this host.
	perTry = 15 * time.Second
	tries  = 4
)

// services are the host's.
type services struct {
	base   string
	client *http.Client
	// wait is what passes before the second try; it doubles.
	wait time.Duration
}

func newServices(base string) (services, error) {
	if base == "" {
		base = DefaultMetadata
	}
	at, err := url.Parse(base)
	if err != nil || at.Scheme != "http" || at.Host == "" || at.User != nil || at.RawQuery != "" ||
		strings.Trim(at.Path, "/") != "" {
		return services{}, refuse("give it like "+DefaultMetadata,
			fmt.Errorf("%q is no base of the host's services", attestd.Excerpt(base, 100)))
	}
	return services{
		base: "http://" + at.Host, wait: 250 * time.Millisecond,
		client: &http.Client{
			Timeout: perTry,
			// No proxy: what the host says to this guest must not be asked of another machine.
			Transport: &http.Transport{
				DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, DisableKeepAlives: true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// quote asks for a quote over a TDREPORT.
func (s services) quote(ctx context.Context, report []byte) ([]byte, error) {
	ask, err := json.Marshal(map[string]string{"report": base64.RawURLEncoding.EncodeToString(report)})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Quote string `json:"quote"`
	}
	if err := s.call(ctx, http.MethodPost, quotePath, ask, &answer); err != nil {
		return nil, fmt.Errorf("quote of the host's service: %w", err)
	}
	quote, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(answer.Quote, "="))
	if err != nil || len(quote) == 0 {
		return nil, errors.New("quote of the host's service: it is not in base64, or empty")
	}
	return quote, nil
}

// certificates asks for the certificates of the chip's key.
func (s services) certificates(ctx context.Context) ([][]byte, error) {
	var answer struct {
		Own   string `json:"vcekCert"`
		Chain string `json:"certificateChain"`
	}
	if err := s.call(ctx, http.MethodGet, certificatePath, nil, &answer); err != nil {
		return nil, err
	}
	var out [][]byte
	for rest := []byte(answer.Own + "\n" + answer.Chain); len(bytes.TrimSpace(rest)) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, errors.New("its answer holds something that is not a certificate")
		}
		out = append(out, block.Bytes)
	}
	if len(out) == 0 {
		return nil, errors.New("its answer holds no certificate")
	}
	return out, nil
}

// statusError is an answer with a status other than 200.
type statusError struct {
	status int
	said   string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("status %d: %q", e.status, attestd.Excerpt(e.said, 120))
}

// errUnusable is an answer with status 200 that is not what was asked for.
var errUnusable = errors.New("an answer that is not what was asked for")

// again reports whether the same call may succeed a moment later.
func again(err error) bool {
	var refused *statusError
	if errors.As(err, &refused) {
		return refused.status >= 500 || refused.status == http.StatusTooManyRequests
	}
	return !errors.Is(err, errUnusable)
}

// call asks a service, again where it is overloaded or fails.
func (s services) call(ctx context.Context, method, path string, body []byte, into any) error {
	wait := s.wait
	for try := 1; ; try++ {
		err := s.once(ctx, method, path, body, into)
		switch {
		case err == nil:
			return nil
		case try == tries, ctx.Err() != nil, !again(err):
			return refuse("look whether "+s.base+" answers on this VM: its firewall may be in between", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait *= 2
	}
}

func (s services) once(ctx context.Context, method, path string, body []byte, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, s.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Metadata", "true")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // was only read
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return err
	case len(answer) > maxAnswer:
		return fmt.Errorf("%w: it has more than %d bytes", errUnusable, maxAnswer)
	case response.StatusCode != http.StatusOK:
		return &statusError{response.StatusCode, string(answer)}
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%w: %s", errUnusable, attestd.Excerpt(err.Error(), 120))
	}
	return nil
}
