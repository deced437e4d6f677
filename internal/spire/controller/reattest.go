package controller

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
)

// reattestation makes agents attest again, by making SPIRE forget them. Until an agent's next contact
// its workloads get no new JWT-SVID, and where attestation is broken the agent ends: so it is paced,
// and refused while the attestation canary fails.
type reattestation struct {
	c     *controller
	turns *pace

	mu      sync.Mutex
	waiting []string
	inQueue map[string]bool
}

// maxWaiting bounds the queue; maxReattest one request.
const (
	maxWaiting  = 100_000
	maxReattest = 10_000
)

func newReattestation(c *controller) *reattestation {
	return &reattestation{c: c, turns: &pace{least: 1}, inQueue: map[string]bool{}}
}

// ask takes agents that shall attest again. Those whose turn is not now wait; the queue does not
// outlive the controller, and who asked asks again.
func (r *reattestation) ask(ctx context.Context, in wire.ReattestRequest) (wire.Reattested, error) {
	out := wire.Reattested{Done: []string{}, Waiting: []string{}, Refused: []string{}}
	if len(in.IDs) == 0 || len(in.IDs) > maxReattest {
		return out, &attestd.CallerError{Class: attestd.ClassMalformed, Hint: "name the agents",
			Err: fmt.Errorf("got %d ids, want 1 to %d", len(in.IDs), maxReattest)}
	}
	if why := r.c.canary.attestationFails(time.Now()); why != "" {
		out.Refused, out.Reason = append(out.Refused, in.IDs...), why
		return out, nil
	}
	for _, id := range in.IDs {
		if why := r.refused(id); why != "" {
			out.Refused, out.Reason = append(out.Refused, id), attestd.Excerpt(id, 120)+": "+why
			continue
		}
		if r.queued() == 0 && r.turns.take(time.Now(), r.c.fleet.size()) {
			why, err := r.forget(ctx, id)
			if err != nil {
				why = "SPIRE: " + attestd.Excerpt(err.Error(), 200)
			}
			if why != "" {
				out.Refused, out.Reason = append(out.Refused, id), attestd.Excerpt(id, 120)+": "+why
				continue
			}
			out.Done = append(out.Done, id)
			continue
		}
		if !r.enqueue(id) {
			out.Refused, out.Reason = append(out.Refused, id), "too many agents wait for their turn"
			continue
		}
		out.Waiting = append(out.Waiting, id)
	}
	out.Queue, out.PerMinute = r.queued(), r.turns.most(r.c.fleet.size())
	return out, nil
}

// refused says why an agent must not be forgotten, from the last poll, or nothing.
func (r *reattestation) refused(id string) string {
	if r.c.orders.ordered(target{id: id}) {
		return banStays
	}
	known, there, polled := r.c.fleet.agent(id)
	if !polled || !there {
		return "SPIRE has no such agent"
	}
	return unfit(known)
}

const banStays = "it is banned, and to forget it would lift the ban"

func unfit(known agent) string {
	switch {
	case known.Banned:
		return banStays
	case !known.canReattest:
		return "it cannot attest again: SPIRE would end it"
	}
	return ""
}

// forget deletes an agent that is neither banned nor unable to come back, as SPIRE says just before.
func (r *reattestation) forget(ctx context.Context, id string) (why string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, there, err := r.c.spire.getAgent(ctx, id)
	if err != nil {
		return "", err
	}
	if !there {
		return "SPIRE has no such agent", nil
	}
	if why := unfit(got); why != "" {
		return why, nil
	}
	if r.c.orders.ordered(target{id: id}) {
		return banStays, nil
	}
	return "", r.c.spire.deleteAgent(ctx, id)
}

func (r *reattestation) queued() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting)
}

func (r *reattestation) enqueue(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inQueue[id] {
		return true
	}
	if len(r.waiting) == maxWaiting {
		return false
	}
	r.waiting, r.inQueue[id] = append(r.waiting, id), true
	return true
}

func (r *reattestation) next() (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		return "", false
	}
	id := r.waiting[0]
	r.waiting = r.waiting[1:]
	delete(r.inQueue, id)
	return id, true
}

// drain gives those that wait their turn, while the canary lives.
func (r *reattestation) drain(ctx context.Context) {
	for pause(ctx, time.Second) {
		for r.queued() != 0 && r.c.canary.attestationFails(time.Now()) == "" &&
			r.turns.take(time.Now(), r.c.fleet.size()) {
			id, ok := r.next()
			if !ok {
				break
			}
			why := r.refused(id)
			var err error
			if why == "" {
				why, err = r.forget(ctx, id)
			}
			if err != nil {
				r.enqueue(id)
				break
			}
			if why != "" {
				r.c.log.InfoContext(ctx, "an agent was not made to attest again", "subject", id, "deny_reason", why)
			}
		}
	}
}
