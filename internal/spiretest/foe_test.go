package spiretest_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	agentv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/agent/v1"
	entryv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/entry/v1"
	svidv1 "github.com/spiffe/spire-api-sdk/proto/spire/api/server/svid/v1"

	"github.com/attestd/attestd/internal/admin/wire"
)

// connected registers an entry for each agent, has it attest, and connects it with its SVID.
func (s *spireServer) connected(t *testing.T, fleet []*simulated) {
	t.Helper()
	var entries []entry
	for number, one := range fleet {
		entries = append(entries, entry{
			id: foeEntry(number), spiffeID: id(fmt.Sprint("/foe/", number)), parent: one.id,
			selectors: []string{"unix:uid:0"},
		})
	}
	s.register(t, entries...)
	s.cached(t)
	roots := x509.NewCertPool()
	document, err := s.bundle(t.Context())
	if err != nil || !roots.AppendCertsFromPEM(document) {
		t.Fatalf("the trust bundle: %v", err)
	}
	each(t, fleet, func(ctx context.Context, _ int, one *simulated) error {
		if err := one.attestOnce(ctx, s, roots); err != nil {
			return err
		}
		return one.dial(s, roots)
	})
	t.Cleanup(func() {
		for _, one := range fleet {
			_ = one.conn.Close()
		}
	})
}

func foeEntry(number int) string { return fmt.Sprint("foe-", number) }

// jwt asks for a JWT-SVID that no cache has, and returns when it ends.
func (s *simulated) jwt(ctx context.Context, entry string) (ends time.Time, err error) {
	answer, err := svidv1.NewSVIDClient(s.conn).NewJWTSVID(ctx, &svidv1.NewJWTSVIDRequest{
		EntryId: entry, Audience: []string{fmt.Sprint("foe ", time.Now().UnixNano())},
	})
	return time.Unix(answer.GetSvid().GetExpiresAt(), 0), err
}

// list asks for what the agent may have: a call that issues nothing, which no composer sees.
func (s *simulated) list(ctx context.Context) error {
	_, err := entryv1.NewEntryClient(s.conn).GetAuthorizedEntries(ctx, &entryv1.GetAuthorizedEntriesRequest{})
	return err
}

// ends is when the agent's own SVID ends.
func (s *simulated) ends(t *testing.T) time.Time {
	t.Helper()
	leaf, err := x509.ParseCertificate(s.svid[0])
	if err != nil {
		t.Fatal(err)
	}
	return leaf.NotAfter
}

// barred says when SPIRE's server refuses the agent's calls.
func (s *simulated) barred(ctx context.Context) <-chan time.Time {
	return when(ctx, func() bool { return s.list(ctx) != nil })
}

// when says the time at which something was first so; nothing where it was not before the end of ctx.
func when(ctx context.Context, so func() bool) <-chan time.Time {
	out := make(chan time.Time, 1)
	go func() {
		defer close(out)
		for !so() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
		if ctx.Err() == nil {
			out <- time.Now()
		}
	}()
	return out
}

// loot is what a hostile agent had before it was refused.
type loot struct {
	count int
	until time.Time
	began time.Time // the last request that was granted
}

// plunder asks for JWT-SVIDs, one after the other, until one is refused.
func (s *simulated) plunder(ctx context.Context, entry string) <-chan loot {
	out := make(chan loot, 1)
	go func() {
		var had loot
		for {
			began := time.Now()
			until, err := s.jwt(ctx, entry)
			if err != nil {
				out <- had
				return
			}
			had.count, had.began = had.count+1, began
			if until.After(had.until) {
				had.until = until
			}
		}
	}()
	return out
}

// barred returns how long it takes until SPIRE's server does not answer an agent, which takes JWT-SVIDs
// all the while.
func (h *house) barred(
	t *testing.T, one *simulated, number int, by func(plundered <-chan loot) error,
) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*h.spire.profile.bound)
	defer cancel()
	plundered, barred := one.plunder(ctx, foeEntry(number)), one.barred(ctx)
	time.Sleep(50 * time.Millisecond)
	began := time.Now()
	if err := by(plundered); err != nil {
		t.Fatal(err)
	}
	at, ok := <-barred
	if !ok {
		t.Fatalf("SPIRE's server still answers %s", one.id)
	}
	return at.Sub(began)
}

// drillHostile measures how soon SPIRE's server stops answering agents that nothing on their node keeps
// back: a third of them is quarantined, a third banned by spire-server's command, and a third by the call
// that the command makes.
func (h *house) drillHostile(t *testing.T, fleet []*simulated) {
	t.Helper()
	var ours, command, call spread
	late, granted := 0, 0
	for number := 0; number < len(fleet); number += 3 {
		one := fleet[number]
		ours = append(ours, h.barred(t, one, number, func(plundered <-chan loot) error {
			receipt, err := h.ann.Quarantine(t.Context(), wire.Order{Target: one.id, Reason: "drill"})
			if err != nil {
				return err
			}
			// The acknowledgement waits for the ban, and grants are refused before that.
			held := time.Now().Add(effective(receipt, "grants") - effective(receipt, "spire-ban"))
			_, err = one.jwt(t.Context(), foeEntry(number))
			had := <-plundered
			if err == nil || had.began.After(held) {
				late++
			}
			granted += had.count
			until := had.until
			if own := one.ends(t); own.After(until) {
				until = own
			}
			wantReceipt(t, receipt, 1+had.count, until, "spire-ban")
			return nil
		}))
		other, third := fleet[number+1], fleet[number+2]
		command = append(command, h.barred(t, other, number+1, func(<-chan loot) error {
			_, err := h.spire.command(t, "agent", "ban", "-spiffeID", other.id)
			return err
		}))
		call = append(call, h.barred(t, third, number+2, func(<-chan loot) error {
			_, err := h.spire.agents.BanAgent(t.Context(), &agentv1.BanAgentRequest{Id: spiffeID(t, third.id)})
			return err
		}))
	}
	over := max(0, ours.middle()-call.middle())
	t.Logf("%s, hostile nodes: %d quarantines; %d JWT-SVIDs before the hold, %d asked for after it; refused "+
		"by SPIRE's server %s", h.spire.profile.name, len(ours), granted, late, ours)
	t.Logf("%s, ban: through attestd %s; spire-server agent ban %s; the call alone %s: %s over",
		h.spire.profile.name, ours, command, call, over)
	if late > 0 || granted == 0 {
		t.Errorf("%d of %d agents had a JWT-SVID that they asked for after the hold; %d JWT-SVIDs before",
			late, len(ours), granted)
	}
	wantBound(t, "SPIRE's server refused a hostile node", ours, h.spire.profile)
	wantWithin(t, "over the call itself, a ban is there", over, callOver)
}
