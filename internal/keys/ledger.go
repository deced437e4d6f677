package keys

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// The ledger of a key has one record of 48 bytes for each token: when it was signed and when it ends,
// in nanoseconds since 1970, big-endian, its id, and what it is about. It has at most two files of
// maxRecords each; the older one gives way.
const (
	recordSize   = 8 + 8 + 16 + 16
	maxRecords   = 1 << 18
	ledgerSuffix = ".signed"
	olderSuffix  = ".signed.1"
)

// ledger appends records, those of many tokens with one sync: whoever comes while one is under way
// waits for the next.
type ledger struct {
	folder string
	most   int // records of one file

	mu      sync.Mutex
	waiting map[string]*batch
	// writing is taken by whoever writes, and has the files.
	writing sync.Mutex
	id      string // of the key whose file is open
	file    *os.File
	size    int64
	closed  bool
}

// batch is what is written together.
type batch struct {
	records []byte
	done    chan struct{}
	err     error
}

func newLedger(folder string) *ledger {
	return &ledger{folder: folder, most: maxRecords, waiting: map[string]*batch{}}
}

func (l *ledger) path(id string) string { return filepath.Join(l.folder, id+ledgerSuffix) }

// add appends a record, and returns when it is durable or ctx ends. After that it may be there.
func (l *ledger) add(ctx context.Context, id string, signed Signed) error {
	record := make([]byte, 0, recordSize)
	record = binary.BigEndian.AppendUint64(record, uint64(signed.At.UnixNano()))        //nolint:gosec // after 1970
	record = binary.BigEndian.AppendUint64(record, uint64(signed.ExpiresAt.UnixNano())) //nolint:gosec // as above
	record = append(append(record, signed.ID[:]...), signed.About[:]...)
	l.mu.Lock()
	mine, joined := l.waiting[id]
	if !joined {
		mine = &batch{done: make(chan struct{})}
		l.waiting[id] = mine
	}
	mine.records = append(mine.records, record...)
	l.mu.Unlock()
	if !joined {
		go l.flush(id, mine)
	}
	select {
	case <-mine.done:
		return mine.err
	case <-ctx.Done():
		return errors.New("the ledger of signatures takes too long")
	}
}

// flush writes a batch, with all that joined it until the files were free.
func (l *ledger) flush(id string, mine *batch) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	delete(l.waiting, id)
	l.mu.Unlock()
	mine.err = l.write(id, mine.records)
	close(mine.done)
}

func (l *ledger) write(id string, records []byte) error {
	if l.closed {
		return errors.New("the ledger of signatures is closed")
	}
	if err := l.open(id); err != nil {
		return err
	}
	if l.size+int64(len(records)) > int64(l.most)*recordSize && l.size > 0 {
		if err := l.turn(id); err != nil {
			return err
		}
	}
	_, err := l.file.Write(records)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		// What is there of it goes: the next record must begin where one begins.
		err = errors.Join(err, l.file.Truncate(l.size), l.file.Close())
		l.file, l.id = nil, ""
		return fmt.Errorf("ledger of signatures: %w", err)
	}
	l.size += int64(len(records))
	return nil
}

// open has the file of the key open, without half a record at its end.
func (l *ledger) open(id string) error {
	if l.file != nil && l.id == id {
		return nil
	}
	if l.file != nil {
		_ = l.file.Close() // each write was synced
		l.file = nil
	}
	file, err := os.OpenFile(l.path(id), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("ledger of signatures: %w", err)
	}
	info, err := file.Stat()
	if err == nil && info.Size()%recordSize != 0 {
		err = file.Truncate(info.Size() - info.Size()%recordSize)
	}
	if err == nil {
		err = syncFolder(l.folder)
	}
	if err != nil {
		return fmt.Errorf("ledger of signatures: %w", errors.Join(err, file.Close()))
	}
	l.id, l.file, l.size = id, file, info.Size()-info.Size()%recordSize
	return nil
}

// turn puts the full file in the older one's place.
func (l *ledger) turn(id string) error {
	err := l.file.Close()
	l.file, l.id = nil, ""
	if err = errors.Join(err, os.Rename(l.path(id), filepath.Join(l.folder, id+olderSuffix))); err != nil {
		return fmt.Errorf("ledger of signatures: %w", err)
	}
	return l.open(id)
}

// since returns the records of a key from a time on, the newest first and at most most of them, how
// many there are, and since when there are any, zero where none was given up.
func (l *ledger) since(id string, from time.Time, most int) (
	list []Signed, total int, known time.Time, err error,
) {
	l.writing.Lock()
	defer l.writing.Unlock()
	older, err := readLedger(filepath.Join(l.folder, id+olderSuffix))
	if err != nil {
		return nil, 0, time.Time{}, err
	}
	newer, err := readLedger(l.path(id))
	if err != nil {
		return nil, 0, time.Time{}, err
	}
	if len(older) != 0 {
		known = older[0].At
	}
	for _, one := range slices.Backward(append(older, newer...)) {
		if one.At.Before(from) {
			continue
		}
		if total++; len(list) < most {
			list = append(list, one)
		}
	}
	return list, total, known, nil
}

func readLedger(path string) ([]Signed, error) {
	file, err := os.Open(path) //nolint:gosec // a folder that the configuration names
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ledger of signatures: %w", err)
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, 2*maxRecords*recordSize))
	if err != nil {
		return nil, fmt.Errorf("ledger of signatures: %w", err)
	}
	list := make([]Signed, 0, len(content)/recordSize)
	for ; len(content) >= recordSize; content = content[recordSize:] {
		list = append(list, Signed{
			At:        time.Unix(0, int64(binary.BigEndian.Uint64(content))).UTC(),     //nolint:gosec // as written
			ExpiresAt: time.Unix(0, int64(binary.BigEndian.Uint64(content[8:]))).UTC(), //nolint:gosec // as written
			ID:        [16]byte(content[16:32]), About: [16]byte(content[32:48]),
		})
	}
	return list, nil
}

// sweepLedgers removes the ledgers of keys that are not known any more.
func sweepLedgers(folder string, known func(id string) bool) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("ledger of signatures: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		id, is := strings.CutSuffix(strings.TrimSuffix(entry.Name(), ".1"), ledgerSuffix)
		if is && isKeyID(id) && !known(id) {
			errs = append(errs, os.Remove(filepath.Join(folder, entry.Name())))
		}
	}
	return errors.Join(errs...)
}

func (l *ledger) close() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.closed = true
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
