package collateral_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

var subjectOfTests = pcs.SubjectOfTCBInfo(forge.NewPCKConfig().FMSPC)

func (s *scene) follow(store *collateral.Store, channel collateral.Channel) *collateral.Store {
	s.Helper()
	if err := store.Follow(channel); err != nil {
		s.Fatal(err)
	}
	return store
}

func early(documents ...[]byte) [][]byte { return collateral.In(collateral.Early, documents) }

// floorOf is the floor of a subject among those that judges are given; the zero floor for none.
func (s *scene) floorOf(store *collateral.Store, subject string) attestd.DocumentFloor {
	_, floors := s.tdx(store)
	for _, floor := range floors {
		if floor.Subject == subject {
			return floor
		}
	}
	return attestd.DocumentFloor{}
}

func TestDocumentsAreTakenAndGivenOut(t *testing.T) {
	s := newIntelScene(t)
	info, identity := s.info(17, 0), s.identity(17, 0)
	outcomes := map[string]int{}
	for _, item := range s.take(info, s.signer(), identity, intelOf(t, santaClara).Root.Raw) {
		outcomes[item.Kind+" "+string(item.Channel)+" "+item.Outcome]++
	}
	for _, want := range []string{
		"signer  taken", "ca  held", "tcb-info standard taken", "enclave-identity standard taken",
	} {
		if outcomes[want] != 1 {
			t.Errorf("got %v, want one %q", outcomes, want)
		}
	}
	for name, store := range map[string]*collateral.Store{"this": s.store, "a later": s.open()} {
		for _, format := range []attestd.Format{
			attestd.FormatTDX, attestd.FormatAzureVTPM, attestd.FormatComposite,
		} {
			of := store.Sets()[format]
			if len(of.Documents) != 2 || !slices.ContainsFunc(of.Documents, func(one []byte) bool {
				return bytes.Equal(one, info)
			}) || len(of.DocumentFloors) != 2 || len(of.Certificates) != 1 {
				t.Errorf("%s store gives judges of %s %d documents, %v", name, format, len(of.Documents), of.DocumentFloors)
			}
			if _, err := of.Marshal(); err != nil {
				t.Error(err)
			}
		}
	}
	if got := s.floorOf(s.store, subjectOfTests); got.Evaluation != 17 {
		t.Errorf("floor %v", got)
	}
	for _, item := range s.take(info) {
		if item.Outcome != collateral.Held {
			t.Errorf("the same once more: %+v", item)
		}
	}
}

// neg: 130
// An older document that is put back would make a platform pass that Intel judges otherwise by now.
func TestDocumentsGoForwardOnly(t *testing.T) {
	s := newIntelScene(t)
	s.take(s.signer(), s.info(17, 2), s.identity(17, 2))
	for name, row := range map[string]struct {
		document []byte
		words    string
	}{
		"a lower number, later":       {s.info(16, 3), "has number 16, and 17 was seen"},
		"the same number, earlier":    {s.info(17, 1), "was seen already"},
		"an identity of a lower one":  {s.identity(16, 3), "has number 16, and 17 was seen"},
		"an identity that is earlier": {s.identity(17, 1), "was seen already"},
		"yet to come":                 {s.info(18, 24+1), "yet to come"},
		"another of one number, date": {s.edited(17, 2), "number and date of another"},
	} {
		t.Log(name)
		s.refuse(row.words, row.document)
	}
	// A higher number counts, whenever it was issued: it knows more.
	s.take(s.info(18, 1))
	if got := s.floorOf(s.store, subjectOfTests); got.Evaluation != 18 {
		t.Errorf("floor %v", got)
	}
	s.refuse("has number 17, and 18 was seen", s.info(17, 5))
}

// edited is a document with number and date of another, and another status in it.
func (s *scene) edited(number, hours int) []byte {
	s.Helper()
	config := forge.NewTCBInfoConfig()
	config.Evaluation = number
	config.Issued, config.Next = issued(hours)
	config.Levels[0].Date = config.Levels[0].Date.Add(time.Hour)
	document, err := intelOf(s, santaClara).TCBInfo(config)
	if err != nil {
		s.Fatal(err)
	}
	return document
}

