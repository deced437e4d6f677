package set_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral/set"
)

func sample() set.Set {
	return set.Set{
		Certificates: [][]byte{[]byte("a certificate"), []byte("b")}, CRLs: [][]byte{[]byte("list")},
		Floors: []attestd.CRLFloor{{Issuer: [32]byte{1}, Number: []byte{1, 0}}, {Issuer: [32]byte{2}, Number: []byte{}}},
	}
}

func TestASetHasOneForm(t *testing.T) {
	want := sample()
	first, err := want.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	other := want
	other.Certificates = [][]byte{want.Certificates[1], want.Certificates[0], want.Certificates[1]}
	second, err := other.Marshal()
	if err != nil || !bytes.Equal(first, second) {
		t.Fatalf("another order gave another document (%v)", err)
	}
	read, err := set.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, read); diff != "" {
		t.Error(diff)
	}
	for size := 1; size < len(first); size++ {
		if _, err := set.Parse(first[:size]); err == nil {
			t.Errorf("the first %d bytes were read as a whole", size)
		}
	}
	if _, err := set.Parse(append(bytes.Clone(first), 0)); err == nil {
		t.Error("a byte behind the end was read")
	}
	if read, err := set.Parse(nil); err != nil || len(read.CRLs) != 0 {
		t.Errorf("nothing was read as %v, %v", read, err)
	}
}

func FuzzSet(f *testing.F) {
	document, err := sample().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(document)
	f.Fuzz(func(t *testing.T, document []byte) {
		read, err := set.Parse(document)
		if err != nil || len(document) == 0 {
			return
		}
		again, err := read.Marshal()
		if err != nil || !bytes.Equal(again, document) {
			t.Errorf("%x was read and written as %x (%v)", document, again, err)
		}
	})
}
