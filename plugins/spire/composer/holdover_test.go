package composer

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/spire/wire"
)

type list = wire.Holdover

// later is one that begins and ends so much later.
func later(by time.Duration) func(*list) {
	return func(h *list) {
		h.IssuedAt, h.ExpiresAt, h.Rows = h.IssuedAt.Add(by), h.ExpiresAt.Add(by), nil
	}
}

// TestWhatAttestdDidNotHandOutIsNotUsed: neither at once nor in place of what there is.
func TestWhatAttestdDidNotHandOutIsNotUsed(t *testing.T) {
	t.Parallel()
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		answer func(*outage) []wire.HoldoverAnswer
		why    string
	}{
		"another key": {func(o *outage) []wire.HoldoverAnswer {
			answer := o.handout(nil)
			var said wire.Holdover
			o.must(json.Unmarshal(answer.Signed.Payload, &said))
			said.Number++
			return []wire.HoldoverAnswer{o.sign(said, other)}
		}, "another key"},
		"signed by another key": {func(o *outage) []wire.HoldoverAnswer {
			answer := o.handout(func(h *list) { h.Number++ })
			answer.Signed.Signature = ed25519.Sign(other, answer.Signed.Payload)
			return []wire.HoldoverAnswer{answer}
		}, "signature"},
		"a node's snapshot": {func(o *outage) []wire.HoldoverAnswer {
			answer := o.handout(func(h *list) { h.Number++ })
			signed := append([]byte("attestd snapshot v1\n"), answer.Signed.Payload...)
			answer.Signed.Signature = ed25519.Sign(o.key, signed)
			return []wire.HoldoverAnswer{answer}
		}, "signature"},
		"changed on the way": {func(o *outage) []wire.HoldoverAnswer {
			answer := o.handout(func(h *list) { h.Number++ })
			payload := answer.Signed.Payload
			answer.Signed.Payload = bytes.Replace(payload, []byte("12"), []byte("11"), 1)
			return []wire.HoldoverAnswer{answer}
		}, "signature"},
		"no key": {func(o *outage) []wire.HoldoverAnswer {
			answer := o.handout(nil)
			answer.Key = nil
			return []wire.HoldoverAnswer{answer}
		}, "no key"},
		"an older one":        {changed(func(h *list) { h.Number = 6 }), "not newer"},
		"the same":            {changed(func(h *list) { h.Number = 7 }), "not newer"},
		"one that is over":    {changed(later(-time.Minute)), "over"},
		"one to come":         {changed(later(time.Second)), "not begun"},
		"for more than that":  {changed(func(h *list) { h.ExpiresAt = h.ExpiresAt.Add(1) }), "longer than a minute"},
		"a row beyond it":     {changed(func(h *list) { h.Rows[0].ExpiresAt++ }), "row"},
		"a row without life":  {changed(func(h *list) { h.Rows[0].LivesSeconds = 0 }), "row"},
		"another's row":       {changed(func(h *list) { h.Rows[0].ID = "spiffe://example.com/wl/a" }), "row"},
		"another domain":      {changed(func(h *list) { h.TrustDomain = "example.com" }), "trust domain"},
		"no parts":            {changed(func(h *list) { h.Parts, h.Part = 0, 0 }), "order"},
		"the second part":     {changed(func(h *list) { h.Parts, h.Part = 2, 2 }), "order"},
		"parts without end":   {changed(func(h *list) { h.Parts = mostParts + 1 }), "order"},
		"a part of another":   {both(func(h *list) { h.Number++ }), "not of one"},
		"a part for longer":   {both(func(h *list) { h.ExpiresAt, h.Rows = h.ExpiresAt.Add(-1), nil }), "not of one"},
		"more parts than one": {both(func(h *list) { h.Parts++ }), "not of one"},
	} {
		o := newOutage(t)
		o.must(o.take(o.handout(nil)))
		before := o.kept.held
		if err := o.take(row.answer(o)...); err == nil || !strings.Contains(err.Error(), row.why) {
			t.Errorf("%s: got %v, want %q", name, err, row.why)
		}
		if o.kept.held != before {
			t.Errorf("%s: it is in place of what there was", name)
		}
	}
}

func changed(change func(*wire.Holdover)) func(*outage) []wire.HoldoverAnswer {
	return func(o *outage) []wire.HoldoverAnswer {
		return []wire.HoldoverAnswer{o.handout(func(h *list) { h.Number++; change(h) })}
	}
}

// both is a first part, and a second one as it is changed.
func both(change func(*wire.Holdover)) func(*outage) []wire.HoldoverAnswer {
	return func(o *outage) []wire.HoldoverAnswer {
		first := o.handout(func(h *list) { h.Number, h.Parts = 8, 2 })
		return []wire.HoldoverAnswer{first, o.handout(func(h *list) {
			h.Number, h.Parts, h.Part = 8, 2, 2
			change(h)
		})}
	}
}

// TestPartsAreOfUseTogether, and not before the last one came.
func TestPartsAreOfUseTogether(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	part := func(number uint64, which int, id string) wire.HoldoverAnswer {
		return o.handout(func(h *list) {
			h.Number, h.Part, h.Parts, h.Rows[0].ID = number, which, 2, id
		})
	}
	parts, err := o.kept.take(part(8, 1, "spiffe://example.org/wl/b"), nil)
	o.must(err)
	want := wire.HoldoverRequest{Number: 8, Part: 2}
	if o.kept.wanted(parts) != want || o.kept.held != nil {
		t.Errorf("wants %+v, has %v", o.kept.wanted(parts), o.kept.held)
	}
	// There is a newer one by now: it begins anew.
	parts, err = o.kept.take(part(9, 1, "spiffe://example.org/wl/b"), parts)
	o.must(err)
	parts, err = o.kept.take(part(9, 2, id), parts)
	o.must(err)
	want = wire.HoldoverRequest{Number: 9}
	if o.kept.wanted(parts) != want || len(o.kept.held.rows) != 2 {
		t.Errorf("wants %+v, has %+v", o.kept.wanted(parts), o.kept.held)
	}
	o.issues(started + 60)
}
