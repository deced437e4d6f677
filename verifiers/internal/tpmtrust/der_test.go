package tpmtrust

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/attestd/attestd"
)

// element writes one element of DER of up to 255 bytes.
func element(tag byte, parts ...[]byte) []byte {
	value := slices.Concat(parts...)
	if len(value) >= 0x80 {
		return slices.Concat([]byte{tag, 0x81, byte(len(value))}, value)
	}
	return slices.Concat([]byte{tag, byte(len(value))}, value)
}

func TestDERHasOneSpelling(t *testing.T) {
	long := strings.Repeat("x", limits.text+1)
	text := func(d der) error { _, err := d.text(); return err }
	number := func(d der) error { _, err := d.number(); return err }
	boolean := func(d der) error { _, err := d.boolean(); return err }
	sequence := func(d der) error { _, err := d.only(tagSequence); return err }
	zeros := func(count int, head ...byte) []byte { return append(head, make([]byte, count)...) }
	next := func(d der) error { _, _, err := d.next(); return err }
	for name, row := range map[string]struct {
		read func(der) error
		raw  []byte
		good bool
	}{
		"a text":                         {text, []byte{asn1.TagUTF8String, 1, 'x'}, true},
		"an empty text":                  {text, []byte{asn1.TagUTF8String, 0}, false},
		"a text that is none":            {text, []byte{asn1.TagOctetString, 1, 'x'}, false},
		"a text that is no UTF-8":        {text, []byte{asn1.TagUTF8String, 1, 0xff}, false},
		"a text with a control":          {text, []byte{asn1.TagUTF8String, 1, '\n'}, false},
		"a text that is too long":        {text, element(asn1.TagUTF8String, []byte(long)), false},
		"no text":                        {text, nil, false},
		"a number":                       {number, []byte{2, 2, 0, 0x80}, true},
		"a number of 8 bytes":            {number, []byte{2, 9, 0, 255, 1, 1, 1, 1, 1, 1, 1}, true},
		"a number of 9 bytes":            {number, []byte{2, 9, 1, 1, 1, 1, 1, 1, 1, 1, 1}, false},
		"a number with a zero":           {number, []byte{2, 2, 0, 1}, false},
		"a negative number":              {number, []byte{2, 1, 0x80}, false},
		"a number that is none":          {number, []byte{4, 1, 1}, false},
		"true":                           {boolean, []byte{1, 1, 0xff}, true},
		"another true":                   {boolean, []byte{1, 1, 1}, false},
		"a boolean of two bytes":         {boolean, []byte{1, 2, 0, 0}, false},
		"a boolean that is none":         {boolean, []byte{2, 1, 0}, false},
		"a long tag":                     {next, []byte{0x1f, 1, 1}, false},
		"an indefinite length":           {next, []byte{0x30, 0x80, 0, 0}, false},
		"a length of three bytes":        {next, zeros(256, 4, 0x83, 0, 1, 0), false},
		"a length that is cut":           {next, []byte{4, 0x82, 1}, false},
		"a long form of a short length":  {next, []byte{4, 0x81, 1, 0}, false},
		"two bytes for a length of one":  {next, zeros(0x90, 4, 0x82, 0, 0x90), false},
		"more length than bytes":         {next, []byte{4, 2, 0}, false},
		"a length of one byte":           {next, element(4, make([]byte, 0x90)), true},
		"a length of two bytes":          {next, zeros(256, 4, 0x82, 1, 0), true},
		"a sequence with something more": {sequence, []byte{0x30, 0, 0}, false},
	} {
		err := row.read(row.raw)
		if row.good != (err == nil) || err != nil && !errors.Is(err, errDER) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestSecurityPropertiesAreReadWhole(t *testing.T) {
	yes := element(0xa1, []byte{1, 1, 0xff})
	version := element(0xa0, []byte{2, 1, 0})
	in := func(parts ...[]byte) []byte { return element(0xa0, element(0x30, parts...)) }
	for name, row := range map[string]struct {
		raw        []byte
		production bool
		good       bool
	}{
		"version and production":    {in(version, yes), true, true},
		"a later property":          {in(version, yes, element(0xa2, []byte{1, 1, 0})), true, true},
		"nothing":                   {nil, false, true},
		"another wrapping":          {element(0xa1, element(0x30, yes)), false, false},
		"something behind it":       {append(in(yes), 5, 0), false, false},
		"no sequence":               {element(0xa0, element(0x31, yes)), false, false},
		"two sequences":             {append(in(yes), in()...), false, false},
		"production twice":          {in(element(0xa1, []byte{1, 1, 0}), yes), false, false},
		"production before version": {in(yes, version), false, false},
		"production and more":       {in(element(0xa1, []byte{1, 1, 0xff, 5, 0})), false, false},
		"a property that is cut":    {in([]byte{0xa1, 9}), false, false},
		"a property of another tag": {in(element(0x81, []byte{0xff})), false, false},
	} {
		production, err := readSecurity(row.raw)
		if production != row.production || row.good != (err == nil) {
			t.Errorf("%s: got %t, %v", name, production, err)
		}
	}
}

func TestEachPartOfInstanceInformationIsDemanded(t *testing.T) {
	text := element(asn1.TagUTF8String, []byte("a"))
	number := []byte{2, 1, 7}
	security := element(0xa0, element(0x30, element(0xa1, []byte{1, 1, 0xff})))
	parts := [][]byte{text, number, text, number, text, security}
	certificate := &x509.Certificate{Subject: pkix.Name{}}
	good := element(0x30, parts...)
	if fault := new(AK).readInstance(certificate, good); fault != nil {
		t.Fatal(fault)
	}
	for at := range parts {
		changed := slices.Clone(parts)
		changed[at] = element(asn1.TagOctetString, []byte("a"))
		if fault := new(AK).readInstance(certificate, element(0x30, changed...)); fault == nil {
			t.Errorf("part %d is another", at)
		}
	}
	if fault := new(AK).readInstance(certificate, append(good, 5, 0)); fault == nil {
		t.Error("something behind it")
	}
}

// attribute is one of the TPM's attributes in a RelativeDistinguishedName of its own.
func attribute(last byte, text string) []byte {
	object := append([]byte(identityObjects[0][:4]), last)
	return element(tagSet, element(tagSequence, element(asn1.TagOID, object),
		element(asn1.TagUTF8String, []byte(text))))
}

func TestNamesOfTPMsAreReadWhole(t *testing.T) {
	three := slices.Concat(attribute(1, "id:494E5443"), attribute(2, "model"),
		attribute(3, "id:0001"))
	directory := func(parts ...[]byte) []byte {
		return element(tagDirectoryName, element(tagSequence, parts...))
	}
	other := element(tagSet, element(tagSequence, element(asn1.TagOID, []byte{0x55, 4, 3})))
	for name, row := range map[string]struct{ raw, want string }{
		"a TPM": {string(element(tagSequence, directory(three))), ""},
		"something behind the names": {string(element(tagSequence, directory(three))) + "\x05\x00",
			errDER.Error()},
		"too many names": {string(element(tagSequence, directory(three),
			[]byte(strings.Repeat("\x82\x00", limits.attributes)))), errDER.Error()},
		"something behind the directory name": {string(element(tagSequence,
			element(tagDirectoryName, element(tagSequence, three), []byte{5, 0}))), errDER.Error()},
		"an empty set": {string(element(tagSequence, directory(three, []byte{tagSet, 0}))),
			errDER.Error()},
		"too many attributes": {string(element(tagSequence, directory(three,
			[]byte(strings.Repeat(string(other), limits.attributes-2))))), errDER.Error()},
		"an attribute without an object": {string(element(tagSequence, directory(three,
			element(tagSet, []byte{tagSequence, 0})))), errDER.Error()},
	} {
		certificate := &x509.Certificate{
			Extensions: []pkix.Extension{{Id: oidSubjectAltName, Value: []byte(row.raw)}},
		}
		_, err := readIdentity(certificate)
		if row.want == "" && err != nil ||
			row.want != "" && (err == nil || err.Error() != row.want) {
			t.Errorf("%s: got %v, want %q", name, err, row.want)
		}
	}
	if _, err := readIdentity(&x509.Certificate{}); err == nil || err.Error() != "there is none" {
		t.Errorf("no name: got %v", err)
	}
}

// unreadable is a folder whose files cannot be read.
type unreadable struct{ fstest.MapFS }

func (unreadable) ReadFile(string) ([]byte, error) { return nil, fs.ErrPermission }

// TestRootsThatAreNotTheTables changes the files that are compiled in. neg: 87
func TestRootsThatAreNotTheTables(t *testing.T) {
	good := fstest.MapFS{}
	names, err := fs.Glob(rootFiles, "roots/*.pem")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := rootFiles.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		good[name] = &fstest.MapFile{Data: text}
	}
	with := func(text string) fstest.MapFS {
		changed := maps.Clone(good)
		changed["roots/zz.pem"] = &fstest.MapFile{Data: []byte(text)}
		return changed
	}
	other, err := fs.ReadFile(intermediateFiles, first(t, intermediateFiles, "intermediates/*.pem"))
	if err != nil {
		t.Fatal(err)
	}
	_, behind := pem.Decode(good[names[0]].Data)
	stranger, _ := pem.Decode(other)
	another := with(string(pem.EncodeToMemory(stranger)) + string(behind))
	delete(another, names[0])
	short := maps.Clone(good)
	delete(short, names[0])
	hollow := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE"}))
	for name, row := range map[string]struct {
		files fs.FS
		want  string
	}{
		"the table's":          {good, ""},
		"no folder":            {fstest.MapFS{}, "file does not exist"},
		"a file without PEM":   {with("hello"), "text that is no PEM"},
		"no certificate":       {with(hollow), "x509"},
		"files nobody reads":   {unreadable{good}, "permission denied"},
		"one root too few":     {short, "roots, want"},
		"one root too many":    {with(string(pem.EncodeToMemory(stranger))), "roots, want"},
		"another in its place": {another, "no root with SHA-256"},
	} {
		roots, err := pinnedIn(row.files)
		var refused *attestd.CallerError
		switch {
		case row.want == "" && err == nil:
		case roots != nil || !errors.As(err, &refused) || refused.Class != attestd.ClassConfig ||
			!strings.Contains(err.Error(), row.want):
			t.Errorf("%s: got %v, want %q", name, err, row.want)
		}
	}
}

func first(t *testing.T, files fs.FS, pattern string) string {
	t.Helper()
	names, err := fs.Glob(files, pattern)
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	return names[0]
}
