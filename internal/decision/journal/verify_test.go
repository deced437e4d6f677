package journal_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/attestd/attestd/internal/decision/journal"
)

// written is a folder of some segments with the seals of them.
func written(t *testing.T) (folder string, names []string, seals []journal.Seal) {
	t.Helper()
	folder = t.TempDir()
	w, run := open(t, folder, func(c *journal.Config) {
		c.Sealed = func(seal journal.Seal) { seals = append(seals, seal) }
	})
	w.SegmentOf(4 << 10)
	run()
	if err := w.KeepPolicies(digest, fstest.MapFS{"a.cedar": {Data: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	for number := range 20 {
		w.keep(t, answer(number, begin.Add(time.Duration(number)*time.Second), ""))
	}
	w.stop()
	names, err := filepath.Glob(filepath.Join(folder, "segments", "*.jsonl"))
	if err != nil || len(names) < 4 || len(seals) != len(names) {
		t.Fatal(names, len(seals), err)
	}
	return folder, names, seals
}

func TestWhatWasTamperedWithIsNamed(t *testing.T) {
	change := func(edit func([]byte) []byte) func(string) error {
		return func(name string) error {
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			return os.WriteFile(name, edit(content), 0o600)
		}
	}
	bend := change(func(c []byte) []byte { return bytes.Replace(c, []byte("acme"), []byte("evil"), 1) })
	for _, row := range []struct {
		name string
		at   int // of the segments; -1 is the newest
		do   func(string) error
		// sealed says that only a seal from elsewhere tells.
		sealed bool
		want   string
	}{
		{name: "a record changed", at: 1, do: bend, want: "it was changed"},
		{name: "a record of the newest changed", at: -1, do: bend, sealed: true, want: "audit log"},
		{name: "a record taken away", at: 1, do: change(func(c []byte) []byte {
			return append(bytes.SplitAfterN(c, []byte("\n"), 3)[0], bytes.SplitAfterN(c, []byte("\n"), 3)[2]...)
		}), want: "it was changed"},
		{name: "a record that is none", at: 1, do: change(func(c []byte) []byte {
			return bytes.Replace(c, []byte(`"decision":"allow"`), []byte(`"decision":"maybe"`), 1)
		}), want: "no record"},
		{name: "an end cut off", at: 0, do: change(func(c []byte) []byte { return c[:len(c)-9] }), want: "ends within"},
		{name: "a beginning that is none", at: 2, do: change(func(c []byte) []byte { return c[9:] }),
			want: "it does not begin"},
		{name: "a segment taken away", at: 1, do: os.Remove, want: "are gone"},
		{name: "the newest taken away", at: -1, do: os.Remove, sealed: true, want: "it is gone"},
	} {
		t.Run(row.name, func(t *testing.T) {
			folder, names, seals := written(t)
			at := row.at
			if at < 0 {
				at += len(names)
			}
			if err := row.do(names[at]); err != nil {
				t.Fatal(err)
			}
			for _, known := range [][]journal.Seal{nil, seals} {
				reader, err := journal.OpenReader(folder)
				if err != nil {
					t.Fatal(err)
				}
				found, err := reader.Verify(t.Context(), known)
				if err != nil {
					t.Fatal(err)
				}
				named := false
				for _, problem := range found.Problems {
					named = named || strings.Contains(problem.What, row.want)
				}
				if want := !row.sealed || known != nil; named != want {
					t.Errorf("with %d seals: %+v", len(known), found.Problems)
				}
			}
		})
	}
}

func TestWhatIsWholeIsFoundSo(t *testing.T) {
	folder, names, seals := written(t)
	reader, err := journal.OpenReader(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range [][]journal.Seal{nil, seals} {
		found, err := reader.Verify(t.Context(), known)
		if err != nil || found.Total != 0 || found.Records != 20 || found.Segments != len(names) ||
			found.Sealed != len(known) {
			t.Errorf("%+v, %v", found, err)
		}
	}
	// The oldest are deleted by bounds: that is no tampering.
	if err := os.Remove(names[0]); err != nil {
		t.Fatal(err)
	}
	if found, err := reader.Verify(t.Context(), seals); err != nil || found.Total != 0 {
		t.Errorf("%+v, %v", found.Problems, err)
	}
	if err := os.RemoveAll(filepath.Join(folder, "policies")); err != nil {
		t.Fatal(err)
	}
	if found, err := reader.Verify(t.Context(), nil); err != nil || found.Total != 1 {
		t.Errorf("policies that are gone: %+v, %v", found.Problems, err)
	}
}

// TestWhatIsChangedBetweenTwoStartsShows: a restart seals the newest segment again, as it is then.
func TestWhatIsChangedBetweenTwoStartsShows(t *testing.T) {
	folder, names, seals := written(t)
	newest := names[len(names)-1]
	content, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(newest, bytes.ReplaceAll(content, []byte("acme"), []byte("evil")), 0o600); err != nil {
		t.Fatal(err)
	}
	before := len(seals)
	again := start(t, folder, func(c *journal.Config) { c.Sealed = func(seal journal.Seal) { seals = append(seals, seal) } })
	again.stop()
	if len(seals) != before+1 || seals[before].Segment != filepath.Base(newest) {
		t.Fatalf("%d seals, want one more than %d", len(seals), before)
	}
	found, err := again.Reader().Verify(t.Context(), seals)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, problem := range found.Problems {
		said = append(said, problem.What)
	}
	if text := strings.Join(said, "; "); !strings.Contains(text, "two digests") || !strings.Contains(text, "audit log has") {
		t.Errorf("it says %q", text)
	}
}
