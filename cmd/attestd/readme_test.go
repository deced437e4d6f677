package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Pages whose console blocks are run, in their order, each page in a folder of its own.
var runPages = []string{"README.md", "docs/start.md", "docs/operate/restore.md", goldenPage}

// goldenPage starts from files that a machine made before.
const goldenPage = "docs/howto/golden-boot.md"

// varying is what differs from run to run: times, ports, the version of a build.
var varying = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`\+[0-9.]+ (us|ms|s) +`), "+N "},
	{regexp.MustCompile(`[0-9]+\.[0-9] ms +`), "N ms "},
	{regexp.MustCompile(`time +deciding`), "time deciding"},
	{regexp.MustCompile(`127\.0\.0\.1:[0-9]+`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`as of  [0-9TZ:-]+`), "as of  TIME"},
	{regexp.MustCompile(`evidence  sha256:[0-9a-f]{8}`), "evidence  DIGEST"}, // of the demo's TPM
	{regexp.MustCompile(`(?m)^attestd   \S+   commit \S+`), "attestd   VERSION   commit COMMIT"},
	{regexp.MustCompile(`after +result`), "after result"},
	{regexp.MustCompile(`20[0-9]{2}-[0-9]{2}-[0-9]{2}[T ][0-9:]{8}Z?`), "TIME"},
	{regexp.MustCompile(`\(now\)|\([0-9]+s ago\)`), "(AGO)"},
	{regexp.MustCompile(`[0-9]+ entries`), "N entries"},
	{regexp.MustCompile(`[0-9]+ with [0-9]+`), "N with N"},       // commits, audit records
	{regexp.MustCompile(`tpm/[0-9a-f]{12}\.\.`), "tpm/DIGEST.."}, // of the demo's TPM
	{regexp.MustCompile(`(?m)[ \t]+$`), ""},
}

// slowStep is what a command says while it takes longer than usual.
var slowStep = regexp.MustCompile(`(?m)^still .* \([0-9]+ s\)\n`)

func settled(text string) string {
	for _, one := range varying {
		text = one.pattern.ReplaceAllString(text, one.instead)
	}
	return text
}

// TestDocsPagesShowWhatTheCommandsPrint runs every command of every console block and compares what
// it prints with what the page shows; -update writes the pages anew. `make demo DEMO=verify` stands for
// the binary's own demo, which is all it runs once attestd is built.
func TestDocsPagesShowWhatTheCommandsPrint(t *testing.T) {
	folder, err := build()
	if err != nil {
		t.Fatal(err)
	}
	commands := 0
	for _, page := range runPages {
		path := filepath.Join("..", "..", filepath.FromSlash(page))
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		work := pageFolder(t)
		exported := "" // what the page exports, before each command
		if page == goldenPage {
			if err := goldenFiles(work); err != nil {
				t.Fatal(err)
			}
		}
		var out []string
		blocks := strings.Split(string(data), "```")
		for index, block := range blocks {
			if index%2 == 0 || !strings.HasPrefix(block, "console\n") {
				out = append(out, block)
				continue
			}
			ran := "console\n"
			for _, shown := range strings.Split("\n"+strings.TrimPrefix(block, "console\n"), "\n$ ")[1:] {
				command, _, _ := strings.Cut(shown, "\n")
				commands++
				ran += "$ " + command + "\n" + runShell(t, folder, work, exported+command)
				if strings.HasPrefix(command, "export ") {
					exported += command + "\n"
				}
			}
			out = append(out, ran)
			if !*update && settled(ran) != settled(block) {
				t.Errorf("%s shows\n%s\nand the commands print\n%s\nhint: make docs", page, block, ran)
			}
		}
		if *update {
			if err := os.WriteFile(path, []byte(strings.Join(out, "```")), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for number, line := range strings.Split(string(data), "\n") {
			if len([]rune(line)) > 100 && !strings.HasPrefix(line, "|") {
				t.Errorf("%s:%d has more than 100 columns", page, number+1)
			}
		}
	}
	if commands < 8 {
		t.Errorf("%d commands on %d pages: the blocks were not found", commands, len(runPages))
	}
	t.Logf("%d commands of %d pages run and compared", commands, len(runPages))
}

// pageFolder is a folder that a server, which the page has stopped, may still be closing its files in.
func pageFolder(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "page")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for deadline := time.Now().Add(10 * time.Second); os.RemoveAll(folder) != nil &&
			time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		}
	})
	return folder
}

func runShell(t *testing.T, folder, work, command string) string {
	t.Helper()
	command = strings.ReplaceAll(command, "make demo DEMO=verify", "attestd dev --demo")
	shell := exec.Command("bash", "-c", command) //nolint:gosec // from our own pages
	shell.Dir = work
	shell.Env = append(os.Environ(), "NO_COLOR=1", "ATTESTD_VECTORS=",
		"PATH="+folder+string(filepath.ListSeparator)+os.Getenv("PATH"))
	var out bytes.Buffer
	shell.Stdout, shell.Stderr = &out, &out
	_ = shell.Run() // a rejection is an exit code, and an answer
	text := slowStep.ReplaceAllString(out.String(), "")
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}

// A newcomer's first command compiles for minutes; without a sign of life it looks stuck.
func TestDocsMakeShowsThatSlowStepsRun(t *testing.T) {
	began := time.Now()
	slow := exec.Command(filepath.Join("..", "..", ".ci", "suite"), "build it", "sh", "-c", "sleep 1; exit 3")
	slow.Env = append(os.Environ(), "SUITE_TICK=0.2", "SUITE_LOG=")
	out, err := slow.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(string(out), "    still build it (") {
		t.Errorf("%v: %s", err, out)
	}
	quick := exec.Command(filepath.Join("..", "..", ".ci", "suite"), "build it", "true")
	quick.Env = append(os.Environ(), "SUITE_TICK=30", "SUITE_LOG=")
	if out, err := quick.CombinedOutput(); err != nil || strings.Contains(string(out), "still") {
		t.Errorf("%v: %s", err, out)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the output stayed open for %s", took)
	}
}

// TestDocsGoldenPageRunsOnATPM holds the commands of the walk-through against the script that runs them
// on a software TPM: there `attestd evidence tpm` is told besides where the TPM and its log are.
func TestDocsGoldenPageRunsOnATPM(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(goldenPage)))
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(filepath.Join("testdata", "script", "golden_boot.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	onTPM := strings.NewReplacer(
		"attestd evidence tpm", "attestd evidence tpm --tpm swtpm:$TPM --event-log boot.log",
		"https://verifier.example.org", "unix:state/attestd.sock")
	commands := 0
	for index, block := range strings.Split(string(page), "```") {
		if index%2 == 0 {
			continue
		}
		for line := range strings.SplitSeq(strings.ReplaceAll(block, "\\\n  ", ""), "\n") {
			command := strings.TrimPrefix(line, "$ ")
			if !strings.HasPrefix(command, "attestd ") && !strings.HasPrefix(command, "sed ") {
				continue
			}
			command, _, _ = strings.Cut(command, " > ")
			command, _, _ = strings.Cut(command, " | ")
			commands++
			if !strings.Contains(string(script), onTPM.Replace(command)) {
				t.Errorf("golden_boot.txtar does not run %q", command)
			}
		}
	}
	if commands < 16 {
		t.Errorf("found %d commands on %s", commands, goldenPage)
	}
}
