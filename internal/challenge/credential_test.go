package challenge_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/challenge"
)

// neg: 76
func TestATPMGoesBackByFewerResetsRestartsOrAnEarlierClock(t *testing.T) {
	at := func(reset, restart uint32, clock uint64) attestd.TPMState {
		return attestd.TPMState{ResetCount: reset, RestartCount: restart, Clock: clock}
	}
	known := at(5, 5, 500)
	for name, row := range map[string]struct {
		later  attestd.TPMState
		behind bool
	}{
		"the same moment":  {known, false},
		"a later clock":    {at(5, 5, 501), false},
		"an earlier clock": {at(5, 5, 499), true},
		"another reset, which sets the clock back": {at(6, 0, 1), false},
		"a reset fewer":   {at(4, 9, 900), true},
		"another restart": {at(5, 6, 1), false},
		"a restart fewer": {at(5, 4, 900), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := challenge.Behind(row.later, known); got != row.behind {
				t.Errorf("got %t, want %t", got, row.behind)
			}
			want := row.later
			if row.behind {
				want = known
			}
			if got := challenge.Furthest(known, row.later); !reflect.DeepEqual(got, want) {
				t.Errorf("kept %+v, want %+v", got, want)
			}
		})
	}
}

func TestCountersWrapAndAnEarlierClockIsNeverOverlooked(t *testing.T) {
	at := func(reset uint32, clock uint64) attestd.TPMState {
		return attestd.TPMState{ResetCount: reset, Clock: clock}
	}
	last, next := at(1<<32-1, 500), at(0, 400)
	if challenge.Behind(next, last) || !challenge.Behind(last, next) {
		t.Error("the reset after the last that a counter can count is a step back")
	}
	for _, row := range []struct {
		later   attestd.TPMState
		differs bool
	}{{next, true}, {at(0, 500), false}, {last, false}, {at(1<<32-1, 499), true}, {at(1<<32-2, 900), true}} {
		if got := challenge.Differs(row.later, last); got != row.differs {
			t.Errorf("%+v: got %t, want %t", row.later, got, row.differs)
		}
	}
}

func TestAReplyHoldsAWholeCredentialOrNone(t *testing.T) {
	issuer, _ := newIssuer(t, &memory{})
	reply := issue(t, issuer, 0)
	bare, err := json.Marshal(reply)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(bare), "activat") {
		t.Errorf("a challenge without keys speaks of activation: %s", bare)
	}
	made := challenge.Activation{CredentialBlob: []byte{1}, EncryptedSecret: []byte{2}}
	for name, row := range map[string]struct {
		change func(*challenge.Reply)
		reads  bool
	}{
		"none":                     {func(*challenge.Reply) {}, true},
		"whole":                    {func(r *challenge.Reply) { r.Activation = &made }, true},
		"none needed":              {func(r *challenge.Reply) { r.Activated = true }, true},
		"one that is not needed":   {func(r *challenge.Reply) { r.Activation, r.Activated = &made, true }, false},
		"without a blob":           {func(r *challenge.Reply) { r.Activation = &challenge.Activation{EncryptedSecret: []byte{2}} }, false},
		"without encrypted secret": {func(r *challenge.Reply) { r.Activation = &challenge.Activation{CredentialBlob: []byte{1}} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			changed := reply
			row.change(&changed)
			document, err := json.Marshal(changed)
			if err != nil {
				t.Fatal(err)
			}
			read, err := challenge.ParseReply(document)
			if (err == nil) != row.reads {
				t.Fatalf("got %v, want it to be read: %t", err, row.reads)
			}
			if row.reads && !reflect.DeepEqual(read.Activation, changed.Activation) || row.reads && read.Activated != changed.Activated {
				t.Errorf("got %+v, want %+v", read, changed)
			}
		})
	}
}
