package main

import (
	"bytes"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/report"
	"github.com/attestd/attestd/internal/report/schema"
)

// quiet is a world in which nothing is read and what is written is kept.
func quiet() (streams, *bytes.Buffer, *bytes.Buffer) {
	var out, err bytes.Buffer
	return streams{
		in: strings.NewReader(""), out: &out, err: &err, now: time.Now,
		getenv: func(string) string { return "" }, terminal: func() (int, bool) { return 0, false },
	}, &out, &err
}

func testRoot() *cobra.Command {
	world, _, _ := quiet()
	return newRoot(&app{streams: world})
}

// commands lists the commands that people see, parents first.
func commands(command *cobra.Command) []*cobra.Command {
	if command.Hidden || command.Name() == "help" {
		return nil
	}
	out := []*cobra.Command{command}
	for _, child := range command.Commands() {
		out = append(out, commands(child)...)
	}
	return out
}

// TestDocsReferenceIsWhatTheCommandsSay compares docs/reference/cli.md with the commands; -update
// writes it anew.
func TestDocsReferenceIsWhatTheCommandsSay(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "reference", "cli.md")
	got := reference(testRoot())
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("run make docs (-file +commands):\n%s", diff)
	}
	for line := range strings.SplitSeq(got, "\n") {
		if len(line) > report.MaxWidth && !strings.HasPrefix(line, "|") {
			t.Errorf("line of %d columns: %q", len(line), line)
		}
	}
}

