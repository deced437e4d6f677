package enforcer

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/attestd/attestd/internal/spire/link"
)

// OfCall returns who sends the gRPC call that ctx is of, where it may use the right. A token is taken from
// the metadata authorization.
//
// Errors: a [*attestd.CallerError] of class UNAUTHENTICATED for nobody that is known, FORBIDDEN without
// the right, QUARANTINED where the enforcement point itself is held; an [*attestd.UndecidedError] where
// any of that cannot be told; a plain one where the server does not use [Transport].
func (b *Book) OfCall(ctx context.Context, right Right) (*Enforcer, error) {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return nil, errors.New("the call has no peer")
	}
	token, err := bearer(metadata.ValueFromIncomingContext(ctx, "authorization"))
	if err != nil {
		return nil, err
	}
	by := shown{token: token}
	switch info := from.AuthInfo.(type) {
	case credentials.TLSInfo:
		by.chain, by.private = info.State.PeerCertificates, true
	case localInfo:
		by.uid, by.hasUID = uint32(info.peer.UID), info.peer.HasUID //nolint:gosec // 32 bits of SO_PEERCRED
		by.private = info.peer.HasUID || loopback(info.peer.Address)
	default:
		return nil, errors.New("the server does not say whose connection it is: give it Transport")
	}
	return b.known(ctx, by, right)
}

// Transport returns the credentials of a gRPC server that answers enforcement points: TLS where there is
// a configuration, else of a unix socket or loopback.
func Transport(secure *tls.Config) credentials.TransportCredentials {
	if secure != nil {
		return credentials.NewTLS(TLS(secure))
	}
	return local{}
}

// TLS returns the configuration of a listener: clients may show a certificate, and have to have its key.
// Whether it counts is looked at with each request, so that one that was let in is not for ever. Tickets
// are off: a session that is taken up again would show what was so when it began.
func TLS(base *tls.Config) *tls.Config {
	out := base.Clone()
	out.ClientAuth, out.ClientCAs = tls.RequestClientCert, nil
	out.MinVersion = max(out.MinVersion, tls.VersionTLS12)
	out.SessionTicketsDisabled = true
	return out
}

// local are the credentials of connections that do not leave the machine.
type local struct{}

type localInfo struct {
	credentials.CommonAuthInfo
	peer link.Peer
}

// AuthType implements [credentials.AuthInfo].
func (localInfo) AuthType() string { return "local" }

// ServerHandshake implements [credentials.TransportCredentials].
func (local) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	inner := conn
	for {
		wrapped, ok := inner.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		inner = wrapped.NetConn()
	}
	info := localInfo{peer: link.PeerOf(inner)}
	info.SecurityLevel = credentials.NoSecurity
	if info.peer.HasUID {
		info.SecurityLevel = credentials.PrivacyAndIntegrity
	}
	return conn, info, nil
}

// ClientHandshake implements [credentials.TransportCredentials]; attestd asks nobody this way.
func (local) ClientHandshake(
	context.Context, string, net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are a server's credentials")
}

// Info implements [credentials.TransportCredentials].
func (local) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "local"}
}

// Clone implements [credentials.TransportCredentials].
func (local) Clone() credentials.TransportCredentials { return local{} }

// OverrideServerName implements [credentials.TransportCredentials].
func (local) OverrideServerName(string) error { return nil }
