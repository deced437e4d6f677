// Command mutate-checks shows that the tests notice when a check is taken out (make mutate).
//
// For every check that code in the given folders refuses evidence by, it builds the tests with all
// refusals of that check switched off, by an overlay of the source files and never by a switch in
// the product, and runs them. A check that can be switched off while every test still passes
// protects nobody: it is printed as "survived", and the command ends with 1. With -each the
// refusals are switched off one by one; some of these survive because another one refuses in their
// place with another text.
//
// A refusal is an if or a case whose body returns and names a check (an identifier check…) through
// one of the functions that make refusals; one that names no check is taken by itself.
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
	"slices"
	"strings"
	"time"
)

var refusal = regexp.MustCompile(`^(refuse|refuseAs|reject|rejectAs|Reject|RejectAs|Undecided|undecided|malformed|problem)$`)

// site is one condition that guards a refusal.
type site struct {
	file     string
	line     int
	from, to int // offsets of the condition
	check    string
}

// mutant is what is switched off together, named for people.
type mutant struct {
	name  string
	sites []site
}

func main() {
	tests := flag.String("tests", "", "packages whose tests must notice, in this order; default: the folders")
	skip := flag.String("skip", "Conformance|Vectors", "tests to leave out (the slow sweeps)")
	only := flag.String("only", "", "mutate only what has this in its name")
	each := flag.Bool("each", false, "one refusal at a time instead of all of a check")
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
	survived, err := run(ctx, flag.Args(), packages, *skip, *only, *each)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "mutate-checks:", err)
		os.Exit(2)
	}
	if survived > 0 {
		os.Exit(1)
	}
}

func run(
	ctx context.Context, folders, packages []string, skip, only string, each bool,
) (survived int, err error) {
	var mutants []mutant
	for _, folder := range folders {
		sites, err := findSites(folder)
		if err != nil {
			return 0, err
		}
		mutants = append(mutants, grouped(folder, sites, each)...)
	}
	scratch, err := os.MkdirTemp("", "mutate-checks")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	killed, broken := 0, 0
	for _, one := range mutants {
		if !strings.Contains(one.name, only) {
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
		fmt.Printf("%-8s  %s, %d refusals, %.1f s\n", verdict, one.name, len(one.sites),
			time.Since(started).Seconds())
	}
	fmt.Printf("mutants: %d killed, %d survived, %d did not build\n", killed, survived, broken)
	return survived, nil
}

// grouped joins the sites of a check.
func grouped(folder string, sites []site, each bool) []mutant {
	var mutants []mutant
	place := map[string]int{}
	for _, one := range sites {
		_, check, named := strings.Cut(one.check, " ")
		if each || !named {
			name := fmt.Sprintf("%s:%d %s", one.file, one.line, one.check)
			mutants = append(mutants, mutant{name: name, sites: []site{one}})
			continue
		}
		index, known := place[check]
		if !known {
			index = len(mutants)
			place[check] = index
			mutants = append(mutants, mutant{name: folder + " " + check})
		}
		mutants[index].sites = append(mutants[index].sites, one)
	}
	return mutants
}

// findSites parses the folder's files that are not tests.
func findSites(folder string) ([]site, error) {
	names, err := filepath.Glob(filepath.Join(strings.TrimPrefix(folder, "./"), "*.go"))
	if err != nil {
		return nil, err
	}
	var found []site
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
			for _, one := range guards(node) {
				from, to := files.Position(one.condition.Pos()), files.Position(one.condition.End())
				found = append(found, site{
					file: name, line: from.Line, from: from.Offset, to: to.Offset, check: one.refusal,
				})
			}
			return true
		})
	}
	return found, nil
}

// guard is a condition and the refusal behind it.
type guard struct {
	condition ast.Expr
	refusal   string
}

// guards returns the conditions of a node that guard a refusal.
func guards(node ast.Node) []guard {
	var found []guard
	add := func(body []ast.Stmt, conditions ...ast.Expr) {
		if name := refusalIn(body); name != "" {
			for _, condition := range conditions {
				found = append(found, guard{condition, name})
			}
		}
	}
	switch node := node.(type) {
	case *ast.IfStmt:
		add(node.Body.List, node.Cond)
	case *ast.SwitchStmt:
		if node.Tag != nil {
			return nil
		}
		for _, statement := range node.Body.List {
			if clause, ok := statement.(*ast.CaseClause); ok {
				add(clause.Body, clause.List...)
			}
		}
	}
	return found
}

// refusalIn names the refusal that the statements return, those nested in further conditions left
// aside; empty where they return none.
func refusalIn(body []ast.Stmt) string {
	for _, statement := range body {
		if result, ok := statement.(*ast.ReturnStmt); ok {
			return named(result)
		}
	}
	return ""
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
	replaced, err := switchOff(scratch, one)
	if err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": replaced})
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

// switchOff writes the mutant's files and returns which file of the repository each stands for.
func switchOff(scratch string, one mutant) (map[string]string, error) {
	replaced := map[string]string{}
	byFile := map[string][]site{}
	for _, place := range one.sites {
		byFile[place.file] = append(byFile[place.file], place)
	}
	for file, sites := range byFile {
		source, err := os.ReadFile(file) //nolint:gosec // a file of the repository
		if err != nil {
			return nil, err
		}
		// From the end to the start, so that earlier offsets stay right.
		slices.SortFunc(sites, func(a, b site) int { return b.from - a.from })
		for _, place := range sites {
			source = slices.Concat(source[:place.from], []byte("false && ("),
				source[place.from:place.to], []byte(")"), source[place.to:])
		}
		original, err := filepath.Abs(file)
		if err != nil {
			return nil, err
		}
		changed := filepath.Join(scratch, filepath.Base(file))
		if err := os.WriteFile(changed, source, 0o600); err != nil {
			return nil, err
		}
		replaced[original] = changed
	}
	return replaced, nil
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
