package front

import (
	"context"
	"fmt"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
)

// Bounds of the gate. SPIRE asks once for each call of an agent, and waits half a second.
const (
	maxQuestion  = 4 << 10
	mostAtGate   = 256
	gateTimeout  = time.Second
	gateIdle     = time.Minute
	maxGateBytes = 8 << 10
)

// gatePath is the one path that the gate answers.
const gatePath = "/v1/gate"

// Gate answers SPIRE's authorization policy whether an agent's call may pass: POST /v1/gate with
// {"caller": ID} is answered {"allow": true, "banned": false} or {"allow": false, …}, from memory. Every
// question that is not exactly of that form is answered false; so is one from elsewhere than loopback.
//
// banned says that SPIRE was seen to have banned the agent that is not allowed: its own answer to a
// banned agent is the only one that an honest agent of SPIRE's ends on (SPIRE 1.15.3), so the policy lets
// it give that.
func (f *Front) Gate() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		allow, banned := f.allows(r)
		body := fmt.Appendf(nil, "{\"allow\":%t,\"banned\":%t}\n", allow, !allow && banned)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})
}

func (f *Front) allows(r *http.Request) (allow, banned bool) {
	defer func() {
		if cause := recover(); cause != nil {
			f.config.Logger.Error("the gate failed", "err", attestd.Excerpt(fmt.Sprint(cause), 200))
			allow, banned = false, false
		}
	}()
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !from.Addr().Unmap().IsLoopback() || !loopbackHost(r.Host) {
		return false, false
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" || len(r.Header.Values("Content-Type")) != 1 ||
		r.Method != http.MethodPost || r.URL.Path != gatePath || r.URL.RawQuery != "" ||
		r.Header.Get("Content-Encoding") != "" || r.Header.Get("Origin") != "" {
		return false, false
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxQuestion+1))
	if err != nil || len(body) > maxQuestion {
		return false, false
	}
	var question struct {
		Caller *string `json:"caller"`
	}
	if err := link.Decode(body, &question); err != nil || question.Caller == nil || *question.Caller == "" {
		return false, false
	}
	agent, listed := f.config.Office.Agent(*question.Caller)
	return f.config.Office.Allow(*question.Caller), listed && agent.Banned
}

// loopbackHost reports whether a Host names this machine to itself: a page in somebody's browser that
// has rebound a name of its own to loopback comes with that name.
func loopbackHost(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	if name == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(name)
	return err == nil && address.IsLoopback()
}

func (f *Front) serveGate(ctx context.Context) error {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	server := &http.Server{
		Handler: f.Gate(), Protocols: &protocols, MaxHeaderBytes: maxGateBytes,
		ReadHeaderTimeout: gateTimeout, ReadTimeout: gateTimeout, WriteTimeout: gateTimeout, IdleTimeout: gateIdle,
		DisableGeneralOptionsHandler: true, ErrorLog: log.New(io.Discard, "", 0),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	err := server.Serve(f.gate)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// crowd bounds the connections of a listener: for one more the oldest is closed, so that whoever holds
// many and asks nothing displaces itself.
type crowd struct {
	net.Listener
	most int

	mu   sync.Mutex
	list []*member
}

type member struct {
	net.Conn
	of *crowd
}

func newCrowd(listener net.Listener, most int) *crowd { return &crowd{Listener: listener, most: most} }

// Accept implements [net.Listener].
func (c *crowd) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	one := &member{Conn: conn, of: c}
	c.mu.Lock()
	var oldest *member
	if len(c.list) >= c.most {
		oldest = c.list[0]
	}
	c.list = append(c.list, one)
	c.mu.Unlock()
	if oldest != nil {
		_ = oldest.Close()
	}
	return one, nil
}

// Close implements [net.Conn].
func (m *member) Close() error {
	m.of.mu.Lock()
	for index, one := range m.of.list {
		if one == m {
			m.of.list = append(m.of.list[:index:index], m.of.list[index+1:]...)
			break
		}
	}
	m.of.mu.Unlock()
	return m.Conn.Close()
}
