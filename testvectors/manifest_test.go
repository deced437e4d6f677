package testvectors_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/attestd/attestd/testvectors"
)

const goodRecord = `format: nitro
source: extra nitro/rust-sgx__request_proper.bin
encoding: raw
sha256: 370e28931efba395d8e9809c01e8edd74b4ec97c3a9155adbb5cedc3106d20f2
at: 2021-09-09T10:19:20.215Z
expect: reject
check: nitro/debug
licence: MPL-2.0
`

var zeros = strings.Repeat("00", 32)

var goodLog = `log: boot
source: extra tpm/keylime__ak.pub
encoding: raw
sha256: 370e28931efba395d8e9809c01e8edd74b4ec97c3a9155adbb5cedc3106d20f2
bank: sha256
registers: PCR0=` + zeros + `
expect: replayed
events: 3
licence: Apache-2.0
`

// TestManifestRules shows that a record cannot be written by halves.
func TestManifestRules(t *testing.T) {
	change := func(old, replacement string) string {
		if !strings.Contains(goodRecord, old) {
			t.Fatalf("record has no %q", old)
		}
		return strings.Replace(goodRecord, old, replacement, 1)
	}
	for _, row := range []struct {
		name, file, text, want string
	}{
		{"a good record is read", "nitro/a.vector", goodRecord, ""},
		{"an unknown key is refused", "nitro/a.vector", goodRecord + "exepct: accept\n", `unknown key "exepct"`},
		{"a double key is refused", "nitro/a.vector", goodRecord + "expect: accept\n", `second "expect"`},
		{"a rejection without its check is refused", "nitro/a.vector", change("check: nitro/debug\n", ""), "check must be given"},
		{"an acceptance with a check is refused", "nitro/a.vector", change("expect: reject", "expect: accept"), "check must be given"},
		{"an unknown verdict is refused", "nitro/a.vector", change("expect: reject", "expect: maybe"), `expect is "maybe"`},
		{"a missing digest is refused", "nitro/a.vector", change("sha256: 370e", "comment: 370e"), `no "sha256"`},
		{"a short digest is refused", "nitro/a.vector", change("0f2\n", "0\n"), "sha256 is not"},
		{"a missing licence is refused", "nitro/a.vector", change("licence: MPL-2.0\n", ""), `no "licence"`},
		{"an unknown step is refused", "nitro/a.vector", change("encoding: raw", "encoding: rot13"), `unknown step "rot13"`},
		{"an unknown source is refused", "nitro/a.vector", change("source: extra", "source: web"), "source is"},
		{"a module without its hash is refused", "nitro/a.vector", change("source: extra nitro/", "source: module a@v1.0.0 "), "source is"},
		{"a path that climbs out is refused", "nitro/a.vector", change("extra nitro/", "extra ../nitro/"), "clean relative path"},
		{"a format in another folder is refused", "sev-snp/a.vector", goodRecord, "in folder"},
		{"an unknown format is refused", "nitro/a.vector", change("format: nitro", "format: sgx"), "unknown format"},
		{"a time without a zone is refused", "nitro/a.vector", change("215Z", "215"), "parsing time"},
		{"an unknown endorsement is refused", "nitro/a.vector", goodRecord + "endorsements: nitro/none\n", "no endorsement record"},
		{"an endorsement with a verdict is refused", "nitro/a.endorsement", goodRecord, `unknown key "format"`},
		{"a line without a value is refused", "nitro/a.vector", goodRecord + "comment: \n", `is not "key: value"`},
		{"a file without its last newline is refused", "nitro/a.vector", strings.TrimSuffix(goodRecord, "\n"), "newline"},
		{"a file of another kind is refused", "nitro/a.txt", goodRecord, "neither"},
		{"a second file without a step that joins is refused", "nitro/a.vector", goodRecord + "with: b\n", "name 2 files"},
		{"a step that joins alone is refused", "nitro/a.vector", change("encoding: raw", "encoding: tpm2-tools"), "takes 5"},
		{"a step that joins behind another is refused", "nitro/a.vector", change("encoding: raw", "encoding: raw | tpm2-tools"), "must be the first"},
		{"a second file that climbs out is refused", "nitro/a.vector", goodRecord + "with: ../b\n", "clean relative path"},
		{"a short digest of a trusted key is refused", "nitro/a.vector", goodRecord + "trusted-ak: 00\n", "trusted-ak"},
		{"a demanded nonce that is no hex is refused", "nitro/a.vector", goodRecord + "demand-nonce: x\n", "demand-nonce"},
		{"a log is read", "logs/a.log", goodLog, ""},
		{"a log of an unknown kind is refused", "logs/a.log", strings.Replace(goodLog, "boot", "boots", 1), `log is "boots"`},
		{"a log with a claim is refused", "logs/a.log", goodLog + "claims: a=b\n", `unknown key "claims"`},
		{"a replay without registers is refused", "logs/a.log", strings.Replace(goodLog, "registers: PCR0="+zeros+"\n", "", 1), "go together"},
		{"a register of another bank's length is refused", "logs/a.log", strings.Replace(goodLog, "sha256\n", "sha384\n", 1), "register PCR0"},
		{"a refused log with events is refused", "logs/a.log", strings.Replace(goodLog, "replayed", "refused", 1), "expect is"},
		{"a log without a count is refused", "logs/a.log", strings.Replace(goodLog, "events: 3\n", "", 1), "expect is"},
		{"a log with a count that is none is refused", "logs/a.log", strings.Replace(goodLog, "events: 3", "events: x", 1), `events is "x"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := testvectors.CheckManifest(fstest.MapFS{
				"manifest/" + row.file: &fstest.MapFile{Data: []byte(row.text)},
			})
			switch {
			case row.want == "" && err != nil:
				t.Errorf("got %v", err)
			case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
				t.Errorf("got %v, want an error with %q", err, row.want)
			}
		})
	}
}

// TestAbsentVectorsAreCounted shows that a run without the folder says how much it did not see, and
// that a run which was promised all vectors fails with fewer.
func TestAbsentVectorsAreCounted(t *testing.T) {
	without, err := testvectors.Load(testvectors.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(without.Missing) == 0 || !strings.Contains(without.Report(), "not available") {
		t.Errorf("without the folder: %s", without.Report())
	}
	for _, missing := range without.Missing {
		if missing.Why == "" {
			t.Errorf("%s is missing without a reason", missing.Name)
		}
	}
	if _, err := testvectors.Load(testvectors.Options{ExtraDir: t.TempDir(), RequireAll: true}); err == nil {
		t.Error("an empty folder satisfied a run that requires every vector")
	}
}

// TestSourcesAreHeldToTheirDigests loads records whose pins are not those of what is published: a
// module or a file that was changed after it was looked at must not become a test vector.
func TestSourcesAreHeldToTheirDigests(t *testing.T) {
	const h1, digest = "h1:WXLYUZB2C2YaILH1sz2OnASXebVJNIloJ9pqaQaFRTY=",
		"234f1201a137f93d38d50c7ceaa560b4f73ecaf8e9d7849ab9a32f3b67a86f04"
	fromModule := strings.Join([]string{
		"format: nitro", "source: module github.com/anjuna-security/go-nitro-attestation@" +
			"v0.0.0-20250527214750-dc507eadb414 " + h1 + " attestdoc/testdata/sample_prod_doc.bin",
		"encoding: raw", "sha256: " + digest, "at: 2021-03-17T22:01:55Z", "expect: accept",
		"licence: Apache-2.0", "",
	}, "\n")
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "nitro"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "nitro", "rust-sgx__request_proper.bin"), []byte("something else"))
	for _, row := range []struct{ name, text, want, missing string }{
		{"a module with the pinned hash", fromModule, "", ""},
		{"a module with another hash", strings.Replace(fromModule, h1, "h1:AAAA", 1), "has hash", ""},
		{"a file with another digest", strings.Replace(fromModule, digest, strings.Repeat("00", 32), 1), "SHA-256 is", ""},
		{"a file that the module lacks", strings.Replace(fromModule, "sample_prod", "sample_none", 1), "no such file", ""},
		{"a module that is nowhere", strings.Replace(fromModule, "anjuna-security", "none.example", 1), "", "module not available"},
		{"an extra file that was changed", goodRecord, "SHA-256 is", ""},
		{"an extra file that no list names", strings.Replace(goodRecord, "proper", "other", 1), "extra-sources.tsv", ""},
		{"a file of too few bytes for a step", strings.Replace(fromModule, "raw", "raw | slice 9 9999", 1), "slice", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			files := fstest.MapFS{"manifest/nitro/a.vector": &fstest.MapFile{Data: []byte(row.text)}}
			loaded, err := testvectors.LoadFrom(files, testvectors.Options{
				ExtraDir: folder, Offline: row.missing != "",
			})
			switch {
			case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
				t.Errorf("got %v, want an error with %q", err, row.want)
			case row.want == "" && err != nil:
				t.Errorf("got %v", err)
			case row.missing != "" && (len(loaded.Missing) != 1 || !strings.Contains(loaded.Missing[0].Why, row.missing)):
				t.Errorf("got %+v, want one missing with %q", loaded.Missing, row.missing)
			case row.want == "" && row.missing == "" && len(loaded.Vectors) != 1:
				t.Errorf("got %s", loaded.Report())
			}
		})
	}
}

// FuzzManifest shows that no record makes the reader panic, and that what it reads it reads again.
func FuzzManifest(f *testing.F) {
	f.Add("nitro/a.vector", goodRecord)
	f.Add("sev-snp/a.endorsement", "source: extra a\nencoding: raw\nsha256: 00\nlicence: MIT\n")
	f.Fuzz(func(t *testing.T, file, text string) {
		if !fs.ValidPath("manifest/" + file) {
			return // no file system has such a name, and the one in memory loops on some
		}
		files := fstest.MapFS{"manifest/" + file: &fstest.MapFile{Data: []byte(text)}}
		first, second := testvectors.CheckManifest(files), testvectors.CheckManifest(files)
		if (first == nil) != (second == nil) {
			t.Errorf("read twice: %v, then %v", first, second)
		}
	})
}
