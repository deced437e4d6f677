package strict_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

func TestPlainJSON(t *testing.T) {
	deep := func(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }
	for document, want := range map[string]bool{
		`{}`: true, `[]`: true, `null`: true, `true`: true, `false`: true, `0`: true, `-12`: true, `""`: true,
		`{"a":1,"b":[true,null,{"c":"d \" \\ e"}]}`: true, deep(15): true, deep(16): true,
		``: false, ` {}`: false, `{} `: false, `{"a": 1}`: false, `{"a":1,}`: false, `{,}`: false,
		`[1,]`: false, `[1 ]`: false, `[1]]`: false, `[`: false, `[1`: false, `{`: false, `{"a"`: false,
		`{"a":`: false, `{"a":1`: false, `{a:1}`: false, `{1:1}`: false, `{"a" 1}`: false, `"`: false,
		`"a`: false, `"\`: false, `"\"`: false, `"\n"`: false, `"\u0041"`: false, "\"\n\"": false,
		"\"\x7f\"": false, `"é"`: false, `"<"`: false, `">"`: false, `"&"`: false, `01`: false, `-`: false,
		`-01`: false, `1.5`: false, `1e3`: false, `tru`: false, `nul`: false, `truefalse`: false, `+1`: false,
		`[1}`: false, `{"a":1]`: false, deep(17): false, deep(20000): false,
	} {
		if got := strict.PlainJSON([]byte(document)); got != want {
			t.Errorf("%.60q: got %t, want %t", document, got, want)
		}
	}
}

// FuzzPlainJSON: what is plain is valid, would not be written in another way, and holds nothing that
// Excerpt would replace.
func FuzzPlainJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":1,"b":[true,null,{"c":"d \" \\ e"}]}`, `[-12,0,"",[[]],{}]`, `{"a":"<"}`, `01`, ` 1`, `"\u0041"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		if !strict.PlainJSON(document) {
			return
		}
		written, err := json.Marshal(json.RawMessage(document))
		if err != nil || !bytes.Equal(written, document) {
			t.Fatalf("%q: encoding/json writes %q, %v", document, written, err)
		}
		if text := string(document); attestd.Excerpt(text, len(text)) != text {
			t.Fatalf("%q holds what could steer a terminal", document)
		}
	})
}

// TestPlainLength: every byte, at every place of texts that are shorter and longer than eight bytes.
func TestPlainLength(t *testing.T) {
	for size := 1; size <= 20; size++ {
		for at := range size {
			for c := range 256 {
				text := bytes.Repeat([]byte("a"), size)
				text[at] = byte(c)
				written, err := json.Marshal(string(text))
				if err != nil {
					t.Fatal(err)
				}
				want := size
				if c == 0x7f || !bytes.Equal(written, []byte(`"`+string(text)+`"`)) || c > '~' {
					want = at
				}
				if got := strict.PlainLength(text); got != want {
					t.Fatalf("%q: got %d, want %d", text, got, want)
				}
				if got := strict.PlainLength(string(text)); got != want {
					t.Fatalf("%q as text: got %d, want %d", text, got, want)
				}
			}
		}
	}
}
