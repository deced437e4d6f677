package architecture_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/attestd/attestd"

// source is one Go file of the module that ends up in a build.
type source struct {
	path    string // relative to the module's root, with slashes
	dir     string
	file    *ast.File
	imports []string
}

// productFiles parses every non-test Go file of the root module, nested modules left out.
func productFiles(t *testing.T) []source {
	t.Helper()
	root := filepath.Join("..", "..")
	var sources []source
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		if entry.IsDir() {
			_, nested := os.Stat(filepath.Join(name, "go.mod"))
			if relative != "." && (nested == nil || strings.HasPrefix(path.Base(relative), ".")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		one := source{path: relative, dir: path.Dir(relative), file: file}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			one.imports = append(one.imports, imported)
		}
		sources = append(sources, one)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(sources) < 20 {
		t.Fatalf("found %d product files: the walk is broken", len(sources))
	}
	return sources
}

func within(dir string, tree string) bool {
	return dir == tree || strings.HasPrefix(dir, tree+"/")
}

// own returns the folder of an import of this module ("." for the root), and whether it is one.
func own(imported string) (string, bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

// TestImportsRunDownwards: each folder may import only what its row names (besides the standard
// library and other modules). A folder without a row fails, so a new package needs a decision.
func TestImportsRunDownwards(t *testing.T) {
	leaf := []string{}
	allowed := map[string][]string{
		".":                     {"internal/claims"},
		"internal/claims":       leaf,
		"internal/strict":       {"."},
		"internal/yamldoc":      {"."},
		"internal/architecture": leaf,
		"testvectors": {
			".", "internal/strict", "internal/tpmevidence", "internal/tdxevidence", "internal/azureevidence",
			"internal/compositeevidence",
		},
		"internal/tpmevidence": {".", "internal/strict"},
		// Containers of evidence that its maker left in parts.
		"internal/tdxevidence":       {".", "internal/strict"},
		"internal/azureevidence":     {".", "internal/strict"},
		"internal/compositeevidence": {".", "internal/strict"},
		"internal/swtpm":             leaf,
		"attester": {
			".", "internal/challenge", "internal/tpmevidence", "internal/tdxevidence", "internal/azureevidence",
			"internal/compositeevidence",
		},
		"verifiers": {
			".", "internal/claims", "internal/strict", "internal/tpmevidence", "internal/tdxevidence",
			"internal/azureevidence", "internal/compositeevidence",
		},
		"measurements":       {".", "internal/strict", "internal/yamldoc"},
		"internal/appraisal": {".", "internal/yamldoc", "measurements", "verifiers"},
		"internal/judge":     {".", "internal/collateral/set", "internal/appraisal", "measurements", "verifiers"},
		"internal/explain": {"internal/decision",
			".", "internal/appraisal", "internal/condition", "internal/judge", "internal/subject",
			"internal/yamldoc",
		},
		"internal/report":    {".", "internal/explain"},
		"internal/challenge": {".", "internal/strict"},
		// Collateral as it goes to those who judge, and the store it comes from.
		"internal/collateral/set": {"."},
		// The store asks composed evidence which platforms' collateral it needs, so it reads the
		// containers: which part is a TD quote, and whose PCK stands in it.
		"internal/collateral": {
			".", "internal/audit", "internal/strict", "internal/yamldoc", "internal/tdxevidence",
			"internal/azureevidence", "internal/compositeevidence", "verifiers",
		},
		// Signed results and the keys they are signed with.
		"internal/keys":   {".", "internal/strict"},
		"internal/result": {".", "internal/keys", "internal/strict"},
		// What others write programs with: the API's words, and nothing of what answers them.
		"client":            {".", "internal/strict"},
		"internal/audit":    {"."},
		"internal/operator": {"."},
		"internal/subject":  {".", "internal/audit"},
		"internal/registry": {"internal/nhi", ".", "internal/audit", "internal/challenge", "internal/operator", "internal/subject"},
		"internal/enrol": {
			".", "internal/admin/wire", "internal/audit", "internal/operator", "internal/strict",
			"internal/subject",
		},
		"internal/condition":  {"."},
		"internal/problem":    {"."},
		"internal/e2e":        leaf,
		"internal/admin/wire": {"internal/decision", "internal/nhi", ".", "internal/audit", "internal/subject"},
		"internal/why": {
			".", "internal/admin/wire", "internal/operator", "internal/registry", "internal/subject",
		},
		"internal/revocation": {"internal/decision",
			".", "internal/admin/wire", "internal/audit", "internal/operator", "internal/registry",
			"internal/subject",
		},
		"internal/reappraisal": {
			".", "internal/admin/wire", "internal/appraisal", "internal/audit", "internal/challenge",
			"internal/collateral/set", "internal/enrol", "internal/operator", "internal/registry", "internal/service",
			"internal/subject", "measurements",
		},
		"internal/admin": {"internal/decision", "internal/nhi",
			".", "internal/audit", "internal/condition", "internal/enrol", "internal/keys", "internal/operator",
			"internal/problem", "internal/reappraisal", "internal/registry", "internal/revocation",
			"internal/strict", "internal/subject",
		},
		"internal/spire/wire": {"."},
		// The way between attestd, its plugins and its controller: who is there, not what they say.
		"internal/spire/link":    {".", "internal/strict"},
		"internal/spire/nodeca":  {"."},
		"measurements/workloads": {".", "internal/yamldoc"},
		// What decides about identities never talks to SPIRE, and what talks to SPIRE never sees evidence.
		"internal/issuance": {"internal/decision",
			".", "internal/audit", "internal/challenge", "internal/registry", "internal/service",
			"internal/spire/link", "internal/spire/nodeca", "internal/spire/wire", "internal/subject",
			"internal/strict", "measurements/workloads", "plugins/spire/svidext",
		},
		"internal/spire/controller": {".", "internal/spire/link", "internal/spire/wire"},
		// What relying parties read X.509-SVIDs with.
		"plugins/spire/svidext": {"."},
		"internal/spire/front": {
			".", "internal/issuance", "internal/operator", "internal/problem", "internal/spire/link",
			"internal/spire/nodeca", "internal/spire/wire", "internal/subject",
		},
		"plugins/spire": {
			".", "attester", "internal/spire/link", "internal/spire/wire", "internal/strict",
		},
		"internal/svid": {
			".", "internal/challenge", "internal/issuance", "internal/service", "internal/spire/wire",
			"internal/strict", "internal/subject",
		},
		"internal/config": {".", "internal/appraisal", "internal/yamldoc", "measurements"},
		"internal/service": {
			".", "internal/collateral/set", "internal/result", "internal/appraisal", "internal/audit", "internal/challenge", "internal/enrol",
			"internal/judge", "internal/registry", "internal/subject", "measurements",
		},
		"internal/worker": {
			".", "internal/collateral/set", "internal/appraisal", "internal/judge", "internal/service", "internal/strict",
			"measurements",
		},
		"internal/api": {
			".", "internal/keys", "internal/result", "internal/appraisal", "internal/challenge", "internal/explain", "internal/judge",
			"internal/problem", "internal/service", "internal/strict", "internal/svid", "measurements",
		},
		"internal/daemon": {
			"internal/problem", "internal/decision", "internal/nhi", "internal/authn",
			".", "internal/api", "internal/appraisal", "internal/challenge", "internal/config",
			"internal/explain", "internal/judge", "internal/registry", "internal/service",
			"internal/worker", "measurements", "internal/collateral", "internal/keys", "internal/result",
			"internal/admin", "internal/audit", "internal/condition", "internal/enrol",
			"internal/operator", "internal/reappraisal", "internal/revocation", "internal/subject",
			"internal/why", "internal/issuance", "internal/spire", "internal/svid", "measurements/workloads",
		},
		"cmd/attestd": {
			".", "attester", "internal", "measurements", "testvectors", "verifiers",
			"plugins/spire/workloadattestor/ask",
		},
		// Decisions. Vocabulary, gates and engine know their parts by interfaces; each part is a folder of
		// its own and knows the vocabulary.
		// What operators ask of the inventory.
		"internal/nhi/desk": {
			".", "internal/admin/wire", "internal/audit", "internal/decision", "internal/nhi", "internal/operator",
			"internal/strict", "internal/subject",
		},
		"internal/nhi":      {".", "internal/audit", "internal/strict", "internal/subject", "internal/yamldoc"},
		"internal/decision": {".", "internal/nhi", "internal/strict", "internal/subject"},
		"internal/decision/cedarset": {
			".", "internal/decision", "internal/nhi", "internal/strict", "internal/subject", "internal/yamldoc",
		},
		"internal/decision/enforcer": {
			".", "internal/decision", "internal/problem", "internal/spire/link", "internal/strict",
			"internal/subject", "internal/yamldoc",
		},
		// Policies are tried before they are in force: cases that people write.
		"internal/decision/cases": {
			".", "internal/decision", "internal/nhi", "internal/strict", "internal/subject", "internal/yamldoc",
		},
		"internal/decision/route": {".", "internal/decision", "internal/nhi", "internal/strict", "internal/subject"},
		"internal/decision/authzen": {
			".", "internal/decision", "internal/decision/enforcer", "internal/nhi", "internal/problem",
			"internal/strict", "internal/subject",
		},
		"internal/decision/forward": {
			".", "internal/decision", "internal/decision/enforcer", "internal/decision/route", "internal/problem",
			"internal/strict", "internal/subject",
		},
		"internal/decision/introspect": {
			".", "internal/decision", "internal/decision/enforcer", "internal/nhi", "internal/problem",
			"internal/strict", "internal/subject",
		},
		"internal/decision/extauthz": {
			".", "internal/decision", "internal/decision/enforcer", "internal/decision/route", "internal/problem",
			"internal/strict", "internal/subject",
		},
		"internal/decision/watch": {
			".", "internal/audit", "internal/decision", "internal/nhi", "internal/strict", "internal/subject",
		},
		"internal/decision/signals": {
			".", "internal/audit", "internal/decision", "internal/decision/enforcer", "internal/problem",
			"internal/strict", "internal/subject",
		},
		"internal/decision/pager": {".", "internal/audit", "internal/decision", "internal/keys", "internal/subject"},
		"internal/decision/journal": {
			".", "internal/audit", "internal/decision", "internal/nhi", "internal/strict", "internal/subject",
		},
		"internal/decision/export": {".", "internal/decision", "internal/decision/journal", "internal/nhi", "internal/subject"},
		// Who shows a credential: trust bundles, tokens and certificates.
		"internal/demands": leaf,
		"internal/authn":   {".", "internal/decision", "internal/strict", "internal/subject"},
		// It talks to SPIRE, and is told by its caller what attestd knows.
		"internal/migrate": {".", "internal/spire/wire"},
		// The suite is imported by tests alone, and its cases come from published vectors.
		"verifiers/verifiertest": {".", "internal/claims", "internal/strict", "verifiers", "testvectors"},
	}
	for _, one := range productFiles(t) {
		row, rule := "", []string(nil)
		for dir, may := range allowed {
			if within(one.dir, dir) && len(dir) >= len(row) && (dir != "." || one.dir == ".") {
				row, rule = dir, may
			}
		}
		if row == "" {
			t.Errorf("%s: no row says what this folder may import", one.path)
			continue
		}
		for _, imported := range one.imports {
			dir, mine := own(imported)
			if !mine || within(dir, row) && row != "." {
				continue
			}
			ok := false
			for _, may := range rule {
				ok = ok || dir == may || may != "." && within(dir, may)
			}
			if !ok {
				t.Errorf("%s imports %s, which %s must not", one.path, dir, row)
			}
		}
	}
}

// TestOnlyVerifiersHoldTheSeal: whoever can import internal/claims can make Claims that no
// verification stands behind.
func TestOnlyVerifiersHoldTheSeal(t *testing.T) {
	for _, one := range productFiles(t) {
		if one.dir == "." || within(one.dir, "verifiers") || one.dir == "internal/claims" {
			continue
		}
		for _, imported := range one.imports {
			if imported == module+"/internal/claims" {
				t.Errorf("%s imports the seal of Claims; only packages below verifiers/ may", one.path)
			}
		}
	}
}

// TestVerifiersArePure: a verdict must depend on the input alone, so that it can be replayed, and
// hostile bytes must not reach a network, a file or a log from inside a verifier.
func TestVerifiersArePure(t *testing.T) {
	forbidden := map[string]bool{
		"net": true, "net/http": true, "log": true, "log/slog": true, "os": true, "os/exec": true,
		"flag": true, "syscall": true, "math/rand": true, "math/rand/v2": true, "unsafe": true,
	}
	clock := map[string]bool{"Now": true, "Since": true, "Until": true, "After": true, "NewTimer": true}
	seen := 0
	for _, one := range productFiles(t) {
		if !within(one.dir, "verifiers") {
			continue
		}
		seen++
		for _, imported := range one.imports {
			if forbidden[imported] {
				t.Errorf("%s imports %s", one.path, imported)
			}
		}
		ast.Inspect(one.file, func(node ast.Node) bool {
			call, ok := node.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := call.X.(*ast.Ident); ok && pkg.Name == "time" && clock[call.Sel.Name] {
				t.Errorf("%s reads the clock by time.%s", one.path, call.Sel.Name)
			}
			return true
		})
	}
	if seen < 5 {
		t.Errorf("looked at %d files below verifiers/: the walk is broken", seen)
	}
}

// TestReferencesStayInTests: hf/nitrite panics on hostile certificates and go-sev-guest's verifier
// accepts by default what it was not asked about. Both are references to compare with in tests.
func TestReferencesStayInTests(t *testing.T) {
	for _, one := range productFiles(t) {
		for _, imported := range one.imports {
			switch {
			case imported == "github.com/hf/nitrite",
				imported == "github.com/google/go-sev-guest/verify",
				imported == "github.com/google/go-sev-guest/validate",
				strings.HasPrefix(imported, "github.com/google/go-sev-guest/testing"):
				t.Errorf("%s imports %s outside a test", one.path, imported)
			case imported == module+"/testvectors/forge" && one.dir != "cmd/attestd" &&
				!within(one.dir, "testvectors"):
				t.Errorf("%s imports the generator of synthetic evidence", one.path)
			}
		}
	}
}

// TestNoRegistrationAtInit: what a program can do must be visible where it is put together.
func TestNoRegistrationAtInit(t *testing.T) {
	for _, one := range productFiles(t) {
		for _, decl := range one.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function", one.path)
			}
		}
	}
}
