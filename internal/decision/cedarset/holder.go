package cedarset

import (
	"sync/atomic"

	"github.com/attestd/attestd/internal/decision"
)

// Holder has the set that is in force. Whoever decides takes one set and goes by that alone. The zero
// Holder has none, by which everything is denied.
type Holder struct{ set atomic.Pointer[Set] }

var _ decision.Policies = (*Holder)(nil)

// InForce implements [decision.Policies].
func (h *Holder) InForce() decision.PolicySet {
	if set := h.set.Load(); set != nil {
		return set
	}
	return nil // and not a nil *Set in an interface
}

// Replace puts a set in force; nil changes nothing.
func (h *Holder) Replace(set *Set) {
	if set != nil {
		h.set.Store(set)
	}
}
