package workloadattestor

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/strict"
)

const (
	// askAgain is how often a stream's clock is compared anew: two clocks that differ by 1 in 10,000
	// come 6 ms apart until then.
	askAgain = time.Minute
	// askTime bounds one such question.
	askTime = 3 * time.Second
	// missed is how many snapshots may stay out before the stream counts as dead, and late how late one
	// may be. The first over a connection comes at once, or the next address is tried.
	missed    = 2
	late      = 500 * time.Millisecond
	firstTime = time.Second
	// overlap is how long an old stream stays while the one for a new key has said nothing yet.
	overlap = 15 * time.Second
)

// keys is what the watcher needs of the key manager.
type keys interface {
	AwaitEnlist(ctx context.Context, revision string) (wire.Enlist, string, error)
	SignerOf(spki []byte) (crypto.Signer, error)
}

// watcher keeps one stream of snapshots from attestd, for whatever key the node is enlisted with.
type watcher struct {
	node    *node
	keys    keys
	version string
	domain  string // SPIRE's trust domain
	logger  *slog.Logger
	open    atomic.Pointer[stream]
	// problem is what was in the way last; nil while a stream is open.
	problem atomic.Pointer[string]
	address atomic.Pointer[string]
}

// run follows the enlistments until ctx ends.
func (w *watcher) run(ctx context.Context) {
	var retired sync.WaitGroup
	defer func() {
		if open := w.open.Swap(nil); open != nil {
			open.client.Close()
		}
		retired.Wait()
	}()
	revision, pause := "", 50*time.Millisecond
	for ctx.Err() == nil {
		enlisted, now, err := w.keys.AwaitEnlist(ctx, revision)
		if err != nil {
			w.trouble("the key manager: " + err.Error())
			sleep(ctx, pause)
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 50 * time.Millisecond
		revision = now
		if revision == "" {
			// A key manager that was started anew has no key. A stream that is open goes on: what comes
			// over it is signed, and about this node, as before.
			w.trouble(reasonNotEnlisted)
			continue
		}
		next, err := w.begin(enlisted)
		if err != nil {
			w.trouble(err.Error())
			continue
		}
		if before := w.open.Swap(next); before != nil {
			w.logger.InfoContext(ctx, "enlisted anew", "agent_id", enlisted.AgentID)
			retired.Go(func() { before.retire(ctx, next) })
		}
	}
}

// retire ends a stream when the next one has spoken, so that no selector blinks.
func (s *stream) retire(ctx context.Context, next *stream) {
	select {
	case <-next.spoken:
	case <-time.After(overlap):
	case <-ctx.Done():
	}
	s.client.Close()
}

func sleep(ctx context.Context, pause time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
}

// trouble notes what is in the way, and logs it when it is another than before.
func (w *watcher) trouble(text string) {
	text = attestd.Excerpt(text, 300)
	if before := w.problem.Swap(&text); before == nil || *before != text {
		w.logger.Warn("no news of this node from attestd", "err", text)
	}
}

// stream is the watching of one enlistment, over one connection at a time.
type stream struct {
	*watcher
	agentID string
	client  *link.Client
	spoken  chan struct{}
	first   sync.Once

	mu     sync.Mutex
	conn   *link.Conn // the one that anchor is of
	anchor anchor
	every  time.Duration
	heard  time.Duration // by the steady clock, when something was heard last
	// early is a snapshot that came on over before the answer to the question, which ties the clocks.
	early *wire.Signed
	over  *link.Conn
	// begun is closed by the first snapshot over a new connection.
	begun chan struct{}
}

// begin opens a stream for an enlistment.
func (w *watcher) begin(enlisted wire.Enlist) (*stream, error) {
	config, err := w.tls(enlisted)
	if err != nil {
		return nil, err
	}
	var addresses []string
	for _, address := range enlisted.Addresses {
		if !strings.HasPrefix(address, "tcp:") {
			address = "tcp:" + address
		}
		if _, _, err := link.ParseAddress(address); err != nil {
			return nil, fmt.Errorf("address that attestd gave: %w", err)
		}
		addresses = append(addresses, address)
	}
	w.node.enlist(enlisted)
	s := &stream{watcher: w, agentID: enlisted.AgentID, spoken: make(chan struct{})}
	s.client = link.NewClient(link.ClientConfig{
		Addresses: addresses, TLS: config, Handler: s.take, OnConnect: s.watch,
		Options: link.Options{Calls: 4, CallTimeout: askTime}, Logger: w.logger,
	})
	return s, nil
}

// tls says whom to trust, and by what key this node shows who it is.
func (w *watcher) tls(enlisted wire.Enlist) (func() (*tls.Config, error), error) {
	if len(enlisted.Certificates) == 0 || len(enlisted.Addresses) == 0 || enlisted.AgentID == "" {
		return nil, errors.New("attestd enlisted this node without a certificate, an address or an id")
	}
	if !strings.HasPrefix(enlisted.AgentID, "spiffe://"+w.domain+"/spire/agent/") {
		return nil, fmt.Errorf("attestd enlisted this node as %q, which is no agent of %q",
			attestd.Excerpt(enlisted.AgentID, 200), attestd.Excerpt(w.domain, 100))
	}
	leaf, err := x509.ParseCertificate(enlisted.Certificates[0])
	if err != nil {
		return nil, fmt.Errorf("enlisted certificate: %w", err)
	}
	authority, err := x509.ParseCertificate(enlisted.CA)
	if err != nil {
		return nil, fmt.Errorf("enlisted CA: %w", err)
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(authority)
	signer, err := w.keys.SignerOf(leaf.RawSubjectPublicKeyInfo)
	if err != nil {
		return nil, fmt.Errorf("enlisted key: %w", err)
	}
	own := tls.Certificate{Certificate: enlisted.Certificates, PrivateKey: signer, Leaf: leaf}
	return func() (*tls.Config, error) {
		if now := w.node.clock.wall(); now.After(leaf.NotAfter) {
			err := fmt.Errorf("the certificate of this node ended at %s; it comes anew with the next "+
				"attestation", leaf.NotAfter.Format(time.RFC3339))
			w.trouble(err.Error())
			return nil, err
		}
		return &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: trusted, Certificates: []tls.Certificate{own},
		}, nil
	}, nil
}

// watch begins the stream over a new connection.
func (s *stream) watch(ctx context.Context, conn *link.Conn) error {
	begun := make(chan struct{})
	s.mu.Lock()
	s.begun = begun
	s.mu.Unlock()
	err := s.ask(ctx, conn)
	if err == nil {
		select {
		case <-begun:
			go s.attend(conn)
			return nil
		case <-conn.Done():
			err = conn.Err()
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(firstTime):
			// It answers, and does not know how this node is: another address may.
			err = errors.New("attestd at " + conn.Peer().Address + " says nothing about this node")
		}
	}
	s.trouble(err.Error())
	var said *link.Error
	if errors.As(err, &said) && !said.Class.Undecided() {
		// Turned away: each attempt costs a signature of the agent's key, which may live in a slow TPM, so
		// the next one waits for as long as a connection may take to begin.
		<-ctx.Done()
	}
	return err
}

// ask asks for the snapshots of this node, and ties the clocks together.
func (s *stream) ask(ctx context.Context, conn *link.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	asked := s.node.clock.steady()
	var watching wire.Watching
	err := conn.Call(ctx, wire.MethodWatch, wire.WatchRequest{Plugin: Name, Version: s.version}, &watching)
	if err != nil {
		return err
	}
	switch {
	case watching.AgentID != s.agentID:
		return fmt.Errorf("attestd knows this connection as %q, want %q",
			attestd.Excerpt(watching.AgentID, 200), attestd.Excerpt(s.agentID, 200))
	case watching.Now.IsZero(), watching.EverySeconds < 1, watching.EverySeconds > 60:
		return errors.New("attestd did not say its time, or how often snapshots come")
	}
	s.mu.Lock()
	s.conn, s.anchor = conn, anchor{asked: asked, now: watching.Now}
	s.every, s.heard = time.Duration(watching.EverySeconds)*time.Second, s.node.clock.steady()
	early, over := s.early, s.over
	s.early, s.over = nil, nil
	s.mu.Unlock()
	if early != nil && over == conn {
		return s.hear(*early, conn)
	}
	return nil
}

// attend closes a connection over which nothing comes any more, so that the next address is tried.
func (s *stream) attend(conn *link.Conn) {
	asked := s.node.clock.steady()
	ticks := time.NewTicker(250 * time.Millisecond)
	defer ticks.Stop()
	for {
		select {
		case <-conn.Done():
			s.address.Store(nil)
			s.trouble(fmt.Sprintf("the connection with attestd at %s ended: %v", conn.Peer().Address, conn.Err()))
			return
		case <-ticks.C:
		}
		now := s.node.clock.steady()
		s.mu.Lock()
		silent := now-s.heard > missed*s.every+late
		s.mu.Unlock()
		if !silent && now-asked > askAgain {
			asked = now
			silent = s.ask(context.Background(), conn) != nil
		}
		if silent {
			s.trouble("attestd fell silent at " + conn.Peer().Address)
			_ = conn.Close()
		}
	}
}

// take is the handler of what attestd says.
func (s *stream) take(ctx context.Context, _ link.Peer, method string, body json.RawMessage) (any, error) {
	if method != wire.MethodSnapshot {
		return nil, &attestd.CallerError{
			Class: attestd.ClassForbidden, Hint: "a node takes snapshots",
			Err: fmt.Errorf("nothing answers %s here", attestd.Excerpt(method, 40)),
		}
	}
	var signed wire.Signed
	limits := strict.JSONLimits{Bytes: link.MaxFrame, Depth: 2}
	if err := strict.DecodeJSON(body, limits, &signed); err != nil {
		s.trouble("a snapshot: " + err.Error())
		return nil, err
	}
	conn, _ := link.From(ctx)
	s.mu.Lock()
	tied := conn != nil && s.conn == conn
	if !tied {
		s.early, s.over = &signed, conn
	}
	s.mu.Unlock()
	if !tied {
		return wire.Empty{}, nil
	}
	return wire.Empty{}, s.hear(signed, conn)
}

// hear takes a snapshot that came over a connection whose clock is known.
func (s *stream) hear(signed wire.Signed, conn *link.Conn) error {
	s.mu.Lock()
	anchor := s.anchor
	s.mu.Unlock()
	if err := s.node.accept(signed, anchor); err != nil {
		s.trouble(err.Error())
		return err
	}
	s.mu.Lock()
	s.heard = s.node.clock.steady()
	if s.begun != nil {
		close(s.begun)
		s.begun = nil
	}
	s.mu.Unlock()
	address := conn.Peer().Address
	s.address.Store(&address)
	if before := s.problem.Swap(nil); before != nil {
		s.logger.Info("attestd says how this node is", "address", address)
	}
	s.first.Do(func() { close(s.spoken) })
	return nil
}

// state says over which address news come now, or why none do.
func (w *watcher) state() (address, problem string) {
	if now := w.address.Load(); now != nil {
		return *now, ""
	}
	if now := w.problem.Load(); now != nil {
		problem = *now
	}
	if open := w.open.Load(); open != nil && !open.client.Connected() {
		// A question that may not wait is answered by why there is no connection.
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		if err := open.client.Call(ended, wire.MethodWatch, nil, nil); err != nil {
			problem = attestd.Excerpt(err.Error(), 300)
		}
	}
	return "", problem
}
