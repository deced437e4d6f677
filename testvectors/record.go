package testvectors

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/attestd/attestd"
)

// maxRecord bounds a record file: a nonce or key of 1,024 bytes is 2,048 digits of hex.
const maxRecord = 8 << 10

// record is one file of the manifest, read and checked but not yet loaded.
type record struct {
	name         string
	kind         string // the file's ending
	format       attestd.Format
	source       source
	steps        []step
	sha256       [32]byte
	at           time.Time
	nonce, key   []byte
	demandNonce  []byte
	trustedAK    *[32]byte
	log          Log // of a .log record, without its bytes
	endorsements []string
	expect       attestd.Verdict
	check        attestd.CheckID
	claims       map[string]string
	neg          []int
	licence      string
	comment      string
}

// source says where the bytes come from: a Go module or the folder of extra vectors.
type source struct {
	module, h1 string // module@version and its go.sum hash; empty for an extra file
	path       string
	with       []string // further files of the same origin
}

// The kinds of records, by the ending of their files.
const (
	kindVector      = ".vector"
	kindEndorsement = ".endorsement"
	kindLog         = ".log"
)

// What a kind of record may say beside commonKeys, and what it must say beside neededKeys.
var (
	commonKeys = []string{"source", "with", "encoding", "sha256", "licence", "comment"}
	neededKeys = []string{"source", "encoding", "sha256", "licence"}
	kindKeys   = map[string]struct{ known, needed []string }{
		kindEndorsement: {},
		kindVector: {
			known: []string{
				"format", "at", "nonce", "demand-nonce", "key", "trusted-ak", "endorsements", "expect",
				"check", "claims", "neg",
			},
			needed: []string{"format", "at", "expect"},
		},
		kindLog: {
			known:  []string{"log", "expect", "events", "bank", "registers", "neg"},
			needed: []string{"log", "expect"},
		},
	}
)

// parseRecord reads the record in the file name, a path below manifest/ such as
// "nitro/anjuna.vector".
func parseRecord(file string, text []byte) (record, error) {
	folder, base := path.Split(file)
	row := record{kind: path.Ext(base)}
	row.name = folder + strings.TrimSuffix(base, row.kind)
	if _, known := kindKeys[row.kind]; !known {
		return record{}, fmt.Errorf("%s: neither a .vector nor an .endorsement nor a .log", file)
	}
	values, err := readLines(text, row.kind)
	if err == nil {
		err = row.fill(values, strings.TrimSuffix(folder, "/"))
	}
	if err != nil {
		return record{}, fmt.Errorf("%s: %w", file, err)
	}
	return row, nil
}

// readLines reads "key: value" lines, each key once, and refuses keys that are not of the kind.
func readLines(text []byte, kind string) (map[string]string, error) {
	if len(text) > maxRecord || !utf8.Valid(text) {
		return nil, fmt.Errorf("not UTF-8 text of at most %d bytes", maxRecord)
	}
	body, ended := strings.CutSuffix(string(text), "\n")
	if !ended {
		return nil, errors.New("does not end in a newline")
	}
	values := map[string]string{}
	for number, line := range strings.Split(body, "\n") {
		key, value, ok := strings.Cut(line, ": ")
		if !ok || value == "" || value != strings.TrimSpace(value) {
			return nil, fmt.Errorf("line %d is not \"key: value\"", number+1)
		}
		if !slices.Contains(commonKeys, key) && !slices.Contains(kindKeys[kind].known, key) {
			return nil, fmt.Errorf("line %d: unknown key %q", number+1, key)
		}
		if _, double := values[key]; double {
			return nil, fmt.Errorf("line %d: second %q", number+1, key)
		}
		values[key] = value
	}
	for _, key := range slices.Concat(kindKeys[kind].needed, neededKeys) {
		if values[key] == "" {
			return nil, fmt.Errorf("no %q", key)
		}
	}
	return values, nil
}

