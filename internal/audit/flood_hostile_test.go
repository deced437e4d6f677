package audit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/audit"
)

func read(actor, target string, second int) audit.Record {
	return audit.Record{
		At: morning.Add(time.Duration(second) * time.Second), Actor: actor, Via: "certificate", Tenant: "blue",
		Action: "subject.show", Target: target, Outcome: "done",
	}
}

// TestFoldedReadsSayNothingThatIsTrueOfOneAlone: whoever reads something harmless twice and then what
// they are after must not be in the log with three harmless reads.
func TestFoldedReadsSayNothingThatIsTrueOfOneAlone(t *testing.T) {
	flood := audit.NewFlood()
	flood.Note(read("mallory", "harmless", 0))
	flood.Note(read("mallory", "harmless", 1))
	flood.Note(read("mallory", "victim", 2))
	out := flood.Drain()
	if len(out) != 1 || out[0].Count != 2 || out[0].Target != "" || out[0].Via != "certificate" {
		t.Errorf("got %+v, want two reads of no one target, with what they share", out)
	}
	for second := range 3 {
		flood.Note(read("mallory", "harmless", second))
	}
	if out := flood.Drain(); len(out) != 1 || out[0].Target != "harmless" {
		t.Errorf("got %+v, want the one target of all", out)
	}
}

// TestFloodOfSourcesDoesNotHideWhoHasAName: a flood of refusals, from however many addresses, leaves
// the name on what an operator does meanwhile.
func TestFloodOfSourcesDoesNotHideWhoHasAName(t *testing.T) {
	flood := audit.NewFlood()
	for number := range 10_000 {
		one := refused(number, "UNAUTHENTICATED", morning)
		one.Actor = fmt.Sprintf("source:2001:db8:%x::/64", number)
		flood.Note(one)
	}
	for second := range 3 {
		flood.Note(read("mallory", "victim", second))
	}
	found := 0
	for _, one := range flood.Drain() {
		if one.Actor == "mallory" {
			found += max(one.Count, 1)
		}
	}
	if found != 3 {
		t.Errorf("%d of three reads are mallory's", found)
	}
}

// TestFloodOfNamesIsBounded: names are made up by nobody without a right to, and bounded all the same.
func TestFloodOfNamesIsBounded(t *testing.T) {
	flood := audit.NewFlood()
	var out []audit.Record
	for number := range 100_000 {
		out = append(out, flood.Note(read(fmt.Sprint("name", number), "x", 0))...)
	}
	out = append(out, flood.Drain()...)
	if total(out) != 100_000 || len(out) > 64+1024+1024+256+1 {
		t.Errorf("%d records for %d reads", len(out), total(out))
	}
}
