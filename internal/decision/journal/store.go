package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Folders below that of a journal.
const (
	segmentFolder = "segments"
	policyFolder  = "policies"
)

const (
	// segmentShare is the part of all bytes that one segment has: what is deleted goes a segment at a time.
	segmentShare = 64
	leastSegment = 256 << 10
	// mostSegment bounds what is read to find one record.
	mostSegment = 64 << 20
	// segmentAge is after what time a segment is complete: a quiet attestd's are sealed too.
	segmentAge = time.Hour
	// pruneEvery is how often what is too old is looked for.
	pruneEvery = 10 * time.Second
)

// head is the first line of a segment.
type head struct {
	Schema string    `json:"schema"`
	Number int64     `json:"number"`
	Begun  time.Time `json:"begun"`
	Engine string    `json:"engine"`
	// Previous and PreviousSHA256 name the segment before it, and what it was; empty for none, or one that
	// a crash or a disk has cut.
	Previous       string `json:"previous,omitempty"`
	PreviousSHA256 string `json:"previous_sha256,omitempty"`
}

// store has the segments. It is its writer's alone.
type store struct {
	config   Config
	policies *policies
	folder   string
	lock     *os.File
	limit    int64
	free     func(folder string) (int64, error)

	pruned time.Time
	// closed are the segments that nothing is added to any more, the oldest first; bytes are those of all.
	closed []segment
	bytes  int64

	// file is the one that is added to; nil before its first record.
	file     *os.File
	current  segment
	records  int64
	begun    time.Time
	hash     hash.Hash
	previous Seal
	buffer   bytes.Buffer
	// digests are the policies that records of this segment name.
	digests map[string]bool
}

