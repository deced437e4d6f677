package front

import (
	"errors"
	"sync"

	"github.com/attestd/attestd/internal/spire/wire"
)

var errNotController = errors.New("another link is the controller")

// Bounds of a map: what 20,000 agents with 30 entries each need, and as much again.
const (
	mostParts   = 1024
	mostEntries = 1_200_000
	mostAgents  = 100_000
)

// mapParts puts a map together that came in parts. Only the controller's link adds to it.
type mapParts struct {
	mu   sync.Mutex
	part wire.Map // what there is so far; its Part is the last one's
}

func (m *mapParts) drop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.part = wire.Map{}
}

// add takes a part, and returns the map with the last one. A part out of order ends the whole.
func (m *mapParts) add(next wire.Map) (whole wire.Map, complete bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if next.Parts == 0 && next.Part == 0 {
		m.part = wire.Map{}
		return next, true, nil
	}
	have := m.part
	m.part = wire.Map{}
	follows := next.Part == have.Part+1 &&
		(next.Part == 1 || next.Parts == have.Parts && next.At.Equal(have.At))
	begins := next.Part == 1
	switch {
	case next.Parts < 1 || next.Parts > mostParts || next.Part < 1 || next.Part > next.Parts:
		return wire.Map{}, false, malformed("part %d of %d of a map, want at most %d", next.Part, next.Parts, mostParts)
	case begins:
		have = wire.Map{At: next.At, Parts: next.Parts}
	case !follows:
		return wire.Map{}, false, malformed("part %d of a map comes after part %d, or is of another", next.Part, have.Part)
	}
	if len(have.Entries)+len(next.Entries) > mostEntries || len(have.Agents)+len(next.Agents) > mostAgents {
		return wire.Map{}, false, malformed("a map of more than %d entries or %d agents", mostEntries, mostAgents)
	}
	have.Part = next.Part
	have.Entries = append(have.Entries, next.Entries...)
	have.Agents = append(have.Agents, next.Agents...)
	if have.Part < have.Parts {
		m.part = have
		return wire.Map{}, false, nil
	}
	have.Part, have.Parts = 0, 0
	return have, true, nil
}
