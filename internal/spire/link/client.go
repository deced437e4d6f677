package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/attestd/attestd"
)

// ServerName is what attestd's certificate is for, whatever address it is reached by: its CA is of one
// attestd alone.
const ServerName = "attestd"

// ALPN names what is spoken (RFC 7301), so that no listener for something else can stand in for one of
// ours under the same CA, and no other client be taken for one of ours.
const ALPN = "attestd-link/1"

// Bounds of a client's dials and pauses.
const (
	dialTimeout = 2 * time.Second
	leastPause  = 10 * time.Millisecond
	mostPause   = time.Second
)

// ClientConfig says whom a [Client] talks to.
type ClientConfig struct {
	// Addresses are "unix:/path" or "tcp:host:port", the preferred first. Required.
	Addresses []string
	// TLS is asked at each dial of a tcp address, which is never spoken to without. Its RootCAs must be
	// set, and say whom to trust alone; an empty ServerName is [ServerName].
	TLS func() (*tls.Config, error)
	// Handler answers what attestd calls; nil refuses everything.
	Handler Handler
	// OnConnect is called with each new link before anybody else uses it. Where it returns an error the
	// link is closed and the next address is tried. nil for nothing.
	OnConnect func(ctx context.Context, conn *Conn) error
	// Repeat are the methods that are safe to ask again of another address where no answer came. Every
	// other is asked once, unless it certainly was not sent.
	Repeat []string
	// Options of each link.
	Options Options
	Logger  *slog.Logger
}

// Client keeps a link to the first of some addresses that answers, and makes a new one when it is
// lost.
type Client struct {
	config ClientConfig
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}
	wrong  *Error // the configuration will never do

	mu      sync.Mutex
	conn    *Conn
	changed chan struct{} // closed when conn or last changes
	last    error         // why there is no link
}

// ParseAddress reads "unix:/path" or "tcp:host:port".
//
// Errors: a [*attestd.CallerError] of class CONFIG.
func ParseAddress(text string) (network, address string, err error) {
	network, address, _ = strings.Cut(text, ":")
	bad := func(what string) error {
		return &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: `write "unix:/absolute/path" or "tcp:host:port"`,
			Err: fmt.Errorf("address %q: %s", attestd.Excerpt(text, 120), what),
		}
	}
	switch network {
	case "unix":
		if !strings.HasPrefix(address, "/") || len(address) > 107 { // sun_path of unix(7), with its final zero
			return "", "", bad("not an absolute path of at most 107 bytes")
		}
	case "tcp":
		host, port, err := net.SplitHostPort(address)
		if err != nil || host == "" || port == "" || port == "0" {
			return "", "", bad("not a host and a port")
		}
	default:
		return "", "", bad("neither unix nor tcp")
	}
	return network, address, nil
}

// NewClient returns a client, which connects at once and until it is closed. A configuration that will
// never do is told by every call.
func NewClient(config ClientConfig) *Client {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Options.Logger == nil {
		config.Options.Logger = config.Logger
	}
	config.Options.DropSilent = true
	config.Addresses, config.Repeat = slices.Clone(config.Addresses), slices.Clone(config.Repeat)
	c := &Client{config: config, changed: make(chan struct{}), ended: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := check(config); err != nil {
		c.wrong = AsError(err)
		c.wrong.cause = errUnsent
		close(c.ended)
		return c
	}
	go c.run()
	return c
}

func check(config ClientConfig) error {
	if len(config.Addresses) == 0 {
		return &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "name at least one address", Err: errors.New("no address of attestd"),
		}
	}
	for _, one := range config.Addresses {
		network, _, err := ParseAddress(one)
		if err != nil {
			return err
		}
		if network == "tcp" && config.TLS == nil {
			return &attestd.CallerError{
				Class: attestd.ClassConfig, Hint: "name certificate, key and ca",
				Err: fmt.Errorf("address %q needs a certificate", attestd.Excerpt(one, 120)),
			}
		}
	}
	return nil
}

// Close ends the client and its link, and returns when its goroutines have ended.
func (c *Client) Close() {
	c.cancel()
	<-c.ended
}

// Connected reports whether there is a link now.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil && c.conn.Err() == nil
}

// Call asks attestd, over the link there is or the next one that comes before ctx ends (30 s where it
// has no deadline). A call that was sent and lost is asked again where its method is one of Repeat.
//
// Errors: an [*Error] as [Conn.Call]'s; of class CONFIG where the configuration will never do.
func (c *Client) Call(ctx context.Context, method string, in, out any) error {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.config.Options.filled().CallTimeout)
		defer cancel()
	}
	var spent *Conn
	for {
		conn, err := c.link(ctx, spent)
		if err != nil {
			return err
		}
		err = conn.Call(ctx, method, in, out)
		again := errors.Is(err, errUnsent) ||
			errors.Is(err, ErrUnreached) && slices.Contains(c.config.Repeat, method)
		if err == nil || !again || ctx.Err() != nil || conn.Err() == nil {
			return err
		}
		spent = conn
	}
}

