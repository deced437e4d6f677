package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/testvectors"
)

// TestPublishedEvidenceInEveryForm gives every published vector to verify and inspect and demands the
// verdict of the manifest, documents that obey their schemas, and text that fits the page.
func TestPublishedEvidenceInEveryForm(t *testing.T) {
	corpus, err := testvectors.Load(testvectors.FromEnvironment())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(corpus.Report())
	if len(corpus.Vectors) < 8 {
		t.Fatalf("%d vectors were loaded, want 8 at least: the modules that carry them are required",
			len(corpus.Vectors))
	}
	for _, vector := range corpus.Vectors {
		t.Run(vector.Name, func(t *testing.T) {
			args := []string{
				"verify", written(t, "evidence", vector.Evidence), "--recorded",
				"--at", vector.At.Format(time.RFC3339Nano),
			}
			given := vector.Endorsements
			if files := slices.Concat(given.Certificates, given.CRLs, given.Documents); len(files) > 0 {
				args = append(args, "--collateral", folderOf(t, files))
			}
			if len(vector.DemandNonce) > 0 {
				args = append(args, "--nonce", hex.EncodeToString(vector.DemandNonce))
			}
			if document := vector.Reference(); document != nil {
				args = append(args, "--reference", written(t, "reference.yaml", document))
			}
			demandForms(t, args, vector)
			doc, _ := ran(t, exitAccepted, "inspect", args[1], "-o", "json")
			if err := obeysSchema(report.InspectionSchema, doc); err != nil {
				t.Error(err)
			}
			ran(t, exitAccepted, "inspect", args[1])
		})
	}
}

func demandForms(t *testing.T, args []string, vector testvectors.Vector) {
	t.Helper()
	code := exitOfVerdict(vector.Expect)
	text, _ := ran(t, code, args...)
	if word := strings.ToUpper(vector.Expect.String()); !strings.HasPrefix(string(text), word+" ") {
		t.Errorf("first line is not %s: %.100s", word, text)
	}
	doc, _ := ran(t, code, append(args, "-o", "json")...)
	if err := obeysSchema(attestd.VerdictSchema, doc); err != nil {
		t.Error(err)
	}
	var verdict attestd.Appraisal
	if err := json.Unmarshal(doc, &verdict); err != nil {
		t.Fatal(err)
	}
	if got := decidingCheck(verdict); got != vector.Check {
		t.Errorf("decided by %q, want %q", got, vector.Check)
	}
	if vector.Check != "" && !strings.Contains(string(text), "  "+string(vector.Check)) {
		t.Errorf("the text does not name %s:\n%s", vector.Check, text)
	}
	junit, _ := ran(t, code, append(args, "-o", "junit")...)
	for decoder := xml.NewDecoder(bytes.NewReader(junit)); ; {
		if _, err := decoder.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("JUnit: %v", err)
		}
	}
	sarif, _ := ran(t, code, append(args, "-o", "sarif")...)
	if !json.Valid(sarif) {
		t.Error("SARIF is not JSON")
	}
}

// ran runs a command in this process and demands its exit code and, of text, that it fits the page.
func ran(t *testing.T, code int, args ...string) (stdout, stderr []byte) {
	t.Helper()
	world, out, errors := quiet()
	world.now = time.Now
	if got := run(context.Background(), world, args); got != code {
		t.Errorf("%v: exit code %d, want %d\n%s%s", args, got, code, out, errors)
	}
	if len(args) > 1 && args[len(args)-2] != "-o" {
		for line := range strings.SplitSeq(out.String()+errors.String(), "\n") {
			if len(line) > report.MaxWidth {
				t.Errorf("line of %d columns: %q", len(line), line)
			}
		}
	}
	return out.Bytes(), errors.Bytes()
}

