package link

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
)

// Options bound a link. A zero field is its default.
type Options struct {
	// FrameBytes is the greatest frame that is read; [MaxFrame].
	FrameBytes int
	// Calls is how many of the peer's calls are worked on at once, and how many of ours wait for an
	// answer at once; 256. One more of the peer's is RATE_LIMITED, one more of ours waits.
	Calls int
	// CallTimeout bounds a call whose context has no deadline, and the time that a peer's call has; 30 s.
	CallTimeout time.Duration
	// FrameTimeout is for the rest of a frame whose first byte has come, beside a second for each MiB of
	// it; 10 s. WriteTimeout is for the peer to read 256 KiB; 10 s.
	FrameTimeout, WriteTimeout time.Duration
	// QueueBytes bounds what waits to be written; 8 MiB and a frame. A peer that does not read its
	// answers loses its link there.
	QueueBytes int
	// DropSilent closes the link where a call of ours has run out of time and the peer has not sent
	// anything since it was made: somebody else may be there to ask.
	DropSilent bool
	// Logger gets panics of handlers and why links end; nil for none.
	Logger *slog.Logger
}

func (o Options) filled() Options {
	orInt := func(value *int, standard int) {
		if *value <= 0 {
			*value = standard
		}
	}
	orTime := func(value *time.Duration, standard time.Duration) {
		if *value <= 0 {
			*value = standard
		}
	}
	orInt(&o.FrameBytes, MaxFrame)
	orInt(&o.Calls, 256)
	orInt(&o.QueueBytes, 8<<20+o.FrameBytes)
	orTime(&o.CallTimeout, 30*time.Second)
	orTime(&o.FrameTimeout, 10*time.Second)
	orTime(&o.WriteTimeout, 10*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// most of a peer's notices that wait for the handler.
const maxNotices = 64

// leastSilence is what a call must have waited before its peer counts as silent.
const leastSilence = 500 * time.Millisecond

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

func refuseAll(_ context.Context, _ Peer, method string, _ json.RawMessage) (any, error) {
	return nil, &attestd.CallerError{
		Class: attestd.ClassForbidden, Hint: "ask the other side", Err: fmt.Errorf("nothing answers %s here", method),
	}
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

// Call asks the peer and reads its answer into the pointer out, which may be nil. in is a document, or
// nil for the empty one.
//
// Errors: an [*Error], the peer's or one with [ErrUnreached] where no answer came in time.
func (c *Conn) Call(ctx context.Context, method string, in, out any) error {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.options.CallTimeout)
		defer cancel()
	}
	body, err := c.encode(method, in)
	if err != nil {
		return err
	}
	select {
	case <-c.done:
		return c.ended(errUnsent)
	case <-ctx.Done():
		return gaveUp(ctx, errUnsent)
	case c.slots <- struct{}{}:
	}
	answer := make(chan message, 1)
	asked := time.Now()
	id, err := c.ask(ctx, method, body, answer)
	if err != nil {
		return err
	}
	select {
	case got := <-answer:
		return c.answered(got, out)
	case <-c.done:
	case <-ctx.Done():
	}
	select { // of an answer and an end, the answer counts
	case got := <-answer:
		return c.answered(got, out)
	default:
	}
	if ctx.Err() == nil {
		return c.ended(ErrUnreached)
	}
	c.giveUp(ctx, id, asked)
	return gaveUp(ctx, ErrUnreached)
}

// ask writes a call down and sends it.
func (c *Conn) ask(ctx context.Context, method string, body []byte, answer chan message) (uint64, error) {
	millis := uint64(1)
	if deadline, ok := ctx.Deadline(); ok {
		millis = uint64(max(1, time.Until(deadline).Milliseconds())) //nolint:gosec // at least 1
	}
	c.mu.Lock()
	c.lastID++
	id := c.lastID
	c.waiting[id] = answer
	c.mu.Unlock()
	if err := c.send(message{kind: kindCall, id: id, millis: millis, method: method, value: body}); err != nil {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
		<-c.slots
		return 0, err
	}
	return id, nil
}

// giveUp leaves a call without an answer. Its slot stays taken until the answer comes: a peer that
// answers nothing is asked no more than it has slots.
func (c *Conn) giveUp(ctx context.Context, id uint64, asked time.Time) {
	c.mu.Lock()
	if _, there := c.waiting[id]; there {
		c.waiting[id] = nil
	}
	abandoned := 0
	for _, answer := range c.waiting {
		if answer == nil {
			abandoned++
		}
	}
	c.mu.Unlock()
	silent := time.Duration(c.heard.Load()) < asked.Sub(c.began) && time.Since(asked) >= leastSilence
	switch {
	case abandoned >= c.options.Calls:
		c.broken(errors.New("the peer answers nothing"))
	case c.options.DropSilent && silent && errors.Is(ctx.Err(), context.DeadlineExceeded):
		c.broken(errors.New("the peer is silent"))
	}
}

func gaveUp(ctx context.Context, cause error) *Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return unreached("the call was given up", cause)
	}
	return unreached("the peer did not answer in time", cause)
}

// ended returns the error of a call whose link is over.
func (c *Conn) ended(cause error) *Error {
	why := c.why.Load()
	return &Error{Class: why.Class, Message: why.Message, Hint: why.Hint, cause: cause}
}

