package pcs_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

var intel = sync.OnceValues(func() (*forge.Intel, error) { return forge.NewIntel(forge.IntelConfig{}) })

func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func signer(t testing.TB) *pcs.Signer {
	t.Helper()
	authority := must(intel())(t)
	return must(pcs.NewSigner(authority.Signing, authority.Root))(t)
}

// replace changes one place of a text, which must be there once or more.
func replace(old, with string) func(string) string {
	return func(text string) string {
		if !strings.Contains(text, old) {
			panic("nothing to replace: " + old)
		}
		return strings.Replace(text, old, with, 1)
	}
}

func TestForgedDocumentsAreRead(t *testing.T) {
	authority := must(intel())(t)
	config := forge.NewTCBInfoConfig()
	info := must(pcs.ParseTCBInfo(must(authority.TCBInfo(config))(t)))(t)
	if err := info.SignedBy(signer(t)); err != nil {
		t.Fatal(err)
	}
	if info.Subject != "tcb-info/TDX/b0c06f000000" || info.Kind != pcs.KindTCBInfo ||
		info.Evaluation != 18 || !info.IssuedAt.Equal(config.Issued) || !info.NextUpdate.Equal(config.Next) ||
		info.FMSPC != config.FMSPC || len(info.Unknown) != 0 {
		t.Errorf("header %+v", info.Header)
	}
	if len(info.Modules) != 2 || info.Modules[1].Major != 1 || len(info.Modules[1].Levels) != 2 ||
		info.Modules[1].Levels[1].Status != pcs.OutOfDate || info.Modules[1].Levels[1].ISVSVN != 4 {
		t.Errorf("modules %+v", info.Modules)
	}
	level := info.Levels[2]
	if len(info.Levels) != 3 || level.PCESVN != 5 || level.SGX != config.Levels[2].SGX ||
		level.TDX != config.Levels[2].TDX || !level.Date.Equal(config.Levels[2].Date) ||
		strings.Join(level.Advisories, " ") != "INTEL-SA-00106 INTEL-SA-01036 INTEL-SA-01079" {
		t.Errorf("level %+v", level)
	}
	identity := must(pcs.ParseIdentity(must(authority.Identity(forge.NewIdentityConfig()))(t)))(t)
	if err := identity.SignedBy(signer(t)); err != nil {
		t.Fatal(err)
	}
	if identity.Subject != pcs.SubjectOfIdentity || identity.MRSigner != forge.QESigner ||
		identity.ISVProdID != 2 || identity.AttributesMask[0] != 0xfb || identity.Attributes[0] != 0x11 ||
		identity.MiscSelectMask != [4]byte{255, 255, 255, 255} || len(identity.Levels) != 2 {
		t.Errorf("identity %+v", identity)
	}
}