func written(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func folderOf(t *testing.T, files [][]byte) string {
	t.Helper()
	folder := t.TempDir()
	for index, file := range files {
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprint(index)), file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// TestDemoShowsPublishedEvidence runs the demo of the real binary as make demo does.
func TestDemoShowsPublishedEvidence(t *testing.T) {
	folder, err := build()
	if err != nil {
		t.Fatal(err)
	}
	var out, problems bytes.Buffer
	command := exec.Command(filepath.Join(folder, "attestd"), "dev", "--demo", "-o", "json")
	command.Stdout, command.Stderr = &out, &problems
	if err := command.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.Bytes(), problems.Bytes())
	}
	if err := obeysSchema(demoSchema, out.Bytes()); err != nil {
		t.Fatal(err)
	}
	var doc demoDoc
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if !doc.Good || doc.Source != "published" || len(doc.Rows) != 12 || doc.Missing != "" {
		t.Errorf("got %d rows of %s evidence, good: %t", len(doc.Rows), doc.Source, doc.Good)
	}
	if doc.Subject == nil || doc.Subject.Approved != attestd.StateTrusted ||
		doc.Subject.Held != attestd.ClassQuarantined {
		t.Errorf("the machine of the software TPM: %+v", doc.Subject)
	}
}

// TestDemoSaysWhatItCouldNotShow: without swtpm the rest is shown, and the demo is no success.
func TestDemoSaysWhatItCouldNotShow(t *testing.T) {
	folder, err := build()
	if err != nil {
		t.Fatal(err)
	}
	var out, problems bytes.Buffer
	command := exec.Command(filepath.Join(folder, "attestd"), "dev", "--synthetic", "-o", "json")
	command.Env = append(os.Environ(), "PATH="+t.TempDir())
	command.Stdout, command.Stderr = &out, &problems
	var exit *exec.ExitError
	if err := command.Run(); !errors.As(err, &exit) || exit.ExitCode() != exitUsage {
		t.Fatalf("%v, want exit code %d\n%s%s", err, exitUsage, out.Bytes(), problems.Bytes())
	}
	if err := obeysSchema(demoSchema, out.Bytes()); err != nil {
		t.Fatal(err)
	}
	var doc demoDoc
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(doc.Missing, "apt-get install swtpm swtpm-tools") || len(doc.Rows) != 8 {
		t.Errorf("missing %q, %d rows", doc.Missing, len(doc.Rows))
	}
}

// TestDemoFailsWhereAVerdictIsWrong: a demo that shows any verdict would show nothing.
func TestDemoFailsWhereAVerdictIsWrong(t *testing.T) {
	world, out, _ := quiet()
	a := &app{streams: world}
	doc := demoDoc{Good: false, Source: "synthetic", Rows: []demoRow{
		{Evidence: "x", Verdict: attestd.VerdictAccepted, Expected: attestd.VerdictRejected},
	}}
	if err := doc.text(a, nil, "http://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); !strings.HasPrefix(text, "DEMO-FAILED   0 of 1 verdicts") ||
		!strings.Contains(text, "accepted (WRONG, want rejected)") {
		t.Errorf("got\n%s", text)
	}
}

func TestDemoDoesNotTakeTheServersWordForIt(t *testing.T) {
	for _, row := range []struct {
		name, reply string
		status      int
		good, fails bool
	}{
		{"the verdict and the check it must be",
			`{"verdict":"rejected","risk_score":100,"reasons":[{"check":"nitro/debug","effect":"rejects"}]}`, 200, true, false},
		{"another verdict", `{"verdict":"accepted","risk_score":10,"reasons":[]}`, 200, false, false},
		{"another check",
			`{"verdict":"rejected","risk_score":100,"reasons":[{"check":"nitro/chain","effect":"rejects"}]}`, 200, false, false},
		{"an undecided verdict inside a problem",
			`{"appraisal":{"verdict":"undecided","risk_score":100,"reasons":[]}}`, 503, false, false},
		{"an empty answer", `{}`, 200, false, false},
		{"a problem without a verdict", `{"detail":"off"}`, 403, false, true},
		{"something that is not JSON", `<html>`, 502, false, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(row.status)
				_, _ = w.Write([]byte(row.reply))
			}))
			defer server.Close()
			got, err := judgeOver(t.Context(), server.URL, demoCase{
				format: attestd.FormatNitro, expect: attestd.VerdictRejected,
			})
			doc := demoDoc{Good: true}
			if doc.add(got, "nitro/debug"); doc.Good != row.good || (err != nil) != row.fails {
				t.Errorf("good: %t, error: %v", doc.Good, err)
			}
		})
	}
}
