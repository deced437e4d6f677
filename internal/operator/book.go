package operator

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// BootstrapName is the name of whoever has the bootstrap token. No operator can have it.
const BootstrapName = "admin"

// MaxCertificateLifetime bounds how long a client certificate lives.
const MaxCertificateLifetime = 30 * 24 * time.Hour

var (
	nameForm   = regexp.MustCompile(`^[a-z0-9][a-z0-9._@-]{0,63}$`)
	tenantForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
)

// maxTenants bounds how many tenants one operator can be named for; beyond that "*" is meant.
const maxTenants = 64

// Config says what a [Book] is made of. Every field is required.
type Config struct {
	Store Store
	PKI   *PKI
	// Now is the store's clock.
	Now func() time.Time
	// TokenPath is the file of the bootstrap token; [OpenToken] makes it.
	TokenPath string
	// CertificateLifetime of operators, at most [MaxCertificateLifetime].
	CertificateLifetime time.Duration
	// LoginLifetime is how long a login token can be handed in, at most an hour.
	LoginLifetime time.Duration
	// Rand is where secrets are from.
	Rand io.Reader
}

// Book says who a request is from. Every answer is read anew from the store, so that a revocation
// holds from the next request on.
type Book struct{ config Config }

// NewBook returns a book.
//
// Errors: where a field is missing or a lifetime is out of bounds.
func NewBook(config Config) (*Book, error) {
	switch {
	case config.Store == nil, config.PKI == nil, config.Now == nil, config.TokenPath == "", config.Rand == nil:
		return nil, errors.New("a book of operators needs a store, a PKI, a clock, a token file and a source of secrets")
	case config.CertificateLifetime < time.Minute, config.CertificateLifetime > MaxCertificateLifetime:
		return nil, fmt.Errorf("operators' certificates can live from 1m to %s, got %s",
			MaxCertificateLifetime, config.CertificateLifetime)
	case config.LoginLifetime < time.Second, config.LoginLifetime > time.Hour:
		return nil, fmt.Errorf("operators' login tokens can live from 1s to 1h, got %s", config.LoginLifetime)
	}
	return &Book{config: config}, nil
}

// ByToken returns the principal of the bootstrap token. Whoever calls it has made sure that the
// request came through the unix socket: the token is worth nothing elsewhere.
//
// Errors: a [*attestd.CallerError] of class UNAUTHENTICATED; one of class CONFIG where the file is not
// its owner's alone.
func (b *Book) ByToken(bearer string) (Principal, error) {
	token, err := readToken(b.config.TokenPath)
	if err != nil {
		return Principal{}, err
	}
	// Hashed, so that the comparison takes the same time whatever the lengths are.
	got, want := sha256.Sum256([]byte(bearer)), sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return Principal{}, unknown("the bearer token is not the one of " + TokenFile)
	}
	return Principal{
		Name: BootstrapName, Roles: []Role{Viewer, Operator, Security}, Tenants: []string{AllTenants},
		Via: ViaToken,
	}, nil
}

// ByCertificate returns the principal of a TLS connection. It trusts nothing that TLS has found out
// but that the peer has the key of its certificate: the chain is looked at again, at this request's
// time and against attestd's own CA alone, and the record is read again.
//
// Errors: a [*attestd.CallerError] of class UNAUTHENTICATED; or the store's.
func (b *Book) ByCertificate(ctx context.Context, state *tls.ConnectionState) (Principal, error) {
	switch {
	case state == nil || len(state.PeerCertificates) == 0:
		return Principal{}, unknown("no client certificate")
	case state.Version < tls.VersionTLS13:
		return Principal{}, unknown("the connection is older than TLS 1.3")
	case state.DidResume:
		// A resumed session shows a certificate of some earlier time, and no proof of its key.
		return Principal{}, unknown("the TLS session was resumed")
	}
	name, version, err := b.config.PKI.client(state.PeerCertificates[0])
	if err != nil {
		return Principal{}, err
	}
	record, found, err := b.config.Store.Operator(ctx, name)
	switch {
	case err != nil:
		return Principal{}, err
	case !found || record.Version != version || !record.RevokedAt.IsZero():
		return Principal{}, unknown("the certificate was given to an operator who is revoked or not named here")
	}
	return Principal{
		Name: record.Name, Roles: slices.Clone(record.Roles), Tenants: slices.Clone(record.Tenants),
		Via: ViaCertificate,
	}, nil
}

// Add names an operator and returns the record with the one-time token to log in with. Naming one
// again with the same rights gives a new token and leaves certificates as they are; so does a revoked
// one, whose old certificates stay ended.
//
// Whoever could name a second person for the security role could be their own second approver: that
// role is given through the bootstrap token alone, on the machine itself. So is issuer, for what it
// grants.
//
// Errors: a [*attestd.CallerError]: MALFORMED, FORBIDDEN, CONFLICT; or the store's.
func (b *Book) Add(
	ctx context.Context, by Principal, name string, roles []Role, tenants []string,
) (Record, LoginToken, error) {
	if err := checkNew(name, roles, tenants); err != nil {
		return Record{}, LoginToken{}, err
	}
	if err := mayName(by, roles, tenants); err != nil {
		return Record{}, LoginToken{}, err
	}
	old, found, err := b.config.Store.Operator(ctx, name)
	if err != nil {
		return Record{}, LoginToken{}, err
	}
	next, err := b.named(by, old, found, Record{
		Name: name, Roles: sorted(roles), Tenants: sorted(tenants),
	})
	if err != nil {
		return Record{}, LoginToken{}, err
	}
	token, err := newLoginToken(b.config.Rand, name, b.config.PKI.Pin())
	if err != nil {
		return Record{}, LoginToken{}, err
	}
	now := b.config.Now()
	next.Login, next.LoginUntil = token.hash(), now.Add(b.config.LoginLifetime)
	detail := map[string]string{"roles": joinRoles(next.Roles), "tenants": strings.Join(next.Tenants, " ")}
	err = b.put(ctx, by, "operator.add", old.Generation, &next, detail)
	return next, token, err
}

