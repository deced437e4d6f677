package collateral_test

import (
	"testing"

	"github.com/attestd/attestd/internal/collateral"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

func TestTheFloorOfADocumentIsWhatItSays(t *testing.T) {
	authority, err := forge.NewIntel(forge.IntelConfig{})
	if err != nil {
		t.Fatal(err)
	}
	config := forge.NewTCBInfoConfig()
	document, err := authority.TCBInfo(config)
	if err != nil {
		t.Fatal(err)
	}
	floor, is := collateral.FloorOf(document)
	if !is || floor.Subject != pcs.SubjectOfTCBInfo(config.FMSPC) || floor.Evaluation != 18 ||
		!floor.IssuedAt.Equal(config.Issued) {
		t.Errorf("%+v, %t", floor, is)
	}
	if _, is := collateral.FloorOf(document[1:]); is {
		t.Error("a part of a document has a floor")
	}
}