func openStore(config Config, policies *policies) (*store, error) {
	s := &store{
		config: config, policies: policies, folder: filepath.Join(config.Folder, segmentFolder), free: freeBytes,
		limit: min(max(config.Bytes/segmentShare, leastSegment), mostSegment), hash: sha256.New(),
	}
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(config.Folder, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { //nolint:gosec // fits
		_ = lock.Close()
		return nil, errors.New("another process writes records of decisions there")
	}
	s.lock = lock
	if s.closed, err = segments(s.folder); err == nil {
		err = s.mend()
	}
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	for _, one := range s.closed {
		s.bytes += one.bytes
		s.current.number = max(s.current.number, one.number)
	}
	return s, nil
}

// freeBytes returns how many bytes of the disk are left to us.
func freeBytes(folder string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(folder, &stat); err != nil {
		return 0, err
	}
	return int64(stat.Bavail) * stat.Bsize, nil //nolint:gosec // below 2^63 for any disk
}

// mend cuts what a crash has left torn off the newest segment, and seals it.
func (s *store) mend() error {
	if len(s.closed) == 0 {
		return nil
	}
	newest := &s.closed[len(s.closed)-1]
	path := filepath.Join(s.folder, newest.name)
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	whole := wholeLines(content)
	if whole == 0 {
		s.current.number = newest.number
		s.closed = s.closed[:len(s.closed)-1]
		return os.Remove(path)
	}
	sum := sha256.Sum256(content[:whole])
	s.previous = Seal{
		Segment: newest.name, Bytes: int64(whole), SHA256: hex.EncodeToString(sum[:]),
		Records: int64(bytes.Count(content[:whole], []byte{'\n'}) - 1),
	}
	newest.bytes = int64(whole)
	if whole == len(content) {
		return nil
	}
	return os.Truncate(path, newest.bytes)
}

// wholeLines returns the length of content up to the end of its last line that is a JSON document: a
// crash can leave half a line, and on some file systems blocks of zeros.
func wholeLines(content []byte) int {
	end := bytes.LastIndexByte(content, '\n') + 1
	for end > 0 {
		begin := bytes.LastIndexByte(content[:end-1], '\n') + 1
		if json.Valid(content[begin:end-1]) && end-begin > 1 {
			return end
		}
		end = begin
	}
	return 0
}

// add writes records, and returns how many. What was not written is in no file.
func (s *store) add(records []Record) (added int, err error) {
	for added < len(records) {
		if err := s.roll(records[added].At); err != nil {
			return added, err
		}
		s.buffer.Reset()
		count := 0
		for index := added; index < len(records); index++ {
			record := &records[index]
			if count > 0 && s.current.bytes+int64(s.buffer.Len()) >= s.limit {
				break
			}
			line, err := encode(record)
			if err != nil { // what cannot be written would keep back all that follows
				*record = withoutResult(*record)
				if line, err = encode(record); err != nil {
					*record = bare(*record)
					if line, err = encode(record); err != nil {
						return added, err
					}
				}
			}
			s.buffer.Write(line)
			count++
			if !s.digests[record.Policy] {
				s.digests[record.Policy] = true
				s.policies.used(record.Policy)
			}
		}
		if err := s.write(s.buffer.Bytes()); err != nil {
			return added, err
		}
		s.records += int64(count)
		added += count
	}
	return added, nil
}

func withoutResult(record Record) Record {
	record.Input, record.Result, record.Scrubbed = nil, nil, true
	return record
}

// bare returns a record of what attestd itself wrote alone: that, when and how something was decided.
func bare(record Record) Record {
	return Record{
		Schema: record.Schema, ID: record.ID, At: record.At, Decision: record.Decision, Policy: record.Policy,
		Engine: record.Engine, Scrubbed: true,
	}
}

// write adds bytes to the current segment: all, or none.
func (s *store) write(content []byte) error {
	if err := s.room(int64(len(content))); err != nil {
		return err
	}
	n, err := s.file.Write(content)
	if errors.Is(err, unix.ENOSPC) && s.dropOldest() {
		var more int
		more, err = s.file.Write(content[n:])
		n += more
	}
	if err != nil {
		if cut := s.file.Truncate(s.current.bytes); cut != nil {
			s.abandon()
		} else if _, cut = s.file.Seek(s.current.bytes, 0); cut != nil {
			s.abandon()
		}
		return err
	}
	s.hash.Write(content)
	s.current.bytes += int64(n)
	s.bytes += int64(n)
	return nil
}

// errSpace says that the disk has only what is reserved for others.
var errSpace = errors.New("the disk has no space but what is kept for others")

// room deletes the oldest records until as many bytes can be written.
func (s *store) room(bytes int64) error {
	for s.bytes+bytes > s.config.Bytes && s.dropOldest() {
	}
	for {
		free, err := s.free(s.folder)
		if err != nil {
			return err
		}
		if free-bytes >= s.config.Reserve {
			return nil
		}
		if !s.dropOldest() {
			return errSpace
		}
	}
}

// dropOldest deletes the oldest segment that nothing is added to.
func (s *store) dropOldest() bool {
	if len(s.closed) == 0 {
		return false
	}
	oldest := s.closed[0]
	if err := os.Remove(filepath.Join(s.folder, oldest.name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false
	}
	s.closed = s.closed[1:]
	s.bytes -= oldest.bytes
	return true
}

// prune deletes segments all of whose records are too old, and the policies of which no record is left.
func (s *store) prune(now time.Time) {
	if now.Sub(s.pruned) < pruneEvery && !now.Before(s.pruned) {
		return
	}
	s.pruned = now
	if s.file != nil && now.Sub(s.begun) >= segmentAge {
		_ = s.seal() // its error is met again by the next record
	}
	s.dropOld(now)
	switch {
	case len(s.closed) > 0:
		s.policies.prune(s.closed[0].begun)
	case s.file != nil:
		s.policies.prune(s.current.begun)
	}
}

// dropOld deletes the segments all of whose records are too old.
func (s *store) dropOld(now time.Time) {
	old := now.Add(-s.config.Age)
	for len(s.closed) > 0 {
		// A segment ends where the next one begins; the newest at most segmentAge behind its beginning.
		end := s.closed[0].begun.Add(segmentAge)
		if len(s.closed) > 1 {
			end = s.closed[1].begun
		} else if s.file != nil {
			end = s.current.begun
		}
		if !end.Before(old) || !s.dropOldest() {
			return
		}
	}
}

// roll makes sure that there is a segment to add to.
func (s *store) roll(first time.Time) error {
	if s.file != nil && s.current.bytes < s.limit {
		return nil
	}
	if s.file != nil {
		if err := s.seal(); err != nil {
			return err
		}
	}
	if err := s.room(0); err != nil {
		return err
	}
	s.current = segment{number: s.current.number + 1, begun: first}
	s.current.name = s.current.fileName()
	file, err := os.OpenFile(filepath.Join(s.folder, s.current.name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	s.file, s.records, s.begun = file, 0, s.config.Now()
	s.hash.Reset()
	s.digests = map[string]bool{}
	line, err := json.Marshal(head{
		Schema: SegmentSchema, Number: s.current.number, Begun: first.UTC(), Engine: s.config.Engine,
		Previous: s.previous.Segment, PreviousSHA256: s.previous.SHA256,
	})
	if err == nil {
		err = s.write(append(line, '\n'))
	}
	if err == nil {
		err = syncFolder(s.folder)
	}
	if err != nil && s.file != nil {
		s.abandon()
	}
	return err
}

// seal ends the current segment.
func (s *store) seal() error {
	if err := s.sync(); err != nil {
		return err
	}
	s.previous = Seal{
		Segment: s.current.name, Records: s.records, Bytes: s.current.bytes,
		SHA256: hex.EncodeToString(s.hash.Sum(nil)),
	}
	s.closed = append(s.closed, s.current)
	err := s.file.Close()
	s.file = nil
	if s.config.Sealed != nil {
		s.config.Sealed(s.previous)
	}
	return err
}

// abandon ends a segment of which nobody knows what the disk has.
func (s *store) abandon() {
	_ = s.file.Close()
	s.closed = append(s.closed, s.current)
	s.file, s.previous = nil, Seal{}
}

// sync waits until the disk has the segment.
func (s *store) sync() error {
	if s.file == nil {
		return nil
	}
	if err := s.file.Sync(); err != nil {
		s.abandon()
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

func (s *store) close() (err error) {
	if s.file != nil {
		err = s.seal()
	}
	return errors.Join(err, s.lock.Close())
}

func syncFolder(folder string) error {
	file, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
