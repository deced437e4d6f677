package front

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
)

var errTooMany = errors.New("too many plugins report")

const (
	// heartbeat is how often a snapshot comes where nothing changes.
	heartbeat = 2 * time.Second
	// leastGap is the time between two pushes to a node where changes follow each other, and perWatcher
	// what each watcher adds to it: of a change, whosever it is, every watcher is told.
	leastGap   = 20 * time.Millisecond
	perWatcher = 100 * time.Microsecond
	// behind is after how long a node that has not read its last snapshot loses its link: it may as well
	// dial again, and what waits for it is old.
	behind = 8 * time.Second
)

// watchers counts those that are told.
type watchers struct{ live atomic.Int64 }

func (w *watchers) count() int { return int(w.live.Load()) }

// gap is the time between two pushes to one node; at most the heartbeat.
func (w *watchers) gap() time.Duration {
	return min(heartbeat, leastGap+time.Duration(w.live.Load())*perWatcher)
}

// watcher pushes snapshots of one node over one link.
type watcher struct {
	session *session
	conn    *link.Conn
	now     chan struct{} // holds one where a snapshot is asked for at once

	// told is the version of what was sent at toldAt, revision that of the names in it.
	told     uint64
	toldAt   time.Time
	revision string
}

// watched begins to tell a node how it stands. Asked again on the same link it answers with the time
// again, and a snapshot follows at once.
func (s *session) watched(ctx context.Context, ask wire.WatchRequest) (wire.Watching, error) {
	if !nameForm.MatchString(ask.Plugin) || len(ask.Version) > 80 {
		return wire.Watching{}, malformed("plugin %q watches", attestd.Excerpt(ask.Plugin, 40))
	}
	conn, ok := link.From(ctx)
	if !ok {
		return wire.Watching{}, undecided("the node's link", nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watch == nil {
		s.watch = &watcher{session: s, conn: conn, now: make(chan struct{}, 1)}
		s.front.watchers.live.Add(1)
		conn.Go(s.watch.run)
	} else {
		select {
		case s.watch.now <- struct{}{}:
		default:
		}
	}
	return wire.Watching{
		AgentID: string(s.node), EverySeconds: int(heartbeat / time.Second), Now: s.front.config.Now().UTC(),
	}, nil
}

// run pushes until the link is over, or the node's certificate is.
func (w *watcher) run(ctx context.Context) {
	front := w.session.front
	defer front.watchers.live.Add(-1)
	timer := time.NewTimer(0)
	defer timer.Stop()
	read, asked := time.Now(), true // when everything sent had been read; whether one is wanted now
	for {
		// Taken before the snapshot, so that what changes while it is made is not missed.
		changed := front.config.Office.Changed()
		if err := w.session.current(ctx); err != nil {
			_ = w.conn.Close() // it has ended; the node attests again
			return
		}
		wait := heartbeat - time.Since(w.toldAt)
		if version := front.config.Office.Version(w.session.node); asked || wait <= 0 || version != w.told {
			asked, wait = false, heartbeat
			switch {
			case w.conn.Queued() == 0:
				read = time.Now()
				w.push(ctx, version)
			case time.Since(read) > behind:
				front.config.Logger.DebugContext(ctx, "a node does not read", "node", w.session.who)
				_ = w.conn.Close()
				return
			default:
				asked, wait = true, leastGap // once it has read what there is
			}
		}
		gap := front.watchers.gap()
		if !pause(ctx, timer, gap) {
			return
		}
		timer.Reset(max(0, wait-gap))
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-w.now:
			asked = true
		case <-timer.C:
		}
	}
}

// pause waits; false where ctx ended.
func pause(ctx context.Context, timer *time.Timer, wait time.Duration) bool {
	timer.Reset(wait)
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// push sends what holds now; the names of workloads only where they are others than it was sent. Where
// attestd cannot tell, nothing is sent: the node withholds what it would give once its last snapshot is
// too old.
func (w *watcher) push(ctx context.Context, version uint64) {
	front := w.session.front
	w.told, w.toldAt = version, time.Now()
	signed, err := front.config.Office.SnapshotSince(w.session.node, w.revision)
	var said struct {
		Revision string `json:"workloads_revision"`
	}
	if err == nil {
		err = json.Unmarshal(signed.Payload, &said)
	}
	if err != nil {
		front.config.Logger.DebugContext(ctx, "no snapshot", "node", w.session.who, "err", excerpt(err))
		return
	}
	w.revision = said.Revision
	_ = w.conn.Notify(wire.MethodSnapshot, signed) // a link that is over ends ctx
}
