package ima_test

import (
	"bytes"
	"crypto"
	"fmt"
	"strings"
	"testing"

	"github.com/attestd/attestd/verifiers/eventlog/ima"
)

func TestListsAreReplayedInEveryBankAndOfEveryKernel(t *testing.T) {
	for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		for _, padded := range []bool{false, true} {
			for _, listed := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
				if padded && listed != crypto.SHA1 {
					continue // no kernel does both
				}
				k := newKernel(t, hash)
				k.padded, k.listed = padded, listed
				k.boot(10).file("/init").violation("/var/log/journal")
				k.file("/bin/sh")
				out := k.demand()
				if out.Entries != 4 || out.Violations != 1 || out.Unquoted != 0 || out.Padded != padded ||
					out.Aggregate != ima.AggregatePCR0To9 || out.Kexecs != 0 {
					t.Fatalf("%v, padded %v, list of %v: got %+v", hash, padded, listed, out)
				}
				state := out.State
				if state.Entries != 4 || state.Offset != uint64(len(k.list)) ||
					state.Bank != bankName(hash) || !bytes.Equal(state.Register, k.pcrs[10]) {
					t.Fatalf("got state %+v", state)
				}
			}
		}
	}
}

func TestEventsSayWhatTheirDigestsCover(t *testing.T) {
	k := newKernel(t, crypto.SHA256)
	k.boot(10).file("/usr/bin/a b\x1b").violation("/etc/shadow")
	k.add("ima-buf", lengthed(digestField("sha256", k.sum(crypto.SHA256, []byte("ro"))),
		nameField("kexec-cmdline"), []byte("ro")))
	k.boot(10) // a kernel that was started by kexec and took the list over
	out := k.demand()
	var got []string
	for event := range out.Events() {
		if event.Log != "ima" || event.Register != "PCR10" || len(event.Digest) != 32 {
			t.Errorf("got %+v", event)
		}
		got = append(got, fmt.Sprintf("%d %s %s %q", event.Index, event.Type, event.Role, event.Text))
	}
	want := []string{
		`0 ima-ng other ""`, `1 ima-ng file "/usr/bin/a b\x1b"`, `2 ima-ng other ""`,
		`3 ima-buf file "kexec-cmdline"`, `4 ima-ng other ""`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if out.Kexecs != 1 {
		t.Errorf("got %d kexecs, want 1", out.Kexecs)
	}
	for event := range out.Events() {
		if strings.ContainsRune(event.What, '\x1b') || event.Index == 2 && strings.Contains(event.What,
			"shadow") {
			t.Errorf("shows %q", event.What)
		}
	}
	for range out.Events() {
		break // an early end is no panic
	}
}

func TestEventsOutliveTheInput(t *testing.T) {
	k := newKernel(t, crypto.SHA256).boot(10).file("/init")
	out := k.demand()
	clear(k.list)
	clear(k.pcrs[10])
	count := 0
	for event := range out.Events() {
		count++
		if event.Index == 1 && event.Text != "/init" {
			t.Errorf("got %+v", event)
		}
	}
	if count != 2 || bytes.Equal(out.State.Register, make([]byte, 32)) {
		t.Errorf("got %d events, register %x", count, out.State.Register)
	}
}

func TestReplayGoesOnFromAState(t *testing.T) {
	for _, padded := range []bool{false, true} {
		k := newKernel(t, crypto.SHA256)
		k.padded = padded
		k.boot(10).file("/init").file("/bin/sh")
		first := k.demand()
		k.file("/bin/ls").violation("/tmp/x")
		k.file("/bin/cat")
		part := k.list[first.State.Offset:]
		second, fault := ima.Replay(part, first.State, "SHA256", &k.pcrs)
		if fault != nil {
			t.Fatal(fault)
		}
		whole := k.demand()
		if fmt.Sprint(second.State) != fmt.Sprint(whole.State) || second.Entries != 3 ||
			second.Violations != 1 || second.Aggregate != ima.AggregateEarlier || second.Padded != padded {
			t.Errorf("got %+v, want the state %+v", second, whole.State)
		}
		for event := range second.Events() {
			if event.Index < 3 || event.Index > 5 {
				t.Errorf("got event %d", event.Index)
			}
		}
		same, fault := ima.Replay(nil, whole.State, "SHA256", &k.pcrs)
		if fault != nil || same.Entries != 0 || fmt.Sprint(same.State) != fmt.Sprint(whole.State) {
			t.Errorf("nothing new: got %+v, %v", same, fault)
		}
		if _, fault := ima.Replay(k.list, first.State, "SHA256", &k.pcrs); fault == nil {
			t.Error("the whole list passed for its part")
		}
	}
}

func TestEntriesBehindTheQuoteAreNotBelieved(t *testing.T) {
	k := newKernel(t, crypto.SHA256).boot(10).file("/init").file("/bin/sh").file("/bin/late")
	for quoted := range k.history {
		k.pcrs[10] = k.history[quoted]
		out := k.demand()
		if out.Entries != quoted+1 || out.Unquoted != len(k.history)-quoted-1 ||
			out.State.Offset != uint64(k.ends[quoted]) {
			t.Errorf("quoted after entry %d: got %+v", quoted, out)
		}
		for event := range out.Events() {
			if event.Index > quoted {
				t.Errorf("quoted after entry %d: event %d", quoted, event.Index)
			}
		}
	}
	// With a state, the quote may be of the moment at which it was made.
	k.pcrs[10] = k.history[1]
	state := k.demand().State
	out, fault := ima.Replay(k.list[state.Offset:], state, "SHA256", &k.pcrs)
	if fault != nil || out.Entries != 0 || out.Unquoted != 2 {
		t.Errorf("got %+v, %v", out, fault)
	}
}

func TestBootAggregateIsOneOfTheQuotedPCRs(t *testing.T) {
	for _, row := range []struct {
		name  string
		count int
		drop  []int
		want  ima.Aggregate
	}{
		{name: "PCRs 0 to 9", count: 10, want: ima.AggregatePCR0To9},
		{name: "PCRs 0 to 7", count: 8, want: ima.AggregatePCR0To7},
		{name: "PCRs 0 to 7, where 8 and 9 were not quoted", count: 8, drop: []int{8, 9},
			want: ima.AggregatePCR0To7},
		{name: "PCRs 0 to 9, where 9 was not quoted", count: 10, drop: []int{9},
			want: ima.AggregateUnchecked},
		{name: "where PCR 3 was not quoted", count: 10, drop: []int{3}, want: ima.AggregateUnchecked},
	} {
		k := newKernel(t, crypto.SHA256).boot(row.count).file("/init")
		for _, index := range row.drop {
			k.pcrs[index] = nil
		}
		if got := k.demand().Aggregate; got != row.want {
			t.Errorf("%s: got %s, want %s", row.name, got, row.want)
		}
	}
	k := newKernel(t, crypto.SHA256)
	k.add("ima-ng", lengthed(digestField("sha256", make([]byte, 32)), nameField("boot_aggregate")))
	if got := k.demand().Aggregate; got != ima.AggregateZero {
		t.Errorf("zero: got %s", got)
	}
	k = newKernel(t, crypto.SHA256)
	k.add("ima-ng", lengthed(digestField("sha1", bytes.Repeat([]byte{7}, 20)),
		nameField("boot_aggregate")))
	if got := k.demand().Aggregate; got != ima.AggregateUnchecked {
		t.Errorf("SHA-1: got %s", got)
	}
}

func TestEveryTemplateIsRead(t *testing.T) {
	k := newKernel(t, crypto.SHA256).boot(10)
	digest := digestField("sha256", k.sum(crypto.SHA256, nil))
	typed := func(kind string) []byte { return append([]byte(kind), digest...) }
	name := nameField("/bin/sh")
	k.add("ima-sig", lengthed(digest, name, []byte{3, 2, 4}))
	k.add("ima-sig", lengthed(digest, name, nil))
	k.add("ima-buf", lengthed(digest, name, []byte("ro quiet")))
	k.add("ima-modsig", lengthed(digest, name, nil, nil, nil))
	k.add("ima-ngv2", lengthed(typed("ima:"), name))
	k.add("ima-sigv2", lengthed(typed("verity:"), name, []byte{3}))
	k.add("evm-sig", lengthed(digest, name, nil, nil, nil, nil, nil, nil, nil))
	if out := k.demand(); out.Entries != 8 {
		t.Errorf("got %+v", out)
	}
}

func TestReplayAllocatesNothingForAnEntry(t *testing.T) {
	few, many := newKernel(t, crypto.SHA256).boot(10), newKernel(t, crypto.SHA256).boot(10)
	for i := range 2000 {
		many.file(fmt.Sprintf("/usr/lib/%d", i))
	}
	cost := func(k *kernel) float64 { return testing.AllocsPerRun(5, func() { k.demand() }) }
	if a, b := cost(few), cost(many); b > a {
		t.Errorf("%v allocations for 1 entry, %v for 2001", a, b)
	}
}
