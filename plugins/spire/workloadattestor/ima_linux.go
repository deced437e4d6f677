package workloadattestor

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// imaLog is the kernel's own list of what it measured before it ran (Linux, Documentation/ABI/testing/
// ima_policy, securityfs). Only root may read it.
const imaLog = "/sys/kernel/security/ima/ascii_runtime_measurements"

const (
	// maxMeasurements bounds how many digests are kept: 32 bytes each.
	maxMeasurements = 1 << 18
	// maxMeasurementLine bounds one line: digests, a path and a signature.
	maxMeasurementLine = 64 << 10
	// rereadAfter is how soon the list is read on for a digest that it did not have.
	rereadAfter = 100 * time.Millisecond
)

// measurementList follows the kernel's list, from where it was read to the last time. One that does
// not exist, or that may not be read, holds nothing.
type measurementList struct {
	path  string
	clock clock

	mu      sync.Mutex
	file    *os.File
	tried   bool
	rest    []byte // of a line that was not whole yet
	skip    bool   // the rest of a line that was too long
	held    map[[32]byte]struct{}
	read    time.Duration
	problem string
}

func newMeasurementList(path string, clock clock) *measurementList {
	return &measurementList{path: path, clock: clock, held: make(map[[32]byte]struct{})}
}

// holds reports whether the kernel measured a file with this SHA-256 since it booted.
func (l *measurementList) holds(digest string) bool {
	var want [32]byte
	if n, err := hex.Decode(want[:], []byte(digest)); err != nil || n != len(want) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.held[want]; ok {
		return true
	}
	l.follow()
	_, ok := l.held[want]
	return ok
}

// follow reads what the kernel has added.
func (l *measurementList) follow() {
	now := l.clock.steady()
	if l.tried && now-l.read < rereadAfter {
		return
	}
	l.tried, l.read = true, now
	if l.file == nil {
		file, err := os.Open(l.path)
		if err != nil {
			l.problem = err.Error()
			return
		}
		l.file = file
	}
	reader := bufio.NewReaderSize(l.file, 64<<10)
	for len(l.held) < maxMeasurements {
		line, err := reader.ReadSlice('\n')
		whole := err == nil
		if !l.skip {
			l.rest = append(l.rest, line...)
		}
		if len(l.rest) > maxMeasurementLine {
			l.rest, l.skip = l.rest[:0], true
		}
		if whole {
			if digest, ok := measured(l.rest); ok {
				l.held[digest] = struct{}{}
			}
			l.rest, l.skip = l.rest[:0], false
		}
		switch {
		case whole, errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return
		default:
			l.problem = err.Error()
			_ = l.file.Close()
			l.file = nil
			return
		}
	}
}

// measured reads one line: PCR, digest of the entry, template, and its fields. Templates ima-ng and
// ima-sig have "sha256:HEX", ima-ngv2 and ima-sigv2 "ima:sha256:HEX" (Documentation/security/
// IMA-templates.rst). Digests by other algorithms, those of
// fs-verity, and entries of buffers (ima-buf) are of something else.
func measured(line []byte) (digest [32]byte, ok bool) {
	fields := bytes.SplitN(line, []byte(" "), 5)
	if len(fields) < 5 {
		return digest, false
	}
	var text []byte
	switch string(fields[2]) {
	case "ima-ng", "ima-sig", "ima-modsig":
		text, ok = bytes.CutPrefix(fields[3], []byte("sha256:"))
	case "ima-ngv2", "ima-sigv2":
		text, ok = bytes.CutPrefix(fields[3], []byte("ima:sha256:"))
	}
	if !ok || hex.DecodedLen(len(text)) != len(digest) {
		return digest, false
	}
	if _, err := hex.Decode(digest[:], text); err != nil {
		return [32]byte{}, false
	}
	// A violation is written as zeros: the file was open for writing while it was measured.
	return digest, digest != [32]byte{}
}
