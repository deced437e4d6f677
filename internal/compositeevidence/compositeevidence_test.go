package compositeevidence_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/compositeevidence"
)

type device = compositeevidence.Device

func pair() compositeevidence.Evidence {
	return compositeevidence.Evidence{Devices: []device{
		{Path: "cpu", Format: attestd.FormatSEVSNP, Evidence: []byte{1}},
		{Path: "vtpm", Format: attestd.FormatTPM, Evidence: []byte{2, 2}},
	}}
}

// crowd has as many devices as a machine can, with evidence of lengths of every head.
func crowd() compositeevidence.Evidence {
	var out compositeevidence.Evidence
	for i := range attestd.MaxDevices {
		out.Devices = append(out.Devices, device{
			Path: "gpu" + string(rune('a'+i)), Format: "nvidia-gpu",
			Evidence: bytes.Repeat([]byte{byte(i)}, 1<<i),
		})
	}
	out.Devices[3].Evidence = make([]byte, 70000)
	return out
}

func marshal(t testing.TB, e compositeevidence.Evidence) []byte {
	t.Helper()
	data, err := e.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]compositeevidence.Evidence{"two": pair(), "all": crowd()} {
		data := marshal(t, want)
		got, err := compositeevidence.Parse(data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
		if !compositeevidence.IsEvidence(data) {
			t.Errorf("%s: not detected", name)
		}
	}
}

func TestTheOrderOfDevicesIsNoPartOfTheStatement(t *testing.T) {
	t.Parallel()
	swapped := pair()
	swapped.Devices[0], swapped.Devices[1] = swapped.Devices[1], swapped.Devices[0]
	if !bytes.Equal(marshal(t, swapped), marshal(t, pair())) {
		t.Error("two encodings of one statement")
	}
	if swapped.Devices[0].Path != "vtpm" {
		t.Error("the caller's devices were sorted")
	}
}

func TestDevicesThatCannotTravel(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		change func(*compositeevidence.Evidence)
		large  bool
	}{
		"none":              {change: func(e *compositeevidence.Evidence) { e.Devices = nil }},
		"a path twice":      {change: func(e *compositeevidence.Evidence) { e.Devices[1].Path = "cpu" }},
		"no path":           {change: func(e *compositeevidence.Evidence) { e.Devices[0].Path = "" }},
		"a path of 17":      {change: func(e *compositeevidence.Evidence) { e.Devices[0].Path = strings.Repeat("a", 17) }},
		"a nested path":     {change: func(e *compositeevidence.Evidence) { e.Devices[0].Path = "cpu/1" }},
		"no format":         {change: func(e *compositeevidence.Evidence) { e.Devices[0].Format = "" }},
		"a format in caps":  {change: func(e *compositeevidence.Evidence) { e.Devices[0].Format = "TPM" }},
		"an open hyphen":    {change: func(e *compositeevidence.Evidence) { e.Devices[0].Format = "tpm-" }},
		"a format of 33":    {change: func(e *compositeevidence.Evidence) { e.Devices[0].Format = attestd.Format(strings.Repeat("a", 33)) }},
		"an empty evidence": {change: func(e *compositeevidence.Evidence) { e.Devices[0].Evidence = nil }},
		"seventeen": {change: func(e *compositeevidence.Evidence) {
			e.Devices = append(crowd().Devices, e.Devices[0])
		}},
		"nine mebibytes": {large: true, change: func(e *compositeevidence.Evidence) {
			e.Devices[0].Evidence = make([]byte, 9<<20)
		}},
	} {
		e := pair()
		row.change(&e)
		_, err := e.Marshal()
		if err == nil {
			t.Errorf("%s: written", name)
		}
		if errors.Is(err, compositeevidence.ErrTooLarge) != row.large {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// neg: 3, 4, 5, 6
func TestOtherEncodingsAreRefused(t *testing.T) {
	t.Parallel()
	good := marshal(t, pair())
	at := func(offset int, with ...byte) []byte {
		return append(append(bytes.Clone(good[:offset]), with...), good[offset+1:]...)
	}
	cut := func(data []byte, from, to int) []byte {
		return append(bytes.Clone(data[:from]), data[to:]...)
	}
	const devices = 34 // behind the map's head, key 0, the name and key 1
	first, second := devices+1, devices+1+1+4+8+2
	if good[devices] != 0x82 || good[first] != 0x83 || good[first+1] != 0x63 || good[second] != 0x83 {
		t.Fatalf("the devices are not at byte %d of %x", devices, good)
	}
	swapped := append(bytes.Clone(good[:first]), append(bytes.Clone(good[second:]), good[first:second]...)...)
	for name, data := range map[string][]byte{
		"nothing":                     {},
		"the prefix alone":            good[:devices],
		"a trailing byte":             append(bytes.Clone(good), 0),
		"a third pair":                append(at(0, 0xa3), 2, 0),
		"an open map":                 append(at(0, 0xbf), 0xff),
		"another name":                at(10, 'T'),
		"an open list of devices":     append(at(devices, 0x9f), 0xff),
		"a count in two bytes":        at(devices, 0x98, 2),
		"one device fewer than there": at(devices, 0x81),
		"one device more than there":  at(devices, 0x83),
		"no device":                   append(bytes.Clone(good[:devices]), 0x80),
		"two parts":                   at(first, 0x82),
		"four parts":                  append(at(second, 0x84), 0),
		"a path of bytes":             at(first+1, 0x43),
		"a path's length in two":      at(first+1, 0x78, 3),
		"a path in bad UTF-8":         at(first+2, 0xff),
		"a tag":                       at(first+1, 0xc0, 0x63),
		"null for a format":           cut(at(first+5, 0xf6), first+6, first+6+7),
		"text for evidence":           at(second-2, 0x61),
		"devices that descend":        swapped,
	} {
		if e, err := compositeevidence.Parse(data); err == nil {
			t.Errorf("%s: read as %+v", name, e)
		}
	}
	for length := range good {
		if _, err := compositeevidence.Parse(good[:length]); err == nil {
			t.Errorf("read when cut to %d bytes", length)
		}
	}
}

// FuzzContainer: what is read has one encoding, and it is the input; another CBOR reader takes it.
func FuzzContainer(f *testing.F) {
	f.Add(marshal(f, pair()))
	f.Add(marshal(f, crowd()))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		evidence, err := compositeevidence.Parse(data)
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
