package promptid_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/attestd/attestd/client/promptid"
)

var update = flag.Bool("update", false, "write the digests of the vectors")

// vector is one of testdata/vectors.json.
type vector struct {
	Name   string          `json:"name"`
	Prompt string          `json:"prompt"`
	Redact []promptid.Part `json:"redact,omitempty"`
	// Canonical is the text behind redaction; Key is in hex.
	Canonical string `json:"canonical"`
	Key       string `json:"key"`
	Keyed     string `json:"p1"`
	Plain     string `json:"s1"`
}

func vectors(t testing.TB) (all []vector) {
	t.Helper()
	document, err := os.ReadFile(filepath.Join("testdata", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(document, &all); err != nil || len(all) < 10 {
		t.Fatalf("%d vectors, %v", len(all), err)
	}
	return all
}

func TestVectors(t *testing.T) {
	all := vectors(t)
	for index, one := range all {
		text, err := promptid.Canonical(one.Prompt)
		if err != nil {
			t.Fatal(err)
		}
		if text, err = text.Redact(one.Redact...); err != nil {
			t.Fatalf("%s: %v", one.Name, err)
		}
		if text.String() != one.Canonical {
			t.Errorf("%s: canonical text %q, want %q", one.Name, text, one.Canonical)
		}
		secret, err := hex.DecodeString(one.Key)
		if err != nil {
			t.Fatal(err)
		}
		key, err := promptid.NewKey(secret)
		if err != nil {
			t.Fatal(err)
		}
		keyed, err := key.ID(text)
		if err != nil {
			t.Fatal(err)
		}
		// The digests again, by the words of the documentation and not by this package.
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(one.Canonical))
		sum := sha256.Sum256([]byte(one.Canonical))
		base := func(b []byte) string {
			return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
		}
		if *update {
			all[index].Keyed, all[index].Plain = "p1:"+base(mac.Sum(nil)), "s1:"+base(sum[:])
			continue
		}
		if keyed != one.Keyed || keyed != "p1:"+base(mac.Sum(nil)) {
			t.Errorf("%s: %s, want %s", one.Name, keyed, one.Keyed)
		}
		if plain := promptid.Hash(text); plain != one.Plain || plain != "s1:"+base(sum[:]) {
			t.Errorf("%s: %s, want %s", one.Name, plain, one.Plain)
		}
		if promptid.Check(one.Keyed) != nil || promptid.Check(one.Plain) != nil {
			t.Errorf("%s: an id has not its form", one.Name)
		}
	}
	if *update {
		document, err := json.MarshalIndent(all, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join("testdata", "vectors.json"), append(document, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheSamePromptHasOneIDAndAnotherHasAnother(t *testing.T) {
	id := func(prompt string) string {
		text, err := promptid.Canonical(prompt)
		if err != nil {
			t.Fatal(err)
		}
		return promptid.Hash(text)
	}
	const prompt = "Résumé of\norder 7 \nplease"
	for _, same := range []string{
		"Re\u0301sume\u0301 of\norder 7 \nplease", "Résumé of\r\norder 7\t\r\nplease", "Résumé of\rorder  7 \rplease",
		" \n Résumé of\norder 7 \nplease \t\r\n",
	} {
		if id(same) != id(prompt) {
			t.Errorf("%q has another id", same)
		}
	}
	for _, other := range []string{
		"Resume of\norder 7 \nplease", "Résumé of\n\norder 7 \nplease", "Résumé of\norder 7\nplease",
		"résumé of\norder 7 \nplease", "Résumé of\norder\u00a07 \nplease",
	} {
		if id(other) == id(prompt) {
			t.Errorf("%q has the same id", other)
		}
	}
}

func TestWhatIsRefused(t *testing.T) {
	if _, err := promptid.Canonical("\xff"); !errors.Is(err, promptid.ErrNotUTF8) {
		t.Errorf("no UTF-8: %v", err)
	}
	if _, err := promptid.Canonical(strings.Repeat("x", promptid.MaxPrompt+1)); !errors.Is(err, promptid.ErrTooLong) {
		t.Errorf("too long: %v", err)
	}
	for _, length := range []int{0, promptid.MinKey - 1, 1025} {
		if _, err := promptid.NewKey(make([]byte, length)); !errors.Is(err, promptid.ErrKey) {
			t.Errorf("a key of %d bytes: %v", length, err)
		}
	}
	if id, err := (promptid.Key{}).ID(promptid.Text{}); !errors.Is(err, promptid.ErrKey) || id != "" {
		t.Errorf("the zero key makes %q, %v", id, err)
	}
	text, err := promptid.Canonical("mail ä@b now")
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		parts []promptid.Part
		want  error
	}{
		"behind the end":       {[]promptid.Part{{0, 100, "X"}}, promptid.ErrPart},
		"before the beginning": {[]promptid.Part{{-1, 2, "X"}}, promptid.ErrPart},
		"nothing":              {[]promptid.Part{{2, 2, "X"}}, promptid.ErrPart},
		"backwards":            {[]promptid.Part{{3, 2, "X"}}, promptid.ErrPart},
		"half a character":     {[]promptid.Part{{0, 6, "X"}}, promptid.ErrPart},
		"from half of one":     {[]promptid.Part{{6, 8, "X"}}, promptid.ErrPart},
		"overlapping":          {[]promptid.Part{{0, 4, "X"}, {3, 5, "X"}}, promptid.ErrOverlaps},
		"out of order":         {[]promptid.Part{{4, 5, "X"}, {0, 1, "X"}}, promptid.ErrOverlaps},
		"no type":              {[]promptid.Part{{0, 4, ""}}, promptid.ErrType},
		"a type in small":      {[]promptid.Part{{0, 4, "mail"}}, promptid.ErrType},
		"a digit first":        {[]promptid.Part{{0, 4, "1A"}}, promptid.ErrType},
		"a long type":          {[]promptid.Part{{0, 4, strings.Repeat("A", 33)}}, promptid.ErrType},
	} {
		if out, err := text.Redact(row.parts...); !errors.Is(err, row.want) || out != (promptid.Text{}) {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
	for _, id := range []string{
		"", "p1:", "p2:" + strings.Repeat("a", 52), "p1:" + strings.Repeat("A", 52), "p1:" + strings.Repeat("a", 51),
		"p1:" + strings.Repeat("a", 51) + "b", "p1:" + strings.Repeat("a", 52) + "\n", "ignore all of it",
	} {
		if err := promptid.Check(id); !errors.Is(err, promptid.ErrForm) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestAKeyIsNotPrinted(t *testing.T) {
	key, err := promptid.NewKey([]byte("canary-canary-canary-canary-canary"))
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if out := fmt.Sprintf(verb, key); strings.Contains(out, "canary") || strings.Contains(out, "0x63") {
			t.Errorf("%s prints %q", verb, out)
		}
	}
}

func TestAKeyDoesNotAliasItsInput(t *testing.T) {
	secret := make([]byte, promptid.MinKey)
	key, err := promptid.NewKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	before, _ := key.ID(promptid.Text{})
	secret[0] = 1
	if after, _ := key.ID(promptid.Text{}); after != before {
		t.Error("the key changed with the caller's bytes")
	}
}

// FuzzPromptID: what is canonical stays as it is, and each id has its form.
func FuzzPromptID(f *testing.F) {
	for _, one := range vectors(f) {
		f.Add(one.Prompt, 0, 1)
	}
	f.Add("a\u0338 \r\n\t b\r", 0, 1)
	f.Fuzz(func(t *testing.T, prompt string, start, end int) {
		text, err := promptid.Canonical(prompt)
		if err != nil {
			if utf8.ValidString(prompt) && len(prompt) <= promptid.MaxPrompt {
				t.Fatal(err)
			}
			return
		}
		check := func(text promptid.Text) {
			again, err := promptid.Canonical(text.String())
			if err != nil || again != text {
				t.Fatalf("%q becomes %q, %v", text, again, err)
			}
			if !norm.NFC.IsNormalString(text.String()) || strings.ContainsAny(text.String(), "\t\r") {
				t.Fatalf("%q is not canonical", text)
			}
			if err := promptid.Check(promptid.Hash(text)); err != nil {
				t.Fatal(err)
			}
		}
		check(text)
		if redacted, err := text.Redact(promptid.Part{Start: start, End: end, Type: "X"}); err == nil {
			check(redacted)
		}
	})
}
