package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/attestd/attestd/testvectors/forge"
)

// slow are tests that sweep through much more than one refusal; each refusal has a test of its own.
var slow = regexp.MustCompile(`Conformance|Vectors|Differential|Wycheproof|Agrees|Mutants|Durable|Fast|Allocat|Memory|Against|Agreement|EveryBit`)

// longest is the longest that one run may take; a refusal without which a test goes on for ever is
// noticed.
const longest = 60 * time.Second

// probe is one test.
type probe struct {
	binary binary
	name   string
	took   time.Duration
}

func mutate(
	ctx context.Context, one suite, dir, part string, workers int, excuses *excuses,
) (outcome, error) {
	began := time.Now()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return outcome{}, err
	}
	sites, err := one.sites()
	if err != nil {
		return outcome{}, err
	}
	list, err := overlay(dir, sites)
	if err != nil {
		return outcome{}, err
	}
	var folders []string
	for _, pattern := range one.tests {
		some, err := goFolders(pattern)
		if err != nil {
			return outcome{}, err
		}
		folders = append(folders, some...)
	}
	binaries, err := build(ctx, dir, list, folders)
	if err != nil {
		return outcome{}, err
	}
	provoking, err := provoke(ctx, dir, binaries, workers)
	if err != nil {
		return outcome{}, err
	}
	result := outcome{name: one.name, binders: time.Since(began).Seconds()}
	fmt.Fprintf(os.Stderr, "mutation: %s: %d refusals, %d tests packages, ready after %.0f s\n", one.name,
		len(sites), len(binaries), result.binders)
	var mutex sync.Mutex
	done, told := 0, time.Now()
	err = parallel(ctx, workers, sites, func(ctx context.Context, here site) error {
		if !strings.Contains(here.name, part) {
			return nil
		}
		killed, err := noticed(ctx, here.number, provoking[here.number])
		if err != nil {
			return err
		}
		mutex.Lock()
		defer mutex.Unlock()
		if done++; time.Since(told) > 10*time.Second {
			told = time.Now()
			fmt.Fprintf(os.Stderr, "mutation: %s: %d of %d\n", one.name, done, len(sites))
		}
		excused := excuses.take(here.name)
		switch {
		case killed && excused:
			result.stale = append(result.stale, here.name)
		case killed:
			result.killed++
		case excused:
			result.excused++
		default:
			what := fmt.Sprintf("%s   (line %d, provoked by %d tests)", here.name, here.line,
				len(provoking[here.number]))
			result.survived = append(result.survived, what)
		}
		return nil
	})
	slices.Sort(result.survived)
	slices.Sort(result.stale)
	result.seconds = time.Since(began).Seconds()
	return result, err
}

func (s suite) sites() ([]site, error) {
	var all []site
	for _, pattern := range s.folders {
		folders, err := goFolders(pattern)
		if err != nil {
			return nil, err
		}
		for _, folder := range folders {
			found, err := findSites(folder, slices.Contains(s.bools, folder))
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
	}
	for i := range all {
		all[i].number = i + 1
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no refusals in %v", s.folders)
	}
	return all, nil
}

// provoke runs each test by itself and returns, for each refusal, the tests that provoke it.
func provoke(
	ctx context.Context, dir string, binaries []binary, workers int,
) (map[int][]probe, error) {
	var probes []probe
	for _, one := range binaries {
		out, err := command(ctx, one, nil, "-test.list", ".").Output()
		if err != nil {
			return nil, fmt.Errorf("list the tests of %s: %w", one.folder, err)
		}
		for _, name := range strings.Fields(string(out)) {
			if strings.HasPrefix(name, "Test") && !slow.MatchString(name) || strings.HasPrefix(name, "Fuzz") {
				probes = append(probes, probe{binary: one, name: name})
			}
		}
	}
	provoking := map[int][]probe{}
	var mutex sync.Mutex
	err := parallel(ctx, workers, probes, func(ctx context.Context, one probe) error {
		hits := filepath.Join(dir, filepath.Base(one.binary.path)+"."+one.name+".hits")
		began := time.Now()
		run := command(ctx, one.binary, []string{hitsVariable + "=" + hits},
			"-test.run", "^"+one.name+"$")
		if out, err := run.CombinedOutput(); err != nil {
			return fmt.Errorf("%s of %s fails without any change: %w\n%s", one.name, one.binary.folder, err, out)
		}
		one.took = time.Since(began)
		noted, err := os.ReadFile(hits) //nolint:gosec // in our own folder
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		mutex.Lock()
		defer mutex.Unlock()
		for _, text := range strings.Fields(string(noted)) {
			number, err := strconv.Atoi(text)
			if err != nil {
				return err
			}
			if !slices.Contains(provoking[number], one) {
				provoking[number] = append(provoking[number], one)
			}
		}
		return nil
	})
	for _, tests := range provoking {
		slices.SortFunc(tests, func(a, b probe) int { return cmp.Compare(a.took, b.took) })
	}
	return provoking, err
}

// noticed reports whether a test fails with the refusal switched off: the quickest alone, then some
// more of the same package at a time.
func noticed(ctx context.Context, number int, tests []probe) (bool, error) {
	for most := 1; len(tests) > 0; most = 8 {
		first, group := tests[0], []string{tests[0].name}
		rest := tests[1:]
		for len(rest) > 0 && rest[0].binary == first.binary && len(group) < most {
			group, rest = append(group, rest[0].name), rest[1:]
		}
		limited, cancel := context.WithTimeout(ctx, longest)
		run := command(limited, first.binary, []string{offVariable + "=" + strconv.Itoa(number)},
			"-test.failfast", "-test.run", "^("+strings.Join(group, "|")+")$")
		err := run.Run()
		cancel()
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil {
			return true, nil //nolint:nilerr // a test that fails is what is looked for
		}
		tests = rest
	}
	return false, nil
}

func command(ctx context.Context, one binary, variables []string, args ...string) *exec.Cmd {
	run := exec.CommandContext(ctx, one.path, args...) //nolint:gosec // built above
	run.Dir = one.folder
	run.Env = append(append(os.Environ(), forge.KeysVariable+"="+filepath.Dir(one.path)), variables...)
	run.WaitDelay = time.Second
	return run
}

// parallel calls do for each of the list, some at a time, until one fails.
func parallel[T any](
	ctx context.Context, workers int, list []T, do func(context.Context, T) error,
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan T)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for one := range work {
				if err := do(ctx, one); err != nil && ctx.Err() == nil {
					cancel(err)
				}
			}
		})
	}
	for _, one := range list {
		if ctx.Err() == nil {
			work <- one
		}
	}
	close(work)
	group.Wait()
	return context.Cause(ctx)
}
