package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Words between this command and the test build.
const (
	offVariable  = "ATTESTD_MUTANT"
	hitsVariable = "ATTESTD_MUTANT_HITS"
)

// switches is added to each mutated package of the test build.
const switches = `package %s

import (
	"os"
	"strconv"
	"sync"
)

var (
	mutantOff, _ = strconv.Atoi(os.Getenv(%q))
	mutantHits   = os.Getenv(%q)
	mutantSeen   sync.Map
)

// mutantTaken reports whether the refusal with the number is on, and notes that it was provoked.
func mutantTaken(number int) bool {
	if mutantHits != "" {
		if _, seen := mutantSeen.LoadOrStore(number, true); !seen {
			file, err := os.OpenFile(mutantHits, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err == nil {
				_, _ = file.WriteString(strconv.Itoa(number) + "\n")
				_ = file.Close()
			}
		}
	}
	return number != mutantOff
}
`

// overlay writes the mutated files of the sites and returns the list of what stands for what.
func overlay(dir string, sites []site) (string, error) {
	byFile := map[string][]site{}
	for _, one := range sites {
		byFile[one.file] = append(byFile[one.file], one)
	}
	replaced, packages := map[string]string{}, map[string]string{}
	for file, here := range byFile {
		source, err := os.ReadFile(file) //nolint:gosec // a file of the repository
		if err != nil {
			return "", err
		}
		changed := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := place(replaced, file, changed, switched(source, here)); err != nil {
			return "", err
		}
		packages[filepath.Dir(file)] = packageName(string(source))
	}
	for folder, name := range packages {
		changed := filepath.Join(dir, strings.ReplaceAll(folder, "/", "_")+"_switches.go")
		text := fmt.Appendf(nil, switches, name, offVariable, hitsVariable)
		if err := place(replaced, filepath.Join(folder, "zz_switches.go"), changed, text); err != nil {
			return "", err
		}
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": replaced})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, list, 0o600)
}

func place(replaced map[string]string, original, changed string, text []byte) error {
	absolute, err := filepath.Abs(original)
	if err != nil {
		return err
	}
	replaced[absolute] = changed
	return os.WriteFile(changed, text, 0o600)
}

func packageName(source string) string {
	for line := range strings.Lines(source) {
		if name, ok := strings.CutPrefix(line, "package "); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}

// binary is the tests of one package.
type binary struct{ folder, path string }

// build makes the one test build: a binary for each package with tests.
func build(ctx context.Context, dir, list string, folders []string) ([]binary, error) {
	var made []binary
	for _, folder := range folders {
		if tests, _ := filepath.Glob(filepath.Join(folder, "*_test.go")); len(tests) == 0 {
			continue
		}
		one := binary{folder, filepath.Join(dir, strings.ReplaceAll(folder, "/", "_")+".test")}
		command := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", list,
			"-o", one.path, "./"+folder) //nolint:gosec // our own words
		if out, err := command.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the tests of %s: %w\n%s", folder, err, out)
		}
		made = append(made, one)
	}
	return made, nil
}
