package snp_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
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

// tree is configfs-tsm as the kernel keeps it: files appear with a folder and vanish with it.
type tree struct {
	t        *testing.T
	report   func(data []byte) []byte
	table    []byte // nil where the driver has no such file
	provider string
	// meddle is called after the report was read, as somebody else who writes into the entry would be.
	meddle func(*tree)
	deny   error // to mkdir

	folder     string
	inblob     []byte
	generation int
}

func (f *tree) Mkdir(path string) error {
	if f.deny != nil {
		return f.deny
	}
	if f.folder != "" {
		f.t.Errorf("%q while %q is there", path, f.folder)
	}
	f.folder, f.inblob, f.generation = path, nil, 0
	return nil
}

func (f *tree) Rmdir(path string) error {
	if path != f.folder {
		f.t.Errorf("removed %q, made %q", path, f.folder)
	}
	f.folder = ""
	return nil
}

func (f *tree) Read(path string) ([]byte, error) {
	if filepath.Dir(path) != f.folder {
		return nil, fs.ErrNotExist
	}
	switch filepath.Base(path) {
	case "provider":
		return []byte(f.provider + "\n"), nil
	case "generation":
		return []byte(strconv.Itoa(f.generation) + "\n"), nil
	case "outblob":
		report := f.report(f.inblob)
		if f.meddle != nil {
			f.meddle(f)
		}
		return report, nil
	case "auxblob":
		if f.table == nil {
			return nil, fs.ErrNotExist
		}
		return f.table, nil
	}
	return nil, fs.ErrNotExist
}

func (f *tree) Write(path string, data []byte) error {
	if path != filepath.Join(f.folder, "inblob") || len(data) != 64 {
		f.t.Errorf("wrote %d bytes to %q", len(data), path)
	}
	f.inblob = bytes.Clone(data)
	f.generation++
	return nil
}

func TestConfigFSGivesWhatTheVerifierAccepts(t *testing.T) {
	p := newPlatform(t)
	tree := &tree{
		t: t, provider: "sev_guest", report: func(data []byte) []byte { return p.report(t, data) },
		table: append(bytes.Clone(p.table), make([]byte, 4096-len(p.table)%4096)...),
	}
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
	if tree.folder != "" {
		t.Errorf("%q was left behind", tree.folder)
	}
}

func TestConfigFSThatGivesSomethingElseIsRefused(t *testing.T) {
	p := newPlatform(t)
	good := func(data []byte) []byte { return p.report(t, data) }
	for _, row := range []struct {
		name string
		tree tree
		want string
	}{
		{"another provider", tree{provider: "tdx_guest", report: good}, `reports here come from "tdx_guest"`},
		{
			"somebody else's write meanwhile",
			tree{provider: "sev_guest", report: good, meddle: func(f *tree) { f.generation++ }}, "generation went from 0 to 2",
		},
		{
			"a report over other data",
			tree{provider: "sev_guest", report: func([]byte) []byte { return p.report(t, make([]byte, 64)) }},
			"other data than was asked for",
		},
		{
			"half a report",
			tree{provider: "sev_guest", report: func(data []byte) []byte { return good(data)[:1000] }}, "1000 bytes",
		},
		{"no right to make an entry", tree{deny: fs.ErrPermission}, "entry for a report"},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.tree.t = t
			evidence, err := snp.OverFiles("/tsm", &row.tree).Collect(t.Context(),
				attester.Request{Freshness: freshness()})
			if err == nil || !strings.Contains(err.Error(), row.want) || evidence.Bytes != nil {
				t.Errorf("got %v, want %q", err, row.want)
			}
			if row.tree.folder != "" {
				t.Errorf("%q was left behind", row.tree.folder)
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
			guest := snp.OverFiles("/tsm", &tree{
				t: t, provider: "sev_guest", table: row.table,
				report: func(data []byte) []byte { return p.report(t, data) },
			})
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
