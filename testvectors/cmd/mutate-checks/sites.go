package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// site is one condition behind which a function refuses.
type site struct {
	number   int
	file     string
	line     int
	from, to int // offsets of the condition
	// name is the same whatever stands around it: file, function and condition.
	name string
}

// refusing are the types by which functions say no.
var refusing = regexp.MustCompile(`^(error|\*([a-z]\w*\.)?\w*([fF]ault|[eE]rror|[rR]efusal|Moved|Barred))$`)

// findSites finds the refusals in the files of a folder that are not tests.
func findSites(folder string, bools bool) ([]site, error) {
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
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
		if strings.Contains(string(source), "\n//go:build ") || strings.HasPrefix(string(source), "//go:build ") {
			if !builtHere(string(source)) {
				continue
			}
		}
		walk := walker{files: token.NewFileSet(), name: name, bools: bools, seen: map[string]int{}}
		tree, err := parser.ParseFile(walk.files, name, source, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, declaration := range tree.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && function.Body != nil {
				walk.function = function.Name.Name
				walk.body(function.Type, function.Body)
			}
		}
		found = append(found, walk.found...)
	}
	return found, nil
}

// builtHere leaves out the files for other machines, whose tests do not run on this one.
func builtHere(source string) bool {
	line, _, _ := strings.Cut(source[strings.Index(source, "//go:build "):], "\n")
	return !strings.Contains(line, "purego ||") && !strings.Contains(line, "!linux") &&
		!strings.Contains(line, "!amd64")
}

type walker struct {
	files    *token.FileSet
	name     string
	function string
	bools    bool
	seen     map[string]int
	found    []site
}

// body looks at what belongs to one function; those inside it have results of their own.
func (w *walker) body(kind *ast.FuncType, body ast.Node) {
	ast.Inspect(body, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.FuncLit:
			w.body(node.Type, node.Body)
			return false
		case *ast.IfStmt:
			if w.refuses(kind, node.Body.List) {
				w.add(node.Cond)
			}
		case *ast.SwitchStmt:
			if node.Tag != nil {
				return true
			}
			for _, statement := range node.Body.List {
				if clause, ok := statement.(*ast.CaseClause); ok && w.refuses(kind, clause.Body) {
					for _, condition := range clause.List {
						w.add(condition)
					}
				}
			}
		}
		return true
	})
}

// refuses reports whether the statements end with the return of an error that is not nil.
func (w *walker) refuses(kind *ast.FuncType, body []ast.Stmt) bool {
	if kind.Results == nil || len(body) == 0 {
		return false
	}
	result, ok := body[len(body)-1].(*ast.ReturnStmt)
	if !ok || len(result.Results) == 0 {
		return false
	}
	fields := kind.Results.List
	last := w.text(fields[len(fields)-1].Type)
	said := w.text(result.Results[len(result.Results)-1])
	if w.bools && last == "bool" {
		return said == "false"
	}
	return refusing.MatchString(last) && said != "nil"
}

func (w *walker) add(condition ast.Expr) {
	from, to := w.files.Position(condition.Pos()), w.files.Position(condition.End())
	name := fmt.Sprintf("%s %s: %s", w.name, w.function, w.text(condition))
	if w.seen[name]++; w.seen[name] > 1 {
		name = fmt.Sprintf("%s #%d", name, w.seen[name])
	}
	w.found = append(w.found, site{
		file: w.name, line: from.Line, from: from.Offset, to: to.Offset, name: name,
	})
}

// text is a node in one line.
func (w *walker) text(node ast.Node) string {
	var out strings.Builder
	if err := printer.Fprint(&out, w.files, node); err != nil {
		return ""
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

// switched returns the source with each site's condition made one that can be switched off.
func switched(source []byte, sites []site) []byte {
	// From the end to the start, so that earlier offsets stay right.
	sorted := slices.SortedFunc(slices.Values(sites), func(a, b site) int { return b.from - a.from })
	for _, one := range sorted {
		source = slices.Concat(source[:one.from], []byte("("), source[one.from:one.to],
			fmt.Appendf(nil, ") && mutantTaken(%d)", one.number), source[one.to:])
	}
	return source
}
