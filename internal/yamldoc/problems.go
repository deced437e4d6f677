package yamldoc

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/token"
)

// maxProblems bounds what one document can make us print.
const maxProblems = 50

// Problem is one thing that is wrong with a document.
type Problem struct {
	// Line is 0 where the problem is the document's as a whole.
	Line int
	// Column counts characters from 1; 0 where the whole line is meant.
	Column int
	// Path of keys, as in "formats.nitro.debug.want"; empty for the document as a whole.
	Path string
	Text string
}

// String returns line, path and text.
func (p Problem) String() string {
	var parts []string
	if p.Line > 0 {
		parts = append(parts, fmt.Sprintf("line %d", p.Line))
	}
	if p.Path != "" {
		parts = append(parts, p.Path)
	}
	return strings.Join(append(parts, p.Text), ": ")
}

// Problems collects everything that is wrong with one document.
type Problems struct {
	source string
	list   []Problem
	more   int
	// loose reads what others wrote.
	loose bool
}

// Add reports something about the document as a whole.
func (p *Problems) Add(format string, args ...any) { p.add(0, "", format, args...) }

func (p *Problems) add(line int, path, format string, args ...any) {
	p.at(&token.Position{Line: line}, path, format, args...)
}

func (p *Problems) at(place *token.Position, path, format string, args ...any) {
	if len(p.list) == maxProblems {
		p.more++
		return
	}
	p.list = append(p.list, Problem{
		Line: place.Line, Column: place.Column, Path: path, Text: fmt.Sprintf(format, args...),
	})
}

// Err returns nil where nothing is wrong, and otherwise an [*Error] with every problem.
func (p *Problems) Err() error {
	if len(p.list) == 0 {
		return nil
	}
	list := slices.Clone(p.list)
	slices.SortStableFunc(list, func(a, b Problem) int { return a.Line - b.Line })
	return &Error{Source: p.source, Problems: list, More: p.more}
}

// Error says everything that is wrong with a document.
type Error struct {
	Source   string
	Problems []Problem
	// More problems were found and are not listed.
	More int
}

// Error returns one line where there is one problem, and a list otherwise.
func (e *Error) Error() string {
	if len(e.Problems) == 1 && e.More == 0 {
		return e.Source + ": " + e.Problems[0].String()
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s: %d problems", e.Source, len(e.Problems)+e.More)
	for _, problem := range e.Problems {
		out.WriteString("\n  " + problem.String())
	}
	if e.More > 0 {
		fmt.Fprintf(&out, "\n  and %d more", e.More)
	}
	return out.String()
}
