package link

import (
	"log/slog"
	"time"
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
