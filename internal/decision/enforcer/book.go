package enforcer

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/subject"
)

// Config is what a book goes by. Every field is required.
type Config struct {
	// Path is that of the document; see docs/decisions/enforcers.md.
	Path string
	// Identifier verifies the certificates of enforcement points that have SPIFFE IDs.
	Identifier decision.Identifier
	// Standings say what is held against them.
	Standings decision.Standings
	// LookupUser is for those that are known as local users.
	LookupUser LookupUser
	Now        func() time.Time
}

// Book knows the enforcement points. It is safe for concurrent use.
type Book struct {
	config Config
	// reloading is held by whoever reads the document again.
	reloading sync.Mutex
	table     atomic.Pointer[table]
}

// table is one reading of the document.
type table struct {
	byID   map[subject.ID]*Enforcer
	byUID  map[uint32]*Enforcer
	tokens []*Enforcer
}

// New reads the document.
//
// Errors: a [*attestd.CallerError] of class CONFIG with everything that is wrong.
func New(config Config) (*Book, error) {
	if config.Path == "" || config.Identifier == nil || config.Standings == nil ||
		config.LookupUser == nil || config.Now == nil {
		return nil, misconfigured(errors.New("a field of enforcer.Config is missing"))
	}
	book := &Book{config: config}
	if err := book.Reload(); err != nil {
		return nil, err
	}
	return book, nil
}

// Reload reads the document again. Who is not in it any more is refused at its next request, also over a
// connection that is open. What an enforcement point has used of its rate stays used.
//
// Errors: as of [New]; what was in force stays so.
func (b *Book) Reload() error {
	b.reloading.Lock()
	defer b.reloading.Unlock()
	document, err := readFile(b.config.Path)
	if err != nil {
		return misconfigured(err)
	}
	list, err := read(b.config.Path, document, b.config.LookupUser)
	if err != nil {
		return err
	}
	before := make(map[string]*Enforcer)
	if old := b.table.Load(); old != nil {
		old.each(func(one *Enforcer) { before[one.name] = one })
	}
	next := &table{byID: map[subject.ID]*Enforcer{}, byUID: map[uint32]*Enforcer{}}
	for _, one := range list {
		if old := before[one.name]; old != nil && old.rate == one.rate && old.burst == one.burst {
			one.pace = old.pace
		}
		next.add(one)
	}
	b.table.Store(next)
	return nil
}

func (t *table) add(one *Enforcer) {
	switch {
	case len(one.name) > len(prefixToken) && one.name[:len(prefixToken)] == prefixToken:
		t.tokens = append(t.tokens, one)
	case len(one.name) > len(prefixUser) && one.name[:len(prefixUser)] == prefixUser:
		t.byUID[one.uid] = one
	default:
		t.byID[subject.ID(one.name)] = one
	}
}

func (t *table) each(visit func(*Enforcer)) {
	for _, one := range t.byID {
		visit(one)
	}
	for _, one := range t.byUID {
		visit(one)
	}
	for _, one := range t.tokens {
		visit(one)
	}
}

// shown is what a request shows of whoever sends it.
type shown struct {
	// uid is that of the process at the other end of a unix socket, where hasUID says so.
	uid    uint32
	hasUID bool
	// chain is what a TLS client showed and has proved to have the key of, leaf first.
	chain []*x509.Certificate
	// token is empty for none.
	token string
	// private says that nobody on the way could read the token.
	private bool
}

// Bounds of a token. Fewer characters than the least cannot hold 128 bits of a generator's output.
const (
	minToken = 22
	maxToken = 512
)

