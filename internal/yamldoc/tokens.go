package yamldoc

import (
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/scanner"
	"github.com/goccy/go-yaml/token"

	"github.com/attestd/attestd"
)

// What a document may cost. The limits are held on tokens, before the parser sees them: counted in
// the text, a bracket or a hash within quotes hid all that followed it.
const (
	// maxDepth bounds how deep a document nests, and so the stack of a recursive parser, whose
	// overflow nothing recovers. The documents that are read here nest six levels.
	maxDepth = 16
	// maxKeys bounds how many keys one map has. The parser's time grows with their square: a document
	// of 256 KB in one map took it 24 seconds.
	maxKeys = 1000
	// maxTokens bounds memory. The largest reference values have some four bytes to a token.
	maxTokens = 2 << 20
)

// hidden finds the first character that a reader may not see, or that other YAML readers take for
// something else: control characters (the parser drops a tab within a word, so that "fal<tab>se" is
// false), a carriage return alone, which ends a comment and does not look so, the line breaks of
// Unicode, and characters that reorder text. The line is 0 where there is none.
func hidden(doc []byte) (line int, found rune) {
	line = 1
	for i, r := range string(doc) {
		switch {
		case r == '\n':
			line++
		case r >= ' ' && r <= '~':
		case r == '\r' && i+1 < len(doc) && doc[i+1] == '\n':
		case r < ' ' || attestd.Excerpt(string(r), 1) != string(r):
			return line, r
		}
	}
	return 0, 0
}

// piece is one document of a stream, and how many lines are before it.
type piece struct {
	text  string
	lines int
}

// pieces cuts a stream at its markers, which are nothing else anywhere (YAML 1.2.2, section 9.1.2: "---"
// and "..." at the beginning of a line are forbidden within scalars). The parser is given one document at
// a time: behind one that is empty it drops all others, and says nothing. Pieces without anything in
// them are left out; what more says is whether a marker stands behind one that has something.
func pieces(doc string) (list []piece, more bool) {
	number := 0
	var begun piece
	var text strings.Builder
	flush := func() {
		begun.text = text.String()
		if !blank(begun.text) {
			list = append(list, begun)
		}
		text.Reset()
	}
	for line := range strings.SplitAfterSeq(doc, "\n") {
		marker := strings.HasPrefix(line, "---") || strings.HasPrefix(line, "...")
		if marker && (len(line) == 3 || strings.ContainsRune(" \r\n", rune(line[3]))) {
			flush()
			more = more || len(list) > 0 && line[0] == '-'
			begun = piece{lines: number}
			line = "   " + line[3:]
		}
		text.WriteString(line)
		number++
	}
	flush()
	return list, more
}

// blank reports whether a text is spaces and comments alone.
func blank(text string) bool {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return false
		}
	}
	return true
}

// tokenize cuts a document into tokens and stops at the first that goes over a limit.
func tokenize(problems *Problems, one piece) (token.Tokens, bool) {
	var cutter scanner.Scanner
	cutter.Init(one.text)
	var tokens token.Tokens
	var open nesting
	for seen := 0; ; {
		more, err := cutter.Scan()
		if errors.Is(err, io.EOF) {
			return tokens, true
		}
		tokens.Add(more...)
		for ; seen < len(tokens); seen++ {
			open = open.after(tokens, seen)
			tokens[seen].Position.Line += one.lines
			line := tokens[seen].Position.Line
			switch {
			case len(tokens) > maxTokens:
				problems.add(0, "", "has more than %d words and signs", maxTokens)
			case len(open) > maxDepth:
				problems.add(line, "", "nests deeper than %d levels", maxDepth)
			case len(open) > 0 && open[len(open)-1].keys > maxKeys:
				problems.add(line, "", "has a map of more than %d keys", maxKeys)
			case glued(tokens, seen):
				before := attestd.Excerpt(tokens[seen].Value, 20)
				if problems.loose {
					before = "a value" // that can be secret
				}
				problems.add(line, "", "want a space behind the colon before %q", before)
			default:
				continue
			}
			return nil, false
		}
	}
}

// nesting holds what is open at a place of the document, outermost first.
type nesting []level

type level struct {
	bracket token.Type // what opened it; zero for a block
	column  int        // where a block stands
	keys    int
}

// after returns what is open behind the token at index.
func (n nesting) after(tokens token.Tokens, index int) nesting {
	current := tokens[index]
	column := current.Position.Column
	switch current.Type {
	case token.SequenceStartType, token.MappingStartType:
		return append(n, level{bracket: current.Type})
	case token.SequenceEndType, token.MappingEndType:
		for last := len(n) - 1; last >= 0; last-- {
			if n[last].bracket != 0 {
				return n[:last]
			}
		}
		return n
	case token.SequenceEntryType, token.MappingKeyType:
		return n.block(column)
	case token.CollectEntryType:
		return n.key(token.MappingStartType) // in braces, a key needs no colon
	case token.MappingValueType:
		if slices.ContainsFunc(n, func(l level) bool { return l.bracket != 0 }) {
			return n.key(token.SequenceStartType)
		}
		if index > 0 && tokens[index-1].Position.Line == current.Position.Line {
			column = tokens[index-1].Position.Column
		}
		return n.block(column).key(0)
	default:
		return n
	}
}

// key counts a key of the innermost level, where that was opened by bracket.
func (n nesting) key(bracket token.Type) nesting {
	if last := len(n) - 1; last >= 0 && n[last].bracket == bracket {
		n[last].keys++
	}
	return n
}

// block opens a block at a column, or goes back to it.
func (n nesting) block(column int) nesting {
	for last := len(n) - 1; last >= 0 && n[last].bracket == 0 && n[last].column >= column; last-- {
		if n[last].column == column {
			return n
		}
		n = n[:last]
	}
	return append(n, level{column: column})
}

// glued reports whether the token stands right behind a colon. To YAML "{want:false}" is one word
// without a value, to the parser a key with one; only behind a key in quotes, as in JSON, are they of
// one mind.
func glued(tokens token.Tokens, index int) bool {
	if index < 2 || tokens[index-1].Type != token.MappingValueType {
		return false
	}
	current, colon, key := tokens[index], tokens[index-1], tokens[index-2]
	switch {
	case key.Type == token.DoubleQuoteType, key.Type == token.SingleQuoteType:
		return false
	case current.Type == token.CollectEntryType, current.Type == token.MappingEndType,
		current.Type == token.SequenceEndType:
		return false
	}
	return current.Position.Line == colon.Position.Line &&
		current.Position.Column == colon.Position.Column+1
}
