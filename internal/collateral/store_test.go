package collateral_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral"
	"github.com/attestd/attestd/testvectors/forge"
)

func TestWhatWasTakenIsGivenOutByEveryProcess(t *testing.T) {
	s := newScene(t)
	amd := made(t, milan)
	asvk, err := amd.ASVK()
	if err != nil {
		t.Fatal(err)
	}
	report := forge.NewSNPReport("Milan", 3)
	other := s.open() // another process, from before
	list := s.crl(amd, forge.AMDCRLConfig{Number: 3, Serials: []int64{77}})
	key := s.vcek(amd, report)
	// CAs may come behind what they signed, and roots come along.
	items := s.take(key, list, amd.ASK.Raw, asvk.Raw, amd.ARK.Raw)
	outcomes := map[string]int{}
	for _, item := range items {
		outcomes[item.Kind+" "+item.Outcome]++
	}
	if outcomes["ca taken"] != 2 || outcomes["ca held"] != 1 || outcomes["list taken"] != 1 ||
		outcomes["vcek taken"] != 1 {
		t.Errorf("got %v", outcomes)
	}
	moved := []attestd.Format{attestd.FormatAzureVTPM, attestd.FormatComposite, attestd.FormatSEVSNP}
	if change, err := other.Changed(); err != nil || !slices.Equal(change.Formats, moved) || !change.Machines {
		t.Errorf("another process sees %+v, %v", change, err)
	}
	if change, err := other.Changed(); err != nil || change.Any() {
		t.Errorf("nothing moved, and it sees %+v, %v", change, err)
	}
	for name, store := range map[string]*collateral.Store{"this": s.store, "another": other, "a later": s.open()} {
		set := store.Sets()[attestd.FormatSEVSNP]
		if len(set.CRLs) != 1 || !bytes.Equal(set.CRLs[0], list) || len(set.Certificates) != 2 {
			t.Errorf("%s store gives out %d lists and %d CAs", name, len(set.CRLs), len(set.Certificates))
		}
		issuer := sha256.Sum256(amd.ARK.RawSubjectPublicKeyInfo)
		if len(set.Floors) != 1 || set.Floors[0].Issuer != issuer || !bytes.Equal(set.Floors[0].Number, []byte{3}) {
			t.Errorf("%s store has the floors %v", name, set.Floors)
		}
		found, wanted := store.For(attestd.FormatSEVSNP, report.Bytes())
		if len(found) != 1 || !bytes.Equal(found[0], key) || wanted != nil {
			t.Errorf("%s store has %d certificates of the machine, wants %v", name, len(found), wanted)
		}
	}
	for _, item := range s.take(key, list, amd.ASK.Raw) {
		if item.Outcome != collateral.Held {
			t.Errorf("%s %s was taken twice", item.Kind, item.Name)
		}
	}
}

