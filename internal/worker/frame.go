package worker

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/attestd/attestd/internal/service"
)

// kind of a frame.
type kind byte

// Frames from attestd to a worker.
const (
	kindSetup    kind = 'S' // once, first: roots and limits
	kindDocument kind = 'D' // a policy or reference values, kept by its digest
	kindJob      kind = 'J' // one question; answered by exactly one frame
	kindKeys     kind = 'K' // two keys to make a credential for; answered by exactly one frame
)

// Frames from a worker to attestd.
const (
	kindReady   kind = 'R' // once, after the lock: which layers are up
	kindUnfit   kind = 'U' // once, instead: the worker could not be built or locked, and has ended
	kindVerdict kind = 'V' // an Appraisal
	kindMade    kind = 'M' // a credential
	kindCaller  kind = 'C' // the job cannot be asked
	kindBug     kind = 'B' // the judge failed, or panicked
)

// Caps of a frame's payload in bytes. They are checked before memory is set aside: a worker that was
// taken over must not be able to use up attestd's memory by announcing a large reply.
const (
	maxRequest  = 4 << 20
	maxDocument = 16 << 20 // configuration, not a caller's bytes
	maxReply    = 1 << 20
	maxKeys     = 2*service.MaxPublic + 1<<10
)

// headerSize is the length of a frame's header: the kind, and the payload's length in big endian.
const headerSize = 5

// newFrame returns a buffer with room for a header; sealFrame fills the header in.
func newFrame(room int) []byte { return make([]byte, headerSize, headerSize+room) }

func sealFrame(frame []byte, k kind, limit int) ([]byte, error) {
	if size := len(frame) - headerSize; size > limit {
		return nil, fmt.Errorf("frame has %d bytes, want at most %d", size, limit)
	}
	frame[0] = byte(k)
	binary.BigEndian.PutUint32(frame[1:], uint32(len(frame)-headerSize)) //nolint:gosec // at most limit
	return frame, nil
}

// announced returns the length of the payload behind a header.
func announced(header []byte, limit int) (int, error) {
	size := binary.BigEndian.Uint32(header[1:headerSize])
	if uint64(size) > uint64(limit) { //nolint:gosec // limit is a positive constant
		return 0, fmt.Errorf("frame announces %d bytes, want at most %d", size, limit)
	}
	return int(size), nil
}

// readFrame reads one frame into memory of its own. An end of the stream before the first byte is
// io.EOF, any later one io.ErrUnexpectedEOF.
func readFrame(r io.Reader, limit int) (kind, []byte, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	size, err := announced(header[:], limit)
	if err != nil {
		return 0, nil, err
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(r, payload); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return kind(header[0]), payload, nil
}
