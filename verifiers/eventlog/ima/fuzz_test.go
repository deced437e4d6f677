package ima_test

import (
	"bytes"
	"crypto"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/eventlog/ima"
)

// FuzzIMA replays lists that nobody measured to a register that a real one led to: whatever is
// replayed must be what that one began with, and faults have a class.
func FuzzIMA(f *testing.F) {
	k := newKernel(f, crypto.SHA256).boot(10).file("/init")
	k.violation("/var/log/x")
	k.add("ima-sig", lengthed(digestField("sha1", make([]byte, 20)), nameField("/bin/sh"), []byte{3}))
	f.Add(k.list)
	f.Add(k.list[:k.ends[1]])
	f.Add(k.list[k.ends[0]:])
	f.Add([]byte("10 1d8d532d463c9f8c205d0df7787669a85f93e260 ima-ng sha1:00 boot_aggregate\n"))
	f.Fuzz(func(t *testing.T, list []byte) {
		before := bytes.Clone(list)
		for _, from := range []attestd.IMAState{{}, {
			Offset: uint64(k.ends[0]), Entries: 1, Bank: "SHA256", Register: k.history[0],
		}} {
			out, fault := ima.Replay(list, from, "SHA256", &k.pcrs)
			switch {
			case fault != nil && (fault.Class == "" || fault.Got == "" || fault.Want == ""):
				t.Fatalf("a fault of no class: %+v", fault)
			case fault == nil && (out.State.Entries != 4 || out.Padded):
				t.Fatalf("replayed what nobody measured: %+v", out)
			}
			for event := range out.Events() {
				if event.Index == 2 && event.Text != "" {
					t.Fatal("a violation says something that nothing covers")
				}
			}
		}
		count := 0
		if fault := ima.Walk(list, func(ima.Entry) bool { count++; return true }); fault == nil &&
			count == 0 && len(list) > 0 {
			t.Fatal("bytes without entries")
		}
		if !bytes.Equal(list, before) {
			t.Fatal("the input was written to")
		}
		if binary, fault := ima.FromASCII(list); fault == nil && len(binary) < len(list)/4 {
			t.Fatal("lines without entries")
		}
	})
}
