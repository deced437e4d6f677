//go:build !purego && (amd64 || arm64)

package p384

import (
	"math/big"
	"sync/atomic"
)

// memory is what is known of a key from its earlier use.
type memory struct {
	stage atomic.Uint32
	table atomic.Pointer[comb]
}

// Stages of a key. None is left backwards.
const (
	stageNew    = iota
	stageProven // it verified a signature, so its owner exists: the next use makes the table
	stageTabled // the table is made, or being made
)

// Precompute makes the key's table now, for a key that will be used again for certain, such as a
// certificate authority's. It costs less than one verification, once.
func (k Key) Precompute() {
	if k.memory != nil && k.memory.stage.Swap(stageTabled) != stageTabled {
		k.memory.table.Store(newComb(newAffine(k.x, k.y), keyTeeth))
	}
}

// verify does FIPS 186-5, section 6.4.2, steps 3 to 7. The inputs were checked by Verify.
func (k Key) verify(digest []byte, r, s *big.Int) bool {
	if k.memory.stage.Load() == stageProven {
		k.Precompute()
	}
	if table := k.memory.table.Load(); table != nil {
		return table.verify(digest, r, s)
	}
	valid := k.verifyOnce(digest, r, s)
	if valid {
		k.memory.stage.CompareAndSwap(stageNew, stageProven)
	}
	return valid
}
