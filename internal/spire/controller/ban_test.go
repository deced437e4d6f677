package controller_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/spire/wire"
)

const (
	syncMethod = "/spire.api.server.entry.v1.Entry/GetAuthorizedEntries"
	banUndone  = "a ban was undone in SPIRE"
)

// neg: 197
func TestAnOrderedBanIsLaidAndReportedAndLiftedAgain(t *testing.T) {
	w := newWorld(t)
	id, agent := w.join("one")
	w.control()
	if got := ask(t, agent, syncMethod); got != passed {
		t.Fatalf("before the order the agent's call was %s", got)
	}
	began := time.Now()
	reached := w.order(func(o *wire.Orders) { o.Bans = append(o.Bans, id) })
	took := time.Since(began)
	if len(reached.Done) != 1 || reached.Done[0].ID != id || reached.Done[0].What != "ban" || len(reached.Open) != 0 {
		t.Fatalf("got %+v, want the ban done", reached)
	}
	if took > 3*time.Second {
		t.Errorf("the acknowledgement took %s", took)
	}
	t.Logf("banned %d us after the order, acknowledged after %s", reached.Done[0].After, took)
	for _, method := range []string{syncMethod, "/spire.api.server.agent.v1.Agent/RenewAgent"} {
		if got := ask(t, agent, method); got != denied {
			t.Errorf("after the acknowledgement the agent's call of %s was %s", method, got)
		}
	}
	w.until("the record of the own ban is kept", 10*time.Second, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return slices.Contains(w.state.Bans, id)
	})
	w.order(func(o *wire.Orders) { o.Bans = without(o.Bans, id) })
	w.until("the ban is lifted", 10*time.Second, func() bool { return w.done("unban", id) })
	if _, again := w.join("one"); ask(t, again, syncMethod) != passed {
		t.Error("the agent cannot come back after the release")
	}
	w.until("the record is empty again", 10*time.Second, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.state.Bans) == 0
	})
}

// TestOrdersThatComeTwiceAreReportedTwice: they come of themselves when they change, and in the request of
// the operator who waits for what they do.
func TestOrdersThatComeTwiceAreReportedTwice(t *testing.T) {
	w := newWorld(t)
	id, _ := w.join("twice")
	w.control()
	orders := w.ordered(func(o *wire.Orders) { o.Bans = append(o.Bans, id) })
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			reached, err := w.enforce(orders)
			if err != nil || len(reached.Done) != 1 || reached.Done[0].ID != id || len(reached.Open) != 0 {
				t.Errorf("got %+v, %v; want the ban done", reached, err)
			}
		})
	}
	both.Wait()
	if reached, err := w.enforce(orders); err != nil || len(reached.Done) != 1 {
		t.Errorf("a third time: got %+v, %v; want the ban done", reached, err)
	}
}

// TestABanHoldsThatRacesAnAttestation: SPIRE looks for a ban before it signs, and writes the new serial
// number after; a ban laid in between is gone. One that is laid again at once is not.
func TestABanHoldsThatRacesAnAttestation(t *testing.T) {
	w := newWorld(t)
	id, _ := w.join("slow")
	w.control()
	attested := make(chan error, 1)
	began := time.Now()
	go func() {
		_, _, err := w.attestAs(t, "attestd", "slow")
		attested <- err
	}()
	time.Sleep(slowness / 3)
	reached := w.order(func(o *wire.Orders) { o.Bans = append(o.Bans, id) })
	if len(reached.Done) != 1 {
		t.Fatalf("got %+v, want the ban done", reached)
	}
	if !w.banned(id) {
		t.Fatal("the ban was not laid while the attestation was under way")
	}
	if err := <-attested; err != nil {
		t.Fatalf("the attestation ended before it could undo the ban: %v", err)
	}
	if took := time.Since(began); took < slowness {
		t.Fatalf("the attestation took %s: nothing raced", took)
	}
	// Two rounds of the ban and a look of the command line.
	time.Sleep(60 * time.Millisecond)
	if !w.banned(id) {
		t.Error("the attestation undid the ban")
	}
}

func TestABanIsLaidAgainWhoeverUndidIt(t *testing.T) {
	w := newWorld(t)
	id, _ := w.join("one")
	w.control(50*time.Millisecond, 100*time.Millisecond)
	w.order(func(o *wire.Orders) { o.Bans = append(o.Bans, id) })
	time.Sleep(300 * time.Millisecond) // the burst is over
	w.run(t, "agent", "evict", "-spiffeID", id)
	w.until("the order is open", 10*time.Second, func() bool { return w.opened("ban", id) != "" })
	_, agent := w.join("one")
	w.until("the ban is laid again", 10*time.Second, func() bool { return w.banned(id) && w.done("ban", id) })
	if got := ask(t, agent, syncMethod); got != denied {
		t.Errorf("the agent's call was %s", got)
	}
	// Undone in place, as an attestation does it, which SPIRE's API has no call for.
	time.Sleep(300 * time.Millisecond)
	w.unbanInDatabase(t, id)
	w.until("the ban is laid again", 10*time.Second, func() bool { return w.logs.count(banUndone) == 1 && w.banned(id) })
}

