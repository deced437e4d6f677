package export

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/attestd/attestd/internal/decision/journal"
)

// mostValue is the longest value of a CEF extension, in bytes: all of them fit a datagram.
const mostValue = 1500

// cefKeys are CEF's own names for fields; the others stand under "attestd" and their name.
var cefKeys = map[string]string{
	"decision_id": "externalId", "decision": "act", "reason": "reason", "detail": "msg", "subject": "suser",
	"source": "src", "enforcer": "dvchost", "request_id": "requestContext", "count": "cnt",
}

// cefLabelled are those that stand in CEF's six custom texts, each with a label.
var cefLabelled = []string{
	"subject_chain", "policy_snapshot", "atlas_mapping", "dataset_scope", "prompt_id", "policy_digest",
}

// CEFKey returns the key that a field stands under in a CEF line.
func CEFKey(name string) string {
	if key := cefKeys[name]; key != "" {
		return key
	}
	for index, one := range cefLabelled {
		if one == name {
			return "cs" + strconv.Itoa(index+1)
		}
	}
	key := "attestd"
	for part := range strings.SplitSeq(name, "_") {
		key += strings.ToUpper(part[:1]) + part[1:]
	}
	return key
}

// CEF returns a record as a line of the Common Event Format, version 0, without its end. What a caller
// chose can neither end a value nor a line.
func CEF(record *journal.Record, version string) string {
	name := record.Decision
	if record.Reason != "" {
		name = string(record.Reason)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "CEF:0|attestd|attestd|%s|%s|%s|%d|rt=%d", header(version), header(name),
		header(summary(record)), severity(record).cef, record.At.UnixMilli())
	for _, field := range Fields(record) {
		key := CEFKey(field.Name)
		if strings.HasPrefix(key, "cs") {
			out.WriteString(" " + key + "Label=" + field.Name)
		}
		out.WriteString(" " + key + "=" + extension(field.Value))
	}
	return out.String()
}

var (
	headerEscapes    = strings.NewReplacer(`\`, `\\`, `|`, `\|`, "\n", " ", "\r", " ")
	extensionEscapes = strings.NewReplacer(`\`, `\\`, `=`, `\=`, "\n", `\n`, "\r", `\r`)
)

func header(text string) string { return headerEscapes.Replace(printable(text)) }

func extension(text string) string {
	if len(text) > mostValue {
		end := mostValue
		for end > 0 && !utf8.RuneStart(text[end]) {
			end--
		}
		text = text[:end] + "..."
	}
	return extensionEscapes.Replace(printable(text))
}

// printable replaces control characters but for line ends, which have an escape, and what is no UTF-8.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\r' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError ||
			r == 0x2028 || r == 0x2029 {
			return '?'
		}
		return r
	}, text)
}