// TestChannelsAreTwoMemories: Intel's early documents are months ahead of the standard ones. One of them that
// raised the standard floor would make every standard one a rollback, and refuse a whole fleet.
func TestChannelsAreTwoMemories(t *testing.T) {
	s := newIntelScene(t)
	standard, ahead := s.info(17, 0), s.info(18, 1)
	s.take(append(early(ahead), s.signer(), standard, s.identity(17, 0))...)
	documents, _ := s.tdx(s.store)
	if len(documents) != 2 || slices.ContainsFunc(documents, func(one []byte) bool { return bytes.Equal(one, ahead) }) {
		t.Errorf("judges of the standard channel are given %d documents, or the early one", len(documents))
	}
	if got := s.floorOf(s.store, subjectOfTests); got.Evaluation != 17 {
		t.Errorf("the early document raised the standard floor to %v", got)
	}
	s.take(s.info(17, 2)) // and does not refuse the next standard one
	other := s.follow(s.open(), collateral.Early)
	documents, _ = s.tdx(other)
	if len(documents) != 1 || !bytes.Equal(documents[0], ahead) || s.floorOf(other, subjectOfTests).Evaluation != 18 {
		t.Errorf("judges of the early channel are given %d documents", len(documents))
	}
	s.refuse("in the early channel has number 17, and 18 was seen", early(s.info(17, 5))...)
	if err := s.store.Follow("next"); err == nil {
		t.Error("a channel that is none is followed")
	}
}

