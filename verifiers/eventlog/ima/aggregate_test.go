package ima_test

import (
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/eventlog/ima"
)

func TestTheFirstEntryIsReadStrictlyAgain(t *testing.T) {
	fault := ima.AggregateOf(make([]byte, 33<<20))
	if fault == nil || fault.Class != attestd.ClassTooLarge {
		t.Errorf("a list over the limit: got %v", fault)
	}
	if ima.AggregateOf([]byte{10, 0, 0, 0, 1}) == nil {
		t.Error("nothing was said of an entry that is cut")
	}
}
