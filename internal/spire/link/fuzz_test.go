package link

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/attestd/attestd/internal/strict"
)

// FuzzFrame: what is read as a message is JSON of that meaning for the strict reader, too, and writes
// back as the same bytes; and a stream of bytes is never read beyond what it announces.
func FuzzFrame(f *testing.F) {
	for _, text := range []string{
		`{"id":7,"ms":2000,"method":"grant","body":{"kind":"jwt-svid"}}`, `{"method":"snapshot","body":{}}`,
		`{"id":7,"result":{"claims":{"a":1}}}`, `{"id":7,"error":{"class":"INTERNAL","message":"x"}}`,
		`{"error":{"class":"FORBIDDEN","message":"x"}}`, `{"id":18446744073709551615,"result":null}`,
		`{"id":1,"ms":1,"method":"a","body":{}},"x":{}}`, `{"id":07,"result":1}`, `{"id":1,"result": [1] }`, `{`, ``,
	} {
		f.Add(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...), 1<<10)
	}
	f.Fuzz(func(t *testing.T, stream []byte, limit int) {
		limit = max(1, min(limit, 64<<10))
		source := bytes.NewReader(stream)
		frame, err := readFrame(bufio.NewReaderSize(iotest.OneByteReader(source), 16), limit, func(int) {})
		if err != nil {
			if frame != nil {
				t.Fatal("a frame and an error")
			}
			return
		}
		if len(frame) > limit || len(frame) == 0 || !bytes.Equal(frame, stream[4:4+len(frame)]) ||
			int(binary.BigEndian.Uint32(stream)) != len(frame) || cap(frame) > max(growth, len(frame)) {
			t.Fatalf("%d bytes of a stream of %d, limit %d", len(frame), len(stream), limit)
		}
		m, err := parse(frame)
		if err != nil {
			return
		}
		if again := m.append(nil); !bytes.Equal(again[headerSize:], frame) {
			t.Fatalf("two spellings: %q and %q", frame, again[headerSize:])
		}
		sameAsStrict(t, frame, m)
	})
}

// sameAsStrict compares with another reader of the same document, where that one accepts the value.
func sameAsStrict(t *testing.T, frame []byte, m message) {
	t.Helper()
	var document struct {
		ID     uint64          `json:"id"`
		Millis uint64          `json:"ms"`
		Method string          `json:"method"`
		Body   json.RawMessage `json:"body"`
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	limits := strict.JSONLimits{Bytes: len(frame), Depth: 64}
	var value any
	if strict.DecodeJSON(m.value, limits, &value) != nil {
		return // the value is whoever decodes it to refuse
	}
	if err := strict.DecodeJSON(frame, strict.JSONLimits{Bytes: len(frame), Depth: 65}, &document); err != nil {
		t.Fatalf("%q is no document: %v", frame, err)
	}
	want := map[kind]json.RawMessage{
		kindCall: document.Body, kindNotice: document.Body, kindResult: document.Result, kindError: document.Error,
		kindFarewell: document.Error,
	}[m.kind]
	if document.ID != m.id || document.Millis != m.millis || document.Method != m.method ||
		!bytes.Equal(bytes.TrimSpace(m.value), bytes.TrimSpace(want)) {
		t.Fatalf("%q is %+v, read as %+v", frame, document, m)
	}
}

// endless yields what a stream announces without an end.
type endless struct{ io.Reader }

func TestAStreamIsReadNoFurtherThanItsFrame(t *testing.T) {
	text := `{"id":1,"result":{}}`
	two := strings.Repeat(string(binary.BigEndian.AppendUint32(nil, uint32(len(text))))+text, 2)
	reader := bufio.NewReader(endless{strings.NewReader(two)})
	for range 2 {
		frame, err := readFrame(reader, 100, func(int) {})
		if err != nil || string(frame) != text {
			t.Fatalf("%q, %v", frame, err)
		}
	}
	if _, err := readFrame(reader, 100, func(int) {}); err != io.EOF { //nolint:errorlint // exactly that
		t.Fatal(err)
	}
}