// TestTCBInfoThatIsRefused edits a document and signs it again: what is refused is refused for what it
// says, by whoever signed it.
func TestTCBInfoThatIsRefused(t *testing.T) {
	authority := must(intel())(t)
	swap := func(config *forge.TCBInfoConfig) {
		config.Levels[0], config.Levels[1] = config.Levels[1], config.Levels[0]
	}
	for _, row := range []struct {
		name          string
		change        func(*forge.TCBInfoConfig)
		edit, rewrite func(string) string
		want          string
	}{
		{name: "id of SGX", edit: replace(`"id":"TDX"`, `"id":"SGX"`), want: "tcbInfo.id"},           // neg: 129
		{name: "version 2", edit: replace(`"version":3`, `"version":2`), want: "version: 2, want 3"}, // neg: 129
		{name: "type 1", edit: replace(`"tcbType":0`, `"tcbType":1`), want: "tcbType: 1, want 0"},    // neg: 129
		{name: "a word about a component that nobody knows, which is told and not refused",
			edit: replace(`{"svn":0}]`, `{"svn":0,"x":1}]`)},
		{name: "15 components of the CPUSVN", edit: replace(`{"svn":3},`, ``), // neg: 129
			want: "15 components, want 16"},
		{name: "17 components", edit: replace(`{"svn":3},`, `{"svn":3},{"svn":3},`), want: "a list of 17"},
		{name: "levels in another order", change: swap, want: "is not below every level before it"}, // neg: 129
		{name: "a level twice", change: func(c *forge.TCBInfoConfig) { c.Levels[1] = c.Levels[0] },
			want: "is not below every level before it"},
		{name: "module levels that rise", change: func(c *forge.TCBInfoConfig) {
			c.Modules[1].Levels[0].SVN = 3
		}, want: "is not below the one before it"},
		{name: "a module twice", change: func(c *forge.TCBInfoConfig) { c.Modules[0].ID = "TDX_01" }, want: "twice"},
		{name: "a module with no number", change: func(c *forge.TCBInfoConfig) { c.Modules[0].ID = "TDX_x1" },
			want: "not TDX_ and two hex digits"},
		{name: "a status that nobody knows", edit: replace("UpToDate", "Great"), // neg: 126
			want: `unknown status "Great"`},
		{name: "a status in another case", edit: replace("UpToDate", "uptodate"), want: "unknown status"}, // neg: 126
		{name: "an empty status", edit: replace("UpToDate", ""), want: "unknown status"},
		{name: "no levels", change: func(c *forge.TCBInfoConfig) { c.Levels = nil }, want: "a list of 0"},
		{name: "a part of a level that is not known", edit: replace(`"pcesvn":`, `"qesvn":1,"pcesvn":`),
			want: `unknown member "tcbInfo.tcbLevels[0].tcb.qesvn"`},
		{name: "a component above a byte", edit: replace(`{"svn":3}`, `{"svn":256}`), want: "from 0 to 255"},
		{name: "a component with a sign", edit: replace(`{"svn":3}`, `{"svn":-3}`), want: "from 0 to 255"},
		{name: "a component as a fraction", edit: replace(`{"svn":3}`, `{"svn":3.0}`), want: "from 0 to 255"},
		{name: "a component as a text", edit: replace(`{"svn":3}`, `{"svn":"3"}`), want: "not a number"},
		{name: "null for a list", edit: replace(`"tcbLevels":[`, `"tcbLevels":null,"x":[`), want: "not a list"},
		{name: "a short FMSPC", edit: replace(`B0C06F000000`, `B0C06F0000`), want: "want 6 bytes in hex"},
		{name: "a date with an offset", edit: replace(`2024-11-13T00:00:00Z`, `2024-11-13T00:00:00+00:00`),
			want: "want a time such as"},
		{name: "an update due before it was made", change: func(c *forge.TCBInfoConfig) {
			c.Next = c.Issued.AddDate(0, 0, -1)
		}, want: "before issueDate"},
		{name: "an advisory with a blank", edit: replace("INTEL-SA-01036", "INTEL SA"), want: "is no advisory"},
		{name: "a status twice", edit: replace(`"tcbStatus":"UpToDate"`, // neg: 131
			`"tcbStatus":"OutOfDate","tcbStatus":"UpToDate"`), want: `the key "tcbStatus" twice`},
		{name: "a key twice with an escape", edit: replace(`"tcbStatus":"UpToDate"`, // neg: 131
			`"tcb\u0053tatus":"OutOfDate","tcbStatus":"UpToDate"`), want: "spelled with an escape"},
		{name: "a key twice where nothing is read", edit: replace(`{"svn":3}`, // neg: 131
			`{"svn":3,"category":"a","category":"b"}`), want: "twice"},
		{name: "the object twice", rewrite: func(s string) string { // neg: 131
			return `{"tcbInfo":{},` + s[1:]
		}, want: `the key "tcbInfo" twice`},
		{name: "a byte order mark", rewrite: func(s string) string { return "\ufeff" + s }, // neg: 131
			want: "not JSON"},
		{name: "something behind", rewrite: func(s string) string { return s + "x" }, // neg: 131
			want: "1 bytes behind the value"},
		{name: "another value behind", rewrite: func(s string) string { return s + "{}" }, // neg: 131
			want: "2 bytes behind the value"},
		{name: "a third member", rewrite: func(s string) string { return s[:len(s)-1] + `,"x":1}` },
			want: "unknown member"},
		{name: "no signature", rewrite: func(s string) string {
			return s[:strings.Index(s, `,"signature"`)] + "}"
		}, want: "signature: missing"},
		{name: "a short signature", rewrite: func(s string) string { return s[:len(s)-4] + `"}` },
			want: "want 64 bytes in hex"},
		{name: "bytes that are no text", edit: replace("UpToDate", "Up\xffDate"), want: "not valid UTF-8"},
		{name: "too long", rewrite: func(s string) string { return s + strings.Repeat(" ", pcs.MaxBytes) },
			want: "want at most"},
		{name: "advisories that are no list", edit: replace(`"advisoryIDs":[`, // neg: 131
			`"advisoryIDs":"none","x":[`), want: "advisoryIDs: no list"},
		{name: "a word about a component that is no text", edit: replace(`{"svn":3}`,
			`{"svn":3,"category":1}`), want: "category: not a text"},
		{name: "an inner key without its first quote", edit: replace(`{"svn":3}`, `{xsvn":3}`),
			want: "not JSON"},
		{name: "no colon", edit: replace(`{"svn":3}`, `{"svn"3}`), want: "not JSON"},
		{name: "a line feed in a text", edit: replace(`"INTEL-SA-01036"`, "\"INTEL-\nSA-01036\""),
			want: "not JSON"},
		{name: "a number with a zero in front", edit: replace(`{"svn":3}`, `{"svn":03}`),
			want: "not JSON"},
		{name: "an infinity", edit: replace(`{"svn":3}`, `{"svn":Infinity}`), want: "not JSON"},
		{name: "more members than are told apart", edit: func(s string) string {
			var more strings.Builder
			for i := range 65 {
				fmt.Fprintf(&more, `"x%d":0,`, i)
			}
			return "{" + more.String() + s[1:]
		}, want: "an object of more than 32 members"},
		{name: "nested too deep", edit: func(s string) string {
			return s[:len(s)-1] + `,"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}"
		}, want: "nested deeper"},
	} {
		t.Run(row.name, func(t *testing.T) {
			config := forge.NewTCBInfoConfig()
			if row.change != nil {
				row.change(&config)
			}
			config.Edit, config.Rewrite = row.edit, row.rewrite
			info, err := pcs.ParseTCBInfo(must(authority.TCBInfo(config))(t))
			if row.want == "" {
				if err != nil || len(info.Unknown) != 1 {
					t.Fatalf("got %v, %v", info, err)
				}
				return
			}
			if err == nil || info != nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want %q", err, row.want)
			}
		})
	}
}

func TestIdentitiesThatAreRefused(t *testing.T) {
	authority := must(intel())(t)
	for name, row := range map[string]struct {
		edit func(string) string
		want string
	}{
		"another enclave":       {replace(`"TD_QE"`, `"QE"`), `"QE", want "TD_QE"`}, // neg: 129
		"version 1":             {replace(`"version":2`, `"version":1`), "1, want 2"},
		"a status of its own":   {replace("OutOfDate", "Outdated"), "unknown status"}, // neg: 126
		"no signer":             {replace(`"mrsigner"`, `"mrsigner2"`), "mrsigner: missing"},
		"an SVN above 16 bits":  {replace(`"isvsvn":4`, `"isvsvn":65536`), "from 0 to 65535"},
		"levels that rise":      {replace(`"isvsvn":4`, `"isvsvn":2`), "is not below"},
		"a level of two things": {replace(`{"isvsvn":4`, `{"x":1,"isvsvn":4`), "unknown member"},
	} {
		config := forge.NewIdentityConfig()
		config.Edit = row.edit
		identity, err := pcs.ParseIdentity(must(authority.Identity(config))(t))
		if err == nil || identity != nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", name, err, row.want)
		}
	}
}

// TestOnlyTheSignedBytesAreSigned: not what they mean when written again. neg: 131
func TestOnlyTheSignedBytesAreSigned(t *testing.T) {
	authority := must(intel())(t)
	stranger := must(forge.NewIntel(forge.IntelConfig{}))(t)
	good := string(must(authority.TCBInfo(forge.NewTCBInfoConfig()))(t))
	for name, document := range map[string]string{
		"a blank more":         strings.Replace(good, `"version":3`, `"version": 3`, 1),
		"members swapped":      strings.Replace(good, `"id":"TDX","version":3`, `"version":3,"id":"TDX"`, 1),
		"an advisory less":     strings.Replace(good, `"INTEL-SA-00106",`, ``, 1),
		"hex in another case":  strings.Replace(good, "B0C06F000000", "b0c06f000000", 1),
		"another's signature":  string(must(stranger.TCBInfo(forge.NewTCBInfoConfig()))(t)),
		"a signature of zeros": good[:len(good)-130] + strings.Repeat("0", 128) + `"}`,
	} {
		if document == good {
			t.Fatalf("%s: nothing changed", name)
		}
		info, err := pcs.ParseTCBInfo([]byte(document))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if info.SignedBy(signer(t)) == nil {
			t.Errorf("%s: the signature holds", name)
		}
	}
	// The bytes around the object are not signed, and blanks there say nothing.
	for _, document := range []string{good + "\n", " " + good, strings.Replace(good, `{"tcbInfo":`, `{ "tcbInfo" : `, 1)} {
		info := must(pcs.ParseTCBInfo([]byte(document)))(t)
		if err := info.SignedBy(signer(t)); err != nil {
			t.Error(err)
		}
	}
	if info := must(pcs.ParseTCBInfo([]byte(good)))(t); info.SignedBy(nil) == nil || info.SignedBy(&pcs.Signer{}) == nil {
		t.Error("signed by nobody")
	}
	if (&pcs.TCBInfo{}).SignedBy(signer(t)) == nil {
		t.Error("nothing is signed")
	}
}

// TestSignersThatAreRefused: a certificate with Intel's names is anybody's. neg: 132
func TestSignersThatAreRefused(t *testing.T) {
	authority := must(intel())(t)
	stranger := must(forge.NewIntel(forge.IntelConfig{}))(t)
	edited := func(edit func(*x509.Certificate)) *x509.Certificate {
		made := must(forge.NewIntel(forge.IntelConfig{EditSigning: edit}))(t)
		if _, err := pcs.NewSigner(made.Signing, made.Root); err == nil {
			t.Error("an edited signer is one below its own root")
		}
		return made.Signing
	}
	for name, cert := range map[string]*x509.Certificate{
		"below another root of that name": stranger.Signing,
		"a CA":                            authority.Platform,
		"the root itself":                 authority.Root,
		"another name": edited(func(c *x509.Certificate) {
			c.Subject = forge.IntelName("Intel SGX TCB Signing 2")
		}),
		"an extension that must be understood": edited(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}),
		"a key that may not sign": edited(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }),
	} {
		if _, err := pcs.NewSigner(cert, authority.Root); err == nil {
			t.Errorf("%s is a signer", name)
		}
	}
	renamed := *authority.Root
	renamed.RawSubject = authority.Platform.RawSubject
	if _, err := pcs.NewSigner(authority.Signing, &renamed); err == nil {
		t.Error("a signer below a root of another name")
	}
}

func TestKindsAndPreselection(t *testing.T) {
	authority := must(intel())(t)
	config := forge.NewTCBInfoConfig()
	info := must(authority.TCBInfo(config))(t)
	identity := must(authority.Identity(forge.NewIdentityConfig()))(t)
	if pcs.KindOf(info) != pcs.KindTCBInfo || pcs.KindOf(identity) != pcs.KindIdentity ||
		pcs.KindOf([]byte(`{"x":1}`)) != pcs.KindNone || pcs.KindOf(nil) != pcs.KindNone ||
		pcs.KindOf([]byte("[")) != pcs.KindNone {
		t.Error("a kind is another")
	}
	lower := bytes.ReplaceAll(info, []byte("B0C06F000000"), []byte("b0c06f000000"))
	if !pcs.IsAbout(info, config.FMSPC) || !pcs.IsAbout(lower, config.FMSPC) ||
		pcs.IsAbout(info, [6]byte{1}) || pcs.IsAbout(identity, config.FMSPC) ||
		pcs.IsAbout([]byte(`{"fmspc":"B0`), config.FMSPC) {
		t.Error("preselection errs")
	}
	for _, document := range [][]byte{nil, []byte("{}"), []byte(`{"tcbInfo":{}}`), []byte(`{"enclaveIdentity":{}}`)} {
		if read, err := pcs.Parse(document); err == nil || read != nil {
			t.Errorf("%q is %v", document, read)
		}
		if _, err := pcs.Subject(document); err == nil {
			t.Errorf("%q has a subject", document)
		}
	}
	if subject, err := pcs.Subject(identity); err != nil || subject != pcs.SubjectOfIdentity {
		t.Errorf("got %q, %v", subject, err)
	}
}
