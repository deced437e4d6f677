package service_test

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral/set"
	"github.com/attestd/attestd/internal/service"
)

// TestDocumentsAreThoseThatAreKept: signed documents reach the verifier from the kept collateral alone,
// with their floors; what a caller sends is joined with certificates and lists, and never with documents.
func TestDocumentsAreThoseThatAreKept(t *testing.T) {
	floor := attestd.DocumentFloor{Subject: "enclave-identity/TD_QE", Evaluation: 17, IssuedAt: time.Unix(1, 0)}
	kept := set.Set{
		Certificates: [][]byte{{1}}, CRLs: [][]byte{{2}}, Documents: [][]byte{{3}},
		DocumentFloors: []attestd.DocumentFloor{floor},
	}
	job := service.Job{Endorsements: attestd.Endorsements{
		Certificates: [][]byte{{4}}, CRLs: [][]byte{{5}}, Documents: [][]byte{{6}},
	}}
	got := job.Beside(kept)
	want := attestd.Endorsements{
		Certificates: [][]byte{{4}, {1}}, CRLs: [][]byte{{5}, {2}}, Documents: [][]byte{{3}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if bare := job.Beside(set.Set{}); len(bare.Documents) != 0 || !bytes.Equal(bare.CRLs[0], []byte{5}) {
		t.Errorf("without anything kept: %v", bare)
	}
	if floors := job.Anchors(kept).DocumentFloors; len(floors) != 1 || floors[0] != floor {
		t.Errorf("floors %v, want %v", floors, floor)
	}
}
