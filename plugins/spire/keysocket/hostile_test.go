package keysocket_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/plugins/spire/keysocket"
	"github.com/attestd/attestd/plugins/spire/keysocket/local"
)

// say sends one frame and returns the answer; "" where the connection was closed without one.
func say(t *testing.T, conn *local.Conn, body string) string {
	t.Helper()
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(body))) //nolint:gosec // small
	if _, err := conn.Write(append(frame, body...)); err != nil {
		t.Fatal(err)
	}
	return hear(t, conn)
}

func hear(t *testing.T, conn *local.Conn) string {
	t.Helper()
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return ""
	}
	body := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(body) {
		t.Errorf("the answer is %q", body)
	}
	return string(body)
}

func TestWhatIsNoRequestIsRefused(t *testing.T) {
	keys := &memory{}
	_, path := listen(t, keys, "")
	spki := keys.generate(t)
	for name, row := range map[string]struct{ body, want string }{
		"nothing":             {``, `refused`},
		"no JSON":             {`newest`, `refused`},
		"an unknown key":      {`{"op":"newest","uid":0}`, `refused`},
		"a key twice":         {`{"op":"newest","op":"sign"}`, `refused`},
		"another spelling":    {`{"Op":"newest"}`, `refused`},
		"something behind":    {`{"op":"newest"}{}`, `refused`},
		"nothing asked":       {`{}`, `refused`},
		"an unknown question": {`{"op":"private"}`, `refused`},
		"null":                {`null`, `refused`},
		"no enlistment":       {`{"op":"put-enlist"}`, `refused`},
		"SHA-1":               {`{"op":"sign","hash":"SHA-1","digest":"AAAAAAAAAAAAAAAAAAAAAAAAAAA="}`, `refused`},
		"no hash":             {`{"op":"sign","digest":"AAAA"}`, `refused`},
		"a short digest":      {`{"op":"sign","hash":"SHA-256","digest":"AAAA"}`, `refused`},
		"deep nesting":        {`{"enlist":` + strings.Repeat(`[`, 50) + strings.Repeat(`]`, 50) + `}`, `refused`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := say(t, plain(t, path), row.body); !strings.Contains(got, `"problem":"`+row.want+`"`) {
				t.Errorf("got %s", got)
			}
		})
	}
	if got, err := dial(t, path).Newest(t.Context()); err != nil || !slices.Equal(got.SPKI, spki) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestAFrameOverTheLimitIsRefusedBeforeItIsRead(t *testing.T) {
	_, path := listen(t, &memory{}, "")
	for _, size := range []uint32{128<<10 + 1, 1 << 31, 0xffffffff} {
		conn := plain(t, path)
		if _, err := conn.Write(binary.BigEndian.AppendUint32(nil, size)); err != nil {
			t.Fatal(err)
		}
		if got := hear(t, conn); !strings.Contains(got, `"problem":"refused"`) {
			t.Errorf("%d bytes: got %s", size, got)
		}
	}
}

// One process that stalls has its own share of connections and no more, and loses them after a
// while.
func TestAClientThatStallsKeepsNobodyOut(t *testing.T) {
	t.Parallel()
	keys := &memory{}
	_, path := listen(t, keys, "")
	keys.generate(t)
	var stalled []*local.Conn
	for range 16 {
		stalled = append(stalled, plain(t, path))
	}
	stalled[0].Write([]byte{0, 0}) //nolint:errcheck // half a frame
	client := dial(t, path)
	deadline := time.Now().Add(time.Second)
	for {
		_, err := client.Newest(t.Context())
		if errors.Is(err, keysocket.ErrBusy) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the seventeenth connection of one process: %v", err)
		}
	}
	began := time.Now()
	for _, conn := range stalled {
		if got := hear(t, conn); got != "" {
			t.Errorf("a stalled client was told %s", got)
		}
	}
	if waited := time.Since(began); waited > 10*time.Second {
		t.Errorf("they were there for %s", waited)
	}
	if _, err := client.Newest(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A client that asked and went away frees what waited for it.
func TestAClientThatGoesAwayFreesItsPlace(t *testing.T) {
	keys := &memory{}
	_, path := listen(t, keys, "")
	keys.generate(t)
	const body = `{"op":"await-enlist"}`
	for range 3 {
		var waiting []*local.Conn
		for range 16 {
			conn := plain(t, path)
			frame := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
			if _, err := conn.Write(append(frame, body...)); err != nil {
				t.Fatal(err)
			}
			waiting = append(waiting, conn)
		}
		for _, conn := range waiting {
			_ = conn.Close()
		}
		client := dial(t, path)
		deadline := time.Now().Add(3 * time.Second)
		for {
			_, err := client.Newest(t.Context())
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("places are not free: %v", err)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// The agent's keys are in the process that answers: a fault in one request must not end it.
func TestAPanicEndsOneRequest(t *testing.T) {
	keys := &memory{fault: func() { panic("a bug") }}
	_, path := listen(t, keys, "")
	if got := say(t, plain(t, path), `{"op":"newest"}`); got != "" {
		t.Errorf("got %s", got)
	}
	if got := say(t, plain(t, path), `{"op":"newest"}`); got != "" {
		t.Errorf("got %s", got)
	}
}

func TestClosingTheServerEndsWhoWaits(t *testing.T) {
	keys := &memory{}
	server, path := listen(t, keys, "")
	client := dial(t, path)
	ended := make(chan error, 1)
	go func() {
		_, _, err := client.AwaitEnlist(t.Context(), "")
		ended <- err
	}()
	plain(t, path) // and one that says nothing
	time.Sleep(30 * time.Millisecond)
	began := time.Now()
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("closing took %s", took)
	}
	if err := <-ended; err == nil {
		t.Error("who waited was told something")
	}
}
