package pager

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/keys"
	"github.com/attestd/attestd/internal/subject"
)

// Signer signs pages, as [keys.Ring] of [Purpose] does.
type Signer interface {
	SignJWT(ctx context.Context, typ string, payload []byte, signed keys.Signed) (string, error)
}

// Config says whom a pager tells, and how. Every field is required; without URLs nobody is told.
type Config struct {
	// URLs are https. One whose path ends in /api/v2/alerts takes Alertmanager's form.
	URLs   []string
	Signer Signer
	// Roots are the authorities that the servers' certificates may have.
	Roots *x509.CertPool
	Now   func() time.Time
	// Backoff is the pause after the first try that failed; each further one is twice as long.
	Backoff time.Duration
	Logger  *slog.Logger
	// Loopback lets a URL be http where its host is a loopback address, for tests and for a relay
	// on the same machine.
	Loopback bool
}

// Bounds of pages.
const (
	// waiting is how many wait for one place.
	waiting = 256
	tries   = 8
	// patience is how long one try may take.
	patience = 10 * time.Second
	// again is for how long the same outcome of the same subject is not told again.
	again = 5 * time.Minute
	// perMinute is how many different ones are told.
	perMinute = 30
	maxTold   = 1 << 12
	maxURLs   = 16
)

// Lifetime is how long a page's signature is good for, which its ring must allow: all tries of a
// page take less.
const Lifetime = time.Hour

// Pager tells people. It is safe for concurrent use.
type Pager struct {
	config Config
	places []*place

	mu     sync.Mutex
	told   map[string]time.Time
	minute time.Time
	count  int

	suppressed, dropped, failed, sent atomic.Uint64
}

// place is one URL with what waits for it: one that does not answer holds up no other.
type place struct {
	url        *url.URL
	queue      chan Page
	suppressed atomic.Uint64
}

// New returns a pager. Its [Pager.Run] sends.
//
// Errors: a [*attestd.CallerError] of class CONFIG, which names no part of a URL behind its host:
// paths of webhooks are secrets.
func New(config Config) (*Pager, error) {
	if config.Signer == nil || config.Roots == nil || config.Now == nil || config.Logger == nil ||
		config.Backoff <= 0 {
		return nil, wrong("a pager needs a signer, roots, a clock, a back-off and a logger")
	}
	if len(config.URLs) > maxURLs {
		return nil, wrong("%d URLs, want at most %d", len(config.URLs), maxURLs)
	}
	p := &Pager{config: config, told: map[string]time.Time{}}
	for i, text := range config.URLs {
		parsed, err := parse(text, config.Loopback)
		if err != nil {
			return nil, wrong("URL %d: %w", i+1, err)
		}
		p.places = append(p.places, &place{url: parsed, queue: make(chan Page, waiting)})
	}
	return p, nil
}

func parse(text string, loopback bool) (*url.URL, error) {
	parsed, err := url.Parse(text)
	switch {
	case err != nil: // the error quotes all of it
		return nil, fmt.Errorf("it cannot be read")
	case parsed.Host == "" || parsed.User != nil || parsed.Fragment != "" || parsed.Opaque != "":
		return nil, fmt.Errorf("want https://HOST/PATH, without a user or a fragment")
	case parsed.Scheme == "https":
		return parsed, nil
	case parsed.Scheme == "http" && loopback && isLoopback(parsed.Hostname()):
		return parsed, nil
	default:
		return nil, fmt.Errorf("host %q is not asked over https", attestd.Excerpt(parsed.Host, 80))
	}
}

// isLoopback takes addresses alone: a name is whatever its server says.
func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}

func wrong(format string, args ...any) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig, Hint: "see docs/decisions/quarantine.md",
		Err: fmt.Errorf(format, args...),
	}
}

// Tell tells people what came of grounds. It does not wait.
func (p *Pager) Tell(grounds subject.Grounds, outcome subject.Outcome) {
	now := p.config.Now()
	if !p.novel(string(outcome)+" "+grounds.ID.Fold(), now) {
		p.suppressed.Add(1)
		for _, one := range p.places {
			one.suppressed.Add(1)
		}
		return
	}
	page := compose(grounds, outcome, now)
	for _, one := range p.places {
		select {
		case one.queue <- page:
		default:
			one.suppressed.Add(1)
			p.dropped.Add(1)
		}
	}
}

// novel reports whether something is to be told: not the same again soon, and not too many at once.
func (p *Pager) novel(what string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last, found := p.told[what]; found && now.Sub(last) < again && !now.Before(last) {
		return false
	}
	if now.Sub(p.minute) >= time.Minute || now.Before(p.minute) {
		p.minute, p.count = now, 0
	}
	if p.count >= perMinute {
		return false
	}
	if len(p.told) >= maxTold {
		clear(p.told)
	}
	p.count++
	p.told[what] = now
	return true
}

// Counts are figures since the start. Dropped pages found a queue full, Failed ones were given up.
type Counts struct{ Sent, Suppressed, Dropped, Failed uint64 }

// Counts returns the figures.
func (p *Pager) Counts() Counts {
	return Counts{p.sent.Load(), p.suppressed.Load(), p.dropped.Load(), p.failed.Load()}
}

// Run sends pages until ctx ends.
func (p *Pager) Run(ctx context.Context) error {
	client := p.client()
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	for _, one := range p.places {
		all.Go(func() { p.serve(ctx, client, one) })
	}
	all.Wait()
	<-ctx.Done()
	return nil
}

func (p *Pager) serve(ctx context.Context, client *http.Client, to *place) {
	for {
		select {
		case <-ctx.Done():
			return
		case page := <-to.queue:
			page.Suppressed = to.suppressed.Swap(0)
			err := p.send(ctx, client, to.url, page)
			if err == nil {
				p.sent.Add(1)
				continue
			}
			if ctx.Err() != nil {
				return
			}
			to.suppressed.Add(page.Suppressed + 1)
			p.failed.Add(1)
			p.config.Logger.ErrorContext(ctx, "a page was given up", slog.String("host", to.url.Host),
				slog.String("subject", string(page.Subject)),
				slog.String("err", strings.ReplaceAll(attestd.Excerpt(err.Error(), 200), "\n", " ")))
		}
	}
}
