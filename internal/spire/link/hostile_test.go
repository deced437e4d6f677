package link_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
)

// raw writes a frame of whatever text.
func raw(t testing.TB, conn net.Conn, text string) {
	t.Helper()
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(text)))
	if _, err := conn.Write(append(frame, text...)); err != nil {
		t.Fatal(err)
	}
}

// next reads one frame.
func next(t testing.TB, conn net.Conn) string {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	var header [4]byte
	if _, err := readFull(conn, header[:]); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, binary.BigEndian.Uint32(header[:]))
	if _, err := readFull(conn, text); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func readFull(conn net.Conn, into []byte) (read int, err error) {
	for read < len(into) && err == nil {
		var n int
		n, err = conn.Read(into[read:])
		read += n
	}
	return read, err
}

// against returns a link and the bare connection of its peer.
func against(t testing.TB, handler link.Handler, options link.Options) (*link.Conn, net.Conn) {
	t.Helper()
	mine, theirs := sockets(t)
	conn := link.NewConn(mine, link.Peer{Address: "hostile"}, handler, options)
	t.Cleanup(func() {
		_ = conn.Close()
		conn.Wait()
	})
	return conn, theirs
}

func TestAPeerThatBreaksTheFramesLosesItsLink(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                    "",
		"no JSON":                    "GET / HTTP/1.1\r\n\r\n",
		"another order of keys":      `{"method":"echo","id":1,"ms":1,"body":{}}`,
		"a space":                    `{"id": 1,"ms":1000,"method":"echo","body":{}}`,
		"an id of zero":              `{"id":0,"ms":1000,"method":"echo","body":{}}`,
		"an id with a zero before":   `{"id":01,"ms":1000,"method":"echo","body":{}}`,
		"an id below zero":           `{"id":-1,"ms":1000,"method":"echo","body":{}}`,
		"an id above 64 bits":        `{"id":18446744073709551616,"ms":1000,"method":"echo","body":{}}`,
		"an id in a text":            `{"id":"1","ms":1000,"method":"echo","body":{}}`,
		"a fraction":                 `{"id":1.0,"ms":1000,"method":"echo","body":{}}`,
		"no time":                    `{"id":1,"method":"echo","body":{}}`,
		"no body":                    `{"id":1,"ms":1000,"method":"echo"}`,
		"half a body":                `{"id":1,"ms":1000,"method":"echo","body":{}`,
		"a body and more":            `{"id":1,"ms":1000,"method":"echo","body":{},"more":{}}`,
		"two bodies":                 `{"id":1,"ms":1000,"method":"echo","body":{},"body":{}}`,
		"an escape in the method":    `{"id":1,"ms":1000,"method":"e\u0063ho","body":{}}`,
		"a long method":              `{"id":1,"ms":1000,"method":"` + strings.Repeat("a", 65) + `","body":{}}`,
		"no method":                  `{"id":1,"ms":1000,"method":"","body":{}}`,
		"bytes behind":               `{"id":1,"ms":1000,"method":"echo","body":{}}}`,
		"an answer to nothing":       `{"id":1,"result":{}}`,
		"an error to nothing":        `{"id":1,"error":{"class":"INTERNAL","message":"x"}}`,
		"a farewell":                 `{"error":{"class":"FORBIDDEN","message":"x"}}`,
		"a farewell that is garbage": `{"error":7}`,
		"a body that is no JSON":     `{"id":1,"ms":1000,"method":"echo","body":{]}`,
		"a greeting of the future":   `{"method":"link.greeting","body":{"v":2}}`,
	} {
		t.Run(name, func(t *testing.T) {
			conn, peer := against(t, echo, link.Options{})
			raw(t, peer, text)
			ended(t, conn)
			if !closed(peer) {
				t.Error("the connection is still open")
			}
			if err := conn.Call(soon(t), "echo", nil, nil); !errors.Is(err, link.ErrUnreached) {
				t.Errorf("a call over it: %v", err)
			}
		})
	}
}