func TestABanOfAnAgentThatIsNotThereStaysOpen(t *testing.T) {
	w := newWorld(t)
	w.control()
	id := "spiffe://" + domain + "/spire/agent/attestd/later"
	reached := w.order(func(o *wire.Orders) { o.Bans = append(o.Bans, id) })
	if len(reached.Done) != 0 || len(reached.Open) != 1 || reached.Open[0].Detail == "" {
		t.Fatalf("got %+v, want the ban open with a reason", reached)
	}
	w.join("later")
	w.until("the ban is laid when the agent is there", 5*time.Second, func() bool { return w.done("ban", id) })
	if !w.banned(id) {
		t.Error("reported as done, and the agent is not banned")
	}
}

func TestABanThatAPersonLaidIsNotLifted(t *testing.T) {
	w := newWorld(t)
	id, _ := w.join("one")
	w.run(t, "agent", "ban", "-spiffeID", id)
	w.control()
	w.order(func(o *wire.Orders) { o.Bans = append(o.Bans, id) })
	w.order(func(o *wire.Orders) { o.Bans = without(o.Bans, id) })
	w.until("the release says whose ban it is", 10*time.Second, func() bool { return w.opened("unban", id) != "" })
	if !w.banned(id) {
		t.Error("a person's ban was lifted")
	}
}

func TestAfterARestartOrdersAreCompared(t *testing.T) {
	w := newWorld(t)
	one, _ := w.join("one")
	two, _ := w.join("two")
	stop := w.control()
	w.order(func(o *wire.Orders) { o.Bans = append(o.Bans, one) })
	w.until("the record is kept", 10*time.Second, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return slices.Contains(w.state.Bans, one)
	})
	stop()
	// While no controller runs, one is released and the other quarantined.
	w.mu.Lock()
	w.orders.Bans = []string{two}
	w.orders.Number = 1 // a daemon that was restarted counts anew
	w.mu.Unlock()
	w.control()
	w.until("the new ban is laid", 10*time.Second, func() bool { return w.done("ban", two) && w.banned(two) })
	w.until("the old ban is lifted", 10*time.Second, func() bool { return w.done("unban", one) })
	if _, _, err := w.attestAs(t, "attestd", "one"); err != nil {
		t.Errorf("the released agent cannot attest: %v", err)
	}
}

func TestOrdersOutliveTheDaemon(t *testing.T) {
	w := newWorld(t)
	id, _ := w.join("one")
	w.control(50*time.Millisecond, 100*time.Millisecond)
	w.order(func(o *wire.Orders) { o.Bans = append(o.Bans, id) })
	time.Sleep(300 * time.Millisecond)
	w.daemon.stop()
	w.unbanInDatabase(t, id)
	w.until("the ban is laid again without attestd", 10*time.Second, func() bool { return w.banned(id) })
}

func TestOlderOrdersAreRefused(t *testing.T) {
	w := newWorld(t)
	id, _ := w.join("one")
	w.control()
	w.order(func(o *wire.Orders) { o.Bans, o.Number = append(o.Bans, id), 10 })
	err := w.conn.Call(t.Context(), wire.MethodEnforce,
		wire.Orders{Number: 10, Bans: []string{}, Holds: []string{}}, &wire.Reached{})
	if err == nil {
		t.Error("orders 10 were taken after 11")
	}
	if !w.banned(id) {
		t.Error("older orders lifted a ban")
	}
}

// TestADaemonThatCountsAnewIsObeyed: the numbers of orders are of one daemon's life.
func TestADaemonThatCountsAnewIsObeyed(t *testing.T) {
	w := newWorld(t)
	one, _ := w.join("one")
	two, _ := w.join("two")
	w.control()
	w.order(func(o *wire.Orders) { o.Bans, o.Number = append(o.Bans, one), 100 })
	w.daemon.stop()
	w.mu.Lock()
	w.orders.Number, w.orders.Bans = 1, []string{one, two}
	w.mu.Unlock()
	w.daemon.start()
	w.until("the new ban is laid", 10*time.Second, func() bool { return w.done("ban", two) && w.banned(two) })
}

// TestABanIsReadBackBeforeThePoll: one that was there before is not laid again and again, but looked at.
func TestABanIsReadBackBeforeThePoll(t *testing.T) {
	w := newWorld(t)
	w.config.Poll = 5 * time.Minute
	id, _ := w.join("one")
	w.run(t, "agent", "ban", "-spiffeID", id)
	w.control(time.Second)
	w.order(func(o *wire.Orders) { o.Bans = append(o.Bans, id) })
	time.Sleep(100 * time.Millisecond)
	w.unbanInDatabase(t, id)
	time.Sleep(100 * time.Millisecond)
	if w.banned(id) {
		t.Fatal("it was laid again before it was read back")
	}
	w.until("the ban is laid again", 10*time.Second, func() bool { return w.banned(id) })
	if w.logs.count(banUndone) != 1 {
		t.Error("that it was undone is not logged")
	}
}
