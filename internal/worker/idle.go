package worker

import (
	"slices"
	"sync"
)

// idle are the workers that nobody asks. The last one that was busy is asked next: its caches, and the
// processor's, still hold what a request needs.
type idle struct {
	// there holds one value for each worker, so that one can be waited for beside other things. It can
	// hold one too many for as long as it takes to find that out.
	there chan struct{}
	mutex sync.Mutex
	list  []*process
}

func newIdle(size int) idle { return idle{there: make(chan struct{}, size)} }

// push adds a worker. It reports false, and does not, where remove was called for the worker while it
// was busy.
func (i *idle) push(process *process) bool {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if process.leaving {
		return false
	}
	i.list = append(i.list, process)
	select {
	case i.there <- struct{}{}:
	default: // there is a value for each place of the pool already
	}
	return true
}

// pop takes the worker that came last, for whoever received from there; nil where it was removed
// meanwhile.
func (i *idle) pop() *process {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	last := len(i.list) - 1
	if last < 0 {
		return nil
	}
	process := i.list[last]
	i.list[last] = nil
	i.list = i.list[:last]
	return process
}

// remove takes a worker out for good. It reports false where somebody has it; they cannot push it
// again.
func (i *idle) remove(process *process) bool {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	at := slices.Index(i.list, process)
	if at < 0 {
		process.leaving = true
		return false
	}
	i.list = slices.Delete(i.list, at, at+1)
	select {
	case <-i.there:
	default: // somebody received it already, and will find that there is one worker less
	}
	return true
}
