package keysocket

import (
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/keysocket/local"
)

// Keys is what the KeyManager answers with. Errors that wrap [ErrNoKey], [ErrBusy] or [ErrRefused]
// reach the caller as such.
type Keys interface {
	Newest(ctx context.Context) (Key, error)
	// Sign signs a digest with the key that has this public key, never with another.
	Sign(ctx context.Context, spki, digest []byte, opts crypto.SignerOpts) ([]byte, error)
	PutEnlist(ctx context.Context, enlist wire.Enlist) error
	// Enlist returns what is enlisted with its revision, "" for none, and a channel that is closed
	// when that changes.
	Enlist(ctx context.Context) (
		enlist wire.Enlist, revision string, changed <-chan struct{}, err error)
}

// Limits of connections. One process cannot take all of them, so that a plugin gone wild does not
// shut out the others.
const (
	maxConnections = 64
	maxOfOne       = 16
)

// Server answers in a folder for as long as it is open.
type Server struct {
	keys     Keys
	listener *local.Listener
	ctx      context.Context //nolint:containedctx // ends with the server
	stop     context.CancelFunc
	running  sync.WaitGroup
	note     func(message string, args ...any)

	mutex sync.Mutex
	open  map[*local.Conn]int32 // to the process that has it
}

// Listen begins to answer in the folder, which must be this user's alone ([local.Folder]). What is
// worth a line in the log is told to note, with pairs of names and values.
//
// Errors: where another process answers there.
func Listen(
	ctx context.Context, folder *local.Folder, keys Keys, note func(message string, args ...any),
) (*Server, error) {
	refused := func(peer local.Peer) {
		note("a process of another user was turned away", "uid", peer.UID, "pid", peer.PID)
	}
	listener, err := folder.Listen(ctx, SocketName, false, refused)
	if err != nil {
		return nil, err
	}
	s := &Server{keys: keys, listener: listener, note: note, open: make(map[*local.Conn]int32)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.running.Go(s.accept)
	return s, nil
}

// Close ends every connection and waits until that is done.
func (s *Server) Close() error {
	s.stop()
	err := s.listener.Close()
	s.mutex.Lock()
	for conn := range s.open {
		_ = conn.Close()
	}
	s.mutex.Unlock()
	s.running.Wait()
	return err
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		switch {
		case err == nil:
		case s.ctx.Err() != nil, errors.Is(err, net.ErrClosed):
			return
		default: // as where no descriptor is left
			s.note("no connection could be accepted", "err", err)
			select {
			case <-s.ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		if err := local.Beside("/proc", conn.Peer.PID); err != nil {
			s.note("a process that is none of the agent's was turned away", "pid", conn.Peer.PID, "err", err)
			_ = conn.Close()
			continue
		}
		if !s.admit(conn) {
			// An answer fits into the socket's buffer: this does not wait.
			_ = conn.SetDeadline(time.Now().Add(patience))
			_ = write(conn, problem(fmt.Errorf("%w: too many connections", ErrBusy)))
			_ = conn.Close()
			continue
		}
		s.running.Go(func() {
			defer s.leave(conn)
			s.serve(conn)
		})
	}
}

func (s *Server) admit(conn *local.Conn) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	ofOne := 0
	for _, pid := range s.open {
		if pid == conn.Peer.PID {
			ofOne++
		}
	}
	if s.ctx.Err() != nil || len(s.open) >= maxConnections || ofOne >= maxOfOne {
		return false
	}
	s.open[conn] = conn.Peer.PID
	return true
}

func (s *Server) leave(conn *local.Conn) {
	_ = conn.Close()
	s.mutex.Lock()
	delete(s.open, conn)
	s.mutex.Unlock()
}

// serve has one request. A panic in it ends this connection and nothing else: the agent's keys are
// in this process.
func (s *Server) serve(conn *local.Conn) {
	defer func() {
		if r := recover(); r != nil {
			s.note("a request made the key socket panic", "panic", fmt.Sprint(r))
		}
	}()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	var r request
	if err := read(conn, &r); err != nil {
		if errors.Is(err, ErrRefused) {
			s.reply(conn, problem(err))
		}
		return
	}
	// Nothing follows a request: what ends the wait below is that the other side went away.
	_ = conn.SetReadDeadline(time.Time{})
	ctx, cancel := context.WithTimeout(s.ctx, watch)
	defer cancel()
	s.running.Go(func() {
		var more [1]byte
		_, _ = conn.Read(more[:])
		cancel()
	})
	s.reply(conn, s.answer(ctx, r))
}

func (s *Server) reply(conn *local.Conn, a answer) {
	_ = conn.SetWriteDeadline(time.Now().Add(patience))
	if err := write(conn, a); err != nil && s.ctx.Err() == nil {
		_ = conn.Close() // the other side sees that nothing came
	}
}

func (s *Server) answer(ctx context.Context, r request) answer {
	switch r.Op {
	case opNewest:
		key, err := s.keys.Newest(ctx)
		if err != nil {
			return problem(err)
		}
		return answer{Key: &key}
	case opSign:
		return s.sign(ctx, r)
	case opPut:
		if r.Enlist == nil {
			return problem(fmt.Errorf("%w: nothing to enlist", ErrRefused))
		}
		if err := s.keys.PutEnlist(ctx, *r.Enlist); err != nil {
			return problem(err)
		}
		return answer{}
	case opGet, opAwait:
		return s.enlisted(ctx, r)
	default:
		return problem(fmt.Errorf("%w: %q is nothing that can be asked", ErrRefused, r.Op))
	}
}

func (s *Server) sign(ctx context.Context, r request) answer {
	hash, known := hashes[r.Hash]
	if !known || len(r.Digest) != hash.Size() {
		return problem(fmt.Errorf("%w: a digest of %d bytes by hash %q, want SHA-256, SHA-384 or "+
			"SHA-512", ErrRefused, len(r.Digest), r.Hash))
	}
	var opts crypto.SignerOpts = hash
	if r.PSS {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	signature, err := s.keys.Sign(ctx, r.SPKI, r.Digest, opts)
	if err != nil {
		return problem(err)
	}
	return answer{Signature: signature}
}

// enlisted answers at once, or, where the caller knows the revision already, when it changes or the
// watch is over.
func (s *Server) enlisted(ctx context.Context, r request) answer {
	for {
		enlist, revision, changed, err := s.keys.Enlist(ctx)
		switch {
		case err != nil:
			return problem(err)
		case r.Op == opAwait && revision == r.Revision && ctx.Err() == nil:
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		case revision == "":
			return answer{}
		}
		return answer{Enlist: &enlist, Revision: revision}
	}
}
