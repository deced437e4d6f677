package link

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/attestd/attestd"
)

// MaxFrame is the greatest length of a frame where [Options] name no other: the 2 MiB that a node can
// hand in through SPIRE, and what stands around them.
const MaxFrame = 2<<20 + 256<<10

// maxMethod bounds a method's name, headerSize is the length of a frame's length, and growth how much
// memory is set aside for a frame before the bytes for it have come.
const (
	maxMethod  = 64
	headerSize = 4
	growth     = 64 << 10
)

// kind of a message.
type kind int

const (
	kindCall kind = iota + 1
	kindNotice
	kindResult
	kindError
	kindFarewell
)

// message is what a frame says. Value is the body, the result or the error.
type message struct {
	kind   kind
	id     uint64
	millis uint64
	method string
	value  []byte
}

// errProtocol is what every breach of the frames' rules is.
var errProtocol = errors.New("the peer broke the protocol")

func breach(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errProtocol, fmt.Sprintf(format, args...))
}

// readFrame reads one frame into memory of its own, which grows as the bytes come: whoever announces a
// long frame and sends none of it holds no more than growth. begun is called with
// the length of a frame that is not there yet as a whole.
func readFrame(r *bufio.Reader, limit int, begun func(size int)) ([]byte, error) {
	header, err := r.Peek(headerSize)
	if err != nil {
		if len(header) != 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	size := int(binary.BigEndian.Uint32(header)) // at most 4 GiB, int has 64 bits on what we build for
	if size > limit || size == 0 {
		return nil, breach("a frame of %d bytes, want 1 to %d", size, limit)
	}
	if _, err := r.Discard(headerSize); err != nil {
		return nil, err
	}
	if r.Buffered() < size {
		begun(size)
	}
	frame := make([]byte, 0, min(size, growth))
	for len(frame) < size {
		if len(frame) == cap(frame) {
			frame = append(make([]byte, 0, min(size, 2*cap(frame))), frame...)
		}
		n, err := r.Read(frame[len(frame):cap(frame)])
		frame = frame[:len(frame)+n]
		if err != nil && len(frame) < size {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return frame, nil
}

// parse reads the one spelling of a message.
func parse(frame []byte) (message, error) {
	s := scanner{rest: frame}
	m := message{}
	switch {
	case s.eat(`{"id":`):
		m.id = s.number()
		switch {
		case s.eat(`,"ms":`):
			m.kind, m.millis = kindCall, s.number()
			m.method = s.methodAndBody(`,"method":"`)
		case s.eat(`,"result":`):
			m.kind = kindResult
		case s.eat(`,"error":`):
			m.kind = kindError
		default:
			s.bad = true
		}
	case s.eat(`{"error":`):
		m.kind = kindFarewell
	default:
		m.kind = kindNotice
		m.method = s.methodAndBody(`{"method":"`)
	}
	value, closed := bytes.CutSuffix(s.rest, []byte("}"))
	if s.bad || !closed || !json.Valid(value) {
		return message{}, breach("not a message: %q", attestd.Excerpt(string(frame[:min(len(frame), 80)]), 60))
	}
	m.value = value
	return m, nil
}

// scanner eats the fixed parts of a message.
type scanner struct {
	rest []byte
	bad  bool
}

func (s *scanner) eat(text string) bool {
	if len(s.rest) < len(text) || string(s.rest[:len(text)]) != text {
		return false
	}
	s.rest = s.rest[len(text):]
	return true
}

// number reads a whole number that is not zero, without leading zeros.
func (s *scanner) number() uint64 {
	end := 0
	for end < len(s.rest) && end < 20 && s.rest[end] >= '0' && s.rest[end] <= '9' {
		end++
	}
	value, err := strconv.ParseUint(string(s.rest[:end]), 10, 64)
	s.bad = s.bad || err != nil || s.rest[0] == '0'
	s.rest = s.rest[end:]
	return value
}

func (s *scanner) methodAndBody(lead string) string {
	if !s.eat(lead) {
		s.bad = true
		return ""
	}
	end := 0
	for end < len(s.rest) && methodByte(s.rest[end]) {
		end++
	}
	method := string(s.rest[:min(end, maxMethod)])
	s.bad = s.bad || end == 0 || end > maxMethod
	s.rest = s.rest[end:]
	if !s.eat(`","body":`) {
		s.bad = true
	}
	return method
}

func methodByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '.' || b == '-'
}

// validMethod reports whether a name can stand in a message as it is.
func validMethod(name string) bool {
	for i := range len(name) {
		if !methodByte(name[i]) {
			return false
		}
	}
	return name != "" && len(name) <= maxMethod
}

// append writes the message as a frame behind out.
func (m message) append(out []byte) []byte {
	start := len(out)
	out = append(out, 0, 0, 0, 0)
	switch m.kind {
	case kindCall:
		out = strconv.AppendUint(append(out, `{"id":`...), m.id, 10)
		out = strconv.AppendUint(append(out, `,"ms":`...), m.millis, 10)
		out = append(append(append(out, `,"method":"`...), m.method...), `","body":`...)
	case kindNotice:
		out = append(append(append(out, `{"method":"`...), m.method...), `","body":`...)
	case kindResult:
		out = append(strconv.AppendUint(append(out, `{"id":`...), m.id, 10), `,"result":`...)
	case kindError:
		out = append(strconv.AppendUint(append(out, `{"id":`...), m.id, 10), `,"error":`...)
	default:
		out = append(out, `{"error":`...)
	}
	out = append(append(out, m.value...), '}')
	binary.BigEndian.PutUint32(out[start:], uint32(len(out)-start-headerSize)) //nolint:gosec // below its limit
	return out
}

// envelope bounds what a message is longer than its value.
const envelope = 2*20 + maxMethod + 40
