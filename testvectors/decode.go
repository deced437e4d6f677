package testvectors

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/fxamacker/cbor/v2"
	"github.com/rogpeppe/go-internal/txtar"
)

// step is one decoding of an encoding pipeline.
type step struct {
	name  string
	words []string
	run   func(words []string, in []byte) ([]byte, error)
}

// stepKinds says for each step how many words follow its name.
var stepKinds = map[string]struct {
	words int
	run   func(words []string, in []byte) ([]byte, error)
}{
	"raw":      {0, func(_ []string, in []byte) ([]byte, error) { return in, nil }},
	"hex":      {0, decodeHex},
	"base64":   {0, decodeBase64},
	"pem":      {1, decodePEM},
	"txtar":    {1, decodeTxtar},
	"json":     {1, decodeJSON},
	"literal":  {1, decodeLiteral},
	"tsm-cbor": {0, decodeTSM},
	"slice":    {2, decodeSlice},
}

func parseSteps(text string) ([]step, error) {
	var steps []step
	for _, part := range strings.Split(text, " | ") {
		words := strings.Fields(part)
		if len(words) == 0 {
			return nil, errors.New("encoding: an empty step")
		}
		kind, known := stepKinds[words[0]]
		if !known || len(words)-1 != kind.words {
			return nil, fmt.Errorf("encoding: unknown step %q", part)
		}
		steps = append(steps, step{name: words[0], words: words[1:], run: kind.run})
	}
	return steps, nil
}

func decode(steps []step, data []byte) ([]byte, error) {
	for _, s := range steps {
		out, err := s.run(s.words, data)
		if err != nil {
			return nil, fmt.Errorf("step %q: %w", s.name, err)
		}
		data = out
	}
	return data, nil
}

func decodeHex(_ []string, in []byte) ([]byte, error) {
	return hex.DecodeString(string(bytes.TrimSpace(in)))
}

func decodeBase64(_ []string, in []byte) ([]byte, error) {
	text := strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == ' ' {
			return -1
		}
		return r
	}, string(in))
	return base64.StdEncoding.Strict().DecodeString(text)
}

func decodePEM(words []string, in []byte) ([]byte, error) {
	for {
		block, rest := pem.Decode(in)
		if block == nil {
			return nil, fmt.Errorf("no PEM block of type %q", words[0])
		}
		if block.Type == words[0] {
			return block.Bytes, nil
		}
		in = rest
	}
}

func decodeTxtar(words []string, in []byte) ([]byte, error) {
	for _, file := range txtar.Parse(in).Files {
		if file.Name == words[0] {
			return file.Data, nil
		}
	}
	return nil, fmt.Errorf("no file %q", words[0])
}

func decodeJSON(words []string, in []byte) ([]byte, error) {
	value := json.RawMessage(in)
	for _, field := range strings.Split(words[0], ".") {
		var object map[string]json.RawMessage
		if err := json.Unmarshal(value, &object); err != nil {
			return nil, err
		}
		value = object[field]
	}
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return nil, err
	}
	return []byte(text), nil
}

var (
	joined  = regexp.MustCompile(`"\s*\+\s*"`)
	literal = regexp.MustCompile("[\"`]([A-Za-z0-9+/=\\s]{1000,})[\"`]")
)

// decodeLiteral cuts the n-th long base64 text out of a Go source file.
func decodeLiteral(words []string, in []byte) ([]byte, error) {
	number, err := strconv.Atoi(words[0])
	if err != nil {
		return nil, err
	}
	found := literal.FindAllSubmatch(joined.ReplaceAll(in, nil), -1)
	if number < 1 || number > len(found) {
		return nil, fmt.Errorf("%d literals, want number %d", len(found), number)
	}
	return decodeBase64(nil, found[number-1][1])
}

// decodeTSM joins the two parts of what Linux' configfs-tsm gives for SEV-SNP, kept in a CBOR map:
// outblob is the report, auxblob the GHCB certificate table, provider the line "sev_guest".
func decodeTSM(_ []string, in []byte) ([]byte, error) {
	var report struct {
		OutBlob  []byte `cbor:"outblob"`
		AuxBlob  []byte `cbor:"auxblob"`
		Provider string `cbor:"provider"`
	}
	if err := cbor.Unmarshal(in, &report); err != nil {
		return nil, err
	}
	if strings.TrimSpace(report.Provider) != "sev_guest" {
		return nil, fmt.Errorf("provider %q, want sev_guest", report.Provider)
	}
	return append(report.OutBlob, report.AuxBlob...), nil
}

func decodeSlice(words []string, in []byte) ([]byte, error) {
	offset, err := strconv.Atoi(words[0])
	if err != nil {
		return nil, err
	}
	length, err := strconv.Atoi(words[1])
	if err != nil {
		return nil, err
	}
	if offset < 0 || length < 0 || offset > len(in) || length > len(in)-offset {
		return nil, fmt.Errorf("bytes %d+%d of %d", offset, length, len(in))
	}
	return in[offset : offset+length], nil
}
