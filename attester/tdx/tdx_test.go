package tdx_test

import (
	"bytes"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/attester/internal/tsm/tsmtest"
	"github.com/attestd/attestd/attester/tdx"
	"github.com/attestd/attestd/internal/tdxevidence"
	"github.com/attestd/attestd/testvectors/forge"
	verifier "github.com/attestd/attestd/verifiers/tdx"
)

var _ attester.Attester = (*tdx.Guest)(nil)

// platform makes quotes under a test authority.
type platform struct {
	authority *forge.Intel
	pck       forge.PCK
}

func newPlatform(t *testing.T) platform {
	t.Helper()
	authority, err := forge.NewIntel(forge.IntelConfig{})
	if err != nil {
		t.Fatal(err)
	}
	pck, err := authority.IssuePCK(forge.NewPCKConfig())
	if err != nil {
		t.Fatal(err)
	}
	return platform{authority, pck}
}

// quote is one of the version over data; edit may be nil.
func (p platform) quote(data []byte, version uint16, edit func(*forge.TDQuote)) ([]byte, error) {
	quote := forge.NewTDQuote(version)
	quote.ReportData = [64]byte(data)
	if edit != nil {
		edit(&quote)
	}
	return quote.Sign(p.pck)
}

// tree is the kernel's configfs-tsm in such a guest.
func (p platform) tree(t *testing.T, change func(quote []byte) []byte) *tsmtest.Tree {
	return &tsmtest.Tree{
		T: t, Provider: "tdx_guest", Make: func(data []byte) ([]byte, error) {
			quote, err := p.quote(data, 4, nil)
			if err == nil && change != nil {
				quote = change(quote)
			}
			return quote, err
		},
	}
}

func freshness() []byte { return bytes.Repeat([]byte{7}, 64) }

// accept demands that the real verifier takes the evidence.
func (p platform) accept(t *testing.T, evidence []byte) {
	t.Helper()
	judge, err := verifier.New(verifier.Config{InsecureRoots: []*x509.Certificate{p.authority.Root}})
	if err != nil {
		t.Fatal(err)
	}
	demand, err := attestd.Fresh(freshness())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := judge.Verify(attestd.Input{
		Evidence: evidence, At: forge.IntelTime, Demand: demand,
	}); err != nil {
		t.Error(err)
	}
}

func TestTheGuestGivesWhatTheVerifierAccepts(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	for _, row := range []struct {
		name    string
		version uint16
		edit    func(*forge.TDQuote)
		behind  int
	}{
		{"version 4", 4, nil, 0},
		{"version 4 in a buffer of the host's", 4, nil, 3000},
		{"version 5 of TDX 1.5", 5, nil, 0},
		{"version 5 of TDX 1.0", 5, func(q *forge.TDQuote) { q.BodyType = forge.TDBody10 }, 17},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			tree := p.tree(t, nil)
			tree.Make = func(data []byte) ([]byte, error) {
				quote, err := p.quote(data, row.version, row.edit)
				return append(quote, make([]byte, row.behind)...), err
			}
			evidence, err := tdx.OverFiles(tree, tdx.Off).Collect(t.Context(), attester.Request{Freshness: freshness()})
			if err != nil {
				t.Fatal(err)
			}
			if evidence.Format != attestd.FormatTDX || len(evidence.Notes) != 0 {
				t.Errorf("format %q, notes %q", evidence.Format, evidence.Notes)
			}
			p.accept(t, evidence.Bytes)
			if left := tree.Left(); left != "" {
				t.Errorf("%q was left behind", left)
			}
		})
	}
}

// TestTheFirmwaresLogGoesAlong: the verifier replays it to the registers that the quote shows.
func TestTheFirmwaresLogGoesAlong(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	boot := forge.NewBoot(forge.BootOptions{SecureBoot: true, Confidential: true})
	registers := boot.Registers(forge.LogSHA384)
	tree := p.tree(t, nil)
	tree.Make = func(data []byte) ([]byte, error) {
		return p.quote(data, 4, func(q *forge.TDQuote) {
			for i := range q.RTMR {
				copy(q.RTMR[i][:], registers[i+1])
			}
		})
	}
	file := filepath.Join(t.TempDir(), "CCEL")
	area := append(boot.Log(), bytes.Repeat([]byte{0xff}, 60_000)...)
	if err := os.WriteFile(file, area, 0o600); err != nil {
		t.Fatal(err)
	}
	evidence, err := tdx.OverFiles(tree, file).Collect(t.Context(), attester.Request{Freshness: freshness()})
	if err != nil {
		t.Fatal(err)
	}
	parts, err := tdxevidence.Parse(evidence.Bytes)
	if err != nil || !bytes.HasPrefix(parts.EventLog, boot.Log()) || len(parts.EventLog) > len(boot.Log())+64 {
		t.Errorf("a log of %d bytes for one of %d, %v", len(parts.EventLog), len(boot.Log()), err)
	}
	p.accept(t, evidence.Bytes)
}

