package front_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
)

// obedient answers as a controller does.
func obedient(orders chan<- wire.Orders) link.Handler {
	return func(_ context.Context, _ link.Peer, method string, body json.RawMessage) (any, error) {
		switch method {
		case wire.MethodEnforce:
			var in wire.Orders
			if err := link.Decode(body, &in); err != nil {
				return nil, err
			}
			orders <- in
			return wire.Reached{Number: in.Number}, nil
		case wire.MethodRefresh:
			var in wire.RefreshRequest
			err := link.Decode(body, &in)
			return wire.Map{Entries: []wire.Entry{{SPIFFEID: in.IDs[0]}}}, err
		case wire.MethodMintX509:
			return nil, &attestd.CallerError{Class: attestd.ClassForbidden, Err: errors.New("SPIRE's policy says no")}
		case wire.MethodMintJWT:
			return nil, errors.New("a mistake")
		default:
			return wire.Reattested{Done: []string{"x"}}, nil
		}
	}
}

func undecidedErr(err error) bool {
	var undecided *attestd.UndecidedError
	return errors.As(err, &undecided) && undecided.Class.Undecided()
}

func TestWithoutAControllerNothingIsDecided(t *testing.T) {
	w := newWorld(t)
	if _, err := w.controller.Refresh(soon(t), []string{"x"}); !undecidedErr(err) {
		t.Error(err)
	}
	if _, err := w.controller.Enforce(soon(t), wire.Orders{}); !undecidedErr(err) || w.controller.Connected() {
		t.Error(err)
	}
}

func TestTheControllerIsAskedAndToldOfOrders(t *testing.T) {
	w := newWorld(t)
	orders := make(chan wire.Orders, 10)
	client := w.dialUnix(obedient(orders))
	if err := client.Call(soon(t), wire.MethodTakeState, nil, nil); err != nil {
		t.Fatal(err)
	}
	receive := func(number uint64) {
		t.Helper()
		select {
		case got := <-orders:
			if got.Number != number || len(got.Bans) != 1 {
				t.Errorf("got %+v, want number %d", got, number)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("no orders")
		}
	}
	receive(1)
	began := time.Now()
	w.office.order()
	receive(2)
	if took := time.Since(began); took > time.Second {
		t.Errorf("orders took %s", took)
	}
	eventually(t, "reached", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.reached) == 2 })
	if got, err := w.controller.Refresh(soon(t), []string{"a"}); err != nil || got.Entries[0].SPIFFEID != "a" {
		t.Error(got, err)
	}
	if got, err := w.controller.Reattest(soon(t), []string{"a"}); err != nil || len(got.Done) != 1 {
		t.Error(got, err)
	}
	var caller *attestd.CallerError
	if _, err := w.controller.MintX509(soon(t), wire.MintX509{}); !errors.As(err, &caller) ||
		caller.Class != attestd.ClassForbidden {
		t.Errorf("a refusal: %v", err)
	}
	// A mistake of the controller's is no answer.
	if _, err := w.controller.MintJWT(soon(t), wire.MintJWT{}); !undecidedErr(err) {
		t.Errorf("a mistake: %v", err)
	}
	client.Close()
	eventually(t, "gone", func() bool { return !w.controller.Connected() })
	if _, err := w.controller.Refresh(soon(t), []string{"x"}); !undecidedErr(err) {
		t.Error(err)
	}
}

