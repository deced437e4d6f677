package tdxevidence_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/attestd/attestd/internal/tdxevidence"
)

func marshal(t testing.TB, e tdxevidence.Evidence) []byte {
	t.Helper()
	data, err := e.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 23, 24, 255, 256, 5006, 32 << 10} {
		for _, log := range [][]byte{nil, {1}, make([]byte, 65535), make([]byte, 65536)} {
			want := tdxevidence.Evidence{Quote: bytes.Repeat([]byte{7}, size), EventLog: log}
			data := marshal(t, want)
			got, err := tdxevidence.Parse(data)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("quote of %d bytes, log of %d: %v", size, len(log), err)
			}
			if !tdxevidence.IsEvidence(data) || cbor.Wellformed(data) != nil {
				t.Errorf("quote of %d bytes, log of %d: not what it should be", size, len(log))
			}
		}
	}
}

func TestPartsThatCannotTravel(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		evidence tdxevidence.Evidence
		large    bool
	}{
		"no quote":           {evidence: tdxevidence.Evidence{EventLog: []byte{1}}},
		"a quote of 33 KiB":  {tdxevidence.Evidence{Quote: make([]byte, 33<<10)}, true},
		"a log of 3 MiB":     {tdxevidence.Evidence{Quote: []byte{1}, EventLog: make([]byte, 3<<20)}, true},
		"nothing but itself": {},
	} {
		_, err := row.evidence.Marshal()
		if err == nil || errors.Is(err, tdxevidence.ErrTooLarge) != row.large {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// neg: 3, 4, 5, 6
func TestOtherEncodingsAreRefused(t *testing.T) {
	t.Parallel()
	good := marshal(t, tdxevidence.Evidence{Quote: []byte{9}})
	const first = 26 // key 1
	if good[first] != 1 || good[first+1] != 0x41 {
		t.Fatalf("key 1 is not at byte %d of %x", first, good)
	}
	at := func(offset int, with ...byte) []byte {
		return append(append(bytes.Clone(good[:offset]), with...), good[offset+1:]...)
	}
	for name, data := range map[string][]byte{
		"nothing":                   {},
		"a trailing byte":           append(bytes.Clone(good), 0),
		"one pair more than stated": append(at(0, good[0]-1), 0),
		"an open map":               append(at(0, 0xbf), 0xff),
		"another name":              at(5, 'T'),
		"key 1 twice":               append(at(0, good[0]+1), good[first:]...),
		"key 2 in front of key 1":   append(append(at(0, good[0]+1)[:first], 2, 0x41, 1), good[first:]...),
		"an unknown key":            at(first, 3),
		"key 1 in two bytes":        at(first, 0x18, 1),
		"a length in two bytes":     at(first+1, 0x58, 1),
		"a tag":                     at(first+1, 0xc2, 0x41),
		"null":                      append(at(first+1, 0xf6)[:first+2], good[first+3:]...),
		"an empty part":             append(at(first+1, 0x40)[:first+2], good[first+3:]...),
		"text for bytes":            at(first+1, 0x61),
	} {
		if e, err := tdxevidence.Parse(data); err == nil {
			t.Errorf("%s: read as %+v", name, e)
		}
	}
	for length := range good {
		if _, err := tdxevidence.Parse(good[:length]); err == nil {
			t.Errorf("read when cut to %d bytes", length)
		}
	}
}

// FuzzContainer: what is read has one encoding, and it is the input; another CBOR reader takes it.
func FuzzContainer(f *testing.F) {
	f.Add(marshal(f, tdxevidence.Evidence{Quote: []byte{1}}))
	f.Add(marshal(f, tdxevidence.Evidence{Quote: make([]byte, 300), EventLog: []byte{2}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		evidence, err := tdxevidence.Parse(data)
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
