package link

import (
	"sync"
	"time"
)

// piece is how much is written under one deadline.
const piece = 256 << 10

// outbox collects frames for the one that writes them, so that those that are queued meanwhile go out
// in one write.
type outbox struct {
	mu      sync.Mutex
	next    []byte
	spare   []byte
	writing int
	ready   chan struct{} // holds one where next is not empty
}

// put adds a message; false where that is more than limit.
func (o *outbox) put(m message, limit int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.next)+o.writing+len(m.value) > limit {
		return false
	}
	o.next = m.append(o.next)
	select {
	case o.ready <- struct{}{}:
	default:
	}
	return true
}

// take returns what is to be written now.
func (o *outbox) take() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	batch := o.next
	o.next, o.spare, o.writing = o.spare[:0], nil, len(batch)
	return batch
}

// wrote gives the memory of a batch back, unless it has grown for one long message.
func (o *outbox) wrote(batch []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writing = 0
	if cap(batch) <= growth {
		o.spare = batch
	}
}

func (o *outbox) held() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.next) + o.writing
}

// write writes batches until the link is over.
func (c *Conn) write() {
	defer c.work.Done()
	for {
		select {
		case <-c.done:
			return
		case <-c.out.ready:
		}
		batch := c.out.take()
		for rest := batch; len(rest) != 0; {
			part := rest[:min(len(rest), piece)]
			_ = c.conn.SetWriteDeadline(time.Now().Add(c.options.WriteTimeout))
			if _, err := c.conn.Write(part); err != nil {
				c.unwritten(err)
				return
			}
			rest = rest[len(part):]
		}
		c.out.wrote(batch)
	}
}

// unwritten ends the link, but lets the reader find first why the peer closed it.
func (c *Conn) unwritten(err error) {
	select {
	case <-c.done:
	case <-time.After(lastWords):
		c.broken(err)
	}
}

// lastWords is how long a peer's farewell may take that it wrote before it closed.
const lastWords = 50 * time.Millisecond