func TestAFrameOverTheLimitIsNotRead(t *testing.T) {
	conn, peer := against(t, echo, link.Options{FrameBytes: 1000})
	body := `{"id":1,"ms":1000,"method":"echo","body":{"n":1` + strings.Repeat(" ", 951) + `}}`
	raw(t, peer, body)
	if len(body) != 1000 || next(t, peer) != `{"id":1,"result":{"n":1}}` {
		t.Fatalf("a frame of %d bytes, the limit, is refused", len(body))
	}
	if _, err := peer.Write(binary.BigEndian.AppendUint32(nil, 1001)); err != nil {
		t.Fatal(err)
	}
	ended(t, conn)
	smaller := link.NewConn(peer, link.Peer{FrameBytes: 100}, echo, link.Options{FrameBytes: 1000})
	_ = smaller.Close()
	smaller.Wait()
}

// TestAnnouncedBytesCostNoMemory: a hundred links announce the longest frame and send none of it.
func TestAnnouncedBytesCostNoMemory(t *testing.T) {
	const links = 100
	heap := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	peers := make([]net.Conn, links)
	for index := range peers {
		_, peers[index] = against(t, echo, link.Options{})
	}
	before := heap()
	for _, peer := range peers {
		header := binary.BigEndian.AppendUint32(nil, link.MaxFrame)
		if _, err := peer.Write(append(header, '{')); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(100 * time.Millisecond)
	if grown := int64(heap()) - int64(before); grown > links*(96<<10) {
		t.Errorf("%d links hold %d bytes for frames that did not come", links, grown)
	}
}

func TestAFrameThatDoesNotComeEndsTheLink(t *testing.T) {
	for name, begin := range map[string][]byte{
		"half a length":     {0, 0},
		"no byte of it":     {0, 0, 1, 0},
		"half of it":        append([]byte{0, 0, 1, 0}, `{"id":1,"ms":`...),
		"the end before it": {0, 0, 0, 2, '{'},
	} {
		t.Run(name, func(t *testing.T) {
			conn, peer := against(t, echo, link.Options{FrameTimeout: 50 * time.Millisecond})
			time.Sleep(80 * time.Millisecond) // that nobody says anything is no fault
			if conn.Err() != nil {
				t.Fatal("an idle link ended")
			}
			if _, err := peer.Write(begin); err != nil {
				t.Fatal(err)
			}
			ended(t, conn)
		})
	}
	t.Run("a byte now and then", func(t *testing.T) {
		conn, peer := against(t, echo, link.Options{FrameTimeout: 100 * time.Millisecond})
		frame := append([]byte{0, 0, 0, 60}, strings.Repeat(" ", 60)...)
		for _, one := range frame {
			if _, err := peer.Write([]byte{one}); err != nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		ended(t, conn)
		if !strings.Contains(conn.Err().Error(), "timeout") {
			t.Errorf("ended by %v", conn.Err())
		}
	})
}

func TestAnIdInUseEndsTheLinkAndOneThatIsDoneDoesNot(t *testing.T) {
	conn, peer := against(t, echo, link.Options{})
	for range 3 {
		raw(t, peer, `{"id":5,"ms":1000,"method":"echo","body":{"n":1}}`)
		if got := next(t, peer); got != `{"id":5,"result":{"n":1}}` {
			t.Fatal(got)
		}
	}
	raw(t, peer, `{"id":5,"ms":10000,"method":"wait","body":{}}`)
	raw(t, peer, `{"id":5,"ms":10000,"method":"wait","body":{}}`)
	ended(t, conn)
	if !strings.Contains(conn.Err().Error(), "in use") {
		t.Errorf("ended by %v", conn.Err())
	}
}

func TestAnAnswerCountsOnce(t *testing.T) {
	conn, peer := against(t, nil, link.Options{})
	answer := make(chan error, 1)
	var got number
	go func() { answer <- conn.Call(context.Background(), "x", nil, &got) }()
	if asked := next(t, peer); !strings.HasPrefix(asked, `{"id":1,"ms":`) {
		t.Fatal(asked)
	}
	raw(t, peer, `{"id":1,"result":{"n":3}}`)
	if err := <-answer; err != nil || got.N != 3 {
		t.Fatal(got, err)
	}
	raw(t, peer, `{"id":1,"result":{"n":4}}`)
	ended(t, conn)
}

func TestALateAnswerHarmsNobody(t *testing.T) {
	conn, peer := against(t, nil, link.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan error, 1)
	go func() { gone <- conn.Call(ctx, "x", nil, nil) }()
	next(t, peer)
	cancel()
	if err := <-gone; !errors.Is(err, link.ErrUnreached) {
		t.Fatal(err)
	}
	raw(t, peer, `{"id":1,"result":{"n":3}}`)
	var got number
	answer := make(chan error, 1)
	go func() { answer <- conn.Call(soon(t), "x", nil, &got) }()
	next(t, peer)
	raw(t, peer, `{"id":2,"result":{"n":4}}`)
	if err := <-answer; err != nil || got.N != 4 {
		t.Errorf("got %d, %v", got.N, err)
	}
}

// TestAnAnswerThatCannotBeReadIsNone. neg: 195
func TestAnAnswerThatCannotBeReadIsNone(t *testing.T) {
	for _, text := range []string{
		`{"id":1,"result":[]}`, `{"id":1,"result":{"n":"1"}}`, `{"id":1,"result":{"n":1,"n":2}}`,
		`{"id":1,"result":{"n":1,"more":1}}`, `{"id":1,"result":{"N":1}}`, `{"id":1,"result":{"n":null}}`,
		`{"id":1,"error":{}}`, `{"id":1,"error":7}`, `{"id":1,"error":{"class":"","message":""}}`,
		`{"id":1,"error":{"class":"OK","message":"fine","more":1}}`, "{\"id\":1,\"result\":{\"n\":1,\"\xff\":1}}",
	} {
		conn, peer := against(t, nil, link.Options{})
		answer := make(chan error, 1)
		got := number{N: -1}
		go func() { answer <- conn.Call(soon(t), "x", nil, &got) }()
		next(t, peer)
		raw(t, peer, text)
		var said *link.Error
		if err := <-answer; !errors.As(err, &said) ||
			!said.Class.Undecided() && said.Class != attestd.ClassInternal {
			t.Errorf("%s: %v", text, err)
		}
	}
	conn, peer := against(t, nil, link.Options{})
	answer := make(chan error, 1)
	go func() { answer <- conn.Call(soon(t), "x", nil, nil) }()
	next(t, peer)
	raw(t, peer, `{"id":1,"error":{"class":"ok \u001b[2J","message":"\u001b[2Ja\nb"}}`)
	var said *link.Error
	if err := <-answer; !errors.As(err, &said) || said.Class != attestd.ClassInternal ||
		strings.ContainsAny(said.Message, "\x1b\n") {
		t.Errorf("a peer's text is not disarmed: %q", said)
	}
}

func TestAFloodOfCallsIsRefusedAndTheLinkLives(t *testing.T) {
	conn, peer := against(t, echo, link.Options{Calls: 8})
	for id := 1; id <= 8; id++ {
		raw(t, peer, fmt.Sprintf(`{"id":%d,"ms":300,"method":"wait","body":{}}`, id))
	}
	for id := 9; id <= 1000; id++ {
		raw(t, peer, fmt.Sprintf(`{"id":%d,"ms":300,"method":"wait","body":{}}`, id))
		if got := next(t, peer); !strings.Contains(got, `"class":"RATE_LIMITED"`) {
			t.Fatal(got)
		}
	}
	for range 8 {
		if got := next(t, peer); !strings.Contains(got, "STORE_UNAVAILABLE") {
			t.Fatal(got)
		}
	}
	raw(t, peer, `{"id":1,"ms":1000,"method":"echo","body":{"n":1}}`)
	if got := next(t, peer); got != `{"id":1,"result":{"n":1}}` || conn.Err() != nil {
		t.Fatal(got, conn.Err())
	}
}

func TestAPeerThatDoesNotReadLosesItsLink(t *testing.T) {
	big := func(context.Context, link.Peer, string, json.RawMessage) (any, error) {
		return strings.Repeat("a", 100_000), nil
	}
	for name, options := range map[string]link.Options{
		"too much waits": {QueueBytes: 1 << 20, WriteTimeout: time.Minute},
		"too slow":       {WriteTimeout: 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			conn, peer := against(t, big, options)
			for id := 1; id <= 60; id++ {
				frame := fmt.Sprintf(`{"id":%d,"ms":1000,"method":"x","body":{}}`, id)
				header := binary.BigEndian.AppendUint32(nil, uint32(len(frame)))
				if _, err := peer.Write(append(header, frame...)); err != nil {
					break
				}
			}
			ended(t, conn)
		})
	}
}

func TestAFloodOfNoticesEndsTheLink(t *testing.T) {
	release := make(chan struct{})
	slow := func(context.Context, link.Peer, string, json.RawMessage) (any, error) {
		<-release
		return nil, nil
	}
	conn, peer := against(t, slow, link.Options{})
	defer close(release)
	for range 100 {
		frame := `{"method":"x","body":{}}`
		header := binary.BigEndian.AppendUint32(nil, uint32(len(frame)))
		if _, err := peer.Write(append(header, frame...)); err != nil {
			break
		}
	}
	ended(t, conn)
}

func TestAPeerThatAnswersNothingIsAskedNoMoreThanItHasSlots(t *testing.T) {
	conn, peer := against(t, nil, link.Options{Calls: 4})
	go func() {
		buffer := make([]byte, 4096)
		for {
			if _, err := peer.Read(buffer); err != nil {
				return
			}
		}
	}()
	for range 4 {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		if err := conn.Call(ctx, "x", nil, nil); !errors.Is(err, link.ErrUnreached) {
			t.Fatal(err)
		}
		cancel()
	}
	ended(t, conn)
}

func TestBodiesThatNestOrRepeatAreMalformed(t *testing.T) {
	_, peer := against(t, echo, link.Options{})
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	for _, body := range []string{
		`{"n":1,"n":1}`, `{"n":1,"m":1}`, `{"N":1}`, `{"n":null}`, `[]`, `null`, `7`, `"x"`, `{"n":1e400}`,
		`{"n":` + deep + `}`, "{\"\xff\":1}", `{"\ud800":1}`,
	} {
		raw(t, peer, `{"id":1,"ms":1000,"method":"echo","body":`+body+`}`)
		if got := next(t, peer); !strings.Contains(got, `"class":"MALFORMED"`) {
			t.Errorf("%.40s: %s", body, got)
		}
	}
}

func TestWhatCannotBeSentIsToldAndTheLinkLives(t *testing.T) {
	here, _ := pair(t, echo, link.Options{})
	for name, ask := range map[string]func() error{
		"a frame too long": func() error { return here.Call(soon(t), "echo", strings.Repeat("a", link.MaxFrame), nil) },
		"no method":        func() error { return here.Call(soon(t), "", nil, nil) },
		"a forged method":  func() error { return here.Notify(`x","body":{}}`, nil) },
		"no JSON":          func() error { return here.Call(soon(t), "echo", make(chan int), nil) },
		"nil":              func() error { return here.Call(soon(t), "echo", (*number)(nil), nil) },
	} {
		if err := ask(); err == nil {
			t.Errorf("%s was sent", name)
		}
	}
	if err := here.Call(soon(t), "echo", number{N: 1}, nil); err != nil {
		t.Error(err)
	}
}
