package api_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/api"
)

// texts are what a text of a verdict can be; encoding/json writes some of them in ways of its own.
var texts = []string{
	"", "plain", `a "quoted" \ one`, `"`, `\`, "<b>&</b>", "caf\u00e9", "\u2028", "\x1b[31m", "\xff", "tab\t",
	"\x7f", "~ end", `\"`, "\u202e",
}

var claims = []string{
	"null", `{}`, `{"a":1}`, `{"a": 1}`, ` {"a":"<"}`, `{"a":"\u0041"}`, `{"a":"\n"}`, `{"a":1.50}`, "{\"a\":\"\u2028\"}",
	`{"a":`, `}`, ``,
}

// made fills every field there is, so that a field that is added and not written here is found.
func made(random *rand.Rand, into reflect.Value) {
	switch into.Kind() {
	case reflect.String:
		into.SetString(texts[random.IntN(len(texts))])
	case reflect.Uint8:
		into.SetUint(random.Uint64N(7)) // some have no name
	case reflect.Uint64:
		into.SetUint(random.Uint64())
	case reflect.Int8, reflect.Int:
		into.SetInt(random.Int64N(256) - 128)
	case reflect.Pointer:
		if random.IntN(2) == 0 {
			into.Set(reflect.New(into.Type().Elem()))
			fill(random, into.Elem())
		}
	case reflect.Slice:
		if size := random.IntN(4); size > 0 {
			into.Set(reflect.MakeSlice(into.Type(), size-1, size))
			for i := range size - 1 {
				fill(random, into.Index(i))
			}
		}
	case reflect.Struct:
		for i := range into.NumField() {
			fill(random, into.Field(i))
		}
	default:
		panic("a verdict has a field of a new kind: " + into.Kind().String())
	}
}

func fill(rng *rand.Rand, into reflect.Value) {
	zones := []*time.Location{time.UTC, time.FixedZone("", 3600), time.FixedZone("", 3601)}
	switch field := into.Addr().Interface().(type) {
	case *time.Time:
		*field = time.Unix(rng.Int64N(4e11)-7e10, rng.Int64N(2)*rng.Int64N(1e9)).In(zones[rng.IntN(len(zones))])
	case *attestd.RiskScore:
		*field = attestd.Risk(rng.IntN(101))
	case *json.RawMessage:
		if *field = nil; rng.IntN(4) != 0 {
			*field = json.RawMessage(claims[rng.IntN(len(claims))])
		}
	default:
		made(rng, into)
	}
}

// TestAppendVerdict: the bytes are those of encoding/json, whatever stands in a verdict, and so is whether
// there is an error.
func TestAppendVerdict(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 1)) //nolint:gosec // cases of a test
	good := 0
	for range 20_000 {
		var verdict attestd.Appraisal
		fill(rng, reflect.ValueOf(&verdict).Elem())
		want, wantError := json.Marshal(verdict)
		got, err := api.AppendVerdict(nil, &verdict)
		switch {
		case (err == nil) != (wantError == nil):
			t.Fatalf("got error %v, want %v, of %+v", err, wantError, verdict)
		case err == nil && !bytes.Equal(got, want):
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		case err == nil:
			good++
		}
	}
	if good < 1000 {
		t.Errorf("%d verdicts could be written, want more", good)
	}
}

func BenchmarkAppendVerdict(b *testing.B) {
	verdict := attestd.Appraisal{Claims: json.RawMessage(`{"a":"` + string(bytes.Repeat([]byte("f"), 3000)) + `"}`)}
	for range 40 {
		verdict.Checks = append(verdict.Checks, attestd.Check{
			ID: "format/check", Got: "something that was seen", Want: "something that was wanted",
			Spec: "A document, revision 1.58, section 4.2.1", Hint: "a sentence about what a person can do here",
		})
	}
	b.Run("here", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := api.AppendVerdict(nil, &verdict); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding/json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(verdict); err != nil {
				b.Fatal(err)
			}
		}
	})
}
