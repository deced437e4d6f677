package ima_test

import (
	"testing"

	"github.com/attestd/attestd/verifiers/eventlog/ima"
)

func TestTheFirstEntryIsReadStrictlyAgain(t *testing.T) {
	for name, list := range map[string][]byte{
		"a list over the limit": make([]byte, 65<<20), "an entry that is cut": {10, 0, 0, 0, 1},
	} {
		if ima.AggregateOf(list) == nil {
			t.Errorf("%s: nothing was said", name)
		}
	}
}
