package tdx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/attestd/attestd"
)

// DefaultEventLog is the area in which firmware logs what it measures into the RTMRs (ACPI 6.5,
// section 5.2.34 "Confidential Computing Event Log"; Linux shows the area under the table's name).
const DefaultEventLog = "/sys/firmware/acpi/tables/data/CCEL"

// Off is the path of a log that is not to be read.
const Off = "off"

// maxLog is the largest area that is read, in bytes: half of what a verifier takes as evidence.
const maxLog = 512 << 10

// keptOnes is how many bytes of what fills a log's area up are sent.
const keptOnes = 64

// readLog returns the log without what fills its area up, and a note where there is none to read.
func (g *Guest) readLog() (log []byte, note string, err error) {
	if g.log == "" {
		return nil, "", nil
	}
	shown := attestd.Excerpt(g.log, 200)
	file, err := os.Open(g.log)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !g.required:
		return nil, "no event log: " + shown + " does not exist", nil
	case errors.Is(err, fs.ErrPermission) && !g.required:
		return nil, "no event log: " + shown + " may not be read by this user", nil
	case err != nil:
		return nil, "", refuse("check the path, or give \"off\" to leave the log out", fmt.Errorf("event log: %w", err))
	}
	defer file.Close() //nolint:errcheck // was only read
	log, err = io.ReadAll(io.LimitReader(file, maxLog+1))
	switch {
	case err != nil:
		return nil, "", refuse("check the path, or give \"off\" to leave the log out", fmt.Errorf("event log: %w", err))
	case len(log) > maxLog:
		return nil, "", refuse("leave the log out: \"off\"",
			fmt.Errorf("event log %q has more than %d bytes", shown, maxLog))
	}
	// Firmware fills its area with ones beforehand. Some of them stay: an event's data may end with them.
	filled := bytes.TrimRight(log, "\xff")
	if len(bytes.Trim(filled, "\x00")) == 0 {
		return nil, "no event log: " + shown + " is empty", nil
	}
	return log[:min(len(filled)+keptOnes, len(log))], "", nil
}
