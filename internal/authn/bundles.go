package authn

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/attestd/attestd"
)

// Bounds of fetching.
const (
	fetchWithin = 10 * time.Second
	// soonest and latest bound what a bundle says of itself (spiffe_refresh_hint).
	soonest, latest = 5 * time.Second, 5 * time.Minute
	// maxKeys is how many keys a bundle may have.
	maxKeys = 256
)

// Source fetches the bundle of one trust domain.
type Source interface {
	// Fetch returns the bundle as it is now. It ends with ctx.
	Fetch(ctx context.Context) (*spiffebundle.Bundle, error)
	// Every is how often to ask where the bundle does not say.
	Every() time.Duration
}

// kept is one bundle of a trust domain. It is never changed: another content is another kept, so that
// what was verified with it can be told from what would be verified now.
type kept struct {
	domain   spiffeid.TrustDomain
	bundle   *spiffebundle.Bundle
	x509     *x509bundle.Bundle
	jwt      map[string]authority
	sequence uint64
}

// Bundles keep the bundles of trust domains. They are safe for concurrent use.
type Bundles struct {
	sources map[spiffeid.TrustDomain]Source
	maxAge  time.Duration
	now     func() time.Time
	logger  *slog.Logger

	mu    sync.RWMutex
	kept  map[string]*kept
	until map[string]time.Time
	// newest is the greatest number that a bundle of the trust domain had, whatever its keys.
	newest map[string]uint64
}

// BundlesConfig says where bundles come from. Every field is required.
type BundlesConfig struct {
	// Sources by trust domain.
	Sources map[spiffeid.TrustDomain]Source
	// MaxAge is how long a bundle is used that could not be fetched again.
	MaxAge time.Duration
	Now    func() time.Time
	Logger *slog.Logger
}

// NewBundles returns bundles that are empty until [Bundles.Run] has fetched them.
//
// Errors: a [*attestd.CallerError] of class CONFIG.
func NewBundles(config BundlesConfig) (*Bundles, error) {
	if len(config.Sources) == 0 || config.MaxAge <= 0 || config.Now == nil || config.Logger == nil {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "name a source of one trust domain or more: decisions.bundles",
			Err: errors.New("bundles without a source, a greatest age, a clock or a log"),
		}
	}
	return &Bundles{
		sources: maps.Clone(config.Sources), maxAge: config.MaxAge, now: config.Now, logger: config.Logger,
		kept: map[string]*kept{}, until: map[string]time.Time{}, newest: map[string]uint64{},
	}, nil
}

// of returns the bundle of a trust domain, nil where there is none that can be used at that time. known
// says that the trust domain was named at all.
func (b *Bundles) of(domain string, at time.Time) (found *kept, known bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if found = b.kept[domain]; found != nil && at.Before(b.until[domain]) {
		return found, true
	}
	td, err := spiffeid.TrustDomainFromString(domain)
	if err != nil {
		return nil, false
	}
	_, known = b.sources[td]
	return nil, known
}

// Run fetches bundles until ctx ends: each at first at once, and then as often as it says.
func (b *Bundles) Run(ctx context.Context) {
	var all sync.WaitGroup
	for domain, source := range b.sources {
		all.Go(func() { b.follow(ctx, domain, source) })
	}
	all.Wait()
}

func (b *Bundles) follow(ctx context.Context, domain spiffeid.TrustDomain, source Source) {
	failing := false
	for ctx.Err() == nil {
		wait, err := b.Refresh(ctx, domain)
		switch {
		case err != nil && ctx.Err() == nil:
			if !failing {
				b.logger.WarnContext(ctx, "the bundle of a trust domain could not be fetched",
					"trust_domain", domain.Name(), "err", attestd.Excerpt(err.Error(), 300))
			}
			failing, wait = true, min(soonest, source.Every())
		case failing:
			b.logger.InfoContext(ctx, "the bundle is fetched again", "trust_domain", domain.Name())
			failing = false
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// Refresh fetches one bundle now, and says when to fetch it again.
//
// Errors: where there is no source, where it does not answer, and where its bundle will not do: one of
// another trust domain, without keys, or older than the one that is kept.
func (b *Bundles) Refresh(ctx context.Context, domain spiffeid.TrustDomain) (time.Duration, error) {
	source, found := b.sources[domain]
	if !found {
		return latest, fmt.Errorf("no source of %s", domain)
	}
	limited, cancel := context.WithTimeout(ctx, fetchWithin)
	defer cancel()
	got, err := source.Fetch(limited)
	if err != nil {
		return soonest, err
	}
	next, err := keep(domain, got)
	if err != nil {
		return soonest, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.kept[domain.Name()]
	if newest := b.newest[domain.Name()]; next.sequence < newest {
		return soonest, fmt.Errorf("the bundle has number %d, older than %d", next.sequence, newest)
	}
	b.newest[domain.Name()] = next.sequence
	if old == nil || !sameKeys(old, next) {
		b.kept[domain.Name()] = next
	}
	b.until[domain.Name()] = b.now().Add(b.maxAge)
	wait := source.Every()
	if hint, told := got.RefreshHint(); told && hint > 0 {
		wait = min(wait, hint)
	}
	return max(soonest, min(wait, latest)), nil
}

// keep reads a bundle into what credentials are verified with.
func keep(domain spiffeid.TrustDomain, got *spiffebundle.Bundle) (*kept, error) {
	if got == nil || got.TrustDomain() != domain {
		return nil, errors.New("the bundle is of another trust domain")
	}
	out := &kept{domain: domain, bundle: got.Clone(), jwt: map[string]authority{}}
	out.sequence, _ = got.SequenceNumber()
	authorities := out.bundle.X509Authorities()
	if len(authorities)+len(out.bundle.JWTAuthorities()) == 0 {
		return nil, errors.New("the bundle has no keys")
	}
	if len(authorities) > maxKeys || len(out.bundle.JWTAuthorities()) > maxKeys {
		return nil, fmt.Errorf("the bundle has more than %d keys", maxKeys)
	}
	for id, public := range out.bundle.JWTAuthorities() {
		// Keys of kinds that no JWT-SVID is signed with (JWT-SVID section 2.1) verify nothing.
		if one, ok := authorityOf(public); ok && id != "" {
			out.jwt[id] = one
		}
	}
	out.x509 = out.bundle.X509Bundle()
	return out, nil
}

func sameKeys(a, b *kept) bool {
	return slices.EqualFunc(a.bundle.X509Authorities(), b.bundle.X509Authorities(), (*x509.Certificate).Equal) &&
		maps.EqualFunc(a.jwt, b.jwt, authority.equal)
}

// Freshness says of each trust domain until when its bundle is used; zero for none.
func (b *Bundles) Freshness() map[string]time.Time {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := map[string]time.Time{}
	for domain := range b.sources {
		out[domain.Name()] = b.until[domain.Name()]
	}
	return out
}
