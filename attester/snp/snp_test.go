package snp_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/attester/internal/tsm/tsmtest"
	"github.com/attestd/attestd/attester/snp"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/sevsnp"
)

var _ attester.Attester = (*snp.Guest)(nil)

// platform makes reports under a test authority, and the table that a host would lay beside them.
type platform struct {
	authority *forge.AMD
	vcek      forge.VCEK
	table     []byte
}

var shared = sync.OnceValues(func() (platform, error) {
	authority, err := forge.NewAMD(forge.AMDConfig{Line: "Milan"}) // RSA keys of 4,096 bits take seconds
	if err != nil {
		return platform{}, err
	}
	vcek, err := authority.IssueVCEK(forge.NewSNPReport("Milan", 3).VCEKConfig("Milan-B0"))
	if err != nil {
		return platform{}, err
	}
	table, err := forge.SNPTable(
		forge.SNPTableEntry{GUID: forge.GUIDVCEK, Data: vcek.DER},
		forge.SNPTableEntry{GUID: forge.GUIDASK, Data: authority.ASK.Raw})
	return platform{authority, vcek, table}, err
})

func newPlatform(t *testing.T) platform {
	t.Helper()
	made, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func (p platform) report(t *testing.T, data []byte) []byte {
	t.Helper()
	report := forge.NewSNPReport("Milan", 3)
	report.ReportData = [64]byte(data)
	signed, err := forge.SignSNP(report.Bytes(), p.vcek.Key)
	if err != nil {
		t.Error(err)
	}
	return signed
}

func freshness() []byte { return bytes.Repeat([]byte{7}, 64) }

// accept demands that the real verifier takes the evidence with nothing beside it.
func (p platform) accept(t *testing.T, evidence attester.Evidence) {
	t.Helper()
	judge, err := sevsnp.New(sevsnp.Config{InsecureRoots: []*x509.Certificate{p.authority.ARK}})
	if err != nil {
		t.Fatal(err)
	}
	demand, err := attestd.Fresh(freshness())
	if err != nil {
		t.Fatal(err)
	}
	if evidence.Format != attestd.FormatSEVSNP {
		t.Errorf("format %q", evidence.Format)
	}
	if _, err := judge.Verify(attestd.Input{
		Evidence: evidence.Bytes, At: forge.AMDTime, Demand: demand,
	}); err != nil {
		t.Error(err)
	}
}

// tree is the kernel's configfs-tsm in such a guest.
func (p platform) tree(t *testing.T, table []byte) *tsmtest.Tree {
	return &tsmtest.Tree{
		T: t, Provider: "sev_guest", Beside: table,
		Make: func(data []byte) ([]byte, error) { return p.report(t, data), nil },
	}
}

func TestConfigFSGivesWhatTheVerifierAccepts(t *testing.T) {
	p := newPlatform(t)
	tree := p.tree(t, append(bytes.Clone(p.table), make([]byte, 4096-len(p.table)%4096)...))
	guest := snp.OverFiles("/tsm", tree)
	for range 2 {
		evidence, err := guest.Collect(t.Context(), attester.Request{Freshness: freshness()})
		if err != nil {
			t.Fatal(err)
		}
		if want := 1184 + len(p.table); len(evidence.Bytes) != want || len(evidence.Notes) != 0 {
			t.Errorf("%d bytes, want %d; notes %q", len(evidence.Bytes), want, evidence.Notes)
		}
		p.accept(t, evidence)
	}
	if left := tree.Left(); left != "" {
		t.Errorf("%q was left behind", left)
	}
}

func TestConfigFSThatGivesSomethingElseIsRefused(t *testing.T) {
	p := newPlatform(t)
	for _, row := range []struct {
		name   string
		change func(*tsmtest.Tree)
		want   string
	}{
		{"another provider", func(f *tsmtest.Tree) { f.Provider = "tdx_guest" }, `reports here come from "tdx_guest"`},
		{"a report over other data", func(f *tsmtest.Tree) {
			f.Make = func([]byte) ([]byte, error) { return p.report(t, make([]byte, 64)), nil }
		}, "other data than was asked for"},
		{"half a report", func(f *tsmtest.Tree) {
			f.Make = func(data []byte) ([]byte, error) { return p.report(t, data)[:1000], nil }
		}, "1000 bytes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			tree := p.tree(t, p.table)
			row.change(tree)
			evidence, err := snp.OverFiles("/tsm", tree).Collect(t.Context(), attester.Request{Freshness: freshness()})
			if err == nil || !strings.Contains(err.Error(), row.want) || evidence.Bytes != nil {
				t.Errorf("got %v, want %q", err, row.want)
			}
			if left := tree.Left(); left != "" {
				t.Errorf("%q was left behind", left)
			}
		})
	}
}

func TestATableThatCannotBeUsedIsLeftOutAndSaid(t *testing.T) {
	p := newPlatform(t)
	over := bytes.Clone(p.table)
	binary.LittleEndian.PutUint32(over[20:], 1<<31)
	for _, row := range []struct {
		name  string
		table []byte
		want  string
	}{
		{"no file", nil, "the host gave no certificates"},
		{"an empty one", []byte{}, "the host gave no certificates"},
		{"zeros", make([]byte, 4096), "the host gave no certificates"},
		{"one that is cut off", p.table[:40], "ends at byte"},
		{"one without an end", append(bytes.Repeat([]byte{1}, 16), 0, 0, 0, 0, 1, 0, 0, 0), "no entry of zeros ends it"},
		{"one that ends outside", over, "ends at byte"},
	} {
		t.Run(row.name, func(t *testing.T) {
			guest := snp.OverFiles("/tsm", p.tree(t, row.table))
			evidence, err := guest.Collect(t.Context(), attester.Request{Freshness: freshness()})
			if err != nil {
				t.Fatal(err)
			}
			if len(evidence.Bytes) != 1184 || len(evidence.Notes) != 1 || !strings.Contains(evidence.Notes[0], row.want) {
				t.Errorf("%d bytes, notes %q, want %q", len(evidence.Bytes), evidence.Notes, row.want)
			}
		})
	}
}

