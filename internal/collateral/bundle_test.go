package collateral_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral"
	"github.com/attestd/attestd/testvectors/forge"
)

func newKey(t testing.TB, name string) (private, public string) {
	t.Helper()
	private, public, err := collateral.NewKey(name)
	if err != nil {
		t.Fatal(err)
	}
	return private, public
}

func TestABundleCarriesAStoreOver(t *testing.T) {
	from, to := newScene(t), newScene(t)
	amd := made(t, milan)
	report := forge.NewSNPReport("Milan", 3)
	from.take(amd.ASK.Raw, from.crl(amd, forge.AMDCRLConfig{Number: 3}), from.vcek(amd, report))
	private, public := newKey(t, "lab.example.org")
	pack := func(s *scene) []byte {
		objects, err := s.store.Objects()
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := collateral.Bundle(objects, private)
		if err != nil {
			t.Fatal(err)
		}
		return bundle
	}
	bundle := pack(from)
	if again := pack(from); !bytes.Equal(bundle, again) {
		t.Error("a second export is another file")
	}
	objects, by, err := collateral.OpenBundle(bundle, public+"\n")
	if err != nil || by != "lab.example.org" || !collateral.IsBundle(bundle) {
		t.Fatalf("got %q, %v", by, err)
	}
	to.take(objects...)
	if to.setsOf(to.store) != from.setsOf(from.store) {
		t.Error("judges there are given something else")
	}
	if found, _ := to.store.For(attestd.FormatSEVSNP, report.Bytes()); len(found) != 1 {
		t.Error("the machine's certificate did not come over")
	}
	if again := pack(to); !bytes.Equal(bundle, again) {
		t.Error("the export of the import is another file")
	}
	// An older bundle does not take anything back, and is refused as a whole. neg: 106
	to.take(to.crl(amd, forge.AMDCRLConfig{Number: 4, At: forge.AMDTime.AddDate(0, -1, 0)}))
	to.refuse("number 3, and 4 was seen", objects...)
}

func TestBundlesOfOthersAreRefused(t *testing.T) {
	private, public := newKey(t, "lab.example.org")
	other, otherPublic := newKey(t, "lab.example.org")
	objects := [][]byte{[]byte("one object"), []byte("another")}
	good, err := collateral.Bundle(objects, private)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := collateral.Bundle(objects, other)
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(name string, bundle []byte, key string) {
		t.Helper()
		_, _, err := collateral.OpenBundle(bundle, key)
		var caller *attestd.CallerError
		if !errors.As(err, &caller) || caller.Hint == "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	refuse("another's key of the same name", foreign, public)
	refuse("under another's key", good, otherPublic)
	refuse("no key", good, "")
	refuse("a private key", good, private)
	refuse("nothing", nil, public)
	for index := range good {
		changed := bytes.Clone(good)
		changed[index] ^= 1
		refuse("another byte", changed, public)
		refuse("cut short", good[:index], public)
	}
	refuse("a byte behind its end", append(bytes.Clone(good), 0), public)
	// A payload that goes on after a note that fits another one.
	head, _, _ := bytes.Cut(good, []byte("\x00\x00\x00"))
	_, tail, _ := bytes.Cut(foreign, []byte("\x00\x00\x00"))
	refuse("one's note with another's signature", append(bytes.Clone(foreign[:len(foreign)-len(tail)]), tail...), public)
	refuse("a note without objects", head, public)
	for name, key := range map[string]string{"empty": "", "with a space": "a b", "with a plus": "a+b", "with a line": "a\nb"} {
		if _, _, err := collateral.NewKey(key); err == nil {
			t.Errorf("a key is called by a name that is %s", name)
		}
	}
	if _, err := collateral.Bundle(nil, private); err == nil {
		t.Error("a bundle of nothing was made")
	}
	if _, err := collateral.Bundle(objects, public); err == nil {
		t.Error("a bundle was signed with a public key")
	}
}

func TestAKeyIsNeverOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := collateral.WriteKey(path, "first"); err != nil {
		t.Fatal(err)
	}
	if err := collateral.WriteKey(path, "second"); err == nil {
		t.Error("it was")
	}
	info, err := os.Stat(path)
	if content, _ := os.ReadFile(path); err != nil || string(content) != "first\n" || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has %q with mode %v", content, info.Mode())
	}
}

func FuzzBundle(f *testing.F) {
	private, public := newKey(f, "lab.example.org")
	bundle, err := collateral.Bundle([][]byte{[]byte("one"), []byte("two")}, private)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bundle)
	f.Add([]byte(strings.Replace(string(bundle), "objects 2", "objects 1", 1)))
	f.Fuzz(func(t *testing.T, file []byte) {
		objects, _, err := collateral.OpenBundle(file, public)
		if err != nil {
			return
		}
		again, err := collateral.Bundle(objects, private)
		if err != nil || !bytes.Equal(again, file) {
			t.Errorf("%q was read and is written as %q (%v)", file, again, err)
		}
	})
}
