package ima

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/attestd/attestd"
)

// FromASCII turns the list in its form for people (ascii_runtime_measurements) into the binary one,
// for inspection. Of the templates it takes ima-ng, ima-sig and ima-buf; the others lose bytes in
// that form.
func FromASCII(text []byte) ([]byte, *Fault) {
	if len(text) > limits.log {
		return nil, &Fault{Class: attestd.ClassTooLarge, Got: fmt.Sprintf("%d bytes", len(text)),
			Want: fmt.Sprintf("%d bytes at most", limits.log)}
	}
	var out []byte
	index := 0
	for line := range bytes.Lines(text) {
		r := reader{index: index}
		line, ended := bytes.CutSuffix(line, []byte("\n"))
		if !ended {
			return nil, r.malformed("a line without an end", "whole lines")
		}
		entry, fault := r.asciiEntry(line)
		if fault != nil {
			return nil, fault
		}
		out = append(out, entry...)
		index++
	}
	return out, nil
}

// asciiEntry reads "10 <template digest> <template> <algorithm>:<digest> <name> [<hex>]"
// (ima_fs.c, ima_ascii_measurements_show). Names have no spaces: the kernel writes underscores.
func (r *reader) asciiEntry(line []byte) ([]byte, *Fault) {
	words := bytes.Split(bytes.TrimLeft(line, " "), []byte(" "))
	fields := 0
	if len(words) > 2 {
		switch string(words[2]) {
		case "ima-ng":
			fields = 2
		case "ima-sig", "ima-buf":
			fields = 3
		default:
			return nil, r.fault(attestd.ClassUnsupported,
				fmt.Sprintf("template %q", attestd.Excerpt(string(words[2]), 40)), "ima-ng, ima-sig or ima-buf")
		}
	}
	if fields == 0 || len(words) != 3+fields {
		return nil, r.malformed(fmt.Sprintf("%d words in a line", len(words)),
			"PCR, template digest, template, digest, name, and hex where the template has it")
	}
	digest, err := hex.DecodeString(string(words[1]))
	algorithm, value, ok := bytes.Cut(words[3], []byte(":"))
	file, fileErr := hex.DecodeString(string(value))
	if string(words[0]) != "10" || err != nil || fileErr != nil || !ok || len(digest) != 20 {
		return nil, r.malformed("a PCR or a digest that is none", "10, 40 hex digits, and algorithm:hex")
	}
	data := appendField(nil, append(append(append([]byte{}, algorithm...), ':', 0), file...))
	data = appendField(data, append(bytes.Clone(words[4]), 0))
	if fields == 3 {
		third, err := hex.DecodeString(string(words[5]))
		if err != nil {
			return nil, r.malformed("a last word that is not hex", "a signature or buffer in hex")
		}
		data = appendField(data, third)
	}
	entry := append(binary.LittleEndian.AppendUint32(nil, register), digest...)
	entry = appendField(entry, words[2])
	return appendField(entry, data), nil
}

// appendField appends bytes behind their length.
func appendField(to, field []byte) []byte {
	//nolint:gosec // all parts of one line, which the limit bounds
	return append(binary.LittleEndian.AppendUint32(to, uint32(len(field))), field...)
}
