// Command mutate-checks shows that for each refusal in the code that decides about evidence and about
// subjects there is a test that fails without it (make mutate).
//
// A refusal is a condition of an if, or of a case of a switch without a tag, behind which a function
// returns an error, or says false where it verifies signatures. Each gets a number and, in an overlay
// of the source files, "and not switched off": one build of the tests, in which the environment says
// which refusal is off. The product has no such switch. A first run of every test by itself notes
// which refusals it provokes; then each refusal is switched off in turn, and the tests that provoke
// it are run, the quickest first, until one fails.
//
// What no test notices has "survived". The file of excuses says of some why that is right: the same
// input is refused behind them, or no input comes there. An excuse that is not needed is an error.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

// suite is code to mutate and the packages whose tests must notice. Folders ending in /... mean all
// folders below.
type suite struct {
	name           string
	folders, tests []string
	// bools counts a returned false as a refusal, too.
	bools []string
}

var suites = []suite{
	{
		name: "verifiers", folders: []string{"verifiers/..."}, tests: []string{"verifiers/..."},
		bools: []string{"verifiers/internal/p384", "verifiers/internal/rsapss"},
	},
	{
		name: "appraisal", folders: []string{"internal/appraisal", "internal/judge", "measurements"},
		tests: []string{"internal/appraisal", "internal/judge", "measurements"},
	},
	{
		name: "registry", folders: []string{"internal/registry", "internal/registry/live"},
		tests: []string{"internal/registry", "internal/registry/live"},
	},
}

const excusesFile = "testvectors/mutation/excused.txt"

func main() {
	only := flag.String("suite", "", "one suite alone: verifiers, appraisal or registry")
	part := flag.String("only", "", "switch off only what has this in its name")
	workers := flag.Int("workers", 2, "tests that run at a time")
	flag.Usage = func() {
		_, _ = fmt.Fprintln(os.Stderr, "usage: mutate-checks [flags], from the module's root")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	failed, err := mutateAll(ctx, *only, *part, *workers)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "mutate-checks:", err)
		os.Exit(2)
	}
	if failed {
		os.Exit(1)
	}
}

func mutateAll(ctx context.Context, only, part string, workers int) (failed bool, err error) {
	excuses, err := readExcuses(excusesFile)
	if err != nil {
		return false, err
	}
	scratch, err := os.MkdirTemp("", "mutate-checks")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	for _, one := range suites {
		if only != "" && only != one.name {
			continue
		}
		dir := filepath.Join(scratch, one.name)
		result, err := mutate(ctx, one, dir, part, workers, excuses)
		if err != nil {
			return false, fmt.Errorf("%s: %w", one.name, err)
		}
		result.print()
		failed = failed || !result.good()
	}
	if only == "" && part == "" {
		for _, excuse := range excuses.unused() {
			failed = true
			fmt.Printf("an excuse for what is not there: %s\n", excuse)
		}
	}
	return failed, nil
}

// outcome of a suite.
type outcome struct {
	name             string
	killed, excused  int
	survived, stale  []string
	seconds, binders float64
}

func (o outcome) good() bool { return len(o.survived)+len(o.stale) == 0 && o.killed > 0 }

func (o outcome) print() {
	for _, name := range o.survived {
		fmt.Println("survived  ", name)
	}
	for _, name := range o.stale {
		fmt.Println("killed, and excused:", name)
	}
	all := o.killed + o.excused + len(o.survived) + len(o.stale)
	fmt.Printf("mutation: %s: %d refusals, %d killed, %d excused, %d survived, %.0f s (%.0f s to begin)\n",
		o.name, all, o.killed+len(o.stale), o.excused, len(o.survived), o.seconds, o.binders)
}

// goFolders returns the folders that a pattern means, without those of tests alone.
func goFolders(pattern string) ([]string, error) {
	root, below := strings.CutSuffix(pattern, "/...")
	if !below {
		return []string{pattern}, nil
	}
	var found []string
	err := filepath.WalkDir(root, func(name string, entry os.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		if base := filepath.Base(name); base == "testdata" || base == "verifiertest" {
			return filepath.SkipDir
		}
		if files, _ := filepath.Glob(filepath.Join(name, "*.go")); len(files) > 0 {
			found = append(found, name)
		}
		return nil
	})
	return found, err
}
