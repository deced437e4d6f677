package journal

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/attestd/attestd/internal/decision"
)

// lineLength is what most records have.
const lineLength = 3 << 10

// encode returns the record as a line. What is taken out of the line is taken out of the record as well:
// it goes on to sinks. What the record points to is not written to.
func encode(record *Record) ([]byte, error) {
	if !promptIDForm(record.PromptID) {
		*record = withoutPrompt(*record)
	}
	line, err := appendRecord(make([]byte, 0, lineLength), record)
	if err != nil {
		return nil, err
	}
	if suspicious(line) {
		clean, found, err := scrub(line)
		if err != nil {
			return nil, err
		}
		if found {
			*record = clean
			if line, err = appendRecord(line[:0], record); err != nil {
				return nil, err
			}
		}
	}
	return append(line, '\n'), nil
}

// scrub reads the record of a line without its secrets, and reports whether there were any.
func scrub(line []byte) (clean Record, found bool, err error) {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	var document any
	if err := decoder.Decode(&document); err != nil {
		return clean, false, err
	}
	document = without(document, &found)
	if !found {
		return clean, false, nil
	}
	line, err = json.Marshal(document)
	if err == nil {
		err = json.Unmarshal(line, &clean)
	}
	clean.Scrubbed = true
	return clean, true, err
}

// without returns a value of JSON without what is a secret in any of its texts.
func without(value any, found *bool) any {
	switch one := value.(type) {
	case string:
		text, secret := decision.Redact(one)
		*found = *found || secret
		return text
	case []any:
		for i := range one {
			one[i] = without(one[i], found)
		}
	case map[string]any:
		for key := range one {
			one[key] = without(one[key], found)
		}
	}
	return value
}

// suspicious reports whether a line has what secrets begin with: most have not, and are not searched.
func suspicious(line []byte) bool {
	for index := 0; index+2 < len(line); index++ {
		char := line[index]
		if !begins[char] || !follows[line[index+1]] {
			continue
		}
		rest := line[index:]
		switch {
		case char == 'e' && rest[1] == 'y' && strings.IndexByte("JAoI", rest[2]) >= 0:
			return true
		case char|0x20 != 'b' && char|0x20 != 't' || len(rest) < 6:
		case string(rest[:6]) == "BEGIN ", strings.EqualFold(string(rest[:6]), "bearer"),
			strings.EqualFold(string(rest[:5]), "basic"), strings.EqualFold(string(rest[:6]), "token="):
			return true
		}
	}
	return false
}

// begins and follows are the first and the second bytes of what suspicious looks for: nearly all of a line
// is passed over by them.
var begins, follows = tableOf("ebBtT"), tableOf("yeEaAoO")

func tableOf(chars string) (table [256]bool) {
	for _, char := range []byte(chars) {
		table[char] = true
	}
	return table
}

// withoutPrompt returns the record without a prompt id that is none: it could be the prompt itself.
func withoutPrompt(record Record) Record {
	record.PromptID, record.Scrubbed = decision.Redacted, true
	if record.Input != nil {
		in := *record.Input
		in.Context.PromptID = decision.Redacted
		record.Input = &in
	}
	return record
}

// digits of a prompt id: 256 bits in base32 without padding.
const promptDigits = 52

// promptIDForm reports whether a text is empty or has the form of a prompt id: a scheme of a letter and
// a digit, a colon, and 52 digits of base32 in small letters (client/promptid).
func promptIDForm(text string) bool {
	if text == "" {
		return true
	}
	if len(text) != 3+promptDigits || text[0] < 'a' || text[0] > 'z' || text[1] < '1' || text[1] > '9' ||
		text[2] != ':' {
		return false
	}
	for _, digit := range []byte(text[3:]) {
		if (digit < 'a' || digit > 'z') && (digit < '2' || digit > '7') {
			return false
		}
	}
	return true
}
