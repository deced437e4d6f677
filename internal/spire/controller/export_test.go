package controller

import (
	"context"
	"time"

	"github.com/attestd/attestd/internal/spire/wire"
)

// RunWith is Run with other times to read a ban back.
func RunWith(ctx context.Context, config Config, looks ...time.Duration) error {
	return runWith(ctx, config, looks)
}

// Mark is the selector that holds the entries of an id.
func Mark(id string) wire.Selector { return mark(id) }

// Split cuts a map.
func Split(whole wire.Map, most int) ([]wire.Map, error) { return split(whole, most) }

// Pace returns what lets so many things happen a minute.
func Pace(least int) func(now time.Time, fleet int) bool { return (&pace{least: least}).take }

// ReadBacks are the product's.
func ReadBacks() []time.Duration { return readBacks() }
