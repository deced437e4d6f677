package journal

import (
	"encoding/json"
	"regexp"
	"strings"
)

// redacted stands for what was taken out.
const redacted = "[redacted]"

// secrets are what no record may hold: tokens as three parts of base64url that begin as a JSON object
// does (RFC 7515, section 7.1), what follows "Bearer", and PEM. Enforcement points are told to send none,
// and answers hold none of their own: this is for those that put a URL with a token into a resource's id.
// The line is JSON, so a text ends at its quotation mark.
var secrets = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*` +
	`|(?i:bearer)[ +]+[A-Za-z0-9._~+/=-]{16,}` +
	`|-----BEGIN [^"]*`)

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
	if suspicious(line) && secrets.Match(line) {
		record.Scrubbed = true
		if line, err = appendRecord(line[:0], record); err != nil {
			return nil, err
		}
		line = secrets.ReplaceAllLiteral(line, []byte(redacted))
		clean := Record{}
		if err := json.Unmarshal(line, &clean); err != nil {
			return nil, err
		}
		*record = clean
	}
	return append(line, '\n'), nil
}

// suspicious reports whether a line has what secrets begin with: most have not, and are not searched.
func suspicious(line []byte) bool {
	for index, char := range line {
		rest := line[index:]
		switch {
		case char == 'e' && len(rest) >= 3 && rest[1] == 'y' && rest[2] == 'J':
			return true
		case char|0x20 != 'b' || len(rest) < 6:
		case string(rest[:6]) == "BEGIN ", strings.EqualFold(string(rest[:6]), "bearer"):
			return true
		}
	}
	return false
}

// withoutPrompt returns the record without a prompt id that is none: it could be the prompt itself.
func withoutPrompt(record Record) Record {
	record.PromptID, record.Scrubbed = redacted, true
	if record.Input != nil {
		in := *record.Input
		in.Context.PromptID = redacted
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
