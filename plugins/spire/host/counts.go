package host

import (
	"strings"
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

// All returns the counts as they are now, under names that attestd takes: lower-case letters, digits,
// dots, dashes and underscores. One name that it refused would cost the whole report.
func (c *Counts) All() map[string]uint64 {
	out := map[string]uint64{}
	c.byName.Range(func(name, counter any) bool {
		out[reported(name.(string))] += counter.(*atomic.Uint64).Load()
		return true
	})
	return out
}

func reported(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return '_'
	}, strings.ToLower(name))
}
