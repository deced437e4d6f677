package revocation

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/subject"
)

// maxJournal is the longest journal that is written or read.
const maxJournal = 32 << 20

// entry is a direct hold that the store has not taken over yet.
type entry struct {
	Number uint64        `json:"number"`
	State  attestd.State `json:"state"`
	Bars   []subject.Bar `json:"bars"`
	Tenant string        `json:"tenant"`
	// ID of the subject that was named; empty for hardware alone.
	ID    subject.ID   `json:"id"`
	Audit audit.Record `json:"audit"`
}

// journal is a file of entries, one a line behind the SHA-256 of the line. An entry was acknowledged
// only after its line was on disk, so a last line without its end was not; anything else that cannot
// be read is a hold that may be lost.
type journal struct {
	path string

	// mu is for what is in memory, and never held while the disk is waited for.
	mu      sync.Mutex
	entries []entry
	next    uint64

	// disk is taken before mu.
	disk   sync.Mutex
	file   *os.File
	size   int64
	broken bool
	// stored are the entries that are in the file.
	stored map[uint64]bool
}

func openJournal(path string) (*journal, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, unreadable(err)
	}
	j := &journal{path: path, file: file, next: 1, stored: map[uint64]bool{}}
	text, err := io.ReadAll(io.LimitReader(file, maxJournal+1))
	if err == nil {
		err = j.parse(text)
	}
	if err == nil && j.size != int64(len(text)) {
		err = file.Truncate(j.size) // an entry that was never acknowledged
	}
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = syncFolder(path)
	}
	if err != nil {
		_ = file.Close()
		return nil, unreadable(err)
	}
	return j, nil
}

// unreadable refuses to start. The cause names a path of the machine, which the operator gave.
func unreadable(err error) error {
	return wrong("it holds quarantines that the store has not taken over; restore it, or see what is "+
		"in it, quarantine that again and remove it", "the journal of direct holds: %w", err)
}

func (j *journal) parse(text []byte) error {
	if len(text) > maxJournal {
		return fmt.Errorf("is longer than %d bytes", maxJournal)
	}
	for number := 1; len(text) > 0; number++ {
		end := bytes.IndexByte(text, '\n')
		if end < 0 {
			return nil
		}
		line := text[:end]
		text = text[end+1:]
		var one entry
		sum, document, found := bytes.Cut(line, []byte(" "))
		if !found || string(sum) != digest(document) {
			return fmt.Errorf("line %d is not as it was written", number)
		}
		if err := json.Unmarshal(document, &one); err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if len(one.Bars) == 0 || !subject.Barred(one.State) {
			return fmt.Errorf("line %d holds nothing", number)
		}
		j.entries, j.stored[one.Number] = append(j.entries, one), true
		j.next = max(j.next, one.Number+1)
		j.size += int64(end) + 1
	}
	return nil
}

func digest(document []byte) string {
	sum := sha256.Sum256(document)
	return hex.EncodeToString(sum[:])
}

func lineOf(one entry) ([]byte, error) {
	document, err := json.Marshal(one)
	if err != nil {
		return nil, err
	}
	line := append([]byte(digest(document)), ' ')
	return append(append(line, document...), '\n'), nil
}

// enter lays an entry's bars and makes it one that waits for the store, in one step: no end of an
// earlier entry comes in between.
func (j *journal) enter(one entry, lay func(bars []subject.Bar)) entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	one.Number = j.next
	j.next++
	j.entries = append(j.entries, one)
	lay(one.Bars)
	return one
}

// write puts an entry on disk before it returns. One that cannot be stays in memory, so that the store
// takes it over all the same.
func (j *journal) write(one entry) error {
	line, err := lineOf(one)
	j.disk.Lock()
	defer j.disk.Unlock()
	switch {
	case err != nil:
		return err
	case j.stored[one.Number], !j.waits(one.Number):
		return nil // with another entry's end, or the store has it by now
	case j.broken || j.file == nil:
		return fmt.Errorf("the journal cannot be written any more")
	case j.size+int64(len(line)) > maxJournal:
		return errFull
	}
	if _, err = j.file.Write(line); err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		// Half a line in the middle would make everything behind it unreadable.
		j.broken = j.file.Truncate(j.size) != nil
		return err
	}
	j.size += int64(len(line))
	j.stored[one.Number] = true
	return nil
}

var errFull = fmt.Errorf("the journal would be longer than %d bytes", maxJournal)

func (j *journal) waits(number uint64) bool {
	return slices.ContainsFunc(j.waiting(), func(one entry) bool { return one.Number == number })
}

// waiting returns the entries that the store has not taken over.
func (j *journal) waiting() []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.entries)
}

// done removes entries that are durable elsewhere, and ends the holds of the keys that no other entry
// holds.
func (j *journal) done(numbers []uint64, settle func(free []subject.Key)) error {
	j.disk.Lock()
	defer j.disk.Unlock()
	j.remove(numbers, settle)
	return j.rewrite(j.waiting())
}

func (j *journal) remove(numbers []uint64, settle func(free []subject.Key)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var free []subject.Key
	var left []entry
	for _, one := range j.entries {
		if slices.Contains(numbers, one.Number) {
			free = append(free, keysOf(one.Bars)...)
		} else {
			left = append(left, one)
		}
	}
	for _, one := range left {
		free = slices.DeleteFunc(free, func(key subject.Key) bool {
			return slices.Contains(keysOf(one.Bars), key)
		})
	}
	j.entries = left
	settle(free)
}

// rewrite replaces the file by one with the entries that are left, whole or not at all.
func (j *journal) rewrite(left []entry) error {
	if j.file == nil {
		return os.ErrClosed
	}
	var text []byte
	stored := map[uint64]bool{}
	for _, one := range left {
		line, err := lineOf(one)
		if err != nil {
			return err
		}
		if len(text)+len(line) > maxJournal {
			return errFull
		}
		text, stored[one.Number] = append(text, line...), true
	}
	next := j.path + ".next"
	file, err := os.OpenFile(next, os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if _, err = file.Write(text); err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(next, j.path)
	}
	if err != nil {
		_ = file.Close()
		return err
	}
	_ = j.file.Close() // replaced: nothing of it counts any more
	j.file, j.size, j.broken, j.stored = file, int64(len(text)), false, stored
	return syncFolder(j.path)
}

func (j *journal) close() error {
	j.disk.Lock()
	defer j.disk.Unlock()
	if j.file == nil {
		return nil
	}
	file := j.file
	j.file = nil
	return file.Close()
}

// syncFolder makes a file's name durable.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	err = folder.Sync()
	if closed := folder.Close(); err == nil {
		err = closed
	}
	return err
}
