package set_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral/set"
)

func sample() set.Set {
	return set.Set{
		Certificates: [][]byte{[]byte("a certificate"), []byte("b")}, CRLs: [][]byte{[]byte("list")},
		Documents: [][]byte{[]byte("{}")},
		DocumentFloors: []attestd.DocumentFloor{
			{Subject: "a/b", Evaluation: 19, IssuedAt: time.Date(2026, 8, 13, 0, 0, 1, 0, time.UTC)},
			{Subject: "c/d", Evaluation: 20, IssuedAt: time.Date(2026, 8, 14, 0, 0, 0, 0, time.UTC)},
		},
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

func TestAFloorOfADocumentThatIsNoneIsNotWritten(t *testing.T) {
	at := time.Date(2026, 8, 14, 0, 0, 0, 0, time.UTC)
	for name, floor := range map[string]attestd.DocumentFloor{
		"no subject":            {Evaluation: 1, IssuedAt: at},
		"a subject with a line": {Subject: "a\n", Evaluation: 1, IssuedAt: at},
		"a long subject":        {Subject: strings.Repeat("a", set.MaxSubject+1), IssuedAt: at},
		"no date":               {Subject: "a", Evaluation: 1},
		"a part of a second":    {Subject: "a", Evaluation: 1, IssuedAt: at.Add(1)},
		"the year 10000":        {Subject: "a", IssuedAt: at.AddDate(8000, 0, 0)},
	} {
		if _, err := (set.Set{DocumentFloors: []attestd.DocumentFloor{floor}}).Marshal(); err == nil {
			t.Errorf("%s was written", name)
		}
	}
}

// Two floors of one subject would leave it to the reader which of them counts.
func TestASubjectHasOneFloor(t *testing.T) {
	at := time.Date(2026, 8, 14, 0, 0, 0, 0, time.UTC)
	two := set.Set{DocumentFloors: []attestd.DocumentFloor{
		{Subject: "a", Evaluation: 1, IssuedAt: at}, {Subject: "a", Evaluation: 2, IssuedAt: at},
	}}
	if document, err := two.Marshal(); err == nil {
		t.Errorf("written as %x", document)
	}
	two.DocumentFloors[1].Subject = "b"
	document, err := two.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	at2 := bytes.LastIndexByte(document, 'b')
	document[at2] = 'a'
	if _, err := set.Parse(document); err == nil || !strings.Contains(err.Error(), "one subject") {
		t.Errorf("read with %v", err)
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
