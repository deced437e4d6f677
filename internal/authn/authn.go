package authn

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"golang.org/x/sync/singleflight"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/subject"
)

// Config says whose credentials count. Every field but Leeway is required.
type Config struct {
	Bundles *Bundles
	// Audiences are those that a token may be for.
	Audiences []string
	// Leeway is by how much a caller's clock may be ahead; what is over is over.
	Leeway time.Duration
	// MaxAge is how long what was verified is remembered at most.
	MaxAge time.Duration
	// Entries are how many credentials are remembered.
	Entries int
}

// forgedFor is how long a token is remembered whose signature was bad, maxForged are how many are.
const (
	forgedFor = 10 * time.Second
	maxForged = 1 << 12
)

// digest is a SHA-256 over the kind of a credential and the credential: what is remembered is found by it,
// and no credential is kept. The kind is part of it, or the bytes of a certificate, which are public, would
// count as a token where its holder was seen before.
type digest [sha256.Size]byte

func digestOfToken(token string) digest { return sha256.Sum256([]byte("token\x00" + token)) }

// seen is a credential that was verified, and what it was verified with.
type seen struct {
	who   decision.Who
	with  *kept
	epoch uint64
}

// forged is one whose signature was bad.
type forged struct {
	with *kept
	at   time.Time
}

// Authenticator implements [decision.Identifier]. It is safe for concurrent use.
type Authenticator struct {
	config Config
	seen   *lru.Cache[digest, *seen]
	forged *lru.Cache[digest, forged]
	flight singleflight.Group
}

var _ decision.Identifier = (*Authenticator)(nil)

// New returns an authenticator.
//
// Errors: a [*attestd.CallerError] of class CONFIG.
func New(config Config) (*Authenticator, error) {
	if config.Bundles == nil || len(config.Audiences) == 0 || slices.Contains(config.Audiences, "") ||
		config.Leeway < 0 || config.Leeway > time.Minute || config.MaxAge <= 0 || config.Entries < 1 {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "look at decisions.audiences, decisions.bundles and decisions.leeway",
			Err: errors.New("an authenticator without bundles, audiences or bounds"),
		}
	}
	config.Audiences = slices.Clone(config.Audiences)
	a := &Authenticator{config: config}
	var err error
	if a.seen, err = lru.New[digest, *seen](config.Entries); err != nil {
		return nil, err
	}
	if a.forged, err = lru.New[digest, forged](maxForged); err != nil {
		return nil, err
	}
	return a, nil
}

// Identify implements [decision.Identifier].
func (a *Authenticator) Identify(
	ctx context.Context, credential decision.Credential, at time.Time, epoch func(subject.ID) uint64,
) decision.Who {
	var of digest
	switch {
	case (credential.Token != "") == (len(credential.Chain) != 0):
		return unknown("want a token or a certificate, and not both").who()
	case credential.Token != "":
		if len(credential.Token) > maxToken {
			return unknown("a token of %d bytes, want at most %d", len(credential.Token), maxToken).who()
		}
		of = digestOfToken(credential.Token)
	default:
		if found := tooMuch(credential.Chain); found != nil {
			return found.who()
		}
		of = digestOf(credential.Chain)
	}
	method := decision.MethodX509
	if credential.Token != "" {
		method = decision.MethodJWT
	}
	if found, ok := a.seen.Get(of); ok && found.who.Method == method && a.stands(found, at, epoch) {
		who := found.who
		who.Cached = true
		return who
	}
	if ctx.Err() != nil {
		return decision.Who{Fault: decision.CodeDeadline, FaultDetail: "no time was left"}
	}
	// Many who show one credential at once wait for one look at it. A time of asking is part of it: a
	// later one is not answered by an earlier one's.
	result, _, _ := a.flight.Do(string(of[:]), func() (any, error) {
		return a.verify(credential, of, at, epoch), nil
	})
	who, _ := result.(decision.Who)
	if who.Fault == "" && !at.Before(who.Expires) {
		return (&fault{code: decision.CodeExpired, detail: "the credential is over"}).who()
	}
	return who
}