func (c *Conn) answered(got message, out any) error {
	if got.kind == kindError {
		return decodeError(got.value)
	}
	if out == nil {
		return nil
	}
	if err := Decode(got.value, out); err != nil { // whatever the peer did, we do not know
		return unreached("the peer's answer cannot be read: "+err.Error(), ErrUnreached)
	}
	return nil
}

// Notify sends what is not answered. That it returns nil says that it was queued.
//
// Errors: an [*Error], where the link is over or the peer does not read.
func (c *Conn) Notify(method string, in any) error {
	body, err := c.encode(method, in)
	if err != nil {
		return err
	}
	return c.send(message{kind: kindNotice, method: method, value: body})
}

func (c *Conn) encode(method string, in any) ([]byte, error) {
	body, err := encodeBody(in)
	switch {
	case err != nil || !validMethod(method):
		return nil, &Error{
			Class: attestd.ClassInternal, Message: "the call cannot be written", Hint: "this is a fault of attestd",
			cause: errUnsent,
		}
	case len(body)+envelope > max(MaxFrame, c.options.FrameBytes):
		return nil, &Error{
			Class: attestd.ClassTooLarge, Message: fmt.Sprintf("%s has %d bytes, want at most %d", method,
				len(body), max(MaxFrame, c.options.FrameBytes)-envelope),
			Hint: "send less at once", cause: errUnsent,
		}
	}
	return body, nil
}

// Queued returns how many bytes wait to be written or are being written: where it is 0 the peer has
// been sent everything.
func (c *Conn) Queued() int { return c.out.held() }

func (c *Conn) send(m message) error {
	select {
	case <-c.done:
		return c.ended(errUnsent)
	default:
	}
	if !c.out.put(m, c.options.QueueBytes) {
		c.broken(errors.New("the peer does not read"))
		return c.ended(errUnsent)
	}
	return nil
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

// serve begins a call of the peer's.
func (c *Conn) serve(m message) error {
	c.mu.Lock()
	_, used := c.serving[m.id]
	full := len(c.serving) >= c.options.Calls
	if !used && !full {
		c.serving[m.id] = struct{}{}
	}
	c.mu.Unlock()
	switch {
	case used:
		return breach("the id %d, which is in use", m.id)
	case full:
		busy := &Error{
			Class: attestd.ClassRateLimited, Message: "too many calls at once", Hint: "wait for answers first",
		}
		return c.send(message{kind: kindError, id: m.id, value: busy.encode()})
	}
	select {
	case c.idle <- m:
	default:
		c.work.Go(func() { c.answerer(m) })
	}
	return nil
}

// linger is how long one that has answered waits for the next call: its stack has grown to what calls
// need, which is a good part of what a short call costs.
const linger = 2 * time.Second

// answerer works on a call, and on those that come while it waits.
func (c *Conn) answerer(m message) {
	c.answer(m)
	timer := time.NewTimer(linger)
	defer timer.Stop()
	for {
		select {
		case m := <-c.idle:
			c.answer(m)
			timer.Reset(linger)
		case <-timer.C:
			return
		case <-c.done:
			return
		}
	}
}

// answer works on one call.
func (c *Conn) answer(m message) {
	late := c.options.CallTimeout
	if millis := uint64(late / time.Millisecond); m.millis < millis { //nolint:gosec // it is positive
		late = time.Duration(m.millis) * time.Millisecond //nolint:gosec // below late
	}
	ctx, cancel := context.WithTimeout(c.ctx, late)
	defer cancel()
	reply := message{kind: kindResult, id: m.id}
	result, err := c.handle(ctx, m)
	if err == nil {
		reply.value, err = encodeBody(result)
		if len(reply.value)+envelope > max(MaxFrame, c.options.FrameBytes) {
			err = fmt.Errorf("the answer has %d bytes", len(reply.value))
		}
	}
	if err != nil {
		said := AsError(err)
		if classOf(said.Class) == attestd.ClassInternal {
			c.options.Logger.ErrorContext(ctx, "a call failed", "method", m.method, "peer", c.peer.Address,
				"err", attestd.Excerpt(err.Error(), maxMessage))
		}
		reply.kind, reply.value = kindError, said.encode()
	}
	c.mu.Lock()
	delete(c.serving, m.id)
	c.mu.Unlock()
	_ = c.send(reply) // where the link is over nobody waits
}

// handle calls the handler; a panic of it is an error of the one call.
func (c *Conn) handle(ctx context.Context, m message) (result any, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			c.options.Logger.ErrorContext(ctx, "a handler panicked", "method", m.method,
				"err", attestd.Excerpt(fmt.Sprint(cause), maxMessage), "stack", string(debug.Stack()))
			result, err = nil, internalError()
		}
	}()
	return c.handler(ctx, c.peer, m.method, m.value)
}

// notice queues a notice for the handler, which gets them in order.
func (c *Conn) notice(m message) error {
	if c.notices == nil {
		c.notices = make(chan message, maxNotices)
		c.work.Add(1)
		go func() {
			defer c.work.Done()
			for m := range c.notices {
				if c.ctx.Err() == nil {
					_, _ = c.handle(c.ctx, m)
				}
			}
		}()
	}
	select {
	case c.notices <- m:
		return nil
	default:
		return breach("%d notices wait to be heard", maxNotices)
	}
}
