package strict

// plainDepth is the deepest nesting that [PlainJSON] follows.
const plainDepth = 16

// PlainJSON reports whether a document is one JSON value (RFC 8259) in the spelling in which
// encoding/json writes most of them: no white space outside of strings, within strings nothing but
// printable ASCII without <, > and &, and no escape but \" and \\. One pass over the bytes then says
// what otherwise takes three: the document is valid, it can be put into another as it stands, and there
// is nothing in it that could steer a terminal.
//
// That it returns false says nothing: the document can be valid all the same.
func PlainJSON(document []byte) bool {
	rest, ok := plainValue(document, plainDepth)
	return ok && len(rest) == 0
}

// plainValue returns what is behind the value that a document begins with.
func plainValue(document []byte, depth int) (rest []byte, ok bool) {
	if len(document) == 0 || depth == 0 {
		return nil, false
	}
	switch document[0] {
	case '{':
		return plainList(document[1:], '}', depth, plainMember)
	case '[':
		return plainList(document[1:], ']', depth, plainValue)
	case '"':
		return plainText(document)
	case 't':
		return plainWord(document, "true")
	case 'f':
		return plainWord(document, "false")
	case 'n':
		return plainWord(document, "null")
	default:
		return plainNumber(document)
	}
}

// plainList reads members up to the end of an object or an array that was opened.
func plainList(
	document []byte, end byte, depth int, member func([]byte, int) ([]byte, bool),
) (rest []byte, ok bool) {
	if len(document) != 0 && document[0] == end {
		return document[1:], true
	}
	for {
		if document, ok = member(document, depth-1); !ok || len(document) == 0 {
			return nil, false
		}
		switch document[0] {
		case end:
			return document[1:], true
		case ',':
			document = document[1:]
		default:
			return nil, false
		}
	}
}

func plainMember(document []byte, depth int) (rest []byte, ok bool) {
	rest, ok = plainText(document)
	if !ok || len(rest) == 0 || rest[0] != ':' {
		return nil, false
	}
	return plainValue(rest[1:], depth)
}

func plainText(document []byte) (rest []byte, ok bool) {
	if len(document) == 0 || document[0] != '"' {
		return nil, false
	}
	for i := 1; i < len(document); i++ {
		i += PlainLength(document[i:])
		switch {
		case i == len(document):
			return nil, false
		case document[i] == '"':
			return document[i+1:], true
		case document[i] != '\\':
			return nil, false
		}
		if i++; i == len(document) || document[i] != '"' && document[i] != '\\' {
			return nil, false
		}
	}
	return nil, false
}

// special has the bytes that encoding/json does not write into a text as they are.
var special = func() (table [256]bool) {
	for c := range table {
		table[c] = c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&'
	}
	return table
}()

// PlainLength returns how many bytes at the beginning of a text are printable ASCII that encoding/json
// writes as it is. Most texts have nothing else, so eight bytes are looked at together.
func PlainLength[Text ~string | ~[]byte](text Text) int {
	i := 0
	for ; i+8 <= len(text); i += 8 {
		if specialIn(uint64(text[i]) | uint64(text[i+1])<<8 | uint64(text[i+2])<<16 | uint64(text[i+3])<<24 |
			uint64(text[i+4])<<32 | uint64(text[i+5])<<40 | uint64(text[i+6])<<48 | uint64(text[i+7])<<56) {
			break
		}
	}
	for ; i < len(text); i++ {
		if special[text[i]] {
			return i
		}
	}
	return i
}

// specialIn reports whether one of eight bytes is special. It may say so of others, never the reverse: a
// byte's top bit comes out where the byte is zero, has it, or where a byte below borrowed from it.
func specialIn(eight uint64) bool {
	const each, top = 0x0101010101010101, 0x8080808080808080
	found := eight | (eight - ' '*each)         // above ASCII, and control characters
	found |= eight ^ 0x7f*each - each           // DEL
	found |= eight ^ '\\'*each - each           // \
	found |= (eight | 4*each) ^ '&'*each - each // & and ", which differ by 4
	found |= (eight | 2*each) ^ '>'*each - each // < and >, which differ by 2
	return found&top != 0
}

func plainWord(document []byte, word string) (rest []byte, ok bool) {
	if len(document) < len(word) || string(document[:len(word)]) != word {
		return nil, false
	}
	return document[len(word):], true
}

// plainNumber takes integers alone, which is all that verdicts have.
func plainNumber(document []byte) (rest []byte, ok bool) {
	sign := 0
	if document[0] == '-' {
		sign = 1
	}
	end := sign
	for end < len(document) && document[end] >= '0' && document[end] <= '9' {
		end++
	}
	if end == sign || document[sign] == '0' && end > sign+1 { // none, or a zero in front of others
		return nil, false
	}
	return document[end:], true
}
