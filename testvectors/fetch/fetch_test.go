package fetch_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/testvectors/fetch"
)

// TestRun serves every form a published file can have, and some that it must not have.
func TestRun(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // contents of files, not secrets
	wanted := make([]byte, 700)
	for i := range wanted {
		wanted[i] = byte(random.Uint32())
	}
	digest := sha256.Sum256(wanted)
	goList := strings.Trim(strings.ReplaceAll(fmt.Sprintf("%# x", wanted), " ", ",\n\t"), "[]")
	for _, row := range []struct {
		name      string
		published string
		extracted bool
		failure   string // part of the reason
	}{
		{name: "a verbatim file is fetched", published: string(wanted)},
		{name: "a changed file is refused", published: string(wanted) + "x", failure: "SHA-256 is"},
		{
			name:      "bytes inside another file are found by their digest",
			published: "prefix" + string(wanted) + "suffix", extracted: true,
		},
		{
			name:      "bytes spelt in hex are found",
			published: `const A = "` + hex.EncodeToString(wanted) + `";`, extracted: true,
		},
		{
			name:      "bytes spelt in base64 are found",
			published: "x = `" + base64.StdEncoding.EncodeToString(wanted) + "`", extracted: true,
		},
		{name: "bytes spelt as a list are found", published: "{" + goList + "}", extracted: true},
		{
			name:      "a file without the bytes is refused",
			published: strings.Repeat("00", 2000), extracted: true, failure: "no 700 bytes",
		},
		{name: "a missing file is reported", failure: "404"},
		{name: "an endless file is refused", published: strings.Repeat("x", 5<<20), failure: "more than"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var asked string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = r.URL.Path
				if row.published == "" {
					http.NotFound(w, r)
					return
				}
				_, _ = w.Write([]byte(row.published))
			}))
			defer server.Close()
			config := fetch.Config{
				Base: server.URL, Client: server.Client(), Folder: t.TempDir(), Progress: t.Output(),
				List: []testvectors.ExtraSource{{
					File: "nitro/a.bin", SHA256: hex.EncodeToString(digest[:]), Size: len(wanted),
					Repo: "owner/name", Commit: "c0ffee", Path: "some/file name.rs",
					Extracted: row.extracted,
				}},
			}
			summary, err := fetch.Run(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			if want := "/owner/name/c0ffee/some/file name.rs"; asked != want {
				t.Errorf("asked for %q, want %q", asked, want)
			}
			got, _ := os.ReadFile(filepath.Join(config.Folder, "nitro", "a.bin"))
			if row.failure != "" {
				if len(summary.Failed) != 1 || !strings.Contains(summary.Failed[0], row.failure) || got != nil {
					t.Errorf("%s %q and %d bytes, want failure %q", summary.Line(), summary.Failed, len(got), row.failure)
				}
				return
			}
			if string(got) != string(wanted) || summary.Fetched+summary.Extracted != 1 {
				t.Errorf("%s %q, %d bytes", summary.Line(), summary.Failed, len(got))
			}
			again, err := fetch.Run(t.Context(), config)
			if err != nil || again.Present != 1 {
				t.Errorf("second run: %s, %v", again.Line(), err)
			}
		})
	}
}

// TestTheCommittedList shows that the list says where each file comes from, so that `make vectors`
// has something to ask for.
func TestTheCommittedList(t *testing.T) {
	list, err := testvectors.ExtraSources()
	if err != nil {
		t.Fatal(err)
	}
	extracted := 0
	for _, one := range list {
		if strings.Count(one.Repo, "/") != 1 || one.Path == "" || one.Licence == "" || one.Size == 0 {
			t.Errorf("%s: source is not complete: %+v", one.File, one)
		}
		if one.Extracted {
			extracted++
		}
	}
	t.Logf("%d extra files, %d of them extracted from a published file", len(list), extracted)
}
