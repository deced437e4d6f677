package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
)

// pollShare is how much of the time may go into polls: the next one waits for at least three times as
// long as the last took, so that a fleet that has grown does not keep SPIRE's database busy.
const pollShare = 3

// poll reads what SPIRE has, compares it with what is ordered, and tells attestd.
func (c *controller) poll(ctx context.Context) {
	failing := false
	for ctx.Err() == nil {
		began := time.Now()
		err := c.pollOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			c.log.ErrorContext(ctx, "SPIRE's entries and agents cannot be read; orders go on",
				"err", attestd.Excerpt(err.Error(), 300))
		case err == nil && failing:
			c.log.InfoContext(ctx, "SPIRE's entries and agents are read again")
		}
		failing = err != nil
		timer := time.NewTimer(max(c.config.Poll, pollShare*time.Since(began)))
		select {
		case <-timer.C:
		case <-c.pollNow:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func (c *controller) pollOnce(ctx context.Context) error {
	at := time.Now()
	agents, err := c.spire.listAgents(ctx)
	if err != nil {
		return fmt.Errorf("agents: %w", err)
	}
	entries, err := c.spire.listEntries(ctx, "")
	if err != nil {
		return fmt.Errorf("entries: %w", err)
	}
	c.fleet.set(agents)
	c.orders.reconcile(agents, entries)
	whole := wire.Map{Entries: entries, Agents: wireAgents(agents), At: at.UTC()}
	parts, err := split(whole, partBytes)
	if err != nil {
		return err
	}
	for _, part := range parts {
		err := call(ctx, func(ctx context.Context) error { return c.link.Call(ctx, wire.MethodMap, part, nil) })
		var said *link.Error
		if errors.As(err, &said) && said.Class == attestd.ClassConflict {
			c.end(errReplaced)
			return errReplaced
		}
		if err != nil {
			if !notLinked(err) {
				c.log.WarnContext(ctx, "attestd did not take what SPIRE has", "err", attestd.Excerpt(err.Error(), 200))
			}
			break // the next poll brings all of it
		}
	}
	return nil
}

func wireAgents(agents []agent) []wire.Agent {
	out := make([]wire.Agent, 0, len(agents))
	for _, one := range agents {
		out = append(out, one.Agent)
	}
	return out
}

// partBytes is how large a part of a map gets: below the 2 MiB of a frame by more than one entry has.
const partBytes = 1 << 20

// split cuts a map into parts of about so many bytes.
func split(whole wire.Map, most int) ([]wire.Map, error) {
	parts := []wire.Map{emptyMap(whole.At)}
	size := 0
	room := func(document any) (*wire.Map, error) {
		text, err := json.Marshal(document)
		if err != nil {
			return nil, err
		}
		if size += len(text) + 1; size > most && size > len(text)+1 {
			parts, size = append(parts, emptyMap(whole.At)), len(text)+1
		}
		return &parts[len(parts)-1], nil
	}
	for _, one := range whole.Entries {
		part, err := room(one)
		if err != nil {
			return nil, err
		}
		part.Entries = append(part.Entries, one)
	}
	for _, one := range whole.Agents {
		part, err := room(one)
		if err != nil {
			return nil, err
		}
		part.Agents = append(part.Agents, one)
	}
	if len(parts) > 1 {
		for i := range parts {
			parts[i].Part, parts[i].Parts = i+1, len(parts)
		}
	}
	return parts, nil
}

func emptyMap(at time.Time) wire.Map {
	return wire.Map{Entries: []wire.Entry{}, Agents: []wire.Agent{}, At: at}
}

// Bounds of one refresh.
const (
	maxRefresh  = 64 // ids asked for
	maxRelated  = 64 // ids looked at for them: aliases of nodes above, and agents
	refreshFor  = 2 * time.Second
	agentsBelow = "/spire/agent/"
)

// refresh reads the entries of SPIFFE IDs, those of the aliases that they have as parents, and the
// agents above them.
func (c *controller) refresh(ctx context.Context, in wire.RefreshRequest) (wire.Map, error) {
	if len(in.IDs) == 0 || len(in.IDs) > maxRefresh {
		return wire.Map{}, &attestd.CallerError{Class: attestd.ClassMalformed, Hint: "ask for a few ids at once",
			Err: fmt.Errorf("got %d ids, want 1 to %d", len(in.IDs), maxRefresh)}
	}
	ctx, cancel := context.WithTimeout(ctx, refreshFor)
	defer cancel()
	found, seen := emptyMap(time.Now().UTC()), map[string]bool{}
	queue := in.IDs
	for len(queue) != 0 {
		id := queue[0]
		queue = queue[1:]
		if seen[id] {
			continue
		}
		if len(seen) == maxRefresh+maxRelated {
			return wire.Map{}, spireError(errors.New("the ids asked for have too many parents"))
		}
		seen[id] = true
		switch parsed, err := spiffeid.FromString(id); {
		case err == nil && parsed.Path() == "/spire/server": // the parent of what is for nodes
			continue
		case err == nil && strings.HasPrefix(parsed.Path(), agentsBelow):
			got, there, err := c.spire.getAgent(ctx, id)
			if err != nil {
				return wire.Map{}, spireError(err)
			}
			if there {
				found.Agents = append(found.Agents, got.Agent)
			}
			continue
		}
		entries, err := c.spire.listEntries(ctx, id)
		if err != nil {
			return wire.Map{}, spireError(err)
		}
		for _, one := range entries {
			found.Entries = append(found.Entries, one)
			queue = append(queue, one.ParentID)
		}
	}
	return found, nil
}
