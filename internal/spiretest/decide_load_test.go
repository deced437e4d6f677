package spiretest_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd/client/decide"
	"github.com/attestd/attestd/internal/admin/client"
	"github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
	"github.com/attestd/attestd/internal/nhi"
)

const (
	loadRounds  = 3 // quarantines under load
	loadAskers  = 9 // who ask at once, a third of them through each interface
	loadBefore  = 500 * time.Millisecond
	loadAfter   = 300 * time.Millisecond
	loadAtLeast = 200 // allows before the order, or it was no load
)

// busy are callers that are quarantined while they ask.
func busy() (out []caller) {
	for number := range loadRounds {
		out = append(out, worker(fmt.Sprint("busy-", number+1), tenant, nhi.PurposeRetrieval))
	}
	return out
}

// moment is one question and its answer.
type moment struct {
	asked, answered time.Time
	allow           bool
}

// load asks until it is stopped, and returns every question that was answered.
func (s *decideSite) load(t *testing.T, token string) (stop func() []moment) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	web := overUnix(s.decisions())
	question := decide.Question{Credential: decide.Credential{Token: token}, Wish: search(tenant)}
	askers := []func() (bool, error){
		func() (bool, error) {
			answer, err := s.asking.Decide(ctx, question)
			return answer.Allow, err
		},
		func() (bool, error) {
			request, err := routed(ctx, token, question.Wish)
			if err != nil {
				return false, err
			}
			answer, err := web.Do(request)
			if err != nil {
				return false, err
			}
			return answer.StatusCode == http.StatusNoContent, answer.Body.Close()
		},
		func() (bool, error) {
			answer, err := s.envoy.Check(ctx, checked(token, question.Wish))
			return answer.GetOkResponse() != nil, err
		},
	}
	var wait sync.WaitGroup
	var ended atomic.Bool
	lists := make([][]moment, loadAskers)
	for number := range loadAskers {
		ask := askers[number%len(askers)]
		wait.Go(func() {
			for !ended.Load() {
				one := moment{asked: time.Now()}
				var err error
				if one.allow, err = ask(); err != nil {
					t.Errorf("a question without an answer: %v", err)
					return
				}
				one.answered = time.Now()
				lists[number] = append(lists[number], one)
			}
		})
	}
	return func() (all []moment) {
		ended.Store(true)
		wait.Wait()
		cancel()
		web.CloseIdleConnections()
		for _, list := range lists {
			all = append(all, list...)
		}
		return all
	}
}

// underLoad wants no allow whose state was read at the number of a quarantine's acknowledgement or a later
// one, as attestd itself numbers them.
func (s *decideSite) underLoad(t *testing.T) {
	for _, one := range busy() {
		token := s.token(t, tenant, one.id())
		s.wantAllowed(t, s.authzen(t, token, search(tenant)), one.id())
		stop := s.load(t, token)
		began := time.Now()
		time.Sleep(loadBefore)
		ordered := time.Now()
		receipt, err := s.ann.Quarantine(t.Context(), wire.Order{
			Target: one.id(), Tenant: tenant, Reason: "drill",
		})
		acknowledged := time.Now()
		if err != nil {
			stop()
			t.Fatal(err)
		}
		time.Sleep(loadAfter)
		all, took := stop(), time.Since(began)
		if receipt.Sequence == 0 {
			t.Fatal("the receipt has no sequence")
		}
		allows, late, last := 1, 0, time.Duration(0) // the first stands before the load
		for _, one := range all {
			if !one.allow {
				continue
			}
			allows++
			last = max(last, one.answered.Sub(ordered))
			if one.asked.After(acknowledged) {
				late++
			}
		}
		if allows < loadAtLeast || late != 0 {
			t.Errorf("%d allows, %d of them asked for after the acknowledgement", allows, late)
		}
		records := s.whole(t, one, allows)
		denied := s.allDecisions(t, client.DecisionQuery{
			Subject: one.id(), Reason: string(decision.CodeQuarantined),
		})
		if !slices.ContainsFunc(denied, func(record journal.Record) bool {
			return !record.Folded() && record.Input.Sequence >= receipt.Sequence
		}) {
			t.Errorf("none of %d denials of %s is of %d or later", len(denied), one.id(), receipt.Sequence)
		}
		wrong, before := 0, uint64(0)
		for _, record := range records {
			if record.Input.Sequence >= receipt.Sequence {
				wrong++
			}
			before = max(before, record.Input.Sequence)
		}
		if wrong != 0 {
			t.Errorf("%d allows by a state that was read at %d or later", wrong, receipt.Sequence)
		}
		rate := float64(len(all)) / took.Seconds()
		t.Logf("%s: %.0f questions/s of %d askers; %d allows, the last by state %d, the order in effect at %d; "+
			"acknowledged %s after the order, the last allow answered %s after it", one.name, rate, loadAskers, allows,
			before, receipt.Sequence, acknowledged.Sub(ordered).Round(10*time.Microsecond),
			last.Round(10*time.Microsecond))
	}
}

// whole waits until the records have as many allows of the caller as were given, and returns those.
func (s *decideSite) whole(t *testing.T, one caller, allows int) (records []journal.Record) {
	t.Helper()
	if !until(10*time.Second, func() bool {
		records = s.allDecisions(t, client.DecisionQuery{Subject: one.id(), Decision: journal.Allow})
		return len(records) >= allows
	}) || len(records) != allows {
		t.Fatalf("%d allows of %s were given, and %d are recorded", allows, one.id(), len(records))
	}
	return records
}
