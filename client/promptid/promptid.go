package promptid

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Limits of prompts and keys, in bytes.
const (
	// MaxPrompt is the longest prompt: more than any model takes.
	MaxPrompt = 16 << 20
	// MinKey is the shortest key: as long as the hash (RFC 2104, section 3).
	MinKey = 32
	maxKey = 1024
)

// Schemes of ids.
const (
	// Keyed ids need the tenant's key.
	Keyed = "p1"
	// Plain ids can be made by anybody who guesses the prompt.
	Plain = "s1"
)

// Errors of this package. None quotes a prompt.
var (
	ErrNotUTF8  = errors.New("the prompt is not UTF-8")
	ErrTooLong  = fmt.Errorf("the prompt has more than %d bytes", MaxPrompt)
	ErrKey      = fmt.Errorf("a key has %d to %d bytes", MinKey, maxKey)
	ErrOverlaps = errors.New("parts to redact overlap, or are not in order")
	ErrPart     = errors.New("a part to redact is not within the text, or cuts a character")
	ErrType     = errors.New("the type of a part is not 1 to 32 of A to Z, 0 to 9 and _, a letter first")
	ErrForm     = errors.New("not a prompt id")
)

// Text is a canonical prompt. The zero Text is the empty one.
type Text struct{ text string }

// Canonical returns the canonical form of a prompt.
//
// Errors: [ErrNotUTF8], [ErrTooLong].
func Canonical(prompt string) (Text, error) {
	if len(prompt) > MaxPrompt {
		return Text{}, ErrTooLong
	}
	if !utf8.ValidString(prompt) {
		return Text{}, ErrNotUTF8
	}
	return Text{text: tidy(norm.NFC.String(prompt))}, nil
}

// tidy makes line ends and spaces alike, and cuts them off both ends.
func tidy(text string) string {
	var out strings.Builder
	out.Grow(len(text))
	space := false
	for index := 0; index < len(text); index++ {
		char := text[index]
		if char == ' ' || char == '\t' {
			space = true
			continue
		}
		if space {
			out.WriteByte(' ')
			space = false
		}
		if char == '\r' {
			if index+1 < len(text) && text[index+1] == '\n' {
				continue // the LF behind it is the line end
			}
			char = '\n'
		}
		out.WriteByte(char)
	}
	return strings.Trim(out.String(), " \n")
}

// String returns the canonical text. It is the prompt: keep it out of logs.
func (t Text) String() string { return t.text }

// Part is a part of a canonical text that is to be taken out: the bytes from Start on, before End, and
// the type of what stands there, as in "EMAIL".
type Part struct {
	Start int    `json:"start"`
	End   int    `json:"end"`
	Type  string `json:"type"`
}

// Redact returns the text with each part replaced by its placeholder. Parts are in order and do not
// overlap. Enforcement points agree on an id where they take out the same parts under the same types.
//
// Errors: [ErrPart], [ErrOverlaps], [ErrType].
func (t Text) Redact(parts ...Part) (Text, error) {
	var out strings.Builder
	end := 0
	for _, part := range parts {
		switch {
		case !isType(part.Type):
			return Text{}, ErrType
		case part.Start < 0 || part.End <= part.Start || part.End > len(t.text),
			!t.boundary(part.Start), !t.boundary(part.End):
			return Text{}, ErrPart
		case part.Start < end:
			return Text{}, ErrOverlaps
		}
		out.WriteString(t.text[end:part.Start])
		out.WriteString("<" + part.Type + ">")
		end = part.End
	}
	out.WriteString(t.text[end:])
	// A mark behind a part would join the bracket: NFC makes one character of ">" and U+0338.
	return Text{text: tidy(norm.NFC.String(out.String()))}, nil
}

// boundary reports whether a character begins there, or the text ends.
func (t Text) boundary(at int) bool { return at == len(t.text) || utf8.RuneStart(t.text[at]) }

func isType(text string) bool {
	if text == "" || len(text) > 32 || text[0] < 'A' || text[0] > 'Z' {
		return false
	}
	for _, char := range []byte(text) {
		if (char < 'A' || char > 'Z') && (char < '0' || char > '9') && char != '_' {
			return false
		}
	}
	return true
}

// Key is a tenant's key. The zero Key makes no ids.
type Key struct{ secret []byte }

// NewKey returns the key of those bytes, which are random and the tenant's alone.
//
// Errors: [ErrKey].
func NewKey(secret []byte) (Key, error) {
	if len(secret) < MinKey || len(secret) > maxKey {
		return Key{}, ErrKey
	}
	return Key{secret: append([]byte(nil), secret...)}, nil
}

// String keeps a key out of logs.
func (Key) String() string { return "prompt key" }

// GoString does so for %#v.
func (Key) GoString() string { return "promptid.Key{}" }

// ID returns the id of a text under the key.
//
// Errors: [ErrKey] for the zero Key.
func (k Key) ID(text Text) (string, error) {
	if len(k.secret) < MinKey {
		return "", ErrKey
	}
	mac := hmac.New(sha256.New, k.secret)
	mac.Write([]byte(text.text))
	return form(Keyed, mac.Sum(nil)), nil
}

// Hash returns the id of a text without a key. Who guesses the prompt can tell that it was that one.
func Hash(text Text) string {
	sum := sha256.Sum256([]byte(text.text))
	return form(Plain, sum[:])
}

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

func form(scheme string, sum []byte) string { return scheme + ":" + encoding.EncodeToString(sum) }

// Check returns nil where a text has the form of an id of a scheme that there is.
//
// Errors: [ErrForm].
func Check(id string) error {
	digits, ok := strings.CutPrefix(id, Keyed+":")
	if !ok {
		if digits, ok = strings.CutPrefix(id, Plain+":"); !ok {
			return ErrForm
		}
	}
	sum, err := encoding.DecodeString(digits)
	// 256 bits leave four in the last digit, which are zero in the one form of an id.
	if err != nil || len(sum) != sha256.Size || encoding.EncodeToString(sum) != digits {
		return ErrForm
	}
	return nil
}
