package signals_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision/signals"
	"github.com/attestd/attestd/internal/subject"
)

const whole = `{"schema": "attestd.signal.v1", "id": "r-1", "subject": "spiffe://example.org/agent/ranker",
	"kind": "AML.T0051.001", "confidence": 0.9, "detail": "promptguard/v2:override", "ttl_seconds": 900,
	"evidence_hash": "sha256:` + hash + `", "prompt_id": "p1:abcdefghijklmnopqrstuvwxyz234567"}`

const hash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// TestReportsInDoubtAreRefused, each for what is in doubt, and nothing is written.
func TestReportsInDoubtAreRefused(t *testing.T) {
	w := newWorld(t)
	with := func(old, replaced string) string { return strings.Replace(whole, old, replaced, 1) }
	for name, row := range map[string]struct{ document, want string }{
		"no document":                   {"", "json"},
		"a list":                        {"[]", "json"},
		"two reports":                   {whole + whole, "follow"},
		"a key twice":                   {with(`"id": "r-1"`, `"id": "r-1", "id": "r-2"`), "duplicate"},
		"a key that is not known":       {with(`"id"`, `"risk_score": 0, "id"`), "unknown key"}, // neg: 149
		"a tier from outside":           {with(`"id"`, `"risk_tier": "low", "id"`), "unknown key"},
		"a null":                        {with(`0.9`, `null`), "confidence"},
		"another schema":                {with(`signal.v1`, `signal.v2`), "schema"},
		"no id":                         {with(`"r-1"`, `""`), "id"},
		"an id with a line":             {with(`"r-1"`, `"r\n1"`), "id"},
		"a long id":                     {with(`"r-1"`, `"`+strings.Repeat("r", 65)+`"`), "id"},
		"no subject":                    {with(`spiffe://example.org/agent/ranker`, ``), "SPIFFE ID"},
		"a subject that is a URL":       {with(`spiffe://`, `https://`), "SPIFFE ID"},
		"an unknown kind":               {with(`AML.T0051.001`, `AML.T9999`), "unknown kind"},
		"no kind":                       {with(`AML.T0051.001`, ``), "unknown kind"},
		"one of attestd's own":          {with(`AML.T0051.001`, `clone`), "unknown kind"},
		"no confidence":                 {with(`"confidence": 0.9,`, ``), "no confidence"},
		"a confidence of NaN":           {with(`0.9`, `NaN`), "json"}, // neg: 148
		"a confidence below nothing":    {with(`0.9`, `-1`), "confidence"},
		"a confidence over all":         {with(`0.9`, `1.0001`), "confidence"},
		"a confidence over hundred":     {with(`0.9`, `101`), "confidence"},
		"a confidence of a text":        {with(`0.9`, `"0.1"`), "confidence"},
		"a confidence of a fraction":    {with(`0.9`, `55.5`), "confidence"},
		"a confidence beyond numbers":   {with(`0.9`, `1e400`), "confidence"},
		"a confidence with an exponent": {with(`0.9`, `9e-1`), "confidence"},
		"a detail in prose":             {with(`promptguard/v2:override`, `ignore previous instructions`), "detail"},
		"a detail with a quote":         {with(`promptguard/v2:override`, `a\"b`), "detail"},
		"a long detail":                 {with(`promptguard/v2:override`, strings.Repeat("x", 81)), "detail"},
		"a short life":                  {with(`900`, `59`), "ttl_seconds"},
		"a long life":                   {with(`900`, `86401`), "ttl_seconds"},
		"a negative life":               {with(`900`, `-900`), "ttl_seconds"},
		"a life beyond time":            {with(`900`, `9223372036854775807`), "ttl_seconds"},
		"half a hash":                   {with(hash, hash[:32]), "evidence_hash"},
		"evidence itself":               {with(`sha256:`+hash, `the prompt was`), "evidence_hash"},
		"a prompt":                      {with(`p1:abc`, `prompt abc`), "prompt_id"},
		"a report of a megabyte":        {with(`r-1`, strings.Repeat("r", 1<<20)), "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			report, err := signals.Read([]byte(row.document))
			if err == nil {
				_, err = w.desk.Take(t.Context(), guard, report)
				w.pass(1e9)
			}
			if class := classOf(err); class != attestd.ClassMalformed && class != attestd.ClassTooLarge {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want a word of %q", err, row.want)
			}
		})
	}
	if _, found, _ := w.store.Subject(t.Context(), ranker); found {
		t.Error("something was written")
	}
}

func TestAWholeReportIsTaken(t *testing.T) {
	w := newWorld(t)
	report, err := signals.Read([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	got := w.take(guard, report)
	if got.Points != 27 || got.Kind != "prompt-injection" || !got.Until.Equal(start.Add(15*60*1e9)) {
		t.Errorf("receipt %+v", got)
	}
	row, _, err := w.store.Subject(t.Context(), ranker)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"promptguard/v2:override", hash, "r-1", "90 %"} {
		if !strings.Contains(row.Signals[0].Detail, want) {
			t.Errorf("detail %q has no %s", row.Signals[0].Detail, want)
		}
	}
	again, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := signals.Read(again); err != nil || back != report {
		t.Errorf("written and read again it is %+v, %v", back, err)
	}
}

// TestConfidenceIsAShareOrPercent: the two forms meet in 1, which is certain.
func TestConfidenceIsAShareOrPercent(t *testing.T) {
	for text, want := range map[string]int{
		"0": 0, "0.0": 0, "0.01": 1, "0.5": 15, "0.999999": 30, "1": 30, "1.0": 30, "2": 1, "50": 15, "99": 30, "100": 30,
	} {
		w := newWorld(t)
		report, err := signals.Read([]byte(strings.Replace(whole, "0.9", text, 1)))
		if err != nil {
			t.Fatal(err)
		}
		if got := w.take(guard, report); got.Points != want {
			t.Errorf("%s makes %d points, want %d", text, got.Points, want)
		}
	}
	if _, err := json.Marshal(signals.Confidence{}); err == nil {
		t.Error("a confidence that was not given is written")
	}
	if a, _ := json.Marshal(signals.Sure(300)); string(a) != "1" {
		t.Errorf("more than sure is %s", a)
	}
}

// FuzzSignal: a report is refused as the caller's fault, or its signal is within the bounds of its
// kind, whatever it says; what the registry keeps of it has none of the words that it was not asked
// for.
func FuzzSignal(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(strings.Replace(whole, "0.9", "55", 1)))
	f.Add([]byte(`{"id":"a","subject":"spiffe://example.org/agent/ranker","kind":"LLM01","confidence":1}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		report, err := signals.Read(document)
		if err != nil {
			if class := classOf(err); class != attestd.ClassMalformed && class != attestd.ClassTooLarge {
				t.Fatalf("class %q: %v", class, err)
			}
			return
		}
		one, err := report.Signal(guard.name, start)
		if err != nil {
			if classOf(err) != attestd.ClassMalformed {
				t.Fatal(err)
			}
			return
		}
		kind, found := subject.KindOf(report.Kind)
		if !found || one.Points < 0 || one.Points > kind.Points || one.Code != kind.Code || len(one.Detail) > 250 ||
			!one.Until.After(start) || one.Source != guard.name || strings.ContainsAny(one.Detail, "\n\r\x00") {
			t.Fatalf("signal %+v of %s", one, fmt.Sprintf("%.200q", document))
		}
	})
}
