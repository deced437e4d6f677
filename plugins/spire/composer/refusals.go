package composer

import (
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// An agent asks for a refused X.509-SVID twice a second, for as long as it is refused.
const (
	quiet       = time.Minute
	mostRefused = 4096
)

// refusals writes the first refusal of an identity to the log, and from then on one line a minute with
// how many there were.
type refusals struct {
	logger hclog.Logger
	now    func() time.Time

	mu   sync.Mutex
	seen map[refusal]*repeated
	// rest counts those for which there is no room.
	rest repeated
}

type refusal struct{ kind, id, outcome string }

type repeated struct {
	since time.Time // of the last line
	count int       // that had no line since
}

func newRefusals(logger hclog.Logger) *refusals {
	return &refusals{logger: logger, now: time.Now, seen: map[refusal]*repeated{}}
}

func (r *refusals) note(kind, id, outcome, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, key := r.now(), refusal{kind, id, outcome}
	known, ok := r.seen[key]
	if !ok && len(r.seen) >= mostRefused {
		r.forget(now)
	}
	switch {
	case ok:
	case len(r.seen) < mostRefused:
		known = &repeated{}
		r.seen[key] = known
	default:
		known, id = &r.rest, "(many)"
	}
	if now.Sub(known.since) < quiet {
		known.count++
		return
	}
	level := hclog.Warn
	if outcome == "faulty" {
		level = hclog.Error
	}
	r.logger.Log(level, "no credential", "outcome", outcome, "kind", kind, "spiffe_id", id, "why", why,
		"again_since", known.count)
	known.since, known.count = now, 0
}

// forget makes room: what was not refused for a while is as new.
func (r *refusals) forget(now time.Time) {
	for key, known := range r.seen {
		if now.Sub(known.since) >= quiet {
			delete(r.seen, key)
		}
	}
}
