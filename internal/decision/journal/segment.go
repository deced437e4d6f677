package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// segment is one file of records.
type segment struct {
	name   string
	number int64
	// begun is when the first record was decided.
	begun time.Time
	bytes int64
}

const (
	segmentSuffix = ".jsonl"
	segmentTime   = "20060102T150405.000Z"
)

// fileName names a segment by its number, which orders, and the time of its first record, by which a
// record is found.
func (s segment) fileName() string {
	return fmt.Sprintf("%08d-%s%s", s.number, s.begun.UTC().Format(segmentTime), segmentSuffix)
}

// parseSegment reads the name of a segment.
func parseSegment(name string) (one segment, ok bool) {
	stem, ok := strings.CutSuffix(name, segmentSuffix)
	number, begun, found := strings.Cut(stem, "-")
	if !ok || !found {
		return one, false
	}
	var err error
	if one.number, err = strconv.ParseInt(number, 10, 64); err != nil || one.number < 1 {
		return one, false
	}
	if one.begun, err = time.Parse(segmentTime, begun); err != nil {
		return one, false
	}
	one.name = name
	return one, one.fileName() == name
}

// segments lists the segments of a folder, the oldest first. Other files are left alone.
func segments(folder string) ([]segment, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var found []segment
	for _, entry := range entries {
		one, ok := parseSegment(entry.Name())
		if !ok || !entry.Type().IsRegular() {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		one.bytes = info.Size()
		found = append(found, one)
	}
	slices.SortFunc(found, func(a, b segment) int { return cmp.Compare(a.number, b.number) })
	return found, nil
}
