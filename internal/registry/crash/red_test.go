//go:build !race

package crash_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheModelCheckGoesRedWithoutTheFence takes one part of the fence away at a time and demands that
// the check of the history finds it.
func TestTheModelCheckGoesRedWithoutTheFence(t *testing.T) {
	for _, row := range []struct {
		name, file, fence, hole string
	}{
		{
			"a grant is counted after its lock was let go", "../live/query.go",
			"\tend := now.Add(time.Duration(seconds) * time.Second)\n",
			"\ts.mu.Unlock()\n\ttime.Sleep(time.Millisecond)\n\ts.mu.Lock()\n" +
				"\tend := now.Add(time.Duration(seconds) * time.Second)\n",
		},
		{
			"a commit is acknowledged before the index is told", "../writer.go",
			"w.index.Publish(made.subjects, made.bars)",
			"late := made\n\t\tgo func() { time.Sleep(time.Millisecond); w.index.Publish(late.subjects, late.bars) }()",
		},
		{
			"a verdict is written without looking for a bar again", "../write.go",
			"if err := w.demandUnbarred(ctx, write); err != nil {",
			"if err := w.demandUnbarred(ctx, write); err != nil && false {",
		},
		{
			"a bar is not carried to what has its key already", "../live/publish.go",
			"\tcase subject.BarHost:\n\t\tx.holdListed(first, byHost, held)\n", "",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			file, err := filepath.Abs(row.file)
			if err != nil {
				t.Fatal(err)
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(string(source), row.fence) != 1 {
				t.Fatalf("the fence is not in %s as it is written here", row.file)
			}
			folder := t.TempDir()
			broken := filepath.Join(folder, "broken.go")
			source = bytes.Replace(source, []byte(row.fence), []byte(row.hole), 1)
			if err := os.WriteFile(broken, source, 0o600); err != nil {
				t.Fatal(err)
			}
			overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{file: broken}})
			if err != nil {
				t.Fatal(err)
			}
			list := filepath.Join(folder, "overlay.json")
			if err := os.WriteFile(list, overlay, 0o600); err != nil {
				t.Fatal(err)
			}
			command := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1",
				"-overlay", list, "-run", "^TestTheRegistryIsAsIfOneThingCameAfterAnother$", ".")
			command.Env = append(os.Environ(), "ATTESTD_OPERATIONS=20000")
			out, err := command.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "violation: ") {
				t.Fatalf("the check found nothing (%v):\n%s", err, out)
			}
			_, first, _ := strings.Cut(string(out), "violation: ")
			first, _, _ = strings.Cut(first, "\n")
			t.Log(first)
		})
	}
}
