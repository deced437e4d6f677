package link

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/attestd/attestd"
)

// Limits bound what one listener takes. A zero field is its default.
type Limits struct {
	// Options of each link.
	Options Options
	// Connections is how many peers are there at once; 4096. One more is turned away.
	Connections int
	// Unknown is how many connections may wait to be known; 256. For one more, the one that has waited
	// longest is closed: whoever holds thousands and says nothing displaces itself.
	Unknown int
	// PerPeer is how many links one peer (certificate key, uid or address) may have; 64. For one more,
	// its oldest is closed, which is the one that a restarted peer has left behind.
	PerPeer int
	// Handshake is how long it may take to be known; 5 s.
	Handshake time.Duration
}

func (l Limits) filled() Limits {
	if l.Connections <= 0 {
		l.Connections = 4096
	}
	if l.Unknown <= 0 {
		l.Unknown = 256
	}
	if l.PerPeer <= 0 {
		l.PerPeer = 64
	}
	if l.Handshake <= 0 {
		l.Handshake = 5 * time.Second
	}
	l.Options = l.Options.filled()
	return l
}

// Serve takes connections until ctx or the listener ends. accept says who is there and who answers it;
// it does the TLS handshake where there is one, and is called for several connections at once. Where
// it returns an error, the peer is told as much as [AsError] tells, and the connection is closed.
//
// It returns when every link is over and every handler has returned: nil where ctx ended.
func Serve(
	ctx context.Context, listener net.Listener,
	accept func(net.Conn) (Peer, Handler, error), limits Limits,
) error {
	s := &server{
		limits: limits.filled(), accept: accept, unknown: make(map[net.Conn]time.Time),
		peers: make(map[string][]*Conn),
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		_ = listener.Close()
		s.closeAll()
	})
	defer stop()
	err := s.run(ctx, listener)
	cancel()
	_ = listener.Close()
	s.closeAll()
	s.work.Wait()
	return err
}

type server struct {
	limits Limits
	accept func(net.Conn) (Peer, Handler, error)
	work   sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	unknown map[net.Conn]time.Time
	peers   map[string][]*Conn // oldest first
	count   int
}

func (s *server) run(ctx context.Context, listener net.Listener) error {
	pause := time.Duration(0)
	for {
		conn, err := listener.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // out of descriptors, mostly: it passes
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.limits.Options.Logger.WarnContext(ctx, "cannot take a connection", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			continue
		}
		pause = 0
		if !s.arrive(conn) {
			_ = conn.Close()
			continue
		}
		s.work.Add(1)
		go s.know(ctx, conn)
	}
}

// arrive notes a connection that is not known yet.
func (s *server) arrive(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if len(s.unknown) >= s.limits.Unknown {
		var oldest net.Conn
		for one, since := range s.unknown {
			if oldest == nil || since.Before(s.unknown[oldest]) {
				oldest = one
			}
		}
		delete(s.unknown, oldest)
		_ = oldest.Close()
	}
	s.unknown[conn] = time.Now()
	return true
}

// know finds out who is there and keeps the link until it is over.
func (s *server) know(ctx context.Context, conn net.Conn) {
	defer s.work.Done()
	_ = conn.SetDeadline(time.Now().Add(s.limits.Handshake))
	peer, handler, err := s.ask(conn)
	s.mu.Lock()
	delete(s.unknown, conn)
	s.mu.Unlock()
	if err != nil {
		s.limits.Options.Logger.WarnContext(ctx, "a peer was turned away", "peer", peer.Address,
			"err", attestd.Excerpt(err.Error(), maxMessage), "hint", attestd.Excerpt(AsError(err).Hint, maxMessage))
		farewell(conn, AsError(err))
		return
	}
	_ = conn.SetDeadline(time.Time{})
	link, refused := s.admit(conn, peer, handler)
	if refused != nil {
		farewell(conn, refused)
		return
	}
	<-link.Done()
	s.leave(link)
	link.Wait()
}

// ask calls accept; a panic of it turns the one peer away.
func (s *server) ask(conn net.Conn) (peer Peer, handler Handler, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			peer, handler, err = Peer{}, nil, internalError()
		}
	}()
	peer, handler, err = s.accept(conn)
	if err == nil && handler == nil {
		err = internalError()
	}
	return peer, handler, err
}

// farewell says why a connection is closed, to a peer that reads it at once.
func farewell(conn net.Conn, why *Error) {
	_ = conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
	_, _ = conn.Write(message{kind: kindFarewell, value: why.encode()}.append(nil))
	_ = conn.Close()
}

func (s *server) admit(conn net.Conn, peer Peer, handler Handler) (*Conn, *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := peer.key()
	switch mine := s.peers[key]; {
	case s.closed:
		return nil, unreached("attestd is stopping", ErrUnreached)
	case len(mine) >= s.limits.PerPeer:
		_ = mine[0].Close()
		s.remove(key, mine[0])
	case s.count >= s.limits.Connections:
		return nil, &Error{
			Class: attestd.ClassRateLimited, Message: "too many peers at once", Hint: "raise the limit of peers",
		}
	}
	link := NewConn(conn, peer, handler, s.limits.Options)
	_ = link.Notify(methodGreeting, greeting{Version: version}) // a link that is over says so by itself
	s.peers[key] = append(s.peers[key], link)
	s.count++
	return link, nil
}

func (s *server) leave(link *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(link.peer.key(), link)
}

func (s *server) remove(key string, link *Conn) {
	mine := s.peers[key]
	for index, one := range mine {
		if one == link {
			s.peers[key] = append(mine[:index:index], mine[index+1:]...)
			s.count--
			break
		}
	}
	if len(s.peers[key]) == 0 {
		delete(s.peers, key)
	}
}

func (s *server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for conn := range s.unknown {
		_ = conn.Close()
	}
	for _, mine := range s.peers {
		for _, link := range mine {
			_ = link.Close()
		}
	}
}
