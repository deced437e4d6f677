package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// excuses are refusals that no test can notice, each with the reason.
type excuses struct {
	reasons map[string]string
	used    map[string]bool
}

// readExcuses reads lines of a site's name, " -- " and the reason.
func readExcuses(path string) (*excuses, error) {
	text, err := os.ReadFile(path) //nolint:gosec // a file of the repository
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	read := &excuses{reasons: map[string]string{}, used: map[string]bool{}}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, reason, ok := strings.Cut(line, " -- ")
		if !ok || len(reason) < 20 || read.reasons[name] != "" {
			return nil, fmt.Errorf("%s: no reason, or a second one: %s", path, line)
		}
		read.reasons[name] = reason
	}
	return read, nil
}

func (e *excuses) take(name string) bool {
	_, known := e.reasons[name]
	e.used[name] = true
	return known
}

// unused are excuses for what is no longer there.
func (e *excuses) unused() []string {
	var out []string
	for name := range e.reasons {
		if !e.used[name] {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
