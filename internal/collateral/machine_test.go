package collateral_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral"
	"github.com/attestd/attestd/testvectors/forge"
)

func TestEvidenceNamesAMachine(t *testing.T) {
	with := func(product string, version uint32, change func(*forge.SNPReport)) []byte {
		report := forge.NewSNPReport(product, version)
		if change != nil {
			change(&report)
		}
		return report.Bytes()
	}
	chip := func(size int) string {
		text := ""
		for index := range size {
			text += fmt.Sprintf("%02x", byte(0xc0+index))
		}
		return text
	}
	for name, row := range map[string]struct {
		evidence []byte
		want     []collateral.Machine
	}{
		"Milan by its CPU": {with("Milan", 3, nil), []collateral.Machine{
			{Kind: collateral.VCEK, Line: "Milan", Chip: chip(64), Levels: [5]uint8{0, 4, 0, 25, 219}},
		}},
		"Bergamo is of Genoa's line": {with("Bergamo", 5, nil), []collateral.Machine{
			{Kind: collateral.VCEK, Line: "Genoa", Chip: chip(64), Levels: [5]uint8{0, 10, 0, 27, 27}},
		}},
		"Turin counts in another order, and its id is short": {with("Turin", 5, nil), []collateral.Machine{
			{Kind: collateral.VCEK, Line: "Turin", Chip: chip(8), Levels: [5]uint8{1, 1, 0, 4, 82}},
		}},
		"version 2 does not say its CPU": {with("Milan", 2, nil), []collateral.Machine{
			{Kind: collateral.VCEK, Line: "Milan", Chip: chip(64), Levels: [5]uint8{0, 4, 0, 25, 219}},
			{Kind: collateral.VCEK, Line: "Genoa", Chip: chip(64), Levels: [5]uint8{0, 4, 0, 25, 219}},
		}},
		"a VLEK names no chip": {
			with("Milan", 3, func(r *forge.SNPReport) { *r = r.WithVLEK() }),
			[]collateral.Machine{{Kind: collateral.VLEK, Line: "Milan", Levels: [5]uint8{0, 4, 0, 25, 219}}},
		},
		"a masked chip":          {with("Milan", 3, func(r *forge.SNPReport) { r.ChipID = [64]byte{} }), nil},
		"an unsigned report":     {with("Milan", 3, func(r *forge.SNPReport) { r.KeyInfo = 7 << 2 }), nil},
		"a CPU of no line":       {with("Milan", 3, func(r *forge.SNPReport) { r.CPUID[0] = 0x17 }), nil},
		"a report that is short": {with("Milan", 3, nil)[:0x49f], nil},
		"nothing":                {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := collateral.MachinesOf(row.evidence)
			if fmt.Sprint(got) != fmt.Sprint(row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

func TestProvidersShareALevel(t *testing.T) {
	s := newScene(t)
	amd := made(t, milan)
	asvk, err := amd.ASVK()
	if err != nil {
		t.Fatal(err)
	}
	report := forge.NewSNPReport("Milan", 3).WithVLEK()
	s.take(asvk.Raw)
	for _, csp := range []string{"one cloud", "another"} {
		config := report.VCEKConfig("Milan")
		config.CSPID, config.HWID = csp, nil
		key, err := amd.IssueVLEK(config)
		if err != nil {
			t.Fatal(err)
		}
		if items := s.take(key.DER); items[0].Outcome != collateral.Taken || items[0].Kind != "vlek" {
			t.Errorf("the VLEK of %s is %+v", csp, items[0])
		}
	}
	found, wanted := s.store.For(attestd.FormatSEVSNP, report.Bytes())
	if len(found) != 2 || wanted != nil {
		t.Errorf("%d VLEKs are offered, and %v wanted", len(found), wanted)
	}
	if found, wanted := s.store.For(attestd.FormatNitro, report.Bytes()); found != nil || wanted != nil {
		t.Error("another format has machines")
	}
}

// TestNothingOfEvidenceBecomesAnAddress: what is asked for is made of names from a list, hex and numbers.
//
// neg: 163
func TestNothingOfEvidenceBecomesAnAddress(t *testing.T) {
	machine := func(change func(*collateral.Machine)) collateral.Machine {
		report := forge.NewSNPReport("Turin", 5)
		named := collateral.MachinesOf(report.Bytes())[0]
		change(&named)
		return named
	}
	path, err := collateral.MachinePath(machine(func(*collateral.Machine) {}))
	const want = "/vcek/v1/Turin/c0c1c2c3c4c5c6c7?fmcSPL=01&blSPL=01&teeSPL=00&snpSPL=04&ucodeSPL=82"
	if err != nil || path != want {
		t.Errorf("got %q, %v; want %q", path, err, want)
	}
	for name, change := range map[string]func(*collateral.Machine){
		"a way up in the line": func(m *collateral.Machine) { m.Line = "../../x" },
		"a line of no product": func(m *collateral.Machine) { m.Line = "Rome" },
		"a host in the chip":   func(m *collateral.Machine) { m.Chip = "@169.254.169.254" },
		"a query in the chip":  func(m *collateral.Machine) { m.Chip = "c0c1c2c3c4c5c6c7?x" },
		"capital letters":      func(m *collateral.Machine) { m.Chip = "C0C1C2C3C4C5C6C7" },
		"no chip":              func(m *collateral.Machine) { m.Chip = "" },
		"another line's chip":  func(m *collateral.Machine) { m.Line = "Milan"; m.Levels[0] = 0 },
		"a VLEK":               func(m *collateral.Machine) { m.Kind, m.Chip = collateral.VLEK, "" },
		"a kind that is none":  func(m *collateral.Machine) { m.Kind = "../vcek" },
	} {
		t.Run(name, func(t *testing.T) {
			if path, err := collateral.MachinePath(machine(change)); err == nil {
				t.Errorf("it is asked for at %q", path)
			}
		})
	}
	if path, err := collateral.ListPath("Milan/../x"); err == nil {
		t.Errorf("a list at %q", path)
	}
	if path, err := collateral.ChainPath("x", "Milan"); err == nil {
		t.Errorf("a chain at %q", path)
	}
}

// TestTheQueueIsNobodysAlone: whoever can send evidence can name chips that do not exist.
func TestTheQueueIsNobodysAlone(t *testing.T) {
	s := newScene(t)
	number := 0
	wish := func() collateral.Wanted {
		number++
		report := forge.NewSNPReport("Milan", 3)
		report.ChipID[0], report.ChipID[1] = byte(number), byte(number>>8)
		_, wanted := s.store.For(attestd.FormatSEVSNP, report.Bytes())
		if wanted == nil {
			t.Fatal("nothing is wanted")
		}
		return *wanted
	}
	flood := func(source string, times int) (queued int) {
		for range times {
			switch err := s.store.Want(source, wish()); err {
			case nil:
				queued++
			case collateral.ErrNotQueued:
			default:
				t.Fatal(err)
			}
		}
		return queued
	}
	if queued := flood("198.51.100.1", 100); queued != 8 {
		t.Errorf("a source that names 100 machines at once has %d queued, want 8", queued)
	}
	s.now = s.now.Add(24 * time.Hour)
	if queued := flood("198.51.100.1", 100); queued != 8 {
		t.Errorf("a day later it has %d more queued, want 8: 16 in all", queued)
	}
	s.now = s.now.Add(24 * time.Hour)
	if queued := flood("198.51.100.1", 100); queued != 0 {
		t.Errorf("over its share it has %d more queued", queued)
	}
	once := wish()
	for range 5 {
		if err := s.store.Want("203.0.113.5", once); err != nil {
			t.Errorf("another source, the same machine: %v", err)
		}
	}
	queue := s.open().Queue() // another process sees it: it is durable
	if len(queue) != 17 {
		t.Errorf("%d are queued, want 17", len(queue))
	}
	for source := range 60 {
		flood(fmt.Sprintf("192.0.2.%d", source), 8)
	}
	if queue := s.store.Queue(); len(queue) != 256 {
		t.Errorf("%d are queued, want no more than 256", len(queue))
	}
	// A full queue costs whoever waits for a verdict no look into it, until there may be a place.
	files, _ := filepath.Glob(filepath.Join(s.folder, "wanted", "*.json"))
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	for _, want := range []error{collateral.ErrNotQueued, nil} {
		if err := s.store.Want("203.0.113.9", wish()); !errors.Is(err, want) {
			t.Errorf("a place in a queue that was full: %v, want %v", err, want)
		}
		s.now = s.now.Add(collateral.DefaultPace)
	}
	if err := s.store.Want("x", collateral.Wanted{}); err == nil {
		t.Error("nothing was queued")
	}
	if err := s.store.Want("x", collateral.Wanted{Machines: []collateral.Machine{{
		Kind: collateral.VLEK, Line: "Milan",
	}}}); err == nil {
		t.Error("a VLEK was queued, which AMD gives to cloud providers alone")
	}
}

func TestAWishEndsWithItsCertificate(t *testing.T) {
	s := newScene(t)
	amd := made(t, genoa)
	report := forge.NewSNPReport("Milan", 2) // it may be of two lines, and is of the second
	_, wanted := s.store.For(attestd.FormatSEVSNP, report.Bytes())
	if err := s.store.Want("x", *wanted); err != nil {
		t.Fatal(err)
	}
	key, err := amd.IssueVCEK(report.VCEKConfig("Genoa"))
	if err != nil {
		t.Fatal(err)
	}
	s.take(amd.ASK.Raw, key.DER)
	if left := s.store.Queue(); len(left) != 0 {
		t.Errorf("the queue still has %v", left)
	}
	if found, wanted := s.store.For(attestd.FormatSEVSNP, report.Bytes()); len(found) != 1 || wanted != nil {
		t.Error("the certificate is not given out")
	}
}

// TestNobodyWishesAMachineAway: whoever knows the id of a chip can say that it is of a line of which AMD does
// not know it. That must not keep the true line from being asked.
func TestNobodyWishesAMachineAway(t *testing.T) {
	s := newScene(t)
	victim := forge.NewSNPReport("Genoa", 2)
	lie := victim
	lie.Version, lie.CPUID = 3, forge.NewSNPReport("Milan", 3).CPUID
	for _, report := range []forge.SNPReport{lie, victim} {
		_, wanted := s.store.For(attestd.FormatSEVSNP, report.Bytes())
		if wanted == nil {
			t.Fatal("nothing is wanted")
		}
		if err := s.store.Want("x", *wanted); err != nil {
			t.Fatal(err)
		}
	}
	if queue := s.store.Queue(); len(queue) != 2 {
		t.Errorf("%d wishes are queued, want the lie and the truth", len(queue))
	}
}

func FuzzEvidence(f *testing.F) {
	for _, product := range []string{"Milan", "Turin"} {
		for version := uint32(2); version <= 5; version++ {
			f.Add(forge.NewSNPReport(product, version).Bytes())
		}
	}
	f.Fuzz(func(t *testing.T, evidence []byte) {
		for _, machine := range collateral.MachinesOf(evidence) {
			if machine.Kind != collateral.VCEK {
				continue
			}
			// Whatever evidence says, a path is made of a known line, hex and numbers.
			path, err := collateral.MachinePath(machine)
			for _, letter := range path {
				if err == nil && !('0' <= letter && letter <= '9' || 'a' <= letter && letter <= 'z' ||
					'A' <= letter && letter <= 'Z' || letter == '/' || letter == '?' || letter == '&' || letter == '=') {
					t.Errorf("path %q", path)
				}
			}
		}
	})
}
