package link

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/attestd/attestd"
)

// maxNotices is how many of a peer's notices wait for the handler.
const maxNotices = 64

func refuseAll(_ context.Context, _ Peer, method string, _ json.RawMessage) (any, error) {
	return nil, &attestd.CallerError{
		Class: attestd.ClassForbidden, Hint: "ask the other side",
		Err: fmt.Errorf("nothing answers %s here", method),
	}
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
