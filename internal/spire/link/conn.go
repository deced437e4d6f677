package link

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
)

// Conn is one link. Its methods can be called from any goroutine.
type Conn struct {
	conn    net.Conn
	peer    Peer
	handler Handler
	options Options
	began   time.Time

	ctx    context.Context // of handlers; ends with the link
	cancel context.CancelFunc
	done   chan struct{}
	over   sync.Once
	why    atomic.Pointer[Error]
	heard  atomic.Int64 // when the last frame came, since began
	work   sync.WaitGroup

	slots   chan struct{} // one for each call of ours without an answer
	mu      sync.Mutex
	lastID  uint64
	waiting map[uint64]chan message // nil for a call that was given up
	serving map[uint64]struct{}     // ids of the peer's calls that are worked on
	notices chan message
	idle    chan message  // to an answerer that waits
	greeted chan struct{} // closed by the peer's greeting
	out     outbox
}

// NewConn begins a link over a connection, which it owns from now on. The handler may be nil: every
// call of the peer is refused then. Peer is what the handler is told.
func NewConn(conn net.Conn, peer Peer, handler Handler, options Options) *Conn {
	options = options.filled()
	if peer.FrameBytes > 0 {
		options.FrameBytes = min(options.FrameBytes, peer.FrameBytes)
	}
	c := &Conn{
		conn: conn, peer: peer, handler: handler, options: options, began: time.Now(),
		done: make(chan struct{}), slots: make(chan struct{}, options.Calls),
		waiting: make(map[uint64]chan message), serving: make(map[uint64]struct{}),
		idle: make(chan message), greeted: make(chan struct{}), out: outbox{ready: make(chan struct{}, 1)},
	}
	if handler == nil {
		c.handler = refuseAll
	}
	c.ctx, c.cancel = context.WithCancel(context.WithValue(context.Background(), connKey{}, c))
	keepAlive(conn)
	c.work.Add(2)
	go c.read()
	go c.write()
	return c
}

// Peer returns who is at the other end.
func (c *Conn) Peer() Peer { return c.peer }

// Done is closed when the link is over.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns why the link is over, and nil while it is not.
func (c *Conn) Err() error {
	if why := c.why.Load(); why != nil {
		return why
	}
	return nil
}

// Close ends the link. Calls without an answer end with an error, handlers by their context; Close
// does not wait for them, [Conn.Wait] does.
func (c *Conn) Close() error {
	c.end(unreached("the link was closed", ErrUnreached))
	return nil
}

// Go runs something that belongs to the link, such as what it pushes: its context ends with the link,
// and [Conn.Wait] waits for it. It is for handlers to call, while the link has not been waited for.
func (c *Conn) Go(run func(ctx context.Context)) {
	c.work.Go(func() { run(c.ctx) })
}

// Wait returns when the link is over and its goroutines, those of handlers among them, have ended.
func (c *Conn) Wait() { c.work.Wait() }

func (c *Conn) end(why *Error) {
	c.over.Do(func() {
		c.why.Store(why)
		close(c.done)
		c.cancel()
		_ = c.conn.Close()
	})
}

// broken ends the link for a reason that is not in the plan.
func (c *Conn) broken(err error) {
	if c.Err() == nil {
		c.options.Logger.Debug("link ended", "peer", c.peer.Address, "err", attestd.Excerpt(err.Error(), 200))
	}
	c.end(unreached("the link broke: "+err.Error(), ErrUnreached))
}

// read takes frames until the link is over.
func (c *Conn) read() {
	defer c.work.Done()
	defer c.shut()
	reader := bufio.NewReaderSize(c.conn, 4<<10)
	var since time.Time // when we began to wait for the rest of a frame; zero where we do not
	begun := func(size int) {
		if since.IsZero() {
			since = time.Now()
		}
		late := c.options.FrameTimeout + time.Duration(size>>20)*time.Second
		_ = c.conn.SetReadDeadline(since.Add(late))
	}
	for {
		if _, err := reader.Peek(1); err != nil {
			c.broken(err)
			return
		}
		if reader.Buffered() < headerSize {
			begun(0)
		}
		frame, err := readFrame(reader, c.options.FrameBytes, begun)
		if err != nil {
			c.broken(err)
			return
		}
		if !since.IsZero() {
			since = time.Time{}
			_ = c.conn.SetReadDeadline(since)
		}
		c.heard.Store(int64(time.Since(c.began)))
		m, err := parse(frame)
		if err == nil {
			err = c.take(m)
		}
		if err != nil {
			c.broken(err)
			return
		}
	}
}

// shut ends the one that hands out notices.
func (c *Conn) shut() {
	if c.notices != nil {
		close(c.notices)
	}
}

// take does what a message says.
func (c *Conn) take(m message) error {
	switch m.kind {
	case kindCall:
		return c.serve(m)
	case kindNotice:
		if m.method == methodGreeting {
			return c.greet(m)
		}
		return c.notice(m)
	case kindFarewell:
		said := decodeError(m.value)
		said.cause = ErrUnreached
		said.Message = "the peer closed the link: " + said.Message
		// Whatever the reason is, the calls under way were not answered.
		said.Class = attestd.ClassStoreUnavailable
		c.end(said)
		return errors.New("the peer closed the link")
	default:
		return c.deliver(m)
	}
}

// methodGreeting is the first frame of whoever serves: it shows that somebody reads on the other side,
// which a connection to a stopped process does not.
const methodGreeting = "link.greeting"

// greeting is its body.
type greeting struct {
	Version int `json:"v"`
}

// version of the frames.
const version = 1

func (c *Conn) greet(m message) error {
	var said greeting
	if err := Decode(m.value, &said); err != nil || said.Version != version {
		return breach("a greeting of another version: %q", attestd.Excerpt(string(m.value), 40))
	}
	select {
	case <-c.greeted:
		return breach("a second greeting")
	default:
		close(c.greeted)
		return nil
	}
}

// deliver gives an answer to the call that waits for it.
func (c *Conn) deliver(m message) error {
	c.mu.Lock()
	answer, asked := c.waiting[m.id]
	delete(c.waiting, m.id)
	c.mu.Unlock()
	if !asked {
		return breach("an answer to %d, which was not asked or is answered", m.id)
	}
	<-c.slots
	if answer != nil {
		answer <- m
	}
	return nil
}