// stands reports whether what was verified before would be verified now: it is still valid and not too
// long ago, the bundle is the same, and nothing about the subject has changed since.
func (a *Authenticator) stands(found *seen, at time.Time, epoch func(subject.ID) uint64) bool {
	if !at.Before(found.who.Expires) || found.who.VerifiedAt.Sub(at) > time.Second ||
		at.Sub(found.who.VerifiedAt) >= a.config.MaxAge {
		return false
	}
	with, _ := a.config.Bundles.of(found.who.TrustDomain, at)
	return with == found.with && epoch(found.who.ID) == found.epoch
}

// verify looks at a credential and remembers it where somebody was identified.
func (a *Authenticator) verify(
	credential decision.Credential, of digest, at time.Time, epoch func(subject.ID) uint64,
) decision.Who {
	var who decision.Who
	var with *kept
	var found *fault
	if credential.Token != "" {
		who, with, found = a.token(credential.Token, of, at)
	} else {
		who, with, found = a.chain(credential.Chain, of, at)
	}
	if found != nil {
		a.seen.Remove(of)
		if found.forged {
			a.forged.Add(of, forged{with, at})
		}
		return found.who()
	}
	a.seen.Add(of, &seen{who: who, with: with, epoch: epoch(who.ID)})
	return who
}

func (a *Authenticator) token(text string, of digest, at time.Time) (decision.Who, *kept, *fault) {
	read, found := readToken(text)
	if found != nil {
		return decision.Who{}, nil, found
	}
	with, found := a.bundle(read.id.TrustDomain().Name(), at)
	if found != nil {
		return decision.Who{}, nil, found
	}
	if before, ok := a.forged.Get(of); ok && before.with == with && at.Sub(before.at) < forgedFor {
		return decision.Who{}, with, unknown("the signature is not the key's")
	}
	if found := read.verify(text, with, a.config.Audiences, a.config.Leeway, at); found != nil {
		return decision.Who{}, with, found
	}
	return read.who(at, hex.EncodeToString(of[:])), with, nil
}

func (a *Authenticator) chain(chain []*x509.Certificate, of digest, at time.Time) (decision.Who, *kept, *fault) {
	id, err := x509svid.IDFromCert(chain[0])
	if err != nil {
		return decision.Who{}, nil, unknown("the certificate has not one SPIFFE ID")
	}
	with, found := a.bundle(id.TrustDomain().Name(), at)
	if found != nil {
		return decision.Who{}, nil, found
	}
	who, found := verifyChain(chain, with, hex.EncodeToString(of[:]), at)
	return who, with, found
}

// bundle returns the bundle of a trust domain. That one was named and is not at hand is not the
// caller's fault.
func (a *Authenticator) bundle(domain string, at time.Time) (*kept, *fault) {
	with, known := a.config.Bundles.of(domain, at)
	switch {
	case with != nil:
		return with, nil
	case known:
		return nil, &fault{
			code: decision.CodeBundleUnavailable, detail: "the bundle of " + domain + " is not at hand",
		}
	}
	return nil, unknown("nobody named a bundle of %s", attestd.Excerpt(domain, 80))
}

func tooMuch(chain []*x509.Certificate) *fault {
	if len(chain) > maxChain {
		return unknown("a chain of %d certificates, want at most %d", len(chain), maxChain)
	}
	for _, one := range chain {
		if one == nil || len(one.Raw) == 0 || len(one.Raw) > maxCertificate {
			return unknown("a certificate that was not read, or of more than %d bytes", maxCertificate)
		}
	}
	return nil
}

func digestOf(chain []*x509.Certificate) digest {
	hash := sha256.New()
	_, _ = hash.Write([]byte("chain\x00"))
	for _, one := range chain {
		sum := sha256.Sum256(one.Raw)
		_, _ = hash.Write(sum[:])
	}
	return digest(hash.Sum(nil))
}
