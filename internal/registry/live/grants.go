package live

import "math"

// points is how many ends of grants a subject remembers apart. Beyond that two that lie close are
// counted as one at the later end: the count is then too high for a while, never too low, and the
// last end stays exact.
const points = 4

// grants counts what was granted to a subject by when it ends, in seconds since the index was
// loaded, rounded up. Points are in the order of time; those without a count are unused.
type grants [points]struct{ end, n uint32 }

// add counts one grant that ends at end, and forgets those that ended by now.
func (g *grants) add(end, now uint32) { g.addSome(end, 1, now) }

// merge counts the grants of another too.
func (g *grants) merge(other *grants, now uint32) {
	for _, point := range other {
		if point.n != 0 && point.end > now {
			g.addSome(point.end, point.n, now)
		}
	}
}

func (g *grants) addSome(end, n, now uint32) {
	var all [points + 1]struct{ end, n uint32 }
	used, placed := 0, false
	for _, point := range g {
		if point.n == 0 || point.end <= now {
			continue
		}
		if !placed && end < point.end {
			all[used].end, all[used].n = end, n
			used, placed = used+1, true
		}
		if !placed && end == point.end {
			point.n, placed = plus(point.n, n), true
		}
		all[used] = point
		used++
	}
	if !placed {
		all[used].end, all[used].n = end, n
		used++
	}
	if used > points {
		closest := 0
		for i := 1; i+1 < used; i++ {
			if all[i+1].end-all[i].end < all[closest+1].end-all[closest].end {
				closest = i
			}
		}
		all[closest+1].n = plus(all[closest+1].n, all[closest].n)
		copy(all[closest:], all[closest+1:])
		used--
	}
	*g = grants{}
	copy(g[:], all[:used])
}

// inForce returns how many grants end after now, and when the last one does.
func (g *grants) inForce(now uint32) (n int, last uint32) {
	for _, point := range g {
		if point.n != 0 && point.end > now {
			n += int(point.n)
			last = max(last, point.end)
		}
	}
	return n, last
}

func plus(a, b uint32) uint32 {
	if a > math.MaxUint32-b {
		return math.MaxUint32
	}
	return a + b
}
