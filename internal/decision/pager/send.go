package pager

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/attestd/attestd/internal/keys"
)

// maxAnswer is how much of an answer is read, so that the connection can be used again.
const maxAnswer = 64 << 10

// client asks the configured hosts and nobody else: no proxy of the environment, and no host that
// an answer names.
func (p *Pager) client() *http.Client {
	return &http.Client{
		Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: p.config.Roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: patience, ResponseHeaderTimeout: patience,
			MaxResponseHeaderBytes: 16 << 10, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute,
			ForceAttemptHTTP2: true,
		},
	}
}

// errFinal says that trying again changes nothing.
var errFinal = errors.New("it was refused")

// send signs the page and tries until somebody took it.
func (p *Pager) send(ctx context.Context, client *http.Client, to *url.URL, page Page) error {
	document, err := page.document(to.Path)
	if err != nil {
		return err
	}
	pause := p.config.Backoff
	signature := ""
	for try := 1; ; try++ {
		if signature == "" {
			signature, err = p.sign(ctx, page, document)
		}
		if signature != "" {
			err = post(ctx, client, to, document, signature)
		}
		if err == nil || errors.Is(err, errFinal) || try == tries {
			return err
		}
		// Up to a half more, so that many attestds do not come back at once.
		timer := time.NewTimer(pause + rand.N(pause/2+1)) //nolint:gosec // nothing rests on it
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		pause = min(2*pause, time.Minute)
	}
}

// sign returns the detached JWS over the document (RFC 7515, appendix F).
func (p *Pager) sign(ctx context.Context, page Page, document []byte) (string, error) {
	id, err := uuid.Parse(page.ID)
	if err != nil {
		return "", err
	}
	token, err := p.config.Signer.SignJWT(ctx, typ, document, keys.Signed{
		ID: id, ExpiresAt: p.config.Now().Add(Lifetime),
	})
	if err != nil {
		return "", fmt.Errorf("sign a page: %w", err)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("the signer's answer is no JWS")
	}
	return parts[0] + ".." + parts[2], nil
}

func post(
	ctx context.Context, client *http.Client, to *url.URL, document []byte, signature string,
) error {
	body := bytes.NewReader(document)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), body)
	if err != nil {
		return errors.New("the request cannot be made")
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(HeaderSignature, signature)
	request.Header.Set("User-Agent", "attestd")
	answer, err := client.Do(request)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) { // its words have the whole URL
			err = wrapped.Err
		}
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer))
	switch code := answer.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= 500:
		return fmt.Errorf("the answer was %d", code)
	default:
		return fmt.Errorf("the answer was %d: %w", code, errFinal)
	}
}
