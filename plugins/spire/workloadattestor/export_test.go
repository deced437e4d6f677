package workloadattestor

import (
	"context"
	"time"

	workloadattestorv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/workloadattestor/v1"

	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/host"
)

// Clock is a clock that a test moves.
type Clock struct {
	Steady func() time.Duration
	Wall   func() time.Time
}

func (c Clock) steady() time.Duration { return c.Steady() }
func (c Clock) wall() time.Time       { return c.Wall() }

// SystemClock is the node's own.
func SystemClock() Clock { return Clock{Steady: systemClock{}.steady, Wall: systemClock{}.wall} }

// NewAt makes the plugin by another clock and another kernel's list. During is called while a process
// is looked at.
func NewAt(env host.Env, clock Clock, ima string, during func()) (host.Plugin, error) {
	s := newService(env, clock)
	s.ima = newMeasurementList(ima, clock)
	s.between = during
	return pluginOf(s), nil
}

// Inspector looks at processes.
type Inspector struct{ inner *inspector }

// NewInspector returns one; between is called between two looks.
func NewInspector(clock Clock, largest, perSecond int64, between func()) (*Inspector, error) {
	found, err := newDigests(clock, largest, perSecond)
	if err != nil {
		return nil, err
	}
	return &Inspector{&inspector{
		proc: "/proc", digests: found, ima: newMeasurementList("/nonexistent", clock), between: between,
	}}, nil
}

// Below has the inspector look below another folder than /proc.
func (i *Inspector) Below(proc string) { i.inner.proc = proc }

// Look looks at a process.
func (i *Inspector) Look(ctx context.Context, pid int) (digest, container string, reasons []string, err error) {
	found, err := i.inner.look(ctx, int32(pid))
	if err != nil {
		return "", "", nil, err
	}
	return found.digest, found.container, found.reasons, nil
}

// Taken is how many executables were read.
func (i *Inspector) Taken() int {
	i.inner.digests.mu.Lock()
	defer i.inner.digests.mu.Unlock()
	return i.inner.digests.taken
}

// ErrGone is a process that ended or became another.
var ErrGone = errGone

// Escape, ContainerOf, ParseStart are what they are called.
func Escape(value string) string                      { return escape(value) }
func ContainerOf(text []byte) (id, reason string)     { return containerOf(text) }
func ParseStart(text []byte) (uint64, error)          { return parseStart(text) }
func KindOfFileSystem(number int64) (known bool)      { _, known = fileSystems[number]; return known }
func Measured(line []byte) (digest [32]byte, ok bool) { return measured(line) }

// Remembers reports whether the digest of a file that changed at a time would be remembered now.
func Remembers(changed, now time.Time, image, lasting bool) bool {
	file := identity{lasting: lasting}
	file.ctime.Sec, file.ctime.Nsec = changed.Unix(), uint32(changed.Nanosecond())
	return file.remembers(fileSystem{image: image}, now)
}

// MeasurementList follows a kernel's list.
type MeasurementList struct{ *measurementList }

// NewMeasurementList returns one.
func NewMeasurementList(path string, clock Clock) MeasurementList {
	return MeasurementList{newMeasurementList(path, clock)}
}

// Holds reports whether the list has the digest.
func (l MeasurementList) Holds(digest string) bool { return l.holds(digest) }

// Node takes snapshots.
type Node struct{ inner *node }

// NewNode returns one.
func NewNode(clock Clock) *Node { return &Node{&node{clock: clock}} }

// Enlist enlists it.
func (n *Node) Enlist(with wire.Enlist) { n.inner.enlist(with) }

// Accept takes a snapshot of a connection over which attestd said at asked that it was now.
func (n *Node) Accept(signed wire.Signed, asked time.Duration, now time.Time) error {
	return n.inner.accept(signed, anchor{asked: asked, now: now})
}

// Why says why nothing is given; empty where selectors are, which follow for a process without a
// container and with the digest.
func (n *Node) Why(bound time.Duration, digest string) (given []string, reason string) {
	admission, reason := n.inner.admitted(bound)
	if reason != "" {
		return nil, reason
	}
	return selectors(admission, &facts{digest: digest}), ""
}

// NewServer makes the plugin, and returns what is behind gRPC too.
func NewServer(env host.Env) (host.Plugin, workloadattestorv1.WorkloadAttestorServer) {
	s := newService(env, systemClock{})
	return pluginOf(s), s
}

// Occupy takes the turn of a user, as a file does that is being read, until release is called.
func (i *Inspector) Occupy(uid uint32) (release func()) {
	d := i.inner.digests
	d.mu.Lock()
	of := d.userOf(uid)
	d.mu.Unlock()
	of.turn <- struct{}{}
	return func() { <-of.turn }
}