// TestOneLinkIsTheController: the one that asked for the state last.
func TestOneLinkIsTheController(t *testing.T) {
	w := newWorld(t)
	first, second := w.dialUnix(obedient(make(chan wire.Orders, 10))), w.dialUnix(obedient(make(chan wire.Orders, 10)))
	for _, method := range controllerMethods[1:] {
		if got := classOf(t, first.Call(soon(t), method, documents[method], nil)); got != attestd.ClassConflict {
			t.Errorf("%s before take-state: %q", method, got)
		}
	}
	for _, one := range []*link.Client{first, second} {
		if err := one.Call(soon(t), wire.MethodTakeState, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, method := range controllerMethods[1:] {
		if got := classOf(t, first.Call(soon(t), method, documents[method], nil)); got != attestd.ClassConflict {
			t.Errorf("%s of the one that was replaced: %q", method, got)
		}
		if err := second.Call(soon(t), method, documents[method], nil); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestTheControllersStateOutlivesAttestd(t *testing.T) {
	w := newWorld(t)
	kept := wire.ControllerState{Bans: []string{"b", "a"}, Holds: []string{"c"}}
	client := w.dialUnix(nil)
	for method, document := range map[string]any{wire.MethodTakeState: wire.Empty{}} {
		if err := client.Call(soon(t), method, document, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Call(soon(t), wire.MethodKeepState, kept, nil); err != nil {
		t.Fatal(err)
	}
	client.Close()
	w.stop()
	w.run()
	var got wire.ControllerState
	err := w.dialUnix(nil).Call(soon(t), wire.MethodTakeState, nil, &got)
	if err != nil || fmt.Sprint(got) != "{[a b] [c]}" {
		t.Errorf("got %v, %v", got, err)
	}
	info, err := os.Stat(w.config.StatePath)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	// What cannot be read is never an empty state.
	for _, content := range []string{"", "{", `{"bans":["a"]} `[:13], `{"bans":[],"more":1}`, `null`} {
		if err := os.WriteFile(w.config.StatePath, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		class := classOf(t, w.dialUnix(nil).Call(soon(t), wire.MethodTakeState, nil, &got))
		if !class.Undecided() {
			t.Errorf("%q: got %q", content, class)
		}
	}
}

// TestAMapComesInParts, in order and of one moment, or not at all.
func TestAMapComesInParts(t *testing.T) {
	w := newWorld(t)
	client := w.dialUnix(nil)
	if err := client.Call(soon(t), wire.MethodTakeState, nil, nil); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	part := func(number, of int, at time.Time) wire.Map {
		return wire.Map{
			Part: number, Parts: of, At: at, Entries: []wire.Entry{{ID: fmt.Sprint("e", number)}},
			Agents: []wire.Agent{{ID: fmt.Sprint("a", number)}},
		}
	}
	for name, row := range map[string]struct {
		parts []wire.Map
		maps  int
		class attestd.Class // of the last
	}{
		"one":                     {[]wire.Map{part(0, 0, at)}, 1, ""},
		"three":                   {[]wire.Map{part(1, 3, at), part(2, 3, at), part(3, 3, at)}, 1, ""},
		"one of one":              {[]wire.Map{part(1, 1, at)}, 1, ""},
		"one left out":            {[]wire.Map{part(1, 3, at), part(3, 3, at)}, 0, attestd.ClassMalformed},
		"one twice":               {[]wire.Map{part(1, 3, at), part(2, 3, at), part(2, 3, at)}, 0, attestd.ClassMalformed},
		"of another moment":       {[]wire.Map{part(1, 2, at), part(2, 2, at.Add(1))}, 0, attestd.ClassMalformed},
		"of another number":       {[]wire.Map{part(1, 2, at), part(2, 3, at)}, 0, attestd.ClassMalformed},
		"begun anew":              {[]wire.Map{part(1, 2, at), part(1, 2, at), part(2, 2, at)}, 1, ""},
		"the end of another":      {[]wire.Map{part(2, 2, at)}, 0, attestd.ClassMalformed},
		"more than there are":     {[]wire.Map{part(3, 2, at)}, 0, attestd.ClassMalformed},
		"of too many":             {[]wire.Map{part(1, 5000, at)}, 0, attestd.ClassMalformed},
		"below nothing":           {[]wire.Map{part(-1, 2, at)}, 0, attestd.ClassMalformed},
		"a number, and no others": {[]wire.Map{part(1, 0, at)}, 0, attestd.ClassMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			w.office.mu.Lock()
			w.office.mapped = nil
			w.office.mu.Unlock()
			var class attestd.Class
			for _, one := range row.parts {
				class = classOf(t, client.Call(soon(t), wire.MethodMap, one, nil))
			}
			w.office.mu.Lock()
			defer w.office.mu.Unlock()
			if class != row.class || len(w.office.mapped) != row.maps {
				t.Fatalf("class %q, %d maps", class, len(w.office.mapped))
			}
			for _, whole := range w.office.mapped {
				if last := row.parts[len(row.parts)-1]; whole.Part != 0 || whole.Parts != 0 ||
					len(whole.Entries) != max(1, last.Parts) || len(whole.Agents) != max(1, last.Parts) {
					t.Errorf("got %+v", whole)
				}
			}
			// A failure leaves nothing behind that the next map could be mixed with.
			_ = client.Call(soon(t), wire.MethodMap, part(9, 9, at), nil)
		})
	}
}

func TestReportsAreBounded(t *testing.T) {
	w := newWorld(t)
	client := w.dialUnix(nil)
	many := map[string]uint64{}
	for n := range 65 {
		many[fmt.Sprint("c", n)] = 1
	}
	for name, said := range map[string]wire.PluginReport{
		"no name":             {},
		"a name in two lines": {Plugin: "a\nb"},
		"many counts":         {Plugin: "a", Counts: many},
		"a count's own words": {Plugin: "a", Counts: map[string]uint64{"a b": 1}},
	} {
		if got := classOf(t, client.Call(soon(t), wire.MethodReport, said, nil)); got != attestd.ClassMalformed {
			t.Errorf("%s: %q", name, got)
		}
	}
	for pid := range 100 {
		got := classOf(t, client.Call(soon(t), wire.MethodReport, wire.PluginReport{Plugin: "a", PID: pid}, nil))
		if (got == attestd.ClassRateLimited) != (pid >= 64) {
			t.Fatalf("report %d: %q", pid, got)
		}
	}
	w.advance(11 * time.Minute)
	if err := client.Call(soon(t), wire.MethodReport, wire.PluginReport{Plugin: "b"}, nil); err != nil {
		t.Error("plugins that are gone hold their place:", err)
	}
}
