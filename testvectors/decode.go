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
	stepKind
}

// stepKind is what a step does. Exactly one of run and join is there: join takes all files of a
// record and can only be the first step.
type stepKind struct {
	words int // how many follow the step's name
	run   func(words []string, in []byte) ([]byte, error)
	files int // that join takes
	join  func(words []string, files [][]byte) ([]byte, error)
}

var stepKinds = map[string]stepKind{
	"raw":      {run: func(_ []string, in []byte) ([]byte, error) { return in, nil }},
	"hex":      {run: decodeHex},
	"base64":   {run: decodeBase64},
	"pem":      {words: 1, run: decodePEM},
	"txtar":    {words: 1, run: decodeTxtar},
	"json":     {words: 1, run: decodeJSON},
	"literal":  {words: 1, run: decodeLiteral},
	"tsm-cbor": {run: decodeTSM},
	"slice":    {words: 2, run: decodeSlice},

	"combined": {words: 1, run: decodeCombined},
	"escaped":  {words: 1, run: decodeEscaped},

	"tdx-evidence": {files: 2, join: joinTDX},

	"go-tpm-tools":             {words: 1, run: decodeGoTPMTools},
	"go-tpm-tools-certificate": {words: 1, files: 2, join: joinGoTPMTools},
	"go-attestation":           {run: decodeGoAttestation},
	"tpm2-tools":               {files: 5, join: joinTPM2Tools},
	"trustee-tpm":              {run: decodeTrusteeTPM},
	"trustee-azure":            {run: decodeTrusteeAzure},
	"azure-parts":              {files: 3, join: joinAzure},
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
		if kind.join != nil && len(steps) > 0 {
			return nil, fmt.Errorf("encoding: step %q joins files and must be the first", part)
		}
		steps = append(steps, step{name: words[0], words: words[1:], stepKind: kind})
	}
	return steps, nil
}

// filesOf returns how many files the pipeline starts from.
func filesOf(steps []step) int {
	if len(steps) > 0 && steps[0].join != nil {
		return steps[0].files
	}
	return 1
}

func decode(steps []step, files [][]byte) (data []byte, err error) {
	if len(files) != filesOf(steps) {
		return nil, fmt.Errorf("%d files, want %d", len(files), filesOf(steps))
	}
	data = files[0]
	for _, s := range steps {
		if s.join != nil {
			data, err = s.join(s.words, files)
		} else {
			data, err = s.run(s.words, data)
		}
		if err != nil {
			return nil, fmt.Errorf("step %q: %w", s.name, err)
		}
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

// decodePEM takes the first block of a type, whose spaces are underscores in a record.
func decodePEM(words []string, in []byte) ([]byte, error) {
	want := strings.ReplaceAll(words[0], "_", " ")
	for {
		block, rest := pem.Decode(in)
		if block == nil {
			return nil, fmt.Errorf("no PEM block of type %q", words[0])
		}
		if block.Type == want {
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