// TestListsNeverGoBack: an older list gives a revoked key back to whoever stole it.
//
// neg: 106
func TestListsNeverGoBack(t *testing.T) {
	s := newScene(t)
	amd := made(t, milan)
	held := forge.AMDCRLConfig{Number: 5, At: forge.AMDTime.AddDate(0, -2, 0), Serials: []int64{2}}
	list := s.crl(amd, held)
	s.take(list)
	older := s.crl(amd, forge.AMDCRLConfig{Number: 4, At: forge.AMDTime.AddDate(0, -1, 0)})
	s.refuse("number 4, and 5 was seen", older)
	s.refuse("was seen already", s.crl(amd, forge.AMDCRLConfig{Number: 6, At: held.At.Add(-time.Hour)}))
	s.refuse("number and date of another", s.crl(amd, forge.AMDCRLConfig{Number: 5, At: held.At}))
	s.refuse("yet to come", s.crl(amd, forge.AMDCRLConfig{Number: 9, At: forge.AMDTime.Add(time.Hour)}))

	// A signature of its own for the same list is no other list: RSA-PSS draws a salt.
	again := s.crl(amd, held)
	if bytes.Equal(again, list) {
		t.Fatal("the two signatures are one")
	}
	if items := s.take(again); items[0].Outcome != collateral.Held {
		t.Errorf("the same list signed anew is %s", items[0].Outcome)
	}

	// The floor outlives the list, the process and every attempt to begin anew.
	objects, _ := filepath.Glob(filepath.Join(s.folder, "objects", "*.der"))
	if len(objects) != 1 {
		t.Fatalf("%d objects", len(objects))
	}
	if err := os.Remove(objects[0]); err != nil {
		t.Fatal(err)
	}
	s.store = s.open()
	set := s.store.Sets()[attestd.FormatSEVSNP]
	if len(set.CRLs) != 0 || len(set.Floors) != 1 || !bytes.Equal(set.Floors[0].Number, []byte{5}) {
		t.Errorf("without its list the floor is %v, with %d lists", set.Floors, len(set.CRLs))
	}
	if rows := s.store.Health(s.now); rows[0].Age != collateral.Expired || !strings.Contains(rows[0].Problem, "gone") {
		t.Errorf("a list that is gone is %s: %q", rows[0].Age, rows[0].Problem)
	}
	s.refuse("number 4, and 5 was seen", older)
	if items := s.take(again); items[0].Outcome != collateral.Taken || len(s.lists(s.open())) != 1 {
		t.Error("the list that was lost was not taken again")
	}

	// Forward it goes, however late.
	s.now = forge.AMDTime.AddDate(3, 0, 0)
	next := s.crl(amd, forge.AMDCRLConfig{Number: 300, At: forge.AMDTime})
	s.take(next)
	if got := s.lists(s.open()); len(got) != 1 || !bytes.Equal(got[0], next) {
		t.Error("a newer list did not take the place of the one before")
	}
	if rows := s.store.Health(s.now); rows[0].Age != collateral.Expired || rows[0].Number != "300" {
		t.Errorf("a stale list is %s with number %s", rows[0].Age, rows[0].Number)
	}
}

// TestListsOfNobodyAreRefused: each is refused before anything of it is written.
//
// neg: 106, 175
func TestListsOfNobodyAreRefused(t *testing.T) {
	s := newScene(t)
	amd := made(t, milan)
	edit := func(change func(*x509.RevocationList)) []byte {
		return s.crl(amd, forge.AMDCRLConfig{Edit: change})
	}
	extension := func(critical bool, value []byte, arcs ...int) func(*x509.RevocationList) {
		return func(list *x509.RevocationList) {
			list.ExtraExtensions = append(list.ExtraExtensions, pkix.Extension{Id: arcs, Critical: critical, Value: value})
		}
	}
	good := s.crl(amd, forge.AMDCRLConfig{Number: 2})
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	serial := bytes.Clone(good)
	serial[len(serial)/4] ^= 1
	for name, row := range map[string]struct {
		words string
		der   []byte
	}{
		"another product's ARK signed it": {
			"not that of",
			s.crl(made(t, genoa), forge.AMDCRLConfig{Signer: made(t, impostor)}),
		},
		"an impostor's ARK of the same name": {
			"not that of",
			s.crl(made(t, impostor), forge.AMDCRLConfig{}),
		},
		"one bit of the signature is another": {"not that of", flipped},
		"a delta": {
			"delta",
			edit(extension(true, []byte{2, 1, 1}, 2, 5, 29, 27)),
		},
		"a delta that is not critical": {
			"delta",
			edit(extension(false, []byte{2, 1, 1}, 2, 5, 29, 27)),
		},
		"an indirect list": {
			"indirect",
			edit(extension(true, []byte{0x30, 3, 0x84, 1, 0xff}, 2, 5, 29, 28)),
		},
		"a list for CAs alone": {
			"indirect",
			edit(extension(true, []byte{0x30, 3, 0x82, 1, 0xff}, 2, 5, 29, 28)),
		},
		"an unknown critical extension": {
			"critical extension",
			edit(extension(true, []byte{5, 0}, 1, 2, 3, 4)),
		},
		"an entry of another CA": {"of an entry", edit(func(list *x509.RevocationList) {
			list.RevokedCertificateEntries = []x509.RevocationListEntry{{
				SerialNumber: big.NewInt(9), RevocationTime: list.ThisUpdate,
				ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}}},
			}}
		})},
		"a web page": {"cannot be read", []byte("<!doctype html><title>429</title>")},
		"nothing":    {"cannot be read", nil},
	} {
		t.Run(name, func(t *testing.T) {
			inner := newScene(t)
			// A good one beside it is not taken either: an import is whole or not at all.
			inner.refuse(row.words, good, row.der)
			if left, _ := filepath.Glob(filepath.Join(inner.folder, "objects", "*")); len(left) != 0 {
				t.Errorf("it left %v", left)
			}
		})
	}
	if _, err := s.store.Import(t.Context(), [][]byte{serial}, "test"); err == nil {
		t.Error("a list with another byte was taken")
	}
	if _, err := s.store.Import(t.Context(), nil, "test"); err == nil {
		t.Error("an import of nothing was one")
	}
}

