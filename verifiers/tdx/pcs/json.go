package pcs

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/attestd/attestd"
)

// limits bound what a document can cost. Intel's have up to some 20 KiB and a depth of seven.
var limits = struct {
	bytes, depth, levels, modules, advisories, advisory, unknown int
}{bytes: 256 << 10, depth: 16, levels: 256, modules: 32, advisories: 512, advisory: 40, unknown: 32}

// MaxBytes is the longest document that is read.
const MaxBytes = 256 << 10

// node is one JSON value with the bytes that it was read from: Intel signs an object's bytes, not its
// meaning, so they must be at hand as they came.
type node struct {
	kind    byte // '{', '[', '"', '0' for a number, 't' for true, false and null
	raw     []byte
	text    string
	list    []node
	members []member
}

type member struct {
	key   string
	value node
}

// parse reads one JSON value (RFC 8259) that is all of data but for white space. It refuses what two
// readers could see in two ways: a key twice in an object, a key with an escape, invalid UTF-8, a byte
// order mark, and anything behind the value.
func parse(data []byte) (node, error) {
	if len(data) > limits.bytes {
		return node{}, fmt.Errorf("a document of %d bytes, want at most %d", len(data), limits.bytes)
	}
	if !utf8.Valid(data) {
		return node{}, errors.New("not valid UTF-8")
	}
	p := parser{data: data}
	value, err := p.value(0)
	if err != nil {
		return node{}, err
	}
	if p.space(); p.at != len(data) {
		return node{}, fmt.Errorf("%d bytes behind the value", len(data)-p.at)
	}
	return value, nil
}

type parser struct {
	data []byte
	at   int
}

var errJSON = errors.New("not JSON")

