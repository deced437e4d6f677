package controller

import (
	"sync"
	"time"
)

// fleet is what the last whole poll found.
type fleet struct {
	mu     sync.Mutex
	agents map[string]agent // nil before the first
}

func (f *fleet) set(agents []agent) {
	byID := make(map[string]agent, len(agents))
	for _, one := range agents {
		byID[one.ID] = one
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.agents = byID
}

// agent returns an agent of the last poll, whether it was there, and whether there was a poll.
func (f *fleet) agent(id string) (one agent, there, polled bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	one, there = f.agents[id]
	return one, there, f.agents != nil
}

func (f *fleet) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.agents)
}

// pace lets so many things happen in any minute: at least some, and one in a hundred of the fleet
// where that is more.
type pace struct {
	least int
	mu    sync.Mutex
	times []time.Time
}

// most is how many turns there are in a minute.
func (p *pace) most(fleet int) int { return max(p.least, fleet/100) }

// take uses one turn up, or reports that there is none now.
func (p *pace) take(now time.Time, fleet int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := 0
	for first < len(p.times) && now.Sub(p.times[first]) >= time.Minute {
		first++
	}
	p.times = p.times[first:]
	if len(p.times) >= p.most(fleet) {
		return false
	}
	p.times = append(p.times, now)
	return true
}
