package decision

import (
	"bufio"
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/google/uuid"
)

// randomness is the system's, a page at a time: a call of the system for each id takes as long as a good
// part of a decision. What was read is given out once.
var randomness = sync.Pool{New: func() any { return bufio.NewReaderSize(rand.Reader, 1<<10) }}

// newID returns the id of a decision, a UUIDv7 (RFC 9562 section 5.7).
func newID() (uuid.UUID, error) {
	source, _ := randomness.Get().(*bufio.Reader)
	defer randomness.Put(source)
	return uuid.NewV7FromReader(source)
}

// within returns a context that ends after the time that is left, which is ctx itself where that ends no
// later.
func within(ctx context.Context, left time.Duration) (context.Context, context.CancelFunc) {
	if ends, ok := ctx.Deadline(); ok && time.Until(ends) <= left {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, left)
}
