// Package yamldoc reads the YAML documents that people write for attestd: policies and reference
// values. It reads less than YAML: maps, lists, text, whole numbers, true and false.
//
// What comes in is a document of bounded size. What is true if [Problems.Err] returns nil after
// everything was read: no key stood twice, none was unknown, nothing was empty, no value was of
// another kind than was asked for, and anchors, aliases, tags, merge keys, nulls and a second
// document, which let one text read in two ways, were not there. What is not shown is that the
// values make sense; their owner says so, through the same Problems.
package yamldoc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/attestd/attestd"
)

type kind uint8

const (
	kindMap kind = iota
	kindList
	kindText
	kindUint
	kindFlag
	kindNull // in what others wrote alone
)

var kindNames = [...]string{"a map", "a list", "text", "a whole number", "true or false", "nothing"}

// Node is one value of a document. Its readers report to the Problems of the document what is not as
// they want it, and return false or nothing.
type Node struct {
	problems *Problems
	kind     kind
	line     int
	column   int
	path     string
	text     string
	number   uint64
	entries  []Entry
	items    []*Node
}

// Entry is one key of a map with its value.
type Entry struct {
	Key   string
	Value *Node
}

// Parse reads a document of at most limit bytes. Source names it in messages. The node is nil where
// the document cannot be read at all, which the Problems then say.
func Parse(source string, doc []byte, limit int) (*Node, *Problems) {
	problems := &Problems{source: source}
	if !readable(problems, doc, limit) {
		return nil, problems
	}
	roots := build(problems, doc)
	if roots == nil {
		return nil, problems
	}
	return roots[0], problems
}

func readable(problems *Problems, doc []byte, limit int) bool {
	switch {
	case len(doc) > limit:
		problems.add(0, "", "got %d bytes, want at most %d", len(doc), limit)
		return false
	case !utf8.Valid(doc):
		problems.add(0, "", "is not UTF-8")
		return false
	}
	line, found := hidden(doc)
	if line != 0 {
		problems.add(line, "", "has the character %U, which does not show; %s", found,
			"leave it out, and write spaces for tabs")
	}
	return line == 0
}

// build stands between us and the parser: a panic inside it is a document that cannot be read. It
// returns nil, or at least one document.
func build(problems *Problems, doc []byte) (roots []*Node) {
	defer func() {
		if recovered := recover(); recovered != nil {
			problems.add(0, "", "cannot be read as YAML")
			roots = nil
		}
	}()
	list, more := pieces(string(doc))
	if !problems.loose && (len(list) != 1 || more) {
		problems.add(0, "", "got %d documents, want one that is not empty, and no marker behind it", len(list))
		return nil
	}
	for _, one := range list {
		file, ok := parse(problems, one)
		if !ok {
			return nil
		}
		roots = append(roots, stream(problems, file)...)
	}
	return roots
}

func parse(problems *Problems, one piece) (*ast.File, bool) {
	tokens, ok := tokenize(problems, one)
	if !ok {
		return nil, false
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) && syntax.Token != nil {
			problems.at(syntax.Token.Position, "", "%s", attestd.Excerpt(syntax.Message, 70))
		} else {
			problems.add(0, "", "cannot be read as YAML")
		}
		return nil, false
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		problems.add(one.lines+1, "", "is not read as one document")
		return nil, false
	}
	return file, true
}

func convert(problems *Problems, from ast.Node, path string) *Node {
	node := &Node{problems: problems, path: path}
	if at := from.GetToken(); at != nil && at.Position != nil {
		node.line, node.column = at.Position.Line, at.Position.Column
	}
	if problems.loose && node.takeLoose(from) {
		return node
	}
	switch from := from.(type) {
	case *ast.MappingNode:
		return node.fill(from.Values)
	case *ast.MappingValueNode:
		return node.fill([]*ast.MappingValueNode{from})
	case *ast.SequenceNode:
		node.kind = kindList
		whole := true
		for i, value := range from.Values {
			item := convert(problems, value, path+"["+strconv.Itoa(i)+"]")
			whole = whole && item != nil
			node.items = append(node.items, item)
		}
		if !whole {
			return nil
		}
		return node
	case *ast.StringNode:
		node.kind, node.text = kindText, from.Value
		return node
	case *ast.BoolNode:
		node.kind, node.text = kindFlag, from.GetToken().Value
		if node.text == "true" || node.text == "false" {
			return node
		}
	case *ast.IntegerNode, *ast.FloatNode:
		// "010" is 8 to one reader and 10 to another, and "1e3" is a digest's beginning to us.
		text := from.GetToken().Value
		number, err := strconv.ParseUint(text, 10, 64)
		node.kind, node.text, node.number = kindUint, text, number
		if err == nil && strconv.FormatUint(number, 10) == text {
			return node
		}
		node.Problem("got %q, want a plain whole number, or text in quotes", attestd.Excerpt(text, 40))
		return nil
	}
	node.Problem("got %s, want a map, a list, text, a whole number, true or false", describe(from))
	return nil
}

// fill goes through all entries, so that everything that is wrong is reported at once.
func (n *Node) fill(values []*ast.MappingValueNode) *Node {
	n.kind = kindMap
	whole := true
	lines := make(map[string]int, len(values))
	for _, value := range values {
		name, isText := value.Key.(*ast.StringNode)
		if !isText {
			n.problems.add(n.line, n.path, "got a key that is not text")
			whole = false
			continue
		}
		position := name.GetToken().Position
		line := position.Line
		key := name.Value
		if first, double := lines[key]; double {
			n.problems.at(position, join(n.path, key), "stands twice, first in line %d", first)
			whole = false
			continue
		}
		lines[key] = line
		child := convert(n.problems, value.Value, join(n.path, key))
		if child == nil {
			whole = false
			continue
		}
		// What is wrong with a value is shown where its key stands, unless both are in one line.
		if child.line != line {
			child.line, child.column = line, position.Column
		}
		n.entries = append(n.entries, Entry{Key: key, Value: child})
	}
	if !whole {
		return nil
	}
	return n
}

func describe(from ast.Node) string {
	switch from := from.(type) {
	case *ast.NullNode:
		return "nothing"
	case *ast.AliasNode, *ast.AnchorNode, *ast.MergeKeyNode:
		return "an anchor or alias"
	case *ast.TagNode:
		return "a tag"
	case *ast.LiteralNode:
		return "a block of text"
	case *ast.BoolNode:
		return fmt.Sprintf("%q", attestd.Excerpt(from.GetToken().Value, 20))
	default:
		if at := from.GetToken(); at != nil && at.Type != token.UnknownType {
			return fmt.Sprintf("%q", attestd.Excerpt(at.Value, 20))
		}
		return "something else"
	}
}

// join writes paths as people type them; a key that holds a dot or a slash stays readable in quotes.
func join(path, key string) string {
	key = attestd.Excerpt(key, 40)
	if strings.ContainsAny(key, ". \t\"") || key == "" {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}
