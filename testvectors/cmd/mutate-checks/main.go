// Command mutate-checks shows that the tests notice when a check is taken out (make mutate).
//
// For every place below the given folders where code refuses evidence, it builds the tests with that
// one refusal switched off, by an overlay of the source file and never by a switch in the product,
// and runs them. A refusal that can be switched off while every test still passes protects nobody:
// it is printed as "survived", and the command ends with 1.
//
// A refusal is an if or a case whose body returns and names a check (an identifier check…) or calls
// one of the functions that make refusals.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

var refusal = regexp.MustCompile(`^(refuse|refuseAs|reject|rejectAs|Reject|RejectAs|Undecided|undecided|malformed|problem)$`)

// mutant is one condition to be switched off.
type mutant struct {
	file       string
	line       int
	from, to   int // offsets of the condition
	check      string
	overlaying []byte
}

func main() {
	tests := flag.String("tests", "", "packages whose tests must notice, in this order; default: the folders")
	skip := flag.String("skip", "Conformance|Vectors", "tests to leave out (the slow sweeps)")
	only := flag.String("only", "", "mutate only places whose file or check contains this")
	flag.Usage = func() {
		_, _ = fmt.Fprintln(os.Stderr, "usage: mutate-checks [flags] FOLDER...")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	packages := flag.Args()
	if *tests != "" {
		packages = strings.Split(*tests, ",")
	}
	survived, err := run(ctx, flag.Args(), packages, *skip, *only)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "mutate-checks:", err)
		os.Exit(2)
	}
	if survived > 0 {
		os.Exit(1)
	}
}

func run(ctx context.Context, folders, packages []string, skip, only string) (survived int, err error) {
	var mutants []mutant
	for _, folder := range folders {
		found, err := findMutants(folder)
		if err != nil {
			return 0, err
		}
		mutants = append(mutants, found...)
	}
	scratch, err := os.MkdirTemp("", "mutate-checks")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	killed, broken := 0, 0
	for _, one := range mutants {
		if only != "" && !strings.Contains(one.file+" "+one.check, only) {
			continue
		}
		started := time.Now()
		verdict, err := try(ctx, scratch, one, packages, skip)
		if err != nil {
			return survived, err
		}
		switch verdict {
		case "killed":
			killed++
		case "survived":
			survived++
		default:
			broken++
		}
		fmt.Printf("%-8s  %s:%d  %s  %.1f s\n", verdict, one.file, one.line, one.check,
			time.Since(started).Seconds())
	}
	fmt.Printf("mutants: %d killed, %d survived, %d did not build\n", killed, survived, broken)
	return survived, nil
}

// findMutants parses the folder's files that are not tests.
func findMutants(folder string) ([]mutant, error) {
	names, err := filepath.Glob(filepath.Join(strings.TrimPrefix(folder, "./"), "*.go"))
	if err != nil {
		return nil, err
	}
	var found []mutant
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name) //nolint:gosec // a file of the repository
		if err != nil {
			return nil, err
		}
		files := token.NewFileSet()
		tree, err := parser.ParseFile(files, name, source, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		ast.Inspect(tree, func(node ast.Node) bool {
			for _, condition := range conditions(node) {
				from, to := files.Position(condition.Pos()), files.Position(condition.End())
				changed := string(source[:from.Offset]) + "false && (" +
					string(source[from.Offset:to.Offset]) + ")" + string(source[to.Offset:])
				found = append(found, mutant{
					file: name, line: from.Line, from: from.Offset, to: to.Offset,
					check: named(node), overlaying: []byte(changed),
				})
			}
			return true
		})
	}
	return found, nil
}

// conditions returns the conditions of a node that guard a refusal.
func conditions(node ast.Node) []ast.Expr {
	switch node := node.(type) {
	case *ast.IfStmt:
		if refuses(node.Body.List) {
			return []ast.Expr{node.Cond}
		}
	case *ast.SwitchStmt:
		if node.Tag != nil {
			return nil
		}
		var found []ast.Expr
		for _, statement := range node.Body.List {
			clause, ok := statement.(*ast.CaseClause)
			if ok && refuses(clause.Body) {
				found = append(found, clause.List...)
			}
		}
		return found
	}
	return nil
}

// refuses reports whether the statements, without those nested in further conditions, return and
// name a check or make a refusal.
func refuses(body []ast.Stmt) bool {
	for _, statement := range body {
		result, ok := statement.(*ast.ReturnStmt)
		if ok && named(result) != "" {
			return true
		}
	}
	return false
}

// named returns the first check that a node names, or the function that makes a refusal.
func named(node ast.Node) string {
	check, maker := "", ""
	ast.Inspect(node, func(inner ast.Node) bool {
		name, ok := inner.(*ast.Ident)
		switch {
		case !ok:
		case strings.HasPrefix(name.Name, "check") && len(name.Name) > len("check") && check == "":
			check = name.Name
		case refusal.MatchString(name.Name) && maker == "":
			maker = name.Name
		}
		return true
	})
	if maker == "" {
		return ""
	}
	return strings.TrimSpace(maker + " " + check)
}

// try runs the tests with one mutant overlaid: "killed", "survived", or "unbuilt" where the changed
// source does not compile, or panics before a test runs.
func try(
	ctx context.Context, scratch string, one mutant, packages []string, skip string,
) (string, error) {
	changed := filepath.Join(scratch, "mutant.go")
	if err := os.WriteFile(changed, one.overlaying, 0o600); err != nil {
		return "", err
	}
	original, err := filepath.Abs(one.file)
	if err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return "", err
	}
	list := filepath.Join(scratch, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return "", err
	}
	args := []string{"test", "-overlay", list, "-failfast", "-vet=off"}
	if skip != "" {
		args = append(args, "-skip", skip)
	}
	// One package after the other: most mutants die in the first, which is the mutated one's own.
	for _, tests := range packages {
		verdict, err := outcome(ctx, append(args, tests))
		if err != nil || verdict != "survived" {
			return verdict, err
		}
	}
	return "survived", nil
}

func outcome(ctx context.Context, args []string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput() //nolint:gosec // our own words
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err == nil:
		return "survived", nil
	case strings.Contains(string(out), "[build failed]"), strings.Contains(string(out), "[setup failed]"):
		return "unbuilt", nil
	default:
		return "killed", nil
	}
}
