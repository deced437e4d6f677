package tpmevidence_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/attestd/attestd/internal/tpmevidence"
)

func small() tpmevidence.Evidence {
	return tpmevidence.Evidence{
		AKPublic: []byte{1}, Quote: []byte{2}, QuoteSignature: []byte{3},
		PCRs: []tpmevidence.Bank{{Algorithm: 11, PCRs: []tpmevidence.PCR{{Index: 7, Value: []byte{4}}}}},
	}
}

func full() tpmevidence.Evidence {
	e := small()
	e.AKParents = [][]byte{{5, 5}, {6}}
	e.EKPublic, e.EKCertificate, e.AKCertificate = []byte{7}, []byte{8}, []byte{9}
	e.Intermediates = [][]byte{bytes.Repeat([]byte{10}, 300)}
	e.PCRs = append(e.PCRs, tpmevidence.Bank{Algorithm: 12, PCRs: []tpmevidence.PCR{
		{Index: 0, Value: []byte{0}}, {Index: 23, Value: []byte{1}}, {Index: 24, Value: []byte{1}},
	}})
	e.Key = &tpmevidence.Key{Public: []byte{11}, Attest: []byte{12}, Signature: []byte{13}}
	e.EventLog = bytes.Repeat([]byte{14}, 70000)
	e.IMA = &tpmevidence.IMALog{Offset: 1 << 40, Log: []byte{}}
	return e
}

func marshal(t testing.TB, e tpmevidence.Evidence) []byte {
	t.Helper()
	data, err := e.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]tpmevidence.Evidence{"the least": small(), "all": full()} {
		data := marshal(t, want)
		got, err := tpmevidence.Parse(data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
		if !tpmevidence.IsEvidence(data) {
			t.Errorf("%s: not detected", name)
		}
	}
}

func TestPartsThatCannotTravel(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(*tpmevidence.Evidence)
		large  bool
	}{
		"no AK":               {change: func(e *tpmevidence.Evidence) { e.AKPublic = nil }},
		"no quote":            {change: func(e *tpmevidence.Evidence) { e.Quote = nil }},
		"no signature":        {change: func(e *tpmevidence.Evidence) { e.QuoteSignature = nil }},
		"an empty parent":     {change: func(e *tpmevidence.Evidence) { e.AKParents[1] = nil }},
		"a key without proof": {change: func(e *tpmevidence.Evidence) { e.Key.Attest = nil }},
		"a bank twice": {change: func(e *tpmevidence.Evidence) {
			e.PCRs = append(e.PCRs, e.PCRs[1])
		}},
		"banks that descend": {change: func(e *tpmevidence.Evidence) {
			e.PCRs[0], e.PCRs[1] = e.PCRs[1], e.PCRs[0]
		}},
		"a bank without PCRs": {change: func(e *tpmevidence.Evidence) { e.PCRs[0].PCRs = nil }},
		"a PCR twice": {change: func(e *tpmevidence.Evidence) {
			e.PCRs[1].PCRs[1].Index = 0
		}},
		"PCR 32": {change: func(e *tpmevidence.Evidence) { e.PCRs[1].PCRs[2].Index = 32 }},
		"a PCR without value": {change: func(e *tpmevidence.Evidence) {
			e.PCRs[0].PCRs[0].Value = nil
		}},
		"nine parents": {change: func(e *tpmevidence.Evidence) {
			e.AKParents = make([][]byte, 9)
			for i := range e.AKParents {
				e.AKParents[i] = []byte{1}
			}
		}},
		"a public area of 3 KiB": {large: true, change: func(e *tpmevidence.Evidence) {
			e.EKPublic = make([]byte, 3<<10)
		}},
		"a certificate of 17 KiB": {large: true, change: func(e *tpmevidence.Evidence) {
			e.Intermediates[0] = make([]byte, 17<<10)
		}},
		"an event log of 3 MiB": {large: true, change: func(e *tpmevidence.Evidence) {
			e.EventLog = make([]byte, 3<<20)
		}},
		"an IMA log of 7 MiB": {large: true, change: func(e *tpmevidence.Evidence) {
			e.IMA.Log = make([]byte, 7<<20)
		}},
		"9 MiB": {large: true, change: func(e *tpmevidence.Evidence) {
			e.IMA.Log = make([]byte, 9<<20)
		}},
	} {
		e := full()
		row.change(&e)
		_, err := e.Marshal()
		if err == nil {
			t.Errorf("%s: written", name)
		}
		if errors.Is(err, tpmevidence.ErrTooLarge) != row.large {
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
	const first = 26 // key 1
	if good[first] != 1 || good[first+1] != 0x41 {
		t.Fatalf("key 1 is not at byte %d of %x", first, good)
	}
	for name, data := range map[string][]byte{
		"nothing":                   {},
		"a trailing byte":           append(bytes.Clone(good), 0),
		"one pair more than stated": append(at(0, good[0]-1), 0),
		"an open map":               append(at(0, 0xbf), 0xff),
		"another name":              at(5, 'T'),
		"key 1 twice":               append(at(0, good[0]+1)[:first+3], at(0, good[0])[first:]...),
		"an unknown key":            at(first, 13),
		"key 1 in two bytes":        at(first, 0x18, 1),
		"a length in two bytes":     at(first+1, 0x58, 1),
		"a tag":                     at(first+1, 0xc2, 0x41),
		"null":                      append(at(first+1, 0xf6)[:first+2], good[first+3:]...),
		"an empty part":             append(at(first+1, 0x40)[:first+2], good[first+3:]...),
		"text for bytes":            at(first+1, 0x61),
	} {
		if e, err := tpmevidence.Parse(data); err == nil {
			t.Errorf("%s: read as %+v", name, e)
		}
	}
	for length := range good {
		if _, err := tpmevidence.Parse(good[:length]); err == nil {
			t.Errorf("read when cut to %d bytes", length)
		}
	}
}

// FuzzTPMEvidence: what is read has one encoding, and it is the input; another CBOR reader takes it.
func FuzzTPMEvidence(f *testing.F) {
	f.Add(marshal(f, small()))
	e := full()
	e.EventLog = []byte{1}
	f.Add(marshal(f, e))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		evidence, err := tpmevidence.Parse(data)
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
