package authzen

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/attestd/attestd"
)

// Limits of a document. A question of this form has depth 6.
const (
	maxDepth = 12
	maxKeys  = 128
)

// cursor reads a document from its beginning to its end. Keys are matched exactly, where encoding/json
// folds their case and takes the last of two: a key that two readers see differently is how one asks for
// less than it gets.
type cursor struct {
	data  []byte
	at    int
	depth int
	// path is of the innermost objects, for messages.
	path []string
}

// newCursor checks the grammar (RFC 8259) of the whole document, which the rest relies on.
func newCursor(data []byte) (*cursor, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("the body is not UTF-8")
	}
	if !json.Valid(data) {
		return nil, errors.New("the body is not one JSON value")
	}
	c := &cursor{data: data}
	c.space()
	return c, nil
}

func (c *cursor) wrong(format string, args ...any) error {
	where := strings.Join(c.path, ".")
	if where == "" {
		where = "the body"
	}
	return fmt.Errorf("%s: %s", attestd.Excerpt(where, 80), fmt.Sprintf(format, args...))
}

func (c *cursor) space() {
	for c.at < len(c.data) {
		switch c.data[c.at] {
		case ' ', '\t', '\r', '\n':
			c.at++
		default:
			return
		}
	}
}

// next reports whether the next byte is this one, and steps over it and the space behind it.
func (c *cursor) next(want byte) bool {
	if c.at >= len(c.data) || c.data[c.at] != want {
		return false
	}
	c.at++
	c.space()
	return true
}

// kind names what comes next.
func (c *cursor) kind() string {
	switch c.data[c.at] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "text"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}

// object calls visit with each key; visit reads the value.
func (c *cursor) object(visit func(key string) error) error {
	if c.data[c.at] != '{' {
		return c.wrong("got %s, want an object", c.kind())
	}
	if c.depth++; c.depth > maxDepth {
		return c.wrong("is nested deeper than %d", maxDepth)
	}
	c.next('{')
	var few [16]string
	seen := few[:0]
	for !c.next('}') {
		key, err := c.text()
		if err != nil {
			return err
		}
		for _, one := range seen {
			if one == key {
				return c.wrong("duplicate key %q", attestd.Excerpt(key, 40))
			}
		}
		if seen = append(seen, key); len(seen) > maxKeys {
			return c.wrong("has more than %d keys", maxKeys)
		}
		c.next(':')
		c.path = append(c.path, key)
		if err := visit(key); err != nil {
			return err
		}
		c.path = c.path[:len(c.path)-1]
		c.space()
		c.next(',')
	}
	c.depth--
	return nil
}

// array calls visit for each member, which it reads; there may be as many as most.
func (c *cursor) array(most int, visit func(index int) error) error {
	if c.data[c.at] != '[' {
		return c.wrong("got %s, want an array", c.kind())
	}
	if c.depth++; c.depth > maxDepth {
		return c.wrong("is nested deeper than %d", maxDepth)
	}
	c.next('[')
	for index := 0; !c.next(']'); index++ {
		if index == most {
			return c.wrong("has more than %d members", most)
		}
		if err := visit(index); err != nil {
			return err
		}
		c.space()
		c.next(',')
	}
	c.depth--
	return nil
}

// span returns the text that comes next as it stands, quotes included, and steps over it.
func (c *cursor) span() []byte {
	start := c.at
	for c.at++; c.data[c.at] != '"'; c.at++ {
		if c.data[c.at] == '\\' {
			c.at++
		}
	}
	c.at++
	raw := c.data[start:c.at]
	c.space()
	return raw
}

// text returns the text that comes next. Half of a surrogate pair (RFC 8259 section 8.2) is refused:
// encoding/json reads each as U+FFFD, so that texts that differ become equal.
func (c *cursor) text() (string, error) {
	if c.data[c.at] != '"' {
		return "", c.wrong("got %s, want text", c.kind())
	}
	raw := c.span()
	inner := raw[1 : len(raw)-1]
	escaped := false
	for _, one := range inner {
		if one == '\\' {
			escaped = true
			break
		}
	}
	if !escaped {
		return string(inner), nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", c.wrong("cannot be read as text")
	}
	if strings.ContainsRune(text, utf8.RuneError) {
		return "", c.wrong("holds half of a surrogate pair, or U+FFFD")
	}
	return text, nil
}

// bounded returns text of at most so many bytes.
func (c *cursor) bounded(most int) (string, error) {
	text, err := c.text()
	if err == nil && len(text) > most {
		err = c.wrong("has %d bytes, want at most %d", len(text), most)
	}
	return text, err
}

// flag returns true or false.
func (c *cursor) flag() (bool, error) {
	first := c.data[c.at]
	if first != 't' && first != 'f' {
		return false, c.wrong("got %s, want true or false", c.kind())
	}
	return first == 't', c.skip()
}

// number returns a whole number within bounds.
func (c *cursor) number(least, most int) (int, error) {
	start := c.at
	if kind := c.kind(); kind != "a number" {
		return 0, c.wrong("got %s, want a number", kind)
	}
	if err := c.skip(); err != nil {
		return 0, err
	}
	text := strings.TrimRight(string(c.data[start:c.at]), " \t\r\n")
	number, err := strconv.Atoi(text)
	if err != nil || number < least || number > most {
		return 0, c.wrong("got %s, want a whole number from %d to %d", attestd.Excerpt(text, 24), least, most)
	}
	return number, nil
}

// skip steps over the value that comes next. What is not known is ignored ("receivers MUST ignore unknown
// fields", AuthZEN 1.0, JSON Serialization); duplicate keys and depth are refused there as well.
func (c *cursor) skip() error {
	switch c.data[c.at] {
	case '{':
		return c.object(func(string) error { return c.skip() })
	case '[':
		return c.array(len(c.data), func(int) error { return c.skip() })
	case '"':
		_, err := c.text()
		return err
	}
	for c.at < len(c.data) && !strings.ContainsRune(",]} \t\r\n", rune(c.data[c.at])) {
		c.at++
	}
	c.space()
	return nil
}