// known returns who shows that, where it may use the right.
//
// A token decides where there is one, since whoever sends it means it; else the certificate; else the
// uid. A token beside a certificate could be read in two ways by two parties, and is refused. A way that
// fails is not followed by another.
//
// Errors: a [*attestd.CallerError] of class UNAUTHENTICATED for nobody that is known, FORBIDDEN without
// the right, QUARANTINED where the enforcement point itself is held; an [*attestd.UndecidedError] where
// any of that cannot be told.
func (b *Book) known(ctx context.Context, by shown, right Right) (*Enforcer, error) {
	table := b.table.Load()
	var one *Enforcer
	var err error
	switch {
	case by.token != "" && len(by.chain) != 0:
		err = nobody("there are a token and a certificate; show one of them")
	case by.token != "":
		one, err = table.byToken(by)
	case len(by.chain) != 0:
		one, err = b.byChain(ctx, table, by.chain)
	case by.hasUID:
		if one = table.byUID[by.uid]; one == nil {
			err = nobody(fmt.Sprintf("no enforcement point has uid %d", by.uid))
		}
	default:
		err = nobody("there is neither a certificate nor a token")
	}
	if err != nil {
		return nil, err
	}
	if !one.May(right) {
		return nil, &attestd.CallerError{
			Class: attestd.ClassForbidden,
			Hint:  "add " + string(right) + " to its rights in decisions.enforcers",
			Err:   fmt.Errorf("the enforcement point may not use %s", right),
		}
	}
	return one, nil
}

// byToken compares with every digest in constant time.
func (t *table) byToken(by shown) (*Enforcer, error) {
	if !by.private {
		return nil, nobody("a token is not taken in the clear")
	}
	if len(by.token) < minToken || len(by.token) > maxToken {
		return nil, nobody("the token is not known")
	}
	sum := sha256.Sum256([]byte(by.token))
	var found *Enforcer
	for _, one := range t.tokens {
		if subtle.ConstantTimeCompare(sum[:], one.digest[:]) == 1 {
			found = one
		}
	}
	if found == nil {
		return nil, nobody("the token is not known")
	}
	return found, nil
}

// byChain looks at an X509-SVID. One that is held may not ask: whoever has its key would learn from the
// answers, and could vouch for callers.
func (b *Book) byChain(ctx context.Context, table *table, chain []*x509.Certificate) (*Enforcer, error) {
	at := b.config.Now()
	who := b.config.Identifier.Identify(ctx, decision.Credential{Chain: chain}, at,
		func(id subject.ID) uint64 { return b.config.Standings.Stands(id, at).Epoch })
	switch {
	case who.Fault == decision.CodeUnauthenticated, who.Fault == decision.CodeExpired,
		who.Fault == decision.CodeMalformed:
		return nil, nobody("the certificate: " + attestd.Excerpt(who.FaultDetail, 160))
	case who.Fault != "":
		return nil, untold("whose the certificate is", string(who.Fault))
	case who.Method != decision.MethodX509 || who.ID == "" || !at.Before(who.Expires):
		return nil, nobody("the certificate shows nobody")
	}
	one := table.byID[who.ID]
	if one == nil {
		return nil, nobody(fmt.Sprintf("%s is no enforcement point", attestd.Excerpt(string(who.ID), 160)))
	}
	// An enforcement point need not be attested: its state counts where something is held.
	standing := b.config.Standings.Stands(who.ID, at)
	switch standing.State {
	case attestd.StateQuarantined, attestd.StateRevoked:
		return nil, &attestd.CallerError{
			Class: attestd.ClassQuarantined, Hint: "attestd why " + one.name,
			Err: fmt.Errorf("the enforcement point is %s", standing.State),
		}
	}
	if standing.Fault != "" {
		return nil, untold("how the enforcement point stands", string(standing.Fault))
	}
	return one, nil
}

func nobody(detail string) error {
	return &attestd.CallerError{
		Class: attestd.ClassUnauthenticated, Err: errors.New(detail),
		Hint: "use a unix socket as a user, a certificate or a token that decisions.enforcers names",
	}
}

func untold(what, why string) error {
	return &attestd.UndecidedError{
		Class: attestd.ClassStoreUnavailable, Got: why, Want: what, Hint: "attestd status",
	}
}
