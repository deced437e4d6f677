package daemon

import (
	"context"
	"iter"
	"time"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/cedarset"
	"github.com/attestd/attestd/internal/nhi/desk"
	"github.com/attestd/attestd/internal/subject"
)

// openDesk returns where operators look after the inventory. Without SPIRE nobody stands anywhere that
// could be told, and without decisions no policies are in force: the records are kept all the same.
func (p *parts) openDesk(tenants []string) (*desk.Desk, error) {
	return desk.New(desk.Config{
		Store: p.store, Tenants: tenants, Now: p.store.Now,
		Stands: func(id subject.ID, at time.Time) decision.Standing {
			if p.spire.office == nil {
				return decision.Standing{Fault: decision.CodeStateUnavailable}
			}
			return p.spire.office.Stands(id, at)
		},
		Attested: func(context.Context) iter.Seq2[string, error] {
			return func(yield func(string, error) bool) {
				if p.spire.office == nil {
					return
				}
				for _, id := range p.spire.office.Workloads() {
					if !yield(id, nil) {
						return
					}
				}
			}
		},
		Policies: func() ([]string, bool) {
			if p.decisions.policies == nil {
				return nil, false
			}
			set, ok := p.decisions.policies.InForce().(*cedarset.Set)
			if !ok {
				return nil, false
			}
			return set.Names(), true
		},
	})
}