func reference(root *cobra.Command) string {
	var out strings.Builder
	out.WriteString("# Command line\n\nGenerated from the commands by `make docs`; do not edit.\n\n")
	out.WriteString(answers)
	for _, command := range commands(root) {
		fmt.Fprintf(&out, "## %s\n\n", command.CommandPath())
		text := command.Long
		if text == "" {
			text = command.Short + "."
		}
		fmt.Fprintf(&out, "%s\n\n```\n%s\n```\n\n", text, command.UseLine())
		flags := command.NonInheritedFlags()
		if flags.HasAvailableFlags() {
			out.WriteString("| Flag | Default | Meaning |\n|---|---|---|\n")
			flags.VisitAll(func(flag *pflag.Flag) { out.WriteString(flagRow(flag)) })
			out.WriteString("\n")
		}
		if command.Example != "" {
			fmt.Fprintf(&out, "```\n%s\n```\n\n", strings.ReplaceAll("\n"+command.Example, "\n  ", "\n$ ")[1:])
		}
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}

func flagRow(flag *pflag.Flag) string {
	if flag.Hidden || flag.Name == "help" {
		return ""
	}
	name := "`--" + flag.Name + "`"
	if flag.Shorthand != "" {
		name = "`-" + flag.Shorthand + "`, " + name
	}
	shown := "`" + flag.DefValue + "`"
	if flag.DefValue == "" || flag.DefValue == "[]" || flag.DefValue == "false" {
		shown = ""
	}
	return fmt.Sprintf("| %s | %s | %s |\n", name, shown, strings.NewReplacer("|", "\\|", "`", "").Replace(flag.Usage))
}

// answers is the part of the reference that holds for every command.
var answers = strings.ReplaceAll(`## Answers, errors and exit codes

Standard output is the answer, standard error everything else. The first line of a text answer is
the verdict, the last one the next command. Text is ASCII, at most 100 columns wide ('COLUMNS',
60 to 100, is honoured), and says nothing by colour alone; there are no colours with 'NO_COLOR',
'CI' or '--no-color', or where standard output is no terminal. '--quiet' leaves the first line.

| Exit code | Meaning |
|---|---|
| 0 | accepted: the risk is low or medium; or: done |
| 3 | rejected: not authentic, not fresh, not bound, or the risk is high or critical |
| 4 | could not be decided, for want of collateral for instance; never a pass |
| 2 | the command cannot be carried out as given, or no known format was recognised |
| 1 | a bug in attestd |

An error is two lines on standard error, 'error:' and 'hint:'; the hint says what to do. With
'-o json' it is one line of JSON on standard error instead (schema 'attestd.error.v1') and standard
output stays empty, so that what reads standard output never mistakes an error for an answer. A
rejection is an answer, not an error.

JSON answers obey published schemas, which 'attestd schema NAME' prints. '-o junit' is JUnit XML
with a test case per check and one named "verdict", which fails unless the evidence was accepted.
'-o sarif' is SARIF 2.1.0 with a rule and a result per check that did not pass.

'--challenge' checks that evidence holds the digest that binds a challenge, and that the challenge
has not expired. It checks neither the signature of the challenge nor that it is used once: take the
file from the verifier itself, never from who sends the evidence. 'POST /v1/verify' sees to both.

JSON schemas: `, "'", "`") + schemaNames() + ".\n\n"

func schemaNames() string {
	var lines strings.Builder
	for index, name := range schema.Names() {
		if index > 0 {
			lines.WriteString(",\n")
		}
		lines.WriteString("`" + name + "`")
	}
	return lines.String()
}

func TestExamplesOfCommandsParse(t *testing.T) {
	for _, command := range commands(testRoot()) {
		example := strings.ReplaceAll(command.Example, "\\\n", " ")
		for line := range strings.SplitSeq(example, "\n") {
			ours := 0
			for _, words := range pipeline(line) {
				if words[0] != "attestd" {
					continue // a program whose output goes into the next
				}
				ours++
				found, rest, err := testRoot().Find(words[1:])
				if err == nil {
					err = found.ParseFlags(rest)
				}
				if err == nil && found.Args != nil {
					err = found.Args(found, found.Flags().Args())
				}
				if err != nil {
					t.Errorf("%s: example %q: %v", command.CommandPath(), line, err)
				}
			}
			if ours == 0 && strings.TrimSpace(line) != "" {
				t.Errorf("%s: example %q does not run attestd", command.CommandPath(), line)
			}
		}
	}
}

// pipeline splits a line as a shell does: into the commands between bars, and each into words, of
// which those in double quotes are one. Where output goes, and `source`, are left out.
func pipeline(line string) [][]string {
	var commands [][]string
	var words []string
	end := func() {
		if len(words) > 0 && words[0] == "source" {
			words = words[1:]
		}
		if at := slices.Index(words, ">"); at >= 0 {
			words = words[:at]
		}
		if len(words) > 0 {
			commands = append(commands, words)
		}
		words = nil
	}
	line = strings.NewReplacer("<(", "", ")", "").Replace(line)
	for index, part := range strings.Split(line, `"`) {
		if index%2 == 1 {
			words = append(words, part)
			continue
		}
		for _, word := range strings.Fields(part) {
			if word == "|" {
				end()
				continue
			}
			words = append(words, word)
		}
	}
	end()
	return commands
}

func TestHelpOfEveryCommandFitsThePage(t *testing.T) {
	for _, command := range commands(testRoot()) {
		world, out, _ := quiet()
		args := append(strings.Fields(command.CommandPath())[1:], "--help")
		if code := run(context.Background(), world, args); code != exitAccepted {
			t.Errorf("%v: exit code %d", args, code)
		}
		for line := range strings.SplitSeq(out.String(), "\n") {
			if len(line) > report.MaxWidth {
				t.Errorf("%v: line of %d columns: %q", args, len(line), line)
			}
		}
	}
}

// TestEveryErrorOfTheCommandsHasAHint reads the sources: an error made without one would be told as a
// bug. Errors of programs that write to standard output, or talk to our own server, are bugs.
func TestEveryErrorOfTheCommandsHasAHint(t *testing.T) {
	bugs := map[string]bool{
		"run": true, "write": true, "judgeOver": true, "post": true, "published": true, "demo": true,
		"usagef": true, "read": true, "devSettings": true, "judgeDemo": true, "show": true, "enrol": true,
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	hints := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(function, func(node ast.Node) bool {
				call, ok := node.(*ast.CallExpr)
				if !ok {
					return true
				}
				switch callee := nameOf(call.Fun); callee {
				case "usagef", "hinted":
					hints++
					at := 0
					if callee == "hinted" {
						at = 1
					}
					if text, ok := call.Args[at].(*ast.BasicLit); ok && len(text.Value) < 6 {
						t.Errorf("%s: %s: empty hint", name, function.Name.Name)
					}
				case "fmt.Errorf", "errors.New":
					if !bugs[function.Name.Name] {
						t.Errorf("%s: %s makes an error without a hint", name, function.Name.Name)
					}
				}
				return true
			})
		}
	}
	if hints < 40 {
		t.Errorf("found %d errors with hints: the walk is broken", hints)
	}
	t.Logf("%d places that make an error, each with a hint", hints)
}

func nameOf(expression ast.Expr) string {
	switch e := expression.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return nameOf(e.X) + "." + e.Sel.Name
	default:
		return ""
	}
}

