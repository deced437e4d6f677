package front

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/subject"
)

// role is what a peer may do; the zero role may do nothing.
type role uint8

const (
	issuer role = 1 << iota
	controller
	node
)

// session is one link's peer.
type session struct {
	front *Front
	who   string
	roles role
	// source is where it is, for limits by source.
	source string
	// node is whom a node's certificate names, and until is when that certificate ends.
	node  subject.ID
	until time.Time
	// state is that of a TLS connection, and looked at again where it is an operator's.
	state *tls.ConnectionState

	mu      sync.Mutex
	checked time.Time
	watch   *watcher
}

// acceptUnix knows a peer by the uid that it connected with.
func (f *Front) acceptUnix(conn net.Conn) (link.Peer, link.Handler, error) {
	peer := link.PeerOf(conn)
	s := &session{front: f, who: "nobody", source: "unix"}
	if peer.HasUID {
		uid := uint32(peer.UID) //nolint:gosec // SO_PEERCRED has 32 bits
		s.who = "uid " + strconv.Itoa(peer.UID)
		switch {
		case uid == 0 || uid == f.own:
			s.roles = issuer | controller
		case slices.Contains(f.config.Users, uid):
			s.roles = issuer
		}
	}
	if s.roles == 0 {
		return peer, nil, f.turnAway(s.who, forbidden(s.who+" is not answered here",
			"name the user of the SPIRE server in spire.users"))
	}
	return peer, s.answer, nil
}

// acceptTLS does the handshake and knows a peer by its certificate.
func (f *Front) acceptTLS(ctx context.Context) func(net.Conn) (link.Peer, link.Handler, error) {
	return func(conn net.Conn) (link.Peer, link.Handler, error) {
		peer := link.PeerOf(conn)
		secured, ok := conn.(*tls.Conn)
		if !ok {
			return peer, nil, errors.New("not a TLS connection")
		}
		if err := secured.HandshakeContext(ctx); err != nil {
			return peer, nil, unauthenticated("no TLS: " + excerpt(err))
		}
		state := secured.ConnectionState()
		peer.Certificates = state.PeerCertificates
		s, err := f.identify(ctx, &state, peer.Address)
		if err != nil {
			return peer, nil, f.turnAway(peer.Address, err)
		}
		if s.roles == node {
			peer.FrameBytes = nodeFrame
		}
		return peer, s.answer, nil
	}
}

// identify says whose certificate a TLS peer has shown. No certificate is both: the two CAs are apart.
func (f *Front) identify(ctx context.Context, state *tls.ConnectionState, address string) (*session, error) {
	if state.NegotiatedProtocol != link.ALPN {
		return nil, unauthenticated("the client speaks something else")
	}
	s := &session{front: f, source: hostOf(address), state: state, checked: f.config.Now()}
	id, _, nodeErr := f.config.NodeCA.Identify(state)
	if nodeErr == nil {
		parsed, err := subject.ParseID(id)
		if err != nil {
			return nil, err
		}
		s.roles, s.node, s.who = node, parsed, "node "+id
		s.until = state.PeerCertificates[0].NotAfter
		return s, nil
	}
	who, err := f.config.Book.ByCertificate(ctx, state)
	var caller *attestd.CallerError
	switch {
	case err == nil:
	case errors.As(err, &caller) && caller.Class == attestd.ClassUnauthenticated:
		return nil, unauthenticated("the certificate is neither a node's nor an operator's that is in force")
	default: // the store cannot say
		return nil, undecided("who has this certificate", err)
	}
	s.who = "operator " + who.Name
	if err := mayIssue(who); err != nil {
		return nil, err
	}
	s.roles = issuer
	return s, nil
}

// mayIssue: SPIRE asks about every tenant's identities over one link.
func mayIssue(who operator.Principal) error {
	if !who.May(operator.Issuer, operator.AllTenants) {
		return forbidden("operator "+who.Name+" is no issuer for every tenant",
			"attestd operator add NAME --role issuer --tenant '*'")
	}
	return nil
}

// current looks again whether the peer is still who it was: a certificate ends, an operator is revoked.
func (s *session) current(ctx context.Context) error {
	if s.state == nil {
		return nil
	}
	now := s.front.config.Now()
	if s.roles == node {
		if !now.Before(s.until) {
			return unauthenticated("the client certificate has ended")
		}
		return nil
	}
	s.mu.Lock()
	fresh := now.Sub(s.checked) < recheck && !now.Before(s.checked)
	s.mu.Unlock()
	if fresh {
		return nil
	}
	who, err := s.front.config.Book.ByCertificate(ctx, s.state)
	if err == nil {
		err = mayIssue(who)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.checked = now
	s.mu.Unlock()
	return nil
}

// answer is the handler of every link.
func (s *session) answer(ctx context.Context, _ link.Peer, method string, body json.RawMessage) (any, error) {
	known, found := methods[method]
	if !found || s.roles&known.role == 0 {
		return nil, s.front.refuse(s.who, method, forbidden(s.who+" may not call "+attestd.Excerpt(method, 40),
			"see spire.users and the roles of operators in docs/config.md"))
	}
	if err := s.current(ctx); err != nil {
		return nil, s.front.refuse(s.who, method, err)
	}
	answer, err := known.call(ctx, s, body)
	var rejected *issuance.Rejected
	if errors.As(err, &rejected) {
		return nil, &link.Error{
			Class: attestd.ClassPolicyDeny, Message: "the evidence was not accepted",
			Hint: "attestd why " + rejected.AppraisalID, AppraisalID: rejected.AppraisalID,
		}
	}
	return answer, err
}

// refuse notes a call that the peer may not make.
func (f *Front) refuse(who, method string, err error) error {
	f.seen.refused.Add(1)
	f.config.Note(Refusal{At: f.config.Now(), Who: who, Method: attestd.Excerpt(method, 40), Reason: excerpt(err)})
	return err
}

func (f *Front) turnAway(who string, err error) error { return f.refuse(who, "", err) }

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

func excerpt(err error) string { return attestd.Excerpt(err.Error(), 300) }

func forbidden(what, hint string) error {
	return &attestd.CallerError{Class: attestd.ClassForbidden, Hint: hint, Err: errors.New(what)}
}

func unauthenticated(what string) error {
	return &attestd.CallerError{
		Class: attestd.ClassUnauthenticated, Err: errors.New(what),
		Hint: "use the certificate that attestd gave for this: of an operator, or with a node's last challenge",
	}
}

func malformed(format string, args ...any) error {
	return &attestd.CallerError{
		Class: attestd.ClassMalformed, Hint: "run the same version of attestd and of its plugins",
		Err: fmt.Errorf(format, args...),
	}
}

func undecided(what string, err error) error {
	return &attestd.UndecidedError{
		Check: "spire.front", Class: attestd.ClassStoreUnavailable, Got: "no answer", Want: what,
		Hint: "try again; if it lasts, see attestd status", Err: err,
	}
}
