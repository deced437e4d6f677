package enforcer

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/problem"
	"github.com/attestd/attestd/internal/spire/link"
)

// Headers that a token is taken from. HeaderToken is for requests whose Authorization is their caller's,
// as those of forward-auth are.
const (
	HeaderAuthorization = "Authorization"
	HeaderToken         = "X-Attestd-Enforcer" //nolint:gosec // a header's name
)

type peerKey struct{}

// ConnContext puts who is at the other end of a connection into the context of its requests. A server
// that answers enforcement points has it as its ConnContext; over a listener that wraps connections, the
// wrapper has a method NetConn.
func ConnContext(ctx context.Context, conn net.Conn) context.Context {
	for {
		inner, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return context.WithValue(ctx, peerKey{}, link.PeerOf(conn))
		}
		conn = inner.NetConn()
	}
}

// Of returns who sends the request, where it may use the right. A token is taken from the header named,
// [HeaderAuthorization] or [HeaderToken].
//
// Errors: as [Book.OfCall]; [Refusal] is what to answer with.
func (b *Book) Of(r *http.Request, right Right, header string) (*Enforcer, error) {
	peer, ok := r.Context().Value(peerKey{}).(link.Peer)
	if !ok {
		return nil, errors.New("the server does not say whose connection it is: set its ConnContext")
	}
	token, err := bearer(r.Header.Values(header))
	if err != nil {
		return nil, err
	}
	by := shown{token: token}
	switch {
	case r.TLS != nil:
		by.chain, by.private = r.TLS.PeerCertificates, true
	case peer.HasUID:
		by.uid, by.hasUID, by.private = uint32(peer.UID), true, true //nolint:gosec // 32 bits of SO_PEERCRED
	default:
		by.private = loopback(r.RemoteAddr)
	}
	return b.known(r.Context(), by, right)
}

// bearer reads a token (RFC 6750 section 2.1); empty for none.
func bearer(values []string) (string, error) {
	if len(values) == 0 {
		return "", nil
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if len(values) != 1 || !ok || !strings.EqualFold(scheme, "bearer") || len(token) < minToken ||
		len(token) > maxToken {
		return "", nobody("the header with the token is not one bearer token")
	}
	return token, nil
}

func loopback(address string) bool {
	parsed, err := netip.ParseAddrPort(address)
	return err == nil && parsed.Addr().Unmap().IsLoopback()
}

// Edge is where enforcement points come in.
var Edge = problem.Edge{
	Excerpt: 200, RetryLater: 1, Authenticate: `Bearer realm="attestd decisions"`,
	TooLarge: "ask about less at once",
}

// Refusal returns what to answer an enforcement point with that gets no answer. Where a tenant is not
// its own, the handlers use the same answer as for one that is not there.
func Refusal(err error) problem.Problem {
	var shaped *problem.Error
	var caller *attestd.CallerError
	var undecided *attestd.UndecidedError
	switch {
	case errors.As(err, &shaped):
		return shaped.Problem
	case errors.As(err, &caller):
		return Edge.New(caller.Class, caller.Error(), caller.Hint)
	case errors.As(err, &undecided):
		return Edge.New(undecided.Class, undecided.Error(), undecided.Hint)
	default:
		return Edge.New(attestd.ClassInternal, "", "")
	}
}
