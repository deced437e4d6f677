package pcs_test

import (
	"testing"

	"github.com/attestd/attestd/verifiers/tdx/pcs"
)

// TestDocumentsThatEndInAnEscape: a backslash as the last byte of a document ends no text, wherever it
// stands. Found by fuzzing.
func TestDocumentsThatEndInAnEscape(t *testing.T) {
	for _, document := range []string{
		`"\`, `"ev\\ev\`, `{"\`, `{"tcbInfo":"\`, `{"tcbInfo":{"id":["\`, `{"enclaveIdentity":"\`,
	} {
		if _, err := pcs.ParseIdentity([]byte(document)); err == nil {
			t.Errorf("%q was read as an identity", document)
		}
		if _, err := pcs.ParseTCBInfo([]byte(document)); err == nil {
			t.Errorf("%q was read as TCB information", document)
		}
		if _, err := pcs.SplitCombined([]byte(document)); err == nil {
			t.Errorf("%q was read as combined collateral", document)
		}
	}
}
