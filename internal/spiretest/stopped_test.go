package spiretest_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/testvectors/forge"
)

// TestWhatWasGrantedIsCountedThoughItComesLater: SPIRE's server is stopped between attestd's grants and
// its signatures, the node is quarantined, and the server goes on. The acknowledgement has counted what
// comes out then, and named the end of the last.
func TestWhatWasGrantedIsCountedThoughItComesLater(t *testing.T) {
	const tries, atATime = 20, 8
	h, fleet := foes(t, tries)
	for number, one := range fleet {
		counted, came := h.stopped(t, one, foeEntry(number), atATime)
		if came > 0 {
			t.Logf("try %d: %d JWT-SVIDs came after the acknowledgement, of %d grants that it counted", number+1,
				came, counted)
			return
		}
	}
	t.Errorf("SPIRE's server was stopped %d times, and had never a grant in its hands", tries)
}

// stopped quarantines an agent that asks all the while, with SPIRE's server stopped. It returns how many
// grants the acknowledgement counts, and how many JWT-SVIDs came after it.
func (h *house) stopped(t *testing.T, one *simulated, entry string, atATime int) (counted, came int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	type svid struct{ ends, at time.Time }
	var mu sync.Mutex
	var had []svid
	var asking sync.WaitGroup
	for range atATime {
		asking.Go(func() {
			for {
				ends, err := one.jwt(ctx, entry)
				if err != nil {
					return
				}
				mu.Lock()
				had = append(had, svid{ends, time.Now()})
				mu.Unlock()
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	h.spire.signal(t, syscall.SIGSTOP)
	receipt, err := h.ann.Quarantine(t.Context(), wire.Order{Target: one.id, Reason: "drill"})
	acknowledged := time.Now()
	// Past the whole second in which JWT-SVIDs end.
	time.Sleep(1100 * time.Millisecond)
	h.spire.signal(t, syscall.SIGCONT)
	asking.Wait()
	if err != nil {
		t.Fatal(err)
	}
	last := one.ends(t)
	for _, each := range had {
		if each.ends.After(last) {
			last = each.ends
		}
		if each.at.After(acknowledged) {
			came++
		}
	}
	if receipt.Grants < 1+len(had) || receipt.GrantsUntil.Before(last) {
		t.Errorf("the acknowledgement counts %d grants until %s; the agent has its own SVID and %d JWT-SVIDs "+
			"until %s", receipt.Grants, receipt.GrantsUntil, len(had), last)
	}
	wantChannel(t, receipt, "grants", "effective")
	// What SPIRE does is not known while it stands still, and is not said to be done.
	pending := 0
	for _, channel := range receipt.Channels {
		if strings.HasPrefix(channel.Name, "spire") && channel.State == "pending" {
			pending++
		} else if strings.HasPrefix(channel.Name, "spire") {
			t.Errorf("SPIRE stands still, and the acknowledgement says %+v", channel)
		}
	}
	if pending == 0 {
		t.Errorf("the acknowledgement says nothing of SPIRE: %+v", receipt.Channels)
	}
	return receipt.Grants, came
}

// TestAHoldNeedsNoBan: what bans agents stands still, so SPIRE's server goes on to answer the node. It
// signs nothing for it from the acknowledgement on all the same: neither a JWT-SVID nor an X509-SVID.
func TestAHoldNeedsNoBan(t *testing.T) {
	h, fleet := foes(t, 1)
	one, entry := fleet[0], foeEntry(0)
	if _, err := one.jwt(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
	if err := one.mint(t.Context(), []string{entry}); err != nil {
		t.Fatal(err)
	}
	controller := h.daemon.children("controller")
	if len(controller) != 1 {
		t.Fatalf("the controller's processes are %v, want one", controller)
	}
	if err := syscall.Kill(controller[0], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	receipt, err := h.ann.Quarantine(t.Context(), wire.Order{Target: one.id, Reason: "drill"})
	if err != nil {
		t.Fatal(err)
	}
	wantChannel(t, receipt, "grants", "effective")
	for range 20 {
		if _, err := one.jwt(t.Context(), entry); err == nil {
			t.Fatal("a JWT-SVID after the acknowledgement")
		}
		if err := one.mint(t.Context(), []string{entry}); err == nil {
			t.Fatal("an X509-SVID after the acknowledgement")
		}
	}
	if err := one.list(t.Context()); err != nil {
		t.Errorf("SPIRE's server does not talk to the node, so that this shows nothing of the hold: %v", err)
	}
	if err := syscall.Kill(controller[0], syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if !until(startLimit, func() bool { return one.list(t.Context()) != nil }) {
		t.Error("the agent is not banned when the controller goes on")
	}
}

// foes are simulated agents of a house of their own, attested and connected.
func foes(t *testing.T, count int) (*house, []*simulated) {
	t.Helper()
	ca, err := forge.NewTPMCA(forge.TPMCAConfig{})
	if err != nil {
		t.Fatal(err)
	}
	fleet := simulatedFleet(t, ca, count)
	folder := t.TempDir()
	root := filepath.Join(folder, "root.pem")
	rootFile(t, ca, root)
	h := arrange(t, houseConfig{profile: fast})
	h.extend(t, root, forgedValues(t, folder, root, fleet[0]))
	h.start(t)
	h.delivered(t, fleet)
	h.spire.connected(t, fleet)
	return h, fleet
}