// sevGuest is /dev/sev-guest. It reads what it is handed by address, as the driver does.
type sevGuest struct {
	t      *testing.T
	p      platform
	table  []byte
	status uint32 // of the firmware
	size   uint32 // of the report, where not 0
	// errors are given one by one, in the hypervisor's half of exitinfo2, before anything succeeds.
	errors   []uint32
	commands []uint
}

func (g *sevGuest) call(command uint, argument unsafe.Pointer) error {
	g.commands = append(g.commands, command)
	request := unsafe.Slice((*byte)(argument), 32)
	if request[0] != 1 {
		g.t.Errorf("message version %d", request[0])
	}
	at := func(field []byte, length int) []byte {
		address := binary.NativeEndian.Uint64(field)
		return unsafe.Slice(*(**byte)(unsafe.Pointer(&address)), length)
	}
	if len(g.errors) > 0 {
		binary.NativeEndian.PutUint32(request[28:], g.errors[0])
		g.errors = g.errors[1:]
		return syscall.EIO
	}
	question, answer := at(request[8:], 112), at(request[16:], 4000)
	if vmpl := binary.NativeEndian.Uint32(question[64:]); vmpl != 0 {
		g.t.Errorf("VMPL %d", vmpl)
	}
	if command == 0xc0205302 {
		room := int(binary.NativeEndian.Uint32(question[104:]))
		copy(at(question[96:], room), g.table)
	}
	report := g.p.report(g.t, question[:64])
	binary.LittleEndian.PutUint32(answer, g.status)
	binary.LittleEndian.PutUint32(answer[4:], uint32(len(report)))
	if g.size != 0 {
		binary.LittleEndian.PutUint32(answer[4:], g.size)
	}
	copy(answer[32:], report)
	return nil
}

func TestTheDeviceGivesWhatTheVerifierAccepts(t *testing.T) {
	p := newPlatform(t)
	fake := &sevGuest{t: t, p: p, table: p.table, errors: []uint32{2, 2}} // busy, busy
	evidence, err := snp.OverDevice(fake.call).Collect(t.Context(), attester.Request{Freshness: freshness()})
	if err != nil {
		t.Fatal(err)
	}
	p.accept(t, evidence)
	if len(fake.commands) != 3 {
		t.Errorf("%d commands, want 3", len(fake.commands))
	}

	noRoom := &sevGuest{t: t, p: p, table: p.table, errors: []uint32{1}}
	evidence, err = snp.OverDevice(noRoom.call).Collect(t.Context(), attester.Request{Freshness: freshness()})
	if err != nil {
		t.Fatal(err)
	}
	if len(evidence.Bytes) != 1184 || len(evidence.Notes) != 1 || noRoom.commands[1] != 0xc0205300 {
		t.Errorf("%d bytes, notes %q, commands %x", len(evidence.Bytes), evidence.Notes, noRoom.commands)
	}
}

func TestADeviceThatFailsIsAnError(t *testing.T) {
	p := newPlatform(t)
	ask := attester.Request{Freshness: freshness()}
	for _, row := range []struct {
		name string
		fake sevGuest
		want string
	}{
		{"a status of the firmware", sevGuest{status: 0x16}, "status 0x16"},
		{"a report that is too long", sevGuest{size: 4000}, "4000 bytes"},
		{"a report that is too short", sevGuest{size: 96}, "96 bytes"},
		{"an error", sevGuest{errors: []uint32{9}}, "hypervisor 0x9"},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.fake.t, row.fake.p = t, p
			if _, err := snp.OverDevice(row.fake.call).Collect(t.Context(), ask); err == nil ||
				!strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	over, cancel := context.WithCancel(t.Context())
	busy := &sevGuest{t: t, p: p, errors: make([]uint32, 100)}
	for i := range busy.errors {
		busy.errors[i] = 2
	}
	calls := 0
	guest := snp.OverDevice(func(command uint, argument unsafe.Pointer) error {
		if calls++; calls == 3 {
			cancel()
		}
		return busy.call(command, argument)
	})
	if _, err := guest.Collect(over, ask); !errors.Is(err, context.Canceled) || calls != 3 {
		t.Errorf("got %v after %d calls", err, calls)
	}
}

func TestRequestsThatAReportCannotHoldAreRefused(t *testing.T) {
	guest := snp.OverDevice(func(uint, unsafe.Pointer) error {
		t.Error("the device was asked")
		return nil
	})
	for _, ask := range []attester.Request{
		{}, {Freshness: make([]byte, 32)}, {Freshness: make([]byte, 65)},
		{Freshness: freshness(), Key: []byte("key")},
	} {
		var caller *attestd.CallerError
		if _, err := guest.Collect(t.Context(), ask); !errors.As(err, &caller) || caller.Hint == "" {
			t.Errorf("got %v", err)
		}
	}
	var caller *attestd.CallerError
	if _, err := snp.Open("/nowhere"); !errors.As(err, &caller) || caller.Hint == "" {
		t.Errorf("got %v", err)
	}
	folder := t.TempDir()
	plain, err := snp.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plain.Collect(t.Context(), attester.Request{Freshness: freshness()}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is no configfs-tsm: %v", err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
