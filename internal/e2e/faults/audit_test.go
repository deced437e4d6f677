package faults_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
)

var auditCells = []cell{
	{"audit", "error", "what leaves no record is not done, but for a direct hold", false, func(w *world) {
		begin := func() func() { return w.fails("INSERT", "audit_leaves") }
		end := begin()
		w.unrecorded()
		end()
		w.eventually("an identity", w.grant)
		w.directly(begin, 3*time.Second)
		w.whole()
	}},
	{"audit", "timeout", "an order whose record hangs is not acknowledged, and holds with its record or not at all",
		false, timeoutAudit},
	{"audit", "slow", "an order is acknowledged when its record is there", false, slowAudit},
	{"audit", "corrupt", "a log that the disk changed starts nothing until it is mended", false, corruptAudit},
	{"audit", "partial", "a log without its end starts nothing", false, func(w *world) {
		_, err := w.admin.Quarantine(context.Background(), wire.Order{Target: "instance:i-0fedcba9876543210-other", Reason: "a record"})
		w.must(err)
		w.end()
		w.change("CREATE TABLE aside AS SELECT * FROM audit_leaves WHERE number >= "+
			"(SELECT max(number) FROM audit_leaves) - 1",
			"DELETE FROM audit_leaves WHERE number IN (SELECT number FROM aside)")
		if err := w.start(); err == nil {
			w.Error("it starts with a log that lost its end")
		}
		w.change("INSERT INTO audit_leaves SELECT * FROM aside", "DROP TABLE aside")
		w.must(w.start())
		w.whole()
		w.recovers()
	}},
	{"audit", "flap", "each hold that was acknowledged is in the log, and no other", false, flappingAudit},
}

// unrecorded demands that nothing is done that would change something without a record of it.
func (w *world) unrecorded() {
	w.Helper()
	w.wants("evidence during the fault", w.attest(), attestd.ClassStoreUnavailable)
	_, err := w.quarantine(false)
	w.unavailable("quarantine during the fault", err)
	w.unavailable("approval during the fault", w.approve())
	w.noIdentity()
}

// logged counts records of an action upon a target.
func (w *world) logged(action, target string) (n int) {
	w.Helper()
	for start := int64(0); ; {
		page, err := w.admin.AuditEntries(context.Background(), start, 500)
		w.must(err)
		for _, record := range page.Records {
			if record.Action == action && record.Outcome == "done" && strings.Contains(record.Target, target) {
				n++
			}
		}
		if start += int64(len(page.Records)); start >= page.Size || len(page.Records) == 0 {
			return n
		}
	}
}

// whole demands that the log is what its checkpoint says, which is looked at when it starts.
func (w *world) whole() {
	w.Helper()
	w.must(w.restart())
	if got := w.condition("audit/tampered"); got != "ok" {
		w.Errorf("audit/tampered is %s", got)
	}
}

// condition returns how severe something is.
func (w *world) condition(id string) string {
	w.Helper()
	all, err := w.admin.Conditions(context.Background())
	w.must(err)
	for _, one := range all.Conditions {
		if one.ID == id {
			return one.Severity
		}
	}
	return "not looked at"
}

func timeoutAudit(w *world) {
	end := w.slows("INSERT", "audit_leaves", 1500*time.Millisecond)
	short, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_, err := w.admin.Quarantine(short, wire.Order{Target: "instance:i-0fedcba9876543210-other", Reason: "hangs"})
	if err == nil {
		w.Error("acknowledged before its record was there")
	}
	w.within(2*time.Second, "a direct hold", func() {
		if _, err := w.quarantine(true); err != nil {
			w.Errorf("a direct hold beside a log that hangs: %v", err)
		}
	})
	w.mayHave(false)
	end()
	w.must(w.restart())
	w.mayHave(false)
	why, err := w.admin.Why(context.Background(), "instance:i-0fedcba9876543210-other")
	held := err == nil && strings.Contains(why.Cause, "quarantine")
	if n := w.logged("quarantine", "other"); (n == 1) != held || n > 1 {
		w.Errorf("held: %t (%s, %v), with %d records", held, why.Cause, err, n)
	}
	w.whole()
}

func slowAudit(w *world) {
	end := w.slows("INSERT", "audit_leaves", 500*time.Millisecond)
	began := time.Now()
	if _, err := w.quarantine(false); err != nil {
		w.Errorf("a slow quarantine: %v", err)
	}
	took := time.Since(began)
	if n := w.logged("quarantine", string(w.id)); n != 1 {
		w.Errorf("acknowledged with %d records", n)
	}
	w.mayHave(false)
	end()
	if took < 50*time.Millisecond {
		w.Errorf("it was not slow: %s", took)
	}
	w.wants("evidence of what is held", w.attest(), attestd.ClassQuarantined)
	w.whole()
	w.mayHave(false)
}

func corruptAudit(w *world) {
	_, err := w.admin.Quarantine(context.Background(), wire.Order{Target: "instance:i-0fedcba9876543210-other", Reason: "a record"})
	w.must(err)
	w.end()
	database := w.beside()
	var leaf []byte
	w.must(database.QueryRowContext(context.Background(),
		"SELECT leaf FROM audit_leaves WHERE number = 1").Scan(&leaf))
	w.must(database.Close())
	changed := bytes.Replace(leaf, []byte(`"done"`), []byte(`"gone"`), 1)
	if bytes.Equal(changed, leaf) {
		w.Fatalf("nothing to change in %s", leaf)
	}
	put := func(leaf []byte) {
		w.change(fmt.Sprintf("UPDATE audit_leaves SET leaf = x'%x' WHERE number = 1", leaf))
	}
	put(changed)
	if got := classOfError(w.start()); got != attestd.ClassConfig {
		w.Errorf("it starts with a log that was changed, or says %q, want CONFIG", got)
	}
	put(leaf)
	w.must(w.start())
	w.whole()
	w.recovers()
}

func flappingAudit(w *world) {
	var stop atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for !stop.Load() {
			end := w.fails("INSERT", "audit_leaves")
			time.Sleep(10 * time.Millisecond)
			end()
			time.Sleep(10 * time.Millisecond)
		}
	}()
	acknowledged := map[string]bool{}
	w.within(patience, "orders", func() {
		for n := range 60 {
			target := fmt.Sprintf("i-0fedcba9876543210-machine-%03d", n)
			_, err := w.admin.Quarantine(context.Background(), wire.Order{Target: "instance:" + target, Reason: "flap"})
			acknowledged[target] = err == nil
			if err != nil {
				w.unavailable("quarantine", err)
			}
		}
	})
	stop.Store(true)
	<-ended
	w.whole()
	held := 0
	for target, done := range acknowledged {
		n := w.logged("quarantine", target)
		if done {
			held++
		}
		if (n == 1) != done {
			w.Errorf("%s: acknowledged %t, with %d records", target, done, n)
		}
	}
	w.Logf("%d of %d orders were acknowledged", held, len(acknowledged))
	if held == 0 || held == len(acknowledged) {
		w.Errorf("%d of %d acknowledged: nothing flapped", held, len(acknowledged))
	}
	w.recovers()
}
