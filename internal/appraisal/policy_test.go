package appraisal_test

import (
	"testing"

	"github.com/attestd/attestd/internal/appraisal"
)

func TestBuiltinsParse(t *testing.T) {
	for _, name := range appraisal.BuiltinNames() {
		if _, err := appraisal.Builtin(name); err != nil {
			t.Fatal(err)
		}
	}
}