func TestEveryClassHasAnExitCode(t *testing.T) {
	for _, row := range []struct {
		name string
		err  error
		code int
	}{
		{"rejected evidence", &attestd.EvidenceError{Check: "a/b", Class: attestd.ClassSignature}, 3},
		{"something is missing", &attestd.UndecidedError{Class: attestd.ClassCollateralUnavailable}, 4},
		{"a store that is down", &attestd.CallerError{Class: attestd.ClassStoreUnavailable}, 4},
		{"too many requests", &attestd.CallerError{Class: attestd.ClassRateLimited}, 4},
		{"an unknown format", &attestd.CallerError{Class: attestd.ClassUnsupported}, 2},
		{"a bad configuration", &attestd.CallerError{Class: attestd.ClassConfig}, 2},
		{"a conflict", &attestd.CallerError{Class: attestd.ClassConflict}, 3},
		{"a subject that is held", &attestd.CallerError{Class: attestd.ClassQuarantined}, 3},
		{"a subject that is revoked", &attestd.CallerError{Class: attestd.ClassRevokedSubject}, 3},
		{"a rule that refuses", &attestd.CallerError{Class: attestd.ClassPolicyDeny}, 3},
		{"somebody unknown", &attestd.CallerError{Class: attestd.ClassUnauthenticated}, 2},
		{"somebody without the role", &attestd.CallerError{Class: attestd.ClassForbidden}, 2},
		{"a subject in quarantine", &attestd.CallerError{Class: attestd.ClassQuarantined}, 3},
		{"a revoked subject", &attestd.CallerError{Class: attestd.ClassRevokedSubject}, 3},
		{"a caller's error without a class", &attestd.CallerError{}, 1},
		{"anything else", io.ErrUnexpectedEOF, 1},
	} {
		world, out, stderr := quiet()
		code := (&app{streams: world}).tell(nil, row.err)
		if code != row.code {
			t.Errorf("%s: exit code %d, want %d", row.name, code, row.code)
		}
		if out.Len() != 0 || !strings.HasPrefix(stderr.String(), "error: ") ||
			!strings.Contains(stderr.String(), "\nhint:  ") {
			t.Errorf("%s: stdout %q, stderr %q", row.name, out, stderr)
		}
	}
}

func TestPanicsAreBugsAndNeverVerdicts(t *testing.T) {
	world, out, stderr := quiet()
	world.now = func() time.Time { panic("boom") }
	code := run(context.Background(), world, []string{"verify", "x", "--recorded"})
	if code != exitBug || out.Len() != 0 || !strings.Contains(stderr.String(), "internal error") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, out, stderr)
	}
}

// Being told to stop is no bug, and no reason to judge without isolation.
func TestServersThatAreStoppedWhileTheyStartJustStop(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	for _, row := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"dev", "--port", "0"}, 0, ""},
		{[]string{"dev", "--synthetic"}, exitUsage, "error: stopped before every verdict was there\n"},
	} {
		world, out, stderr := quiet()
		code := run(stopped, world, row.args)
		if code != row.code || out.Len() != 0 || !strings.Contains(stderr.String(), row.says) ||
			strings.Contains(stderr.String(), "not isolated") {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", row.args, code, out, stderr)
		}
	}
}

// A formatter warns of tabs in filled text and of a date that it cannot read.
func TestManualPagesAreWhatFormattersTake(t *testing.T) {
	for _, command := range commands(testRoot()) {
		page, err := manualPage(command)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(page, []byte(`.TH "ATTESTD" "1" "2026-01-01" `)) || bytes.Contains(page, []byte("\t")) {
			t.Errorf("%s: %s", command.CommandPath(), page)
		}
		if flags := bytes.Count(page, []byte("\n\\fB-")); flags != bytes.Count(page, []byte("\n.TP\n\\fB-")) {
			t.Errorf("%s: %d flags, and not each is a paragraph of its own", command.CommandPath(), flags)
		}
	}
}

func TestColoursOnlyForPeopleWhoWantThem(t *testing.T) {
	for _, row := range []struct {
		name     string
		terminal bool
		env      map[string]string
		flag     bool
		want     bool
	}{
		{"a terminal", true, nil, false, true},
		{"a pipe", false, nil, false, false},
		{"NO_COLOR", true, map[string]string{"NO_COLOR": "1"}, false, false},
		{"CI", true, map[string]string{"CI": "true"}, false, false},
		{"a dumb terminal", true, map[string]string{"TERM": "dumb"}, false, false},
		{"--no-color", true, nil, true, false},
	} {
		world, _, _ := quiet()
		world.terminal = func() (int, bool) { return 80, row.terminal }
		world.getenv = func(key string) string { return row.env[key] }
		a := &app{streams: world}
		a.flags.noColor = row.flag
		if got := a.page().Color; got != row.want {
			t.Errorf("%s: colour %t, want %t", row.name, got, row.want)
		}
	}
}

func TestWidthFollowsColumnsWithinItsBounds(t *testing.T) {
	for _, row := range []struct {
		columns string
		want    int
	}{{"", 100}, {"72", 72}, {"20", 60}, {"400", 100}, {"wide", 100}, {"-5", 100}} {
		world, _, _ := quiet()
		world.getenv = func(key string) string {
			if key == "COLUMNS" {
				return row.columns
			}
			return ""
		}
		if got := (&app{streams: world}).page().Columns(); got != row.want {
			t.Errorf("COLUMNS=%q: width %d, want %d", row.columns, got, row.want)
		}
	}
}

func TestBinaryStartsInTime(t *testing.T) {
	folder, err := build()
	if err != nil {
		t.Fatal(err)
	}
	best := startTime(t, filepath.Join(folder, "attestd"))
	// The bar is 100 ms; five times that is what a busy machine is given.
	if best > 500*time.Millisecond {
		t.Errorf("attestd version took %s at best, want 100ms", best)
	}
	t.Logf("attestd version: %s at best of ten (bar: 100ms)", best)
}
