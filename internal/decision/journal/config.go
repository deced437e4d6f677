package journal

import (
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is what [New] needs. Every field is required but Sinks and Sealed, which nothing is decided by.
type Config struct {
	// Folder has the files; it is made where it is not there, for its owner alone.
	Folder string
	// Age is how long a record is kept; Bytes how many bytes of records. The oldest go first.
	Age   time.Duration
	Bytes int64
	// Reserve is how many bytes of the disk records leave to others: below it the oldest records go, and
	// where there are none left nothing more is written.
	Reserve int64
	// Allows is one in how many decisions that allow is written whole; 1 is every one. Denials are not
	// sampled.
	Allows int
	// Engine is attestd's version.
	Engine string
	Now    func() time.Time
	Logger *slog.Logger
	// Registerer takes the metrics.
	Registerer prometheus.Registerer
	// Sinks are given each record once it is on disk.
	Sinks []Sink
	// Sealed is told of each file that is complete, for the audit log. It must not wait.
	Sealed func(Seal)
}

// Sink takes records to somewhere else. Take must not wait, and must not change the record.
type Sink interface{ Take(record *Record) }

// Seal is what a segment was when nothing more was added to it.
type Seal struct {
	// Segment is the file's name.
	Segment string `json:"segment"`
	Records int64  `json:"records"`
	Bytes   int64  `json:"bytes"`
	// SHA256 of the file, in hex.
	SHA256 string `json:"sha256"`
}

// leastBytes is the smallest bound of all records.
const leastBytes = 1 << 20

func (c Config) check() error {
	switch {
	case c.Folder == "", c.Engine == "":
		return errors.New("a journal of decisions needs a folder, and to know what writes it")
	case c.Age <= 0, c.Bytes < leastBytes, c.Reserve <= 0, c.Allows < 1:
		return errors.New("a journal of decisions needs bounds: an age, bytes, a reserve, one in how many allows")
	case c.Now == nil, c.Logger == nil, c.Registerer == nil:
		return errors.New("a journal of decisions needs a clock, a logger and metrics")
	}
	return nil
}