// named returns the record that follows from old.
func (b *Book) named(by Principal, old Record, found bool, next Record) (Record, error) {
	if found && !by.seesAll(old.Tenants) {
		// The name is, or was, another tenant's operator. Names are one space, so that an audit log never
		// has two people of one name, and nobody's list loses whom it had: this much it tells.
		return Record{}, conflict(next.Name, "choose another name")
	}
	if found && old.RevokedAt.IsZero() {
		if !slices.Equal(old.Roles, next.Roles) || !slices.Equal(old.Tenants, next.Tenants) {
			return Record{}, conflict(next.Name, "revoke the operator first to change roles or tenants")
		}
		return old, nil
	}
	next.Version, next.By, next.CreatedAt = old.Version+1, by.Name, b.config.Now()
	return next, nil
}

// Revoke ends everything of an operator: certificates and login token are refused from the next
// request on.
//
// Errors: a [*attestd.CallerError] of class FORBIDDEN, UNSUPPORTED where there is no such operator
// that by may see, CONFLICT where it is revoked already; or the store's.
func (b *Book) Revoke(ctx context.Context, by Principal, name string) (Record, error) {
	old, found, err := b.config.Store.Operator(ctx, name)
	switch {
	case err != nil:
		return Record{}, err
	case !found || !by.seesAll(old.Tenants):
		return Record{}, ErrNoOperator
	case !by.hasRole(Security):
		return Record{}, forbidden("only the security role revokes operators", "ask somebody who has it")
	case !old.RevokedAt.IsZero():
		return Record{}, conflict(name, "nothing is left to revoke")
	}
	next := old
	next.RevokedAt, next.Login, next.LoginUntil = b.config.Now(), [32]byte{}, time.Time{}
	err = b.put(ctx, by, "operator.revoke", old.Generation, &next, nil)
	return next, err
}

// ErrNoOperator says that there is no operator of that name whom the asker may see.
var ErrNoOperator = errors.New("no such operator")

// List returns the operators all of whose tenants by may see, and the name of by itself.
//
// Errors: the store's.
func (b *Book) List(ctx context.Context, by Principal) ([]Record, error) {
	all, err := b.config.Store.Operators(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(one Record) bool {
		return one.Name != by.Name && !by.seesAll(one.Tenants)
	}), nil
}

// Login redeems a login token for a client certificate over the key of a PKCS #10 request. The token
// is used up in the same write that records the certificate: of two who hand it in, one gets one.
//
// Errors: a [*attestd.CallerError] of class UNAUTHENTICATED or MALFORMED; or the store's.
func (b *Book) Login(ctx context.Context, bearer string, csr []byte) (Certificate, error) {
	token, err := ParseLoginToken(bearer)
	if err != nil {
		return Certificate{}, unknown("the bearer token is no login token")
	}
	record, found, err := b.config.Store.Operator(ctx, token.Name)
	if err != nil {
		return Certificate{}, err
	}
	now, hash := b.config.Now(), token.hash()
	// One answer for all of it: who asks learns neither names nor what was wrong with a guess.
	if subtle.ConstantTimeCompare(hash[:], record.Login[:]) != 1 || !found ||
		!now.Before(record.LoginUntil) || !record.RevokedAt.IsZero() {
		return Certificate{}, unknown("the login token is unknown, used or too old")
	}
	key, err := keyOf(csr)
	if err != nil {
		return Certificate{}, err
	}
	given, err := b.config.PKI.issue(record, key, now.Add(b.config.CertificateLifetime))
	if err != nil {
		return Certificate{}, err
	}
	next := record
	next.Login, next.LoginUntil, next.CertificateUntil = [32]byte{}, time.Time{}, given.NotAfter
	who := Principal{Name: record.Name, Via: ViaToken}
	detail := map[string]string{"serial": given.Serial, "until": given.NotAfter.Format(time.RFC3339)}
	err = b.put(ctx, who, "operator.login", record.Generation, &next, detail)
	if errors.Is(err, ErrMoved) {
		return Certificate{}, unknown("the login token was used meanwhile")
	}
	if err != nil {
		return Certificate{}, err
	}
	return given, nil
}

func (b *Book) put(
	ctx context.Context, by Principal, action string, expect uint64, next *Record, detail map[string]string,
) error {
	err := b.config.Store.PutOperator(ctx, Change{
		Expect: expect, Next: *next, At: b.config.Now(), Actor: by.Name, Via: by.Via, Action: action,
		Detail: detail,
	})
	next.Generation = expect + 1
	return err
}