func TestLogsThatAreNotThere(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	folder := t.TempDir()
	empty, large := filepath.Join(folder, "empty"), filepath.Join(folder, "large")
	for path, text := range map[string][]byte{
		empty: bytes.Repeat([]byte{0xff}, 4096), large: make([]byte, 1<<20),
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct{ name, path, note, problem string }{
		{"the kernel's, where it has none", "", "no event log: " + tdx.DefaultEventLog, ""},
		{"an area that nothing was logged in", empty, "is empty", ""},
		{"a file that is not there", filepath.Join(folder, "none"), "", "no such file"},
		{"an area of more than is taken", large, "", "more than 524288 bytes"},
	} {
		if _, err := os.Stat(tdx.DefaultEventLog); err == nil && row.path == "" {
			continue // this machine is such a guest
		}
		evidence, err := tdx.OverFiles(p.tree(t, nil), row.path).Collect(t.Context(),
			attester.Request{Freshness: freshness()})
		if row.problem != "" {
			var caller *attestd.CallerError
			if !errors.As(err, &caller) || caller.Hint == "" || !strings.Contains(err.Error(), row.problem) {
				t.Errorf("%s: got %v", row.name, err)
			}
			continue
		}
		if err != nil || len(evidence.Notes) != 1 || !strings.Contains(evidence.Notes[0], row.note) {
			t.Errorf("%s: notes %q, %v", row.name, evidence.Notes, err)
			continue
		}
		p.accept(t, evidence.Bytes)
	}
}

func TestWhatIsNoQuoteIsRefused(t *testing.T) {
	t.Parallel()
	p := newPlatform(t)
	put := binary.LittleEndian
	for _, row := range []struct {
		name   string
		change func(quote []byte) []byte
		want   string
	}{
		{"nothing", func([]byte) []byte { return nil }, "empty"},
		{"zeros", func(q []byte) []byte { return make([]byte, len(q)) }, "empty"},
		{"half a header", func(q []byte) []byte { return q[:40] }, "40 bytes"},
		{"a header alone", func(q []byte) []byte { return q[:100] }, "100 bytes"},
		{"a quote that is cut off", func(q []byte) []byte { return q[:len(q)-1] }, "signature has"},
		{"something behind it", func(q []byte) []byte { return append(q, 0, 0, 1) }, "behind the end"},
		{"one of SGX", func(q []byte) []byte { put.PutUint32(q[4:], 0); return q }, "TEE type 0x0"},
		{"one of version 3", func(q []byte) []byte { put.PutUint16(q, 3); return q }, "version 3"},
		{"one of version 5 with a body of SGX", func(q []byte) []byte {
			put.PutUint16(q, 5)
			put.PutUint16(q[48:], 1)
			return q
		}, "type 1"},
		{"one with no signature", func(q []byte) []byte { put.PutUint32(q[632:], 0); return q[:636] }, "signature has 0"},
		{"one over other data", func([]byte) []byte {
			other, err := p.quote(make([]byte, 64), 4, nil)
			if err != nil {
				t.Error(err)
			}
			return other
		}, "other data than was asked for"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			evidence, err := tdx.OverFiles(p.tree(t, row.change), tdx.Off).Collect(t.Context(),
				attester.Request{Freshness: freshness()})
			if err == nil || !strings.Contains(err.Error(), row.want) || evidence.Bytes != nil {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

func TestRequestsThatAQuoteCannotHoldAreRefused(t *testing.T) {
	t.Parallel()
	tree := newPlatform(t).tree(t, func([]byte) []byte {
		t.Error("the kernel was asked")
		return nil
	})
	for _, ask := range []attester.Request{
		{}, {Freshness: make([]byte, 32)}, {Freshness: make([]byte, 65)},
		{Freshness: freshness(), Key: []byte("key")},
	} {
		var caller *attestd.CallerError
		if _, err := tdx.OverFiles(tree, tdx.Off).Collect(t.Context(), ask); !errors.As(err, &caller) || caller.Hint == "" {
			t.Errorf("got %v", err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/nowhere", file} {
		var caller *attestd.CallerError
		if _, err := tdx.Open(tdx.Options{ConfigFS: path}); !errors.As(err, &caller) || caller.Hint == "" {
			t.Errorf("%s: got %v", path, err)
		}
	}
}
