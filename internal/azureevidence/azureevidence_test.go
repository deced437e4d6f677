package azureevidence_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/attestd/attestd/internal/azureevidence"
)

func small() azureevidence.Evidence {
	return azureevidence.Evidence{HCLReport: []byte{1}, TPM: []byte{2}}
}

func full() azureevidence.Evidence {
	return azureevidence.Evidence{HCLReport: bytes.Repeat([]byte{1}, 2346), TPM: bytes.Repeat([]byte{2}, 70000),
		TDQuote: bytes.Repeat([]byte{3}, 4936), Certificates: [][]byte{bytes.Repeat([]byte{4}, 200), {5}}}
}

func marshal(t testing.TB, e azureevidence.Evidence) []byte {
	t.Helper()
	data, err := e.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]azureevidence.Evidence{"the least": small(), "all": full()} {
		data := marshal(t, want)
		got, err := azureevidence.Parse(data)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v (%v)", name, got, want, err)
		}
		if !azureevidence.IsEvidence(data) {
			t.Errorf("%s: not detected", name)
		}
	}
}

func TestPartsThatCannotTravel(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(*azureevidence.Evidence)
		large  bool
	}{
		"no report":            {change: func(e *azureevidence.Evidence) { e.HCLReport = nil }},
		"no TPM":               {change: func(e *azureevidence.Evidence) { e.TPM = nil }},
		"an empty certificate": {change: func(e *azureevidence.Evidence) { e.Certificates[1] = nil }},
		"four certificates": {change: func(e *azureevidence.Evidence) {
			e.Certificates = append(e.Certificates, []byte{6}, []byte{7})
		}},
		"a report of 9 KiB": {large: true, change: func(e *azureevidence.Evidence) {
			e.HCLReport = make([]byte, 9<<10)
		}},
		"a quote of 33 KiB": {large: true, change: func(e *azureevidence.Evidence) {
			e.TDQuote = make([]byte, 33<<10)
		}},
		"a certificate of 5 KiB": {large: true, change: func(e *azureevidence.Evidence) {
			e.Certificates[0] = make([]byte, 5<<10)
		}},
		"TPM evidence above its limit": {large: true, change: func(e *azureevidence.Evidence) {
			e.TPM = make([]byte, 8<<20+1)
		}},
		"9 MiB": {large: true, change: func(e *azureevidence.Evidence) { e.TPM = make([]byte, 9<<20) }},
	} {
		e := full()
		row.change(&e)
		_, err := e.Marshal()
		if err == nil || errors.Is(err, azureevidence.ErrTooLarge) != row.large {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// neg: 3, 4, 5, 6
func TestOtherEncodingsAreRefused(t *testing.T) {
	t.Parallel()
	good := marshal(t, small())
	at := func(offset int, with ...byte) []byte {
		return append(append(bytes.Clone(good[:offset]), with...), good[offset+1:]...)
	}
	const first = 29 // key 1
	if good[first] != 1 || good[first+1] != 0x41 {
		t.Fatalf("key 1 is not at byte %d of %x", first, good)
	}
	for name, data := range map[string][]byte{
		"nothing":                   {},
		"a trailing byte":           append(bytes.Clone(good), 0),
		"one pair more than stated": append(at(0, good[0]-1), 0),
		"an open map":               append(at(0, 0xbf), 0xff),
		"another name":              at(6, 'T'),
		"key 1 twice":               append(at(0, good[0]+1)[:first+3], good[first:]...),
		"an unknown key":            at(first, 5),
		"key 1 in two bytes":        at(first, 0x18, 1),
		"a length in two bytes":     at(first+1, 0x58, 1),
		"a tag":                     at(first+1, 0xc2, 0x41),
		"null":                      append(at(first+1, 0xf6)[:first+2], good[first+3:]...),
		"an empty part":             append(at(first+1, 0x40)[:first+2], good[first+3:]...),
		"text for bytes":            at(first+1, 0x61),
		"no certificates":           append(at(0, good[0]+1), 4, 0x80),
	} {
		if e, err := azureevidence.Parse(data); err == nil {
			t.Errorf("%s: read as %+v", name, e)
		}
	}
	for length := range good {
		if _, err := azureevidence.Parse(good[:length]); err == nil {
			t.Errorf("read when cut to %d bytes", length)
		}
	}
}

func TestReportsAreCutAtTheirEnd(t *testing.T) {
	t.Parallel()
	index := make([]byte, 2600)
	copy(index, "HCLA")
	binary.LittleEndian.PutUint32(index[8:], 2346)
	index[2345] = 7
	got, err := azureevidence.CutReport(index)
	if err != nil || len(got) != 2346 || cap(got) != 2346 || got[2345] != 7 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for name, change := range map[string]func([]byte) []byte{
		"another magic": func(i []byte) []byte { i[0] = 'h'; return i },
		"too short":     func(i []byte) []byte { return i[:31] },
		"cut":           func(i []byte) []byte { return i[:2345] },
		"a byte behind": func(i []byte) []byte { i[2346] = 1; return i },
		"a size of 31":  func(i []byte) []byte { binary.LittleEndian.PutUint32(i[8:], 31); return i },
		"a large index": func([]byte) []byte {
			large := make([]byte, 10<<10)
			copy(large, "HCLA")
			binary.LittleEndian.PutUint32(large[8:], 9<<10)
			return large
		},
	} {
		if got, err := azureevidence.CutReport(change(bytes.Clone(index))); err == nil {
			t.Errorf("%s: %d bytes", name, len(got))
		}
	}
}

// FuzzAzureEvidence: what is read has one encoding, and it is the input; another CBOR reader takes it.
func FuzzAzureEvidence(f *testing.F) {
	f.Add(marshal(f, small()))
	e := full()
	e.TPM, e.TDQuote = []byte{1}, []byte{2}
	f.Add(marshal(f, e))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		evidence, err := azureevidence.Parse(data)
		if !bytes.Equal(before, data) {
			t.Fatal("the input was written to")
		}
		if err != nil {
			return
		}
		again, err := evidence.Marshal()
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("read from %x and written as %x (%v)", data, again, err)
		}
		if err := cbor.Wellformed(data); err != nil {
			t.Fatal(err)
		}
	})
}
