package eventlog_test

import (
	"encoding/binary"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/eventlog"
)

// legacyEvent writes an event of the old form.
func legacyEvent(register, kind uint32, claimed int, data string) []byte {
	out := binary.LittleEndian.AppendUint32(nil, register)
	out = binary.LittleEndian.AppendUint32(out, kind)
	out = append(out, make([]byte, 20)...)
	out = binary.LittleEndian.AppendUint32(out, uint32(claimed)) //nolint:gosec // a test's own number
	return append(out, data...)
}

func TestLogsOfTheOldFormAreReadStrictly(t *testing.T) {
	const action = 5 // EV_ACTION
	good := legacyEvent(4, action, 4, "boot")
	for _, row := range []struct {
		name  string
		log   []byte
		class attestd.Class
	}{
		{"no event at all", nil, attestd.ClassMalformed},
		{"half a head", good[:20], attestd.ClassMalformed},
		{"data that end early", good[:len(good)-1], attestd.ClassMalformed},
		{"one byte too many", append(append([]byte{}, good...), 0), attestd.ClassMalformed},
		// neg: 69
		{"a size beyond all logs", legacyEvent(4, action, 0x3fffffff, "boot"), attestd.ClassMalformed},
		{"a register that no TPM has", legacyEvent(24, action, 4, "boot"), attestd.ClassMalformed},
		{"a log over the limit", make([]byte, 9<<20), attestd.ClassTooLarge},
		{
			"an event over the limit", legacyEvent(4, action, 2<<20, string(make([]byte, 2<<20))),
			attestd.ClassTooLarge,
		},
	} {
		fault := eventlog.WalkLegacy(row.log, func(eventlog.Entry) bool { return true })
		if fault == nil || fault.Class != row.class {
			t.Errorf("%s: got %v, want %s", row.name, fault, row.class)
		}
	}
	var got []eventlog.Entry
	log := append(append([]byte{}, good...), legacyEvent(0xffffffff, 3, 0, "")...) // EV_NO_ACTION
	if fault := eventlog.WalkLegacy(log, func(e eventlog.Entry) bool {
		got = append(got, e)
		return true
	}); fault != nil || len(got) != 2 || got[0].Register != "PCR4" || string(got[0].Data) != "boot" ||
		got[0].Digests[0].Algorithm != "SHA1" {
		t.Errorf("got %+v, %v, want two events", got, fault)
	}
}
