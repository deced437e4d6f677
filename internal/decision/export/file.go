package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/attestd/attestd/internal/decision/journal"
)

// lines is a file that lines are added to. Where something rotates it, the next batch goes to a new one.
type lines struct {
	path   string
	file   *os.File
	format func(*journal.Record) ([]byte, error)
}

func openLines(path string, format func(*journal.Record) ([]byte, error)) (target, error) {
	if path == "" {
		return nil, errors.New("want a path")
	}
	l := &lines{path: path, format: format}
	return l, l.open()
}

func openOCSF(path string) (target, error) { return openLines(path, OCSF) }

func (l *lines) open() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	l.file = file
	return nil
}

// follow opens the file anew where its name names another one.
func (l *lines) follow() error {
	named, err := os.Stat(l.path)
	if err == nil && l.file != nil {
		if own, failed := l.file.Stat(); failed == nil && os.SameFile(named, own) {
			return nil
		}
	}
	if l.file != nil {
		_ = l.file.Close() // all of it was written
		l.file = nil
	}
	return l.open()
}

func (l *lines) send(_ context.Context, records []journal.Record) error {
	if err := l.follow(); err != nil {
		return err
	}
	var out bytes.Buffer
	for index := range records {
		line, err := l.format(&records[index])
		if err != nil {
			return err
		}
		out.Write(line)
		out.WriteByte('\n')
	}
	_, err := l.file.Write(out.Bytes())
	return err
}

func (l *lines) close(context.Context) error {
	if l.file == nil {
		return nil
	}
	return errors.Join(l.file.Sync(), l.file.Close())
}

// openCEF opens file:PATH or udp:HOST:PORT.
func openCEF(to, version string) (target, error) {
	format := func(record *journal.Record) ([]byte, error) { return []byte(CEF(record, version)), nil }
	if path, ok := strings.CutPrefix(to, "file:"); ok {
		return openLines(path, format)
	}
	address, ok := strings.CutPrefix(to, "udp:")
	if !ok {
		return nil, errors.New("want file:PATH or udp:HOST:PORT")
	}
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, errors.New("want udp: with an IP address and a port")
	}
	if !parsed.Addr().IsLoopback() {
		return nil, fmt.Errorf("%s is not loopback, and datagrams are in clear text: "+
			"send to a collector on this machine", address)
	}
	socket, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(parsed))
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "-"
	}
	return &syslog{socket: socket, host: host, version: version}, nil
}

// syslog sends each record in a datagram (RFC 5424 over RFC 5426).
type syslog struct {
	socket  *net.UDPConn
	host    string
	version string
}

// facility is "log audit" (RFC 5424, section 6.2.1).
const facility = 13

// mostDatagram is the largest datagram of UDP over IPv4.
const mostDatagram = 65507

func (s *syslog) send(ctx context.Context, records []journal.Record) error {
	deadline, _ := ctx.Deadline()
	if err := s.socket.SetWriteDeadline(deadline); err != nil {
		return err
	}
	var failed error
	for index := range records {
		record := &records[index]
		level := 6 // informational
		if record.Decision != journal.Allow {
			level = 4 // warning
		}
		message := fmt.Sprintf("<%d>1 %s %s attestd - decision - %s", facility*8+level,
			record.At.UTC().Format(time.RFC3339Nano), s.host, CEF(record, s.version))
		if len(message) > mostDatagram {
			message = message[:mostDatagram]
		}
		// A collector that is not there is told of by the next write: go on with the others.
		if _, err := s.socket.Write([]byte(message)); err != nil {
			failed = err
		}
	}
	return failed
}

func (s *syslog) close(context.Context) error { return s.socket.Close() }
