package audit_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/audit"
)

func refused(source int, class string, at time.Time) audit.Record {
	return audit.Record{
		At: at, Actor: fmt.Sprintf("source:192.0.2.%d", source), Tenant: "default", Action: "verify",
		Outcome: "refused", Class: class,
	}
}

func total(records []audit.Record) (sum int) {
	for _, one := range records {
		sum += max(one.Count, 1)
	}
	return sum
}

// TestFloodsAreFolded counts refusals from as many sources. neg: 187
func TestFloodsAreFolded(t *testing.T) {
	flood := audit.NewFlood()
	const events = 200_000
	var out []audit.Record
	for number := range events {
		out = append(out, flood.Note(refused(number, fmt.Sprintf("CLASS_%d", number%3), morning))...)
	}
	if len(out) > 64 {
		t.Errorf("%d records were written as they came", len(out))
	}
	out = append(out, flood.Due(morning.Add(time.Minute))...)
	if got := total(out); got != events {
		t.Errorf("%d events were counted, want %d", got, events)
	}
	if len(out) > 64+1024+256+1 {
		t.Errorf("%d records for one minute", len(out))
	}
	for _, one := range out {
		if _, err := audit.Encode(one); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFloodOfMadeUpClassesIsBounded(t *testing.T) {
	flood := audit.NewFlood()
	var out []audit.Record
	for number := range 100_000 {
		one := refused(number, fmt.Sprint("CLASS_", number), morning)
		one.Action = fmt.Sprint("verify.", number)
		out = append(out, flood.Note(one)...)
	}
	out = append(out, flood.Drain()...)
	if total(out) != 100_000 || len(out) > 64+1024+256+1 {
		t.Errorf("%d records for %d events", len(out), total(out))
	}
}

func TestFirstOfItsKindIsNotLate(t *testing.T) {
	flood := audit.NewFlood()
	first := refused(1, "SIGNATURE", morning)
	if out := flood.Note(first); len(out) != 1 || out[0].Count != 0 {
		t.Fatalf("got %+v, want the record itself", out)
	}
	for number := range 5 {
		if out := flood.Note(refused(1, "SIGNATURE", morning.Add(time.Duration(number+1)*time.Second))); len(out) != 0 {
			t.Fatalf("got %+v, want it folded", out)
		}
	}
	if out := flood.Note(refused(1, "STALE", morning)); len(out) != 1 {
		t.Error("another class was folded")
	}
	if out := flood.Note(refused(2, "SIGNATURE", morning)); len(out) != 1 {
		t.Error("another source was folded")
	}
	if out := flood.Due(morning.Add(59 * time.Second)); len(out) != 0 {
		t.Errorf("before the minute is over: %+v", out)
	}
	out := flood.Due(morning.Add(time.Minute))
	if len(out) != 1 || out[0].Count != 5 || !out[0].At.Equal(morning.Add(time.Second)) ||
		!out[0].Last.Equal(morning.Add(5*time.Second)) {
		t.Errorf("got %+v, want five from the first to the fifth second", out)
	}
	if out := flood.Note(first); len(out) != 1 {
		t.Error("the next minute does not begin anew")
	}
}

func TestClockThatGoesBackEndsTheMinute(t *testing.T) {
	flood := audit.NewFlood()
	flood.Note(refused(1, "STALE", morning))
	flood.Note(refused(1, "STALE", morning))
	if out := flood.Note(refused(1, "STALE", morning.Add(-time.Hour))); total(out) != 2 {
		t.Errorf("got %+v, want what was folded and the record", out)
	}
}

func TestCountThatCouldNotBeWrittenComesBack(t *testing.T) {
	flood := audit.NewFlood()
	for range 10 {
		flood.Note(refused(1, "STALE", morning))
	}
	due := flood.Drain()
	var again []audit.Record
	for range 3 {
		for _, one := range due {
			again = append(again, flood.Note(one)...)
		}
	}
	if got := total(append(again, flood.Drain()...)); got != 27 {
		t.Errorf("%d were counted, want three times 9", got)
	}
}

func TestLeavesAreOfOneForm(t *testing.T) {
	full := audit.Record{
		At: morning.In(time.FixedZone("far", 3600)), Actor: "ines", Via: "certificate", Tenant: "*",
		Action: "quarantine", Target: "host:00", Outcome: "done", Reason: "a<b & \u2028 \xff", Ticket: "T-1",
		Detail: map[string]string{"b": "2", "a": "1"}, Count: 3, Last: morning,
	}
	leaf, err := audit.Encode(full)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"schema":"attestd.audit.v1","at":"2026-03-01T08:00:00Z","actor":"ines","via":"certificate",` +
		`"tenant":"*","action":"quarantine","target":"host:00","outcome":"done",` +
		`"reason":"a\u003cb \u0026 \u2028 ` + "\uFFFD" + `","ticket":"T-1","detail":{"a":"1","b":"2"},"count":3,` +
		`"last":"2026-03-01T08:00:00Z"}`
	if string(leaf) != want {
		t.Errorf("got  %s\nwant %s", leaf, want)
	}
	if _, err := audit.Decode(leaf); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]string{
		"another order": strings.Replace(want, `"count":3,`, "", 1) + " ", "a space": " " + want,
		"an unknown key":    strings.Replace(want, `"count"`, `"counts"`, 1),
		"another schema":    strings.Replace(want, "audit.v1", "audit.v2", 1),
		"another time zone": strings.Replace(want, "08:00:00Z", "09:00:00+01:00", 1),
		"a key twice":       strings.Replace(want, `"actor":"ines"`, `"actor":"eve","actor":"ines"`, 1),
		"nothing":           "", "no record": "{}",
	} {
		_, err := audit.Decode([]byte(bad))
		if err == nil {
			t.Errorf("%s was read", name)
		}
		if name == "another schema" && !strings.Contains(err.Error(), "schema") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*audit.Record){
		"time":    func(r *audit.Record) { r.At = time.Time{} },
		"actor":   func(r *audit.Record) { r.Actor = "" },
		"action":  func(r *audit.Record) { r.Action = "" },
		"outcome": func(r *audit.Record) { r.Outcome = "" },
	} {
		without := full
		change(&without)
		if _, err := audit.Encode(without); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("a record without %s: %v", name, err)
		}
	}
}

// TestLongTextsAreCutNotRefused: what somebody writes into a reason cannot keep an order from being
// carried out.
func TestLongTextsAreCutNotRefused(t *testing.T) {
	long := record(1)
	long.Reason, long.Actor = strings.Repeat("<&\u00e4", 1<<20), strings.Repeat("<", 1<<20)
	long.Detail = map[string]string{}
	for number := range 1000 {
		long.Detail[fmt.Sprintf("%04d%s", number, strings.Repeat("<", 1000))] = strings.Repeat("\x01", 1000)
	}
	for _, text := range []*string{
		&long.Via, &long.Tenant, &long.Action, &long.Target, &long.Outcome, &long.Class, &long.Ticket,
	} {
		*text = strings.Repeat("<", 1<<20)
	}
	leaf, err := audit.Encode(long)
	if err != nil {
		t.Fatal(err)
	}
	if len(leaf) >= 1<<16 {
		t.Errorf("a leaf of %d bytes", len(leaf))
	}
	if _, err := audit.Decode(leaf); err != nil {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	good, err := audit.Encode(record(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"schema":"attestd.audit.v1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		read, err := audit.Decode(data)
		if err != nil {
			return
		}
		again, err := audit.Encode(read)
		if err != nil || string(again) != string(data) {
			t.Errorf("read %q, wrote %q, %v", data, again, err)
		}
	})
}

func FuzzOpenCheckpoint(f *testing.F) {
	key := ephemeral(f)
	tree, _ := written(f, 3)
	f.Add(signedBy(f, key, tree))
	f.Fuzz(func(t *testing.T, signed string) {
		read, err := audit.OpenCheckpoint(signed, key.Public())
		if err == nil && read != checkpointOf(tree) {
			t.Errorf("a checkpoint that nobody signed was read from %q", signed)
		}
	})
}
