package daemon

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// connections bounds the connections of one listener. When it is full, the one that has kept us
// waiting longest (for a header, for a body, for the next request) is closed for the new one. So a
// caller that holds thousands of connections and sends a byte now and then displaces itself: one
// that sends its request at once is never the longest waiting.
type connections struct {
	net.Listener
	most int

	mu   sync.Mutex
	live map[*connection]struct{}
}

// connection is one of them. Its fields belong to the mutex of its table.
type connection struct {
	net.Conn
	table   *connections
	waiting bool
	since   time.Time
	closed  sync.Once
}

// NetConn returns the connection underneath, for whoever asks the kernel who is at its other end.
func (c *connection) NetConn() net.Conn { return c.Conn }

func limitConnections(listener net.Listener, most int) *connections {
	return &connections{Listener: listener, most: most, live: make(map[*connection]struct{})}
}

// Accept implements [net.Listener].
func (t *connections) Accept() (net.Conn, error) {
	for {
		conn, err := t.Listener.Accept()
		if err != nil {
			return nil, err
		}
		accepted := &connection{Conn: conn, table: t, waiting: true, since: time.Now()}
		if victim, ok := t.admit(accepted); victim != nil {
			_ = victim.Close()
		} else if !ok {
			_ = conn.Close() // everybody is being served
			continue
		}
		return accepted, nil
	}
}

// admit adds the connection; where that is one too many it returns the one that must go, or false.
func (t *connections) admit(accepted *connection) (victim *connection, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.live) >= t.most {
		for one := range t.live {
			if one.waiting && (victim == nil || one.since.Before(victim.since)) {
				victim = one
			}
		}
		if victim == nil {
			return nil, false
		}
		delete(t.live, victim)
	}
	t.live[accepted] = struct{}{}
	return victim, true
}

// Close implements [net.Conn].
func (c *connection) Close() error {
	c.closed.Do(func() {
		c.table.mu.Lock()
		delete(c.table.live, c)
		c.table.mu.Unlock()
	})
	return c.Conn.Close()
}

// wait says whether the connection keeps us waiting from now on.
func (c *connection) wait(waiting bool) {
	c.table.mu.Lock()
	defer c.table.mu.Unlock()
	c.waiting = waiting
	if waiting {
		c.since = time.Now()
	}
}

// connectionKey is the key of the connection in a request's context.
type connectionKey struct{}

// remember puts the connection into the context of its requests.
func remember(ctx context.Context, conn net.Conn) context.Context {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	if known, ok := conn.(*connection); ok {
		return context.WithValue(ctx, connectionKey{}, known)
	}
	return ctx
}

// watched marks connections as served from the end of the request's body to the end of the answer.
func watched(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, ok := r.Context().Value(connectionKey{}).(*connection)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		if r.ContentLength == 0 {
			conn.wait(false)
		} else {
			r.Body = &watchedBody{ReadCloser: r.Body, conn: conn}
		}
		defer conn.wait(true)
		next.ServeHTTP(w, r)
	})
}

type watchedBody struct {
	io.ReadCloser
	conn *connection
}

// Read implements [io.Reader].
func (b *watchedBody) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	if err != nil {
		b.conn.wait(false)
	}
	return n, err
}
