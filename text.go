package attestd

import (
	"strings"
	"unicode/utf8"
)

// Excerpt returns at most limit runes of s for a message that people read: control characters,
// invalid UTF-8 and characters that reorder text are replaced by '?', and a cut is marked by "...".
// It is what stands between text that an attacker chose and a terminal or a log.
func Excerpt(s string, limit int) string {
	var out strings.Builder
	count := 0
	for index, r := range s {
		if count == limit {
			out.WriteString("...")
			break
		}
		switch {
		case r == utf8.RuneError:
			if _, size := utf8.DecodeRuneInString(s[index:]); size <= 1 {
				r = '?'
			}
		case r < ' ', r >= 0x7f && r < 0xa0, // C0, DEL, C1
			r == 0x061c, r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x2069,
			r == 0xfeff: // zero width, line separators, bidirectional controls
			r = '?'
		}
		out.WriteRune(r)
		count++
	}
	return out.String()
}
