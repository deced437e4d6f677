package spiretest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	entryv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/entry/v1"
	"github.com/spiffe/spire-api-sdk/proto/spire/api/types"
	"google.golang.org/grpc/codes"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/spiretest/asked"
)

// shown is which X509-SVIDs a workload has, as its stream tells.
type shown struct {
	mu   sync.Mutex
	has  map[string]time.Time // until when
	lost map[string]time.Time // when it was not there any more
}

// watched has the workload tell its X.509 updates.
func (w *workload) watched(t *testing.T) *shown {
	t.Helper()
	s := &shown{has: map[string]time.Time{}, lost: map[string]time.Time{}}
	if _, err := w.send(asked.Question{Do: asked.Watch}); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			select {
			case update := <-w.updates:
				s.take(update)
			case <-w.ended:
				return
			}
		}
	}()
	return s
}

func (s *shown) take(update asked.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	there := map[string]bool{}
	for _, one := range update.SVIDs {
		there[one.ID], s.has[one.ID] = true, one.Until
	}
	for name := range s.has {
		if _, before := s.lost[name]; !there[name] && !before {
			s.lost[name] = update.At
		}
	}
}

// until is when the X509-SVID of an id ends; zero where there never was one.
func (s *shown) until(name string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.has[name]
}

func (s *shown) gone(name string) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, gone := s.lost[name]
	return at, gone
}

// way is one of the ways to take an id's identities back: what is measured of it, and how it is done.
type way struct {
	name         string
	take         func(t *testing.T, one entry)
	asked        map[string]time.Time
	call, effect spread
}

// drillEntries measures how soon entries that are held match nothing: in SPIRE's server, and at the
// workload, whose stream names what it has. In turns attestd holds an id, and spire-server's command, or
// the call that it makes, changes the selectors of an entry in the same way.
func (h *house) drillEntries(t *testing.T, n *node, count int) {
	t.Helper()
	n.start(t)
	has := n.workload.watched(t)
	ways := []*way{
		{name: "attestd", take: func(t *testing.T, one entry) { n.hold(t, one, has) }},
		{name: "command", take: func(t *testing.T, one entry) { h.spire.unmatchByCommand(t, one) }},
		{name: "call", take: func(t *testing.T, one entry) { h.spire.unmatch(t, one) }},
	}
	entries := map[string][]entry{}
	for _, way := range ways {
		way.asked = map[string]time.Time{}
		for number := range count {
			entries[way.name] = append(entries[way.name], entry{
				id:       fmt.Sprintf("attestd.held-%s-%d", way.name, number),
				spiffeID: id(fmt.Sprintf("/held/%s/%d", way.name, number)), parent: n.id,
				selectors: []string{"unix:uid:0", "attestd:admitted:yes", "attestd:workload:" + workloadName},
			})
		}
		h.spire.register(t, entries[way.name]...)
	}
	for _, way := range ways {
		for _, one := range entries[way.name] {
			if !until(startLimit, func() bool { return !has.until(one.spiffeID).IsZero() }) {
				t.Fatalf("the workload has no X509-SVID of %s", one.spiffeID)
			}
		}
	}
	for number := range count {
		for _, way := range ways {
			way.asked[entries[way.name][number].spiffeID] = time.Now()
			way.call = append(way.call, h.spire.changes(t, entries[way.name][number], way.take))
			// So that each falls anywhere between two looks of SPIRE's parts at each other.
			time.Sleep(rand.N(h.spire.profile.bound / 8)) //nolint:gosec // a pause is no secret
		}
	}
	for _, way := range ways {
		for _, one := range entries[way.name] {
			if !until(2*h.spire.profile.bound, func() bool { _, gone := has.gone(one.spiffeID); return gone }) {
				t.Fatalf("%s: the workload still has an X509-SVID of %s", way.name, one.spiffeID)
			}
			at, _ := has.gone(one.spiffeID)
			way.effect = append(way.effect, at.Sub(way.asked[one.spiffeID]))
		}
	}
	ours, command, call := ways[0], ways[1], ways[2]
	over := max(0, ours.call.middle()-call.call.middle())
	t.Logf("%s, hold: through attestd %s; spire-server entry update %s; the call alone %s: %s over",
		h.spire.profile.name, ours.call, command.call, call.call, over)
	t.Logf("%s, hold at the workload: %d ids; its X509-SVID gone %s; through spire-server %s",
		h.spire.profile.name, count, ours.effect, command.effect)
	wantBound(t, "a held X509-SVID was gone", ours.effect, h.spire.profile)
	wantWithin(t, "over the call itself, a hold is there", over, callOver)
}

// hold quarantines one id of the node's workload: it has no more JWT-SVIDs from the acknowledgement on.
func (n *node) hold(t *testing.T, one entry, has *shown) {
	t.Helper()
	receipt, err := n.house.ann.Quarantine(t.Context(), wire.Order{
		Target: one.spiffeID, Tenant: tenant, Reason: "drill",
	})
	if err != nil {
		t.Fatal(err)
	}
	wantReceipt(t, receipt, 1, has.until(one.spiffeID), "spire-entries")
	answer := n.workload.ask(t, asked.Question{
		Do: asked.JWT, ID: one.spiffeID, Audience: "after the hold", Within: 2 * time.Second,
	})
	if answer.OK {
		t.Errorf("a JWT-SVID of %s after the acknowledgement: %v", one.spiffeID, answer.Claims)
	}
}

// changes returns how long it takes until SPIRE's server has other selectors for an entry.
func (s *spireServer) changes(t *testing.T, one entry, take func(*testing.T, entry)) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*s.profile.bound)
	defer cancel()
	before := len(one.selectors)
	changed := when(ctx, func() bool {
		shown, err := s.entries.GetEntry(ctx, &entryv1.GetEntryRequest{Id: one.id})
		return err == nil && len(shown.GetSelectors()) != before
	})
	began := time.Now()
	take(t, one)
	at, ok := <-changed
	if !ok {
		t.Fatalf("entry %s is as it was", one.id)
	}
	return at.Sub(began)
}

// nobodys is a selector that no process has.
const nobodys = "unix:uid:4294967294"

func (s *spireServer) unmatch(t *testing.T, one entry) {
	t.Helper()
	answer, err := s.entries.BatchUpdateEntry(t.Context(), &entryv1.BatchUpdateEntryRequest{
		Entries: []*types.Entry{{
			Id: one.id, Selectors: selectors(t, append([]string{nobodys}, one.selectors...)),
		}},
		InputMask: &types.EntryMask{Selectors: true},
	})
	if err != nil || answer.GetResults()[0].GetStatus().GetCode() != int32(codes.OK) {
		t.Fatalf("entry %s: %v, %v", one.id, answer, err)
	}
}

func (s *spireServer) unmatchByCommand(t *testing.T, one entry) {
	t.Helper()
	words := []string{
		"entry", "update", "-entryID", one.id, "-parentID", one.parent, "-spiffeID", one.spiffeID,
		"-selector", nobodys,
	}
	for _, selector := range one.selectors {
		words = append(words, "-selector", selector)
	}
	if _, err := s.command(t, words...); err != nil {
		t.Fatal(err)
	}
}