// Notify sends what is not answered over the link there is.
//
// Errors: an [*Error]; where there is no link, at once.
func (c *Client) Notify(method string, in any) error {
	c.mu.Lock()
	conn, last := c.conn, c.last
	c.mu.Unlock()
	switch {
	case c.wrong != nil:
		return c.wrong
	case conn == nil:
		return c.nobody(last)
	}
	return conn.Notify(method, in)
}

// link returns the present link, unless it is spent, or waits for one.
func (c *Client) link(ctx context.Context, spent *Conn) (*Conn, error) {
	if c.wrong != nil {
		return nil, c.wrong
	}
	for {
		c.mu.Lock()
		conn, changed, last := c.conn, c.changed, c.last
		c.mu.Unlock()
		if conn != nil && conn != spent && conn.Err() == nil {
			return conn, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, c.nobody(last)
		case <-c.ctx.Done():
			return nil, unreached("the client is closed", errUnsent)
		}
	}
}

func (c *Client) nobody(last error) *Error {
	what := "attestd is not reached"
	if last != nil {
		what += ": " + attestd.Excerpt(last.Error(), maxMessage)
	}
	out := unreached(what, errUnsent)
	if said := (*Error)(nil); errors.As(last, &said) && said.Hint != "" {
		out.Hint = said.Hint // of a peer that turned this one away, and says what would let it in
	}
	return out
}

func (c *Client) set(conn *Conn, last error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn, c.last = conn, last
	close(c.changed)
	c.changed = make(chan struct{})
}

// run keeps a link until the client is closed.
func (c *Client) run() {
	defer close(c.ended)
	pause := time.Duration(0)
	for index := 0; c.ctx.Err() == nil; index++ {
		address := c.config.Addresses[index%len(c.config.Addresses)]
		began := time.Now()
		conn, err := c.dial(address)
		if err == nil {
			c.config.Logger.Debug("linked", "address", address)
			c.set(conn, nil)
			select {
			case <-conn.Done():
			case <-c.ctx.Done():
				_ = conn.Close()
			}
			conn.Wait()
			err = conn.Err()
			if time.Since(began) > mostPause {
				pause = 0
				// The next round begins with the preferred address.
				index = -1
			}
		}
		c.set(nil, fmt.Errorf("%s: %w", address, err))
		c.config.Logger.Debug("not linked", "address", address, "err", attestd.Excerpt(err.Error(), 200))
		if pause == 0 && index+1 < len(c.config.Addresses) {
			continue // each address is tried once before the first pause
		}
		pause = min(max(2*pause, leastPause), mostPause)
		select {
		case <-time.After(pause/2 + rand.N(pause/2)): //nolint:gosec // jitter, not a secret
		case <-c.ctx.Done():
		}
	}
}

// dial makes one link.
func (c *Client) dial(text string) (*Conn, error) {
	network, address, err := ParseAddress(text)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.ctx, dialTimeout)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if network == "tcp" {
		raw, err = c.secure(ctx, raw)
		if err != nil {
			return nil, err
		}
	}
	conn := NewConn(raw, Peer{Address: text}, c.config.Handler, c.config.Options)
	if err := c.begin(ctx, conn); err != nil {
		_ = conn.Close()
		conn.Wait()
		return nil, err
	}
	return conn, nil
}

// begin waits until attestd is there, and does what comes first.
func (c *Client) begin(ctx context.Context, conn *Conn) error {
	select {
	case <-conn.greeted:
	case <-conn.Done():
		return conn.Err()
	case <-ctx.Done():
		return errors.New("it takes connections, but says nothing")
	}
	if c.config.OnConnect == nil {
		return nil
	}
	return c.config.OnConnect(ctx, conn)
}

// secure begins TLS with attestd and nobody else.
func (c *Client) secure(ctx context.Context, raw net.Conn) (net.Conn, error) {
	given, err := c.config.TLS()
	if err == nil && (given == nil || given.RootCAs == nil || given.InsecureSkipVerify) {
		err = errors.New("the TLS configuration does not say whom to trust")
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	config := given.Clone()
	config.MinVersion, config.ClientSessionCache = tls.VersionTLS13, nil
	config.NextProtos = []string{ALPN}
	if config.ServerName == "" {
		config.ServerName = ServerName
	}
	secured := tls.Client(raw, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return secured, nil
}
