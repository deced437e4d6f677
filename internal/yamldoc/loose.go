package yamldoc

import (
	"github.com/goccy/go-yaml/ast"
)

// ParseStream reads what other programs wrote: several documents, nulls, blocks of text, numbers of
// any form, which are read as text, and maps and lists that are empty. Everything else is as in
// [Parse]: no key stands twice, no anchor, alias or tag is there, and depth, keys and size are
// bounded. Documents without anything in them are left out. No message quotes a value: it can be
// secret.
func ParseStream(source string, doc []byte, limit int) ([]*Node, *Problems) {
	problems := &Problems{source: source, loose: true}
	if !readable(problems, doc, limit) {
		return nil, problems
	}
	return build(problems, doc), problems
}

// stream returns what is in a document; nothing for a null.
func stream(problems *Problems, file *ast.File) (roots []*Node) {
	body := file.Docs[0].Body
	if _, null := body.(*ast.NullNode); null && problems.loose {
		return nil
	}
	if root := convert(problems, body, ""); root != nil {
		roots = append(roots, root)
	}
	return roots
}

// takeLoose reads what a document of attestd's own must not have.
func (n *Node) takeLoose(from ast.Node) bool {
	switch from := from.(type) {
	case *ast.NullNode:
		n.kind = kindNull
	case *ast.LiteralNode:
		n.kind, n.text = kindText, from.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		n.kind, n.text = kindText, from.GetToken().Value
	default:
		return false
	}
	return true
}

// Find returns the value of a key, and nil where there is none, or no map. It may be asked of nil.
func (n *Node) Find(key string) *Node {
	if n == nil || n.kind != kindMap {
		return nil
	}
	for _, entry := range n.entries {
		if entry.Key == key {
			return entry.Value
		}
	}
	return nil
}

// String returns text, and nothing for everything else. It may be asked of nil.
func (n *Node) String() string {
	if n == nil || n.kind != kindText {
		return ""
	}
	return n.text
}

// Members returns what is in a list, and nothing for everything else. It may be asked of nil.
func (n *Node) Members() []*Node {
	if n == nil || n.kind != kindList {
		return nil
	}
	return n.items
}