// TestCertificatesOfNobodyAreRefused, and nothing is believed of a name.
//
// neg: 175
func TestCertificatesOfNobodyAreRefused(t *testing.T) {
	amd, other := made(t, milan), made(t, genoa)
	report := forge.NewSNPReport("Milan", 3)
	scene := newScene(t)
	issue := func(of *forge.AMD, config forge.VCEKConfig) []byte {
		key, err := of.IssueVCEK(config)
		if err != nil {
			t.Fatal(err)
		}
		return key.DER
	}
	config := report.VCEKConfig("Milan")
	edited := func(change func(*forge.VCEKConfig)) []byte {
		next := config
		change(&next)
		return issue(amd, next)
	}
	crossed, err := forge.NewAMD(forge.AMDConfig{Line: "Milan", EditASK: func(c *x509.Certificate) {
		for index, name := range c.Subject.ExtraNames {
			if name.Type.String() == "2.5.4.3" {
				c.Subject.ExtraNames[index].Value = "SEV-Genoa"
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	old, err := forge.NewAMD(forge.AMDConfig{Line: "Milan", EditASK: func(c *x509.Certificate) {
		c.NotAfter = forge.AMDTime.Add(-time.Hour)
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		words   string
		objects [][]byte
	}{
		"a VCEK whose ASK is another one": {"not that of", [][]byte{issue(other, config)}},
		"an impostor's ASK": {
			"not that of",
			[][]byte{made(t, impostor).ASK.Raw},
		},
		"an impostor's root":                    {"", [][]byte{made(t, impostor).ARK.Raw}},
		"an ASK of another line under the root": {"", [][]byte{crossed.ASK.Raw}},
		"an ASK whose time has passed":          {"was valid until", [][]byte{old.ASK.Raw}},
		"a VCEK with a VLEK's extension": {
			"not those of a vcek",
			[][]byte{amd.ASK.Raw, edited(func(c *forge.VCEKConfig) { c.CSPID = "cloud" })},
		},
		"a VCEK without a chip id": {
			"not those of a vcek",
			[][]byte{amd.ASK.Raw, edited(func(c *forge.VCEKConfig) { c.HWID = nil })},
		},
		"a VCEK with a short chip id": {
			"chip id",
			[][]byte{amd.ASK.Raw, edited(func(c *forge.VCEKConfig) { c.HWID = c.HWID[:8] })},
		},
		"a VCEK of no chip": {
			"zeros",
			[][]byte{amd.ASK.Raw, edited(func(c *forge.VCEKConfig) { c.HWID = make([]byte, 64) })},
		},
		"a VCEK without a level": {
			"no level",
			[][]byte{amd.ASK.Raw, edited(func(c *forge.VCEKConfig) { c.Omit = "3.8" })},
		},
		"a VCEK whose time has passed": {"was valid until", [][]byte{amd.ASK.Raw, edited(func(c *forge.VCEKConfig) {
			c.Edit = func(cert *x509.Certificate) { cert.NotAfter = forge.AMDTime.Add(-time.Hour) }
		})}},
		"a VCEK whose time is yet to come": {"is valid from", [][]byte{amd.ASK.Raw, edited(func(c *forge.VCEKConfig) {
			c.Edit = func(cert *x509.Certificate) { cert.NotBefore = forge.AMDTime.Add(time.Hour) }
		})}},
	} {
		t.Run(name, func(t *testing.T) {
			inner := newScene(t)
			inner.refuse(row.words, row.objects...)
			if found, _ := inner.store.For(attestd.FormatSEVSNP, report.Bytes()); len(found) != 0 {
				t.Error("it is given out")
			}
		})
	}
	scene.take(amd.ASK.Raw, issue(amd, config)) // the row they are made from is good
}

// TestOneMachineIsNotGivenAnothers: what lies under a machine's name must be that machine's.
//
// neg: 175
func TestOneMachineIsNotGivenAnothers(t *testing.T) {
	s := newScene(t)
	amd := made(t, milan)
	first, second := forge.NewSNPReport("Milan", 3), forge.NewSNPReport("Milan", 3)
	second.ChipID[0] ^= 1
	patched := first
	patched.Reported[3]++
	s.take(amd.ASK.Raw, s.vcek(amd, first))
	for name, report := range map[string]forge.SNPReport{"another chip": second, "another level": patched} {
		if found, wanted := s.store.For(attestd.FormatSEVSNP, report.Bytes()); len(found) != 0 || wanted == nil {
			t.Errorf("%s is given %d certificates", name, len(found))
		}
	}
	// Somebody copies a file under the other's name.
	files, _ := filepath.Glob(filepath.Join(s.folder, "machines", "Milan", "vcek", "*.der"))
	if len(files) != 1 {
		t.Fatalf("%d files", len(files))
	}
	der, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	s.take(s.vcek(amd, second))
	all, _ := filepath.Glob(filepath.Join(s.folder, "machines", "Milan", "vcek", "*.der"))
	for _, path := range all {
		if err := os.WriteFile(path, der, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store := s.open()
	if found, wanted := store.For(attestd.FormatSEVSNP, second.Bytes()); len(found) != 0 || wanted == nil {
		t.Error("a machine is given the certificate of another one")
	}
	if found, _ := store.For(attestd.FormatSEVSNP, first.Bytes()); len(found) != 1 {
		t.Error("the machine whose certificate it is is not given it")
	}
	held, err := store.Machines()
	if err != nil || len(held) != 2 || (held[0].Problem == "") == (held[1].Problem == "") {
		t.Errorf("got %+v, %v", held, err)
	}
	// It is mended by importing it again.
	s.store = store
	if items := s.take(s.vcek(amd, second)); items[0].Outcome != collateral.Taken {
		t.Errorf("the right one is %s", items[0].Outcome)
	}
	if found, _ := store.For(attestd.FormatSEVSNP, second.Bytes()); len(found) != 1 {
		t.Error("the right one is not given out")
	}
}

func TestSuccessorsOfAMachinesCertificate(t *testing.T) {
	s := newScene(t)
	amd := made(t, milan)
	report := forge.NewSNPReport("Milan", 3)
	issue := func(days int) []byte {
		config := report.VCEKConfig("Milan")
		config.Edit = func(c *x509.Certificate) { c.NotBefore = forge.AMDTime.AddDate(0, 0, days) }
		key, err := amd.IssueVCEK(config)
		if err != nil {
			t.Fatal(err)
		}
		return key.DER
	}
	older, newer := issue(-20), issue(-10)
	s.take(amd.ASK.Raw, newer)
	if items := s.take(older); items[0].Outcome != collateral.Held {
		t.Error("an older certificate took the place of a newer one")
	}
	newest := issue(-1)
	s.take(newest)
	if found, _ := s.store.For(attestd.FormatSEVSNP, report.Bytes()); len(found) != 1 || !bytes.Equal(found[0], newest) {
		t.Error("the newest one is not given out")
	}
}

func TestTheFolderIsNotTrusted(t *testing.T) {
	amd := made(t, milan)
	for name, row := range map[string]struct {
		harm  func(s *scene) error
		opens bool
	}{
		"open to others": {func(s *scene) error { return os.Chmod(s.folder, 0o750) }, false},
		"its ledger is lost": {func(s *scene) error {
			return os.Remove(filepath.Join(s.folder, "ledger.json"))
		}, false},
		"its ledger is cut short": {func(s *scene) error {
			return os.Truncate(filepath.Join(s.folder, "ledger.json"), 100)
		}, false},
		"a list was changed": {func(s *scene) error {
			files, _ := filepath.Glob(filepath.Join(s.folder, "objects", "*.der"))
			for _, file := range files {
				if err := os.WriteFile(file, []byte("something else"), 0o600); err != nil {
					return err
				}
			}
			return nil
		}, true},
		"what a dead process left": {func(s *scene) error {
			return os.WriteFile(filepath.Join(s.folder, "objects", ".new-1"), []byte("half"), 0o600)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			objects := [][]byte{s.crl(amd, forge.AMDCRLConfig{Number: 7}), amd.ASK.Raw}
			s.take(objects...)
			if err := row.harm(s); err != nil {
				t.Fatal(err)
			}
			store, err := collateral.Open(s.folder, s.clock, s.roots()...)
			if (err == nil) != row.opens {
				t.Fatalf("opened: %v", err)
			}
			if err != nil {
				return
			}
			set := store.Sets()[attestd.FormatSEVSNP]
			if len(set.Floors) != 1 {
				t.Error("the floor is gone")
			}
			if name == "a list was changed" {
				if rows := store.Health(s.now); len(set.CRLs) != 0 || len(set.Certificates) != 0 ||
					rows[0].Problem == "" {
					t.Errorf("it is given out, and its row says %q", rows[0].Problem)
				}
				// What was lost is mended by importing it again.
				s.store = store
				s.take(objects...)
				set := s.open().Sets()[attestd.FormatSEVSNP]
				if len(set.CRLs) != 1 || len(set.Certificates) != 1 {
					t.Errorf("afterwards there are %d lists and %d CAs", len(set.CRLs), len(set.Certificates))
				}
			}
		})
	}
}

// TestAStoreWithoutItsRootGivesNothing: roots that were loaded by hand are gone with the option.
func TestAStoreWithoutItsRootGivesNothing(t *testing.T) {
	s := newScene(t)
	s.take(s.crl(made(t, milan), forge.AMDCRLConfig{}), made(t, milan).ASK.Raw)
	store, err := collateral.Open(s.folder, s.clock)
	if err != nil {
		t.Fatal(err)
	}
	set := store.Sets()[attestd.FormatSEVSNP]
	if len(set.CRLs) != 0 || len(set.Certificates) != 0 {
		t.Errorf("%d lists and %d CAs of a test root are given out", len(set.CRLs), len(set.Certificates))
	}
}

// TestManyWritersMoveForward: whatever the order in which processes come, the newest list stays.
func TestManyWritersMoveForward(t *testing.T) {
	s := newScene(t)
	amd := made(t, milan)
	var lists [][]byte
	for number := int64(1); number <= 12; number++ {
		at := forge.AMDTime.AddDate(0, -3, int(number))
		lists = append(lists, s.crl(amd, forge.AMDCRLConfig{Number: number, At: at}))
	}
	var group sync.WaitGroup
	for writer := range 4 {
		store := s.open()
		group.Go(func() {
			for turn := range lists {
				// Half of them come against the order; those are refused, which is the point.
				_, _ = store.Import(t.Context(), [][]byte{lists[(turn*5+writer*7)%len(lists)]}, "test")
			}
		})
	}
	reader := s.open()
	seen := byte(0)
	for range 50 {
		if _, err := reader.Changed(); err != nil {
			t.Error(err)
		}
		for _, floor := range reader.Sets()[attestd.FormatSEVSNP].Floors {
			if floor.Number[0] < seen {
				t.Errorf("the floor went back from %d to %d", seen, floor.Number[0])
			}
			seen = floor.Number[0]
		}
	}
	group.Wait()
	if got := s.lists(s.open()); len(got) != 1 || !bytes.Equal(got[0], lists[len(lists)-1]) {
		t.Error("the newest list did not stay")
	}
}
