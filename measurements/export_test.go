package measurements

import (
	"iter"

	"github.com/attestd/attestd"
)

// Chooses lets tests draw machines without forging evidence of each.
func Chooses(c *Canary, set, value string, handles iter.Seq[attestd.Handle]) bool {
	return c.chooses(set, value, handles)
}
