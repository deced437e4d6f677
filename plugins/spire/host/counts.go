package host

import (
	"sync"
	"sync/atomic"
)

// Counts are named numbers that only rise. The zero value is ready.
type Counts struct {
	byName sync.Map // string to *atomic.Uint64
}

// Add adds one to the count of that name. Names are constants of the plugin, never foreign text: each
// one takes memory for as long as the plugin runs.
func (c *Counts) Add(name string) {
	counter, ok := c.byName.Load(name)
	if !ok {
		counter, _ = c.byName.LoadOrStore(name, new(atomic.Uint64))
	}
	counter.(*atomic.Uint64).Add(1)
}

// All returns the counts as they are now.
func (c *Counts) All() map[string]uint64 {
	out := map[string]uint64{}
	c.byName.Range(func(name, counter any) bool {
		out[name.(string)] = counter.(*atomic.Uint64).Load()
		return true
	})
	return out
}