// TestTheFloorOutlivesTheDocument: whoever deletes a file must not lower what was seen.
func TestTheFloorOutlivesTheDocument(t *testing.T) {
	s := newIntelScene(t)
	info := s.info(17, 2)
	s.take(s.signer(), info)
	files, err := filepath.Glob(filepath.Join(s.folder, "objects", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := os.WriteFile(files[0], s.info(16, 2), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"changed", "gone"} {
		store := s.open()
		if documents, _ := s.tdx(store); len(documents) != 0 {
			t.Errorf("%s: it is given out", step)
		}
		if got := s.floorOf(store, subjectOfTests); got.Evaluation != 17 {
			t.Errorf("%s: floor %v", step, got)
		}
		if _, err := collateral.Judge(store.Health(s.now)); err == nil || !strings.Contains(err.Error(), step) {
			t.Errorf("%s: health says %v", step, err)
		}
		_ = os.Remove(files[0])
	}
	s.refuse("has number 16", s.info(16, 2))
	s.take(info)
	if documents, _ := s.tdx(s.open()); len(documents) != 1 {
		t.Error("the same document did not come back")
	}
}

// TestAnOlderFolderIsRefusedForItsDocuments: a copy that is put back shows nothing of it; the record outside does.
func TestAnOlderFolderIsRefusedForItsDocuments(t *testing.T) {
	for _, channel := range collateral.Channels() {
		t.Run(string(channel), func(t *testing.T) {
			s := newIntelScene(t)
			record := filepath.Join(t.TempDir(), "floors")
			s.take(append(collateral.In(channel, [][]byte{s.info(17, 0)}), s.signer())...)
			if err := s.store.Witness(record); err != nil {
				t.Fatal(err)
			}
			copied := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(copied, os.DirFS(s.folder)); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(copied, 0o700); err != nil {
				t.Fatal(err)
			}
			s.take(collateral.In(channel, [][]byte{s.info(18, 1)})...)
			s.folder = copied
			var caller *attestd.CallerError
			err := s.open().Witness(record)
			if !errors.As(err, &caller) || caller.Class != attestd.ClassConfig ||
				!strings.Contains(err.Error(), "has number 17, and 18 was seen") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Lists of Intel's all have the number 1: their dates alone tell an old one, and go to judges as floors.
func TestIntelsListsGoForwardByDate(t *testing.T) {
	s := newIntelScene(t)
	intel := intelOf(t, santaClara)
	list := func(hours int) []byte {
		from, until := issued(hours)
		der, err := intel.CRL(forge.IntelCRLConfig{CA: forge.IntelPlatformCA, At: from, Next: until})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	s.take(intel.Platform.Raw, list(2))
	s.refuse("one of 2025-05-31T14:00:00Z was seen", list(1))
	s.take(list(3))
	subject := pcs.SubjectOfCRL(intel.Platform.RawSubjectPublicKeyInfo)
	if got := s.floorOf(s.store, subject); !got.IssuedAt.Equal(forge.IntelTime.Add(-21 * time.Hour)) {
		t.Errorf("floor of the platform CA's lists: %v", got)
	}
}

// TestDocumentsThatNobodyVouchesFor are not taken.
func TestDocumentsThatNobodyVouchesFor(t *testing.T) {
	s := newIntelScene(t)
	foreign := intelOf(t, otherIntel)
	forged, err := foreign.TCBInfo(forge.NewTCBInfoConfig())
	if err != nil {
		t.Fatal(err)
	}
	info := s.info(17, 0)
	s.refuse("signer is not known", info)                    // its signer does not come along
	s.refuse("did not sign it", foreign.Signing.Raw)         // neg: 132
	s.refuse("did not sign it", foreign.Signing.Raw, forged) // neg: 132
	s.refuse("not the TCB signing key's", s.signer(), forged)
	s.refuse("cannot be read", s.signer(), bytes.Replace(info, []byte(`"version":3`), []byte(`"version":2`), 1))
	s.refuse("not the TCB signing key's", s.signer(), bytes.Replace(info, []byte("UpToDate"), []byte("OutOfDate"), 1))
	s.refuse("cannot be read", s.signer(), append(bytes.Clone(info), '{')) // neg: 131
	s.refuse("did not sign it", intelOf(t, santaClara).Root.Raw, foreign.Signing.Raw)
	// A PCK CA signs no documents, whatever it is called.
	s.mu.Lock()
	s.now = forge.IntelTime.AddDate(20, 0, 0)
	s.mu.Unlock()
	s.refuse("was valid until", s.signer(), info)
}

// TestABundleCarriesBothChannels, and what is of the early one arrives as such.
func TestABundleCarriesBothChannels(t *testing.T) {
	s := newIntelScene(t)
	s.take(append(early(s.info(18, 1), s.identity(18, 1)), s.signer(), s.info(17, 0), s.identity(17, 0))...)
	objects, err := s.store.Objects()
	if err != nil {
		t.Fatal(err)
	}
	private, public, err := collateral.NewKey("site.example.org")
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := collateral.Bundle(objects, private)
	if err != nil {
		t.Fatal(err)
	}
	opened, _, err := collateral.OpenBundle(bundle, public)
	if err != nil {
		t.Fatal(err)
	}
	there := newIntelScene(t)
	there.take(opened...)
	for _, channel := range collateral.Channels() {
		mine, _ := s.tdx(s.follow(s.open(), channel))
		theirs, _ := there.tdx(there.follow(there.open(), channel))
		if len(mine) != 2 || !slices.EqualFunc(mine, theirs, bytes.Equal) {
			t.Errorf("%s: %d documents here, %d there, or others", channel, len(mine), len(theirs))
		}
	}
}

func TestHealthTellsOfDocuments(t *testing.T) {
	s := newIntelScene(t)
	s.take(append(early(s.info(18, 0)), s.signer(), s.info(17, 0))...)
	_, err := collateral.Judge(s.store.Health(s.now))
	for _, want := range []string{
		"enclave-identity TD_QE: none was imported yet", "list Intel SGX Root CA: none was imported yet",
		"list Intel SGX PCK Platform CA: none was imported yet",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	ages := map[int]string{1: "fresh", 16: "due", 28: "grace", 31: "expired"}
	for days, want := range ages {
		for _, row := range s.store.Health(s.now.AddDate(0, 0, days)) {
			if row.Kind != "tcb-info" {
				continue
			}
			if row.Age.String() != want || row.Idle != (row.Channel == collateral.Early) {
				t.Errorf("after %d days: %s %s %v, want %s", days, row.Channel, row.Age, row.Idle, want)
			}
		}
	}
	// What nobody is judged by alarms nobody.
	s.take(s.identity(17, 0))
	_, err = collateral.Judge(s.store.Health(s.now.AddDate(0, 0, 31)))
	if err == nil || strings.Count(err.Error(), "tcb-info") != 1 {
		t.Errorf("got %v, want one document's end", err)
	}
}
