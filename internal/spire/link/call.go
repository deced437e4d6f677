package link

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/attestd/attestd"
)

// leastSilence is what a call must have waited before its peer counts as silent.
const leastSilence = 500 * time.Millisecond

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
