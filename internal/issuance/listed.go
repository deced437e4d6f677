package issuance

import "slices"

// Workloads returns the ids of workloads that SPIRE has entries of, by its last map, in order.
// Aliases of nodes, which are entries of the server's own, are none.
func (o *Office) Workloads() []string {
	current := o.current()
	if current == nil {
		return nil
	}
	return current.workloads()
}

func (a *atlas) workloads() (out []string) {
	server, known := a.numbers[a.server]
	for number, id := range a.names {
		issued := a.rows[a.first[number]:a.first[number+1]]
		if slices.ContainsFunc(issued, func(one row) bool { return !known || one.parent != server }) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}