// fill turns texts into fields. Missing optional keys have the empty text.
func (r *record) fill(values map[string]string, folder string) error {
	r.licence, r.comment = values["licence"], values["comment"]
	r.check = attestd.CheckID(values["check"])
	r.endorsements = strings.Fields(values["endorsements"])
	var errs []error
	keep := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	var err error
	r.source, err = parseSource(values["source"], values["with"])
	keep(err)
	r.steps, err = parseSteps(values["encoding"])
	keep(err)
	if got, want := 1+len(r.source.with), filesOf(r.steps); err == nil && got != want {
		keep(fmt.Errorf("source and with name %d files, the first step takes %d", got, want))
	}
	digest, err := hex.DecodeString(values["sha256"])
	keep(err)
	if copy(r.sha256[:], digest) != 32 || len(digest) != 32 {
		keep(errors.New("sha256 is not 64 digits of hex"))
	}
	switch r.kind {
	case kindVector:
		keep(r.fillVector(values, folder))
	case kindLog:
		r.log, err = parseLog(values)
		keep(err)
	}
	return errors.Join(errs...)
}

func (r *record) fillVector(values map[string]string, folder string) (err error) {
	if r.format, err = attestd.ParseFormat(values["format"]); err != nil {
		return err
	}
	if string(r.format) != folder {
		return fmt.Errorf("format %q in folder %q", r.format, folder)
	}
	if r.at, err = time.Parse(time.RFC3339Nano, values["at"]); err != nil {
		return err
	}
	if r.nonce, err = hex.DecodeString(values["nonce"]); err != nil {
		return fmt.Errorf("nonce: %w", err)
	}
	if r.key, err = hex.DecodeString(values["key"]); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if r.demandNonce, err = hex.DecodeString(values["demand-nonce"]); err != nil {
		return fmt.Errorf("demand-nonce: %w", err)
	}
	if text := values["trusted-ak"]; text != "" {
		digest, err := hex.DecodeString(text)
		if err != nil || len(digest) != 32 {
			return errors.New("trusted-ak is not 64 digits of hex")
		}
		r.trustedAK = (*[32]byte)(digest)
	}
	verdicts := map[string]attestd.Verdict{
		"accept":    attestd.VerdictAccepted,
		"reject":    attestd.VerdictRejected,
		"undecided": attestd.VerdictUndecided,
	}
	expect, known := verdicts[values["expect"]]
	switch {
	case !known:
		return fmt.Errorf("expect is %q, want accept, reject or undecided", values["expect"])
	case (expect == attestd.VerdictAccepted) != (r.check == ""):
		return errors.New("check must be given unless expect is accept, and only then")
	}
	r.expect = expect
	if r.claims, err = parseClaims(values["claims"]); err != nil {
		return err
	}
	r.neg, err = parseNumbers(values["neg"])
	return err
}

func parseSource(text, with string) (source, error) {
	words := strings.Fields(text)
	var from source
	switch {
	case len(words) == 2 && words[0] == "extra":
		from = source{path: words[1]}
	case len(words) == 4 && words[0] == "module" && strings.Contains(words[1], "@"):
		from = source{module: words[1], h1: words[2], path: words[3]}
		if !strings.HasPrefix(from.h1, "h1:") {
			return source{}, fmt.Errorf("source: %q is no h1 hash", from.h1)
		}
	default:
		return source{}, fmt.Errorf("source is %q, want \"module M@V H1 PATH\" or \"extra PATH\"", text)
	}
	from.with = strings.Fields(with)
	for _, name := range append([]string{from.path}, from.with...) {
		// A path that climbs out would read files that no record can pin the origin of.
		if path.IsAbs(name) || path.Clean(name) != name || strings.HasPrefix(name, "..") {
			return source{}, fmt.Errorf("source: path %q is not a clean relative path", name)
		}
	}
	return from, nil
}

func parseClaims(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	claims := map[string]string{}
	for _, part := range strings.Split(text, "; ") {
		name, value, ok := strings.Cut(part, "=")
		if _, double := claims[name]; !ok || name == "" || double {
			return nil, fmt.Errorf("claims: %q is not one new name=value", part)
		}
		claims[name] = value
	}
	return claims, nil
}

func parseNumbers(text string) ([]int, error) {
	var numbers []int
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		number, err := strconv.Atoi(part)
		if err != nil || number < 1 {
			return nil, fmt.Errorf("neg: %q is no number of the catalogue", part)
		}
		numbers = append(numbers, number)
	}
	return numbers, nil
}
