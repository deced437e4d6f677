package measurements_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/measurements"
)

const smallDoc = `schema: attestd.reference-values.v1
name: web-guest
version: "2025.5"
format: sev-snp
values:
  - name: 4-vcpu
    state: active
    measurement: "` + snpDigest + `"
`

const snpDigest = "3f9a61c05b7d20e84c1196af03d85b2e7790c4d1a86f35e2b40978c3d15eaf66" +
	"12c7b9084fd3a5e1700b8c26944f1ee2"

// signer is somebody who signs reference values.
type signer struct {
	private string
	public  []measurements.PublicKey
}

func newSigner(t testing.TB, name string) signer {
	t.Helper()
	private, public, err := measurements.GenerateKey(name)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := measurements.ReadKeys("test", []byte(public))
	if err != nil {
		t.Fatal(err)
	}
	return signer{private, keys}
}

func (s signer) sign(t testing.TB, doc string, keep ...measurements.PublicKey) string {
	t.Helper()
	signed, err := measurements.Sign("test", []byte(doc), s.private, keep)
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

func TestADocumentIsSignedOrLocal(t *testing.T) {
	ours, others := newSigner(t, "example.org/references"), newSigner(t, "example.net/references")
	imposter := newSigner(t, "example.org/references") // the same name, another key
	good := ours.sign(t, smallDoc)
	both := others.sign(t, good, ours.public...)
	changed := strings.Replace(good, "3f9a61", "3f9a62", 1)
	block := good[strings.Index(good, "# attestd:signatures"):]
	trusted := measurements.Trust{Keys: ours.public}
	local := measurements.Trust{Local: true}
	localAndKeys := measurements.Trust{Keys: ours.public, Local: true}
	for _, row := range []struct {
		name, doc string
		trust     measurements.Trust
		signedBy  string
		problem   string
	}{
		{"signed by a trusted key", good, trusted, "example.org/references", ""},
		{"signed by two of which one is trusted", both, trusted, "example.org/references", ""},
		{"local and not signed", smallDoc, local, "", ""},
		{"local and signed by somebody", others.sign(t, smallDoc), localAndKeys, "", ""},
		{"local and signed by a trusted key", good, localAndKeys, "example.org/references", ""},
		{"not signed", smallDoc, trusted, "", "are not signed"},
		{"no trust at all", good, measurements.Trust{}, "", "by none of the keys"},
		{"not signed, without any trust", smallDoc, measurements.Trust{}, "", "are not signed"},
		{"a zero key", good, measurements.Trust{Keys: make([]measurements.PublicKey, 1)}, "", "by none"},
		{"signed by others", others.sign(t, smallDoc), trusted, "", "by none of the keys"},
		{"signed by another key of the name", imposter.sign(t, smallDoc), trusted, "", "by none"},
		{"a digest changed", changed, trusted, "", "are not what was signed"},
		{"a digest changed in a local file", changed, localAndKeys, "", "are not what was signed"},
		{"a comment put in front", "# hello\n" + good, trusted, "", "are not what was signed"},
		{"a value behind the signature", good + "# x\n", trusted, "", "cannot be read"},
		{"a key behind the signature", good + "version: \"2\"\n", local, "", "cannot be read"},
		{"a block without signatures", smallDoc + "# attestd:signatures\n", local, "", "cannot be read"},
		{"a block that is indented", smallDoc + " " + block, trusted, "", "cannot be read"},
		{"a block with other line ends", strings.ReplaceAll(good, "\n", "\r\n"), trusted, "",
			"cannot be read"},
		{"two blocks", good + block, trusted, "", "cannot be read"},
		{"the last line end cut off", strings.TrimSuffix(good, "\n"), trusted, "", "cannot be read"},
		{"twenty signatures", good + strings.Repeat(block[strings.Index(block, "\n")+1:], 19), trusted, "",
			"cannot be read"},
		{"a signature of one byte", smallDoc + "# attestd:signatures\n# \u2014 example.org/references AA==\n",
			trusted, "", "cannot be read"},
	} {
		t.Run(row.name, func(t *testing.T) {
			set, err := measurements.Open("test", []byte(row.doc), row.trust)
			if row.problem == "" {
				if err != nil || set.SignedBy != row.signedBy || len(set.Values) != 1 {
					t.Fatalf("got %v, %v; want it opened, signed by %q", set, err, row.signedBy)
				}
				return
			}
			var caller *attestd.CallerError
			if set != nil || !errors.As(err, &caller) || caller.Class != attestd.ClassConfig ||
				!strings.Contains(err.Error(), row.problem) || caller.Hint == "" {
				t.Fatalf("got %v, %v; want a CONFIG error with %q", set, err, row.problem)
			}
		})
	}
}

func TestEveryChangedBitOfASignedDocumentIsRefused(t *testing.T) {
	ours := newSigner(t, "example.org/references")
	good := []byte(ours.sign(t, smallDoc))
	for at := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[at] ^= 1 << bit
			if _, err := measurements.Open("test", bad, measurements.Trust{Keys: ours.public}); err == nil {
				t.Fatalf("bit %d of byte %d changed, and it was opened", bit, at)
			}
		}
	}
	for length := range good {
		if _, err := measurements.Open("test", good[:length],
			measurements.Trust{Keys: ours.public}); err == nil {
			t.Fatalf("%d of %d bytes were opened", length, len(good))
		}
	}
}

func TestSigningAgainReplaces(t *testing.T) {
	ours, others := newSigner(t, "example.org/references"), newSigner(t, "example.net/references")
	once := ours.sign(t, smallDoc)
	if twice := ours.sign(t, once, ours.public...); twice != once {
		t.Errorf("signed twice:\n%s", twice)
	}
	// A change makes every signature void: the others' goes, ours is made anew.
	changed := strings.Replace(others.sign(t, once, ours.public...), "3f9a61", "3f9a62", 1)
	again := ours.sign(t, changed, others.public...)
	if strings.Count(again, "\u2014 ") != 1 {
		t.Errorf("a void signature was kept:\n%s", again)
	}
	for _, bad := range []string{"", "PRIVATE+KEY+x", "example.org+00000000+AAAA"} {
		_, err := measurements.Sign("test", []byte(smallDoc), bad, nil)
		if err == nil || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("key %q: got %v, want an error that does not quote it", bad, err)
		}
	}
	if _, err := measurements.Sign("test", []byte("name: x\n"), ours.private, nil); err == nil {
		t.Error("something else was signed")
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	private, public, err := measurements.GenerateKey("example.org/references")
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{
		"nothing": "", "only a comment": "# nobody\n", "a private key": private,
		"a key twice": public + public, "a changed key": strings.Replace(public, "example", "exemple", 1),
		"too many bytes": public + strings.Repeat("#", measurements.MaxKeyFile),
	} {
		if keys, err := measurements.ReadKeys("test", []byte(file)); err == nil || keys != nil {
			t.Errorf("%s: got %v, want an error", name, keys)
		} else if strings.Contains(err.Error(), strings.TrimSpace(private)) {
			t.Errorf("%s: the error quotes a private key", name)
		}
	}
	if keys, err := measurements.ReadKeys("test", []byte("# ours\n\n"+public)); err != nil ||
		len(keys) != 1 || keys[0].Name() != "example.org/references" {
		t.Errorf("got %v, %v", keys, err)
	}
	for _, name := range []string{"", "a b", "a+b", "a\nb", "ä", strings.Repeat("a", 101)} {
		if _, _, err := measurements.GenerateKey(name); err == nil {
			t.Errorf("a key was made for the name %q", name)
		}
	}
}
