package front

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// Office decides what may be issued. Package issuance has the one there is.
type Office interface {
	Begin(ctx context.Context, ask wire.NodeBegin, source string) (wire.NodeChallenge, error)
	Finish(ctx context.Context, ask wire.NodeFinish, source string) (wire.NodeVerdict, error)
	Grant(ctx context.Context, ask wire.GrantRequest) (wire.Granted, error)
	SetMap(whole wire.Map) error
	Orders() (wire.Orders, <-chan struct{})
	SnapshotSince(id subject.ID, revision string) (wire.Signed, error)
	Version(id subject.ID) uint64
	Changed() <-chan struct{}
	Holdover(ctx context.Context, ask wire.HoldoverRequest) (wire.HoldoverAnswer, error)
	Allow(callerID string) bool
	Agent(id string) (wire.Agent, bool)
}

// Book knows operators by their certificates. Package operator has the one there is.
type Book interface {
	ByCertificate(ctx context.Context, state *tls.ConnectionState) (operator.Principal, error)
}

// NodeCA knows nodes by theirs. Package nodeca has the one there is.
type NodeCA interface {
	Identify(state *tls.ConnectionState) (id string, spki []byte, err error)
}

// Off is the address of a listener that there is none of.
const Off = "off"

// Refusal is a call, or a peer, that was refused because of who it is.
type Refusal struct {
	At time.Time
	// Who as in "uid 998", "operator composer" or "node spiffe://…"; Method is empty where the peer was
	// turned away whole.
	Who, Method string
	Reason      string
}

// Config is what a [Front] is made of. Every field is required.
type Config struct {
	Office Office
	Book   Book
	NodeCA NodeCA
	// Controller is what is asked of SPIRE through the controller; the office asks it, too.
	Controller *Controller
	// Users may be issuers on the unix socket, beside root and attestd's own uid.
	Users []uint32
	// TLS is the server's side of attestd's own PKI: its certificate, and no word on clients.
	TLS *tls.Config
	// Unix is the path of the socket, Listen and Gate an IP address and a port; [Off] for none. Gate must
	// be loopback.
	Unix, Listen, Gate string
	// StatePath is the file in which the controller's state is kept.
	StatePath string
	// Now is the clock that snapshots are issued by.
	Now func() time.Time
	// Reached gets how far orders have come in SPIRE. Note gets refusals; it must not block.
	Reached func(wire.Reached)
	Note    func(Refusal)
	Logger  *slog.Logger
}

func (c *Config) check() error {
	var problems []error
	want := func(fine bool, format string, args ...any) {
		if !fine {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	want(c.Office != nil && c.Book != nil && c.NodeCA != nil && c.Controller != nil,
		"office, book of operators, node CA and controller are required")
	want(c.Now != nil && c.Reached != nil && c.Note != nil && c.Logger != nil,
		"a clock, who hears of orders and of refusals, and a logger are required")
	want(filepath.IsAbs(c.StatePath), "the file of the controller's state is %q, want an absolute path",
		attestd.Excerpt(c.StatePath, 120))
	want(c.Unix == Off || filepath.IsAbs(c.Unix) && len(c.Unix) <= 107,
		"the unix socket is %q, want an absolute path of at most 107 bytes, or off", attestd.Excerpt(c.Unix, 120))
	if c.Listen != Off {
		_, err := netip.ParseAddrPort(c.Listen)
		want(err == nil, "the listener is %q, want an IP address and a port, or off", attestd.Excerpt(c.Listen, 60))
		want(c.TLS != nil && (len(c.TLS.Certificates) != 0 || c.TLS.GetCertificate != nil),
			"the listener needs a certificate")
	}
	if c.Gate != Off {
		gate, err := netip.ParseAddrPort(c.Gate)
		want(err == nil && gate.Addr().IsLoopback(), "the gate is %q, want a loopback address and a port, or off",
			attestd.Excerpt(c.Gate, 60))
	}
	if err := errors.Join(problems...); err != nil {
		return &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "see docs/config.md, section spire", Err: err,
		}
	}
	return nil
}

// Bound is where a [Front] answers; nil for a listener that is off.
type Bound struct{ Unix, Listen, Gate net.Addr }
