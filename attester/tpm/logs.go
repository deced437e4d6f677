package tpm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
)

// MaxEvidence is the largest evidence that is made, in bytes: an attestd takes no more.
const MaxEvidence = 1 << 20

// Largest logs that are sent, in bytes. Boot logs of real machines have some hundred KiB at most; the IMA
// log may have what is left beside it, the keys and their certificates.
const (
	maxBootLog = MaxEvidence / 2
	maxRest    = 64 << 10
)

// logs adds the logs to the evidence and says which it left out, and why.
func (d *Device) logs(parts *tpmevidence.Evidence, offset uint64) (notes []string, err error) {
	boot, note, err := d.bootLog.read(0, maxBootLog)
	if err != nil {
		return nil, err
	}
	if note != "" {
		notes = append(notes, note)
	}
	parts.EventLog = boot
	ima, note, err := d.imaLog.read(offset, MaxEvidence-maxRest-len(boot))
	if err != nil {
		return nil, err
	}
	switch {
	case note != "":
		notes = append(notes, note)
	case ima != nil:
		parts.IMA = &tpmevidence.IMALog{Offset: offset, Log: ima}
	}
	return notes, nil
}

// read returns the log from offset on, and a note where there is none to read. A file that the kernel
// makes has no size beforehand, so it is read to its end.
func (f logFile) read(offset uint64, limit int) (log []byte, note string, err error) {
	if f.path == "" {
		return nil, "", nil
	}
	shown := attestd.Excerpt(f.path, 200)
	file, err := os.Open(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !f.required:
		return nil, fmt.Sprintf("no %s: %s does not exist", f.what, shown), nil
	case errors.Is(err, fs.ErrPermission) && !f.required:
		return nil, fmt.Sprintf("no %s: %s may not be read by this user", f.what, shown), nil
	case err != nil:
		return nil, "", refuse("check the path, or give \"off\" to leave the log out",
			fmt.Errorf("%s: %w", f.what, err))
	}
	defer file.Close()
	skipped, err := io.CopyN(io.Discard, file, int64(min(offset, 1<<62))) //nolint:gosec // bounded
	if errors.Is(err, io.EOF) {
		return nil, "", refuse("begin at 0: the log is of another boot than the one the offset is from",
			fmt.Errorf("%s %q has %d bytes, and %d are to be left out", f.what, shown, skipped, offset))
	}
	if err == nil {
		log, err = io.ReadAll(io.LimitReader(file, int64(limit)+1))
	}
	switch {
	case err != nil:
		return nil, "", refuse("check the path, or give \"off\" to leave the log out",
			fmt.Errorf("%s: %w", f.what, err))
	case len(log) > limit:
		return nil, "", refuse(f.less,
			fmt.Errorf("%s %q has more than %d bytes from %d on", f.what, shown, limit, offset))
	case len(log) == 0 && offset == 0:
		return nil, fmt.Sprintf("no %s: %s is empty", f.what, shown), nil
	case log == nil:
		log = []byte{}
	}
	return log, "", nil
}