func (p *parser) space() {
	for p.at < len(p.data) {
		switch p.data[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// next is the byte of the next token, 0 at the end.
func (p *parser) next() byte {
	if p.space(); p.at < len(p.data) {
		return p.data[p.at]
	}
	return 0
}

// take reads that byte, if it is next.
func (p *parser) take(want byte) bool {
	if p.next() != want {
		return false
	}
	p.at++
	return true
}

func (p *parser) value(depth int) (node, error) {
	first := p.next()
	start := p.at
	out := node{kind: first}
	var err error
	switch {
	case depth == limits.depth:
		return node{}, fmt.Errorf("nested deeper than %d", limits.depth)
	case first == '{':
		out.members, err = p.object(depth + 1)
	case first == '[':
		out.list, err = p.array(depth + 1)
	case first == '"':
		out.text, _, err = p.string()
	case first == '-' || first >= '0' && first <= '9':
		out.kind = '0'
		out.text, err = p.number()
	default:
		out.kind = 't'
		err = p.word()
	}
	if err != nil {
		return node{}, err // the place may lie behind the end
	}
	out.raw = p.data[start:p.at:p.at]
	return out, nil
}

func (p *parser) object(depth int) ([]member, error) {
	p.at++
	var members []member
	if p.take('}') {
		return members, nil
	}
	for {
		if p.next() != '"' {
			return nil, errJSON
		}
		key, escaped, err := p.string()
		if err != nil {
			return nil, err
		}
		if escaped {
			return nil, fmt.Errorf("the key %q is spelled with an escape", attestd.Excerpt(key, 40))
		}
		for i := range members {
			if members[i].key == key {
				return nil, fmt.Errorf("the key %q twice", attestd.Excerpt(key, 40))
			}
		}
		if len(members) == limits.unknown {
			return nil, fmt.Errorf("an object of more than %d members", limits.unknown)
		}
		if !p.take(':') {
			return nil, errJSON
		}
		value, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		members = append(members, member{key, value})
		switch {
		case p.take(','):
		case p.take('}'):
			return members, nil
		default:
			return nil, errJSON
		}
	}
}

func (p *parser) array(depth int) ([]node, error) {
	p.at++
	var list []node
	if p.take(']') {
		return list, nil
	}
	for {
		value, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, value)
		switch {
		case p.take(','):
		case p.take(']'):
			return list, nil
		default:
			return nil, errJSON
		}
	}
}

// string reads a string; escaped says that it is spelled with an escape.
func (p *parser) string() (text string, escaped bool, err error) {
	start := p.at
	for p.at++; p.at < len(p.data); p.at++ {
		switch c := p.data[p.at]; {
		case c == '"':
			p.at++
			if !escaped {
				return string(p.data[start+1 : p.at-1]), false, nil
			}
			err = json.Unmarshal(p.data[start:p.at], &text)
			return text, true, err
		case c == '\\':
			escaped = true
			p.at++
		case c < 0x20:
			return "", false, errJSON
		}
	}
	return "", false, errJSON
}

func (p *parser) number() (string, error) {
	start := p.at
	for p.at < len(p.data) && bytes.IndexByte([]byte("+-.eE0123456789"), p.data[p.at]) >= 0 {
		p.at++
	}
	text := p.data[start:p.at]
	if !json.Valid(text) {
		return "", errJSON
	}
	return string(text), nil
}

func (p *parser) word() error {
	for _, word := range [...]string{"true", "false", "null"} {
		if bytes.HasPrefix(p.data[p.at:], []byte(word)) {
			p.at += len(word)
			return nil
		}
	}
	return errJSON
}

// fields reads the members of an object, each once. The first error stays; what was not asked for by
// the end is unknown.
type fields struct {
	at      string
	members []member
	asked   uint64 // one bit for each member
	err     *error
}

func fieldsOf(value node, at string, err *error) *fields {
	out := &fields{at: at, members: value.members, err: err}
	if value.kind != '{' {
		out.wrong("", "no object")
	}
	return out
}

// wrong keeps the first error.
func (f *fields) wrong(key, format string, args ...any) {
	if *f.err != nil {
		return
	}
	where := f.at
	if key != "" {
		where += "." + key
	}
	*f.err = fmt.Errorf("%s: %s", where, fmt.Sprintf(format, args...))
}

func (f *fields) optional(key string) (node, bool) {
	for i := range f.members {
		if f.members[i].key == key {
			f.asked |= 1 << i
			return f.members[i].value, true
		}
	}
	return node{}, false
}

func (f *fields) get(key string, kind byte, name string) (node, bool) {
	value, found := f.optional(key)
	switch {
	case !found:
		f.wrong(key, "missing")
	case value.kind != kind:
		f.wrong(key, "not %s", name)
	default:
		return value, true
	}
	return node{}, false
}

func (f *fields) text(key string) string {
	value, _ := f.get(key, '"', "a text")
	return value.text
}

// is demands that text.
func (f *fields) is(key, want string) {
	if value, ok := f.get(key, '"', "a text"); ok && value.text != want {
		f.wrong(key, "%q, want %q", attestd.Excerpt(value.text, 40), want)
	}
}

// uint reads a whole number in its shortest form.
func (f *fields) uint(key string, most uint64) uint64 {
	value, ok := f.get(key, '0', "a number")
	if !ok {
		return 0
	}
	number, err := strconv.ParseUint(value.text, 10, 64)
	if err != nil || number > most {
		f.wrong(key, "%q, want a number from 0 to %d", attestd.Excerpt(value.text, 24), most)
		return 0
	}
	return number
}

// bytes reads exactly len(into) bytes in hex, of either case: Intel writes both.
func (f *fields) bytes(key string, into []byte) {
	value, ok := f.get(key, '"', "a text")
	if !ok {
		return
	}
	raw, err := hex.DecodeString(value.text)
	if err != nil || len(raw) != len(into) {
		f.wrong(key, "%q, want %d bytes in hex", attestd.Excerpt(value.text, 40), len(into))
		return
	}
	copy(into, raw)
}

const timeLayout = "2006-01-02T15:04:05Z"

// time reads a moment as Intel writes it: ISO 8601 in UTC, to the second.
func (f *fields) time(key string) time.Time {
	value, ok := f.get(key, '"', "a text")
	if !ok {
		return time.Time{}
	}
	read, err := time.Parse(timeLayout, value.text)
	if err != nil || read.Format(timeLayout) != value.text || read.Year() < 2000 {
		f.wrong(key, "%q, want a time such as %s", attestd.Excerpt(value.text, 40), timeLayout)
		return time.Time{}
	}
	return read
}

func (f *fields) array(key string, most int) []node {
	value, ok := f.get(key, '[', "a list")
	if ok && (len(value.list) == 0 || len(value.list) > most) {
		f.wrong(key, "a list of %d, want 1 to %d", len(value.list), most)
		return nil
	}
	return value.list
}

// unknown appends the members that nobody asked for.
func (f *fields) unknown(to []string) []string {
	for i := range f.members {
		if f.asked&(1<<i) == 0 && len(to) < limits.unknown {
			to = append(to, f.at+"."+attestd.Excerpt(f.members[i].key, 40))
		}
	}
	return to
}

// closed refuses members that nobody asked for.
func (f *fields) closed() {
	if extra := f.unknown(nil); len(extra) != 0 {
		f.wrong("", "unknown member %q", extra[0])
	}
}
