package imports_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/attestd/attestd/measurements/imports"
)

func TestCBORThatIsRefused(t *testing.T) {
	for _, row := range []struct{ name, file, want string }{
		{"a key that stands twice", "d901f5a2006161006162", "a key stands twice"},
		{"a number that is not in its shortest form", "d901f5a118006161", "shortest form"},
		{"a length that is not in its shortest form", "d901f5a100780161", "shortest form"},
		{"a map of indefinite length", "bfff", "indefinite"},
		{"a string of indefinite length", "5f4101ff", "indefinite"},
		{"a float", "f90000", "a float"},
		{"an undefined value", "f7", "a float, a break or an unknown simple value"},
		{"text that is not UTF-8", "61ff", "not UTF-8"},
		{"a string that is cut", "4401", "of which 1 are there"},
		{"an array longer than the file", "9affffffff01", "items, of which"},
		{"a map longer than the file", "bb7fffffffffffffff01", "items, of which"},
		{"nested too deep", strings.Repeat("81", 40) + "00", "deeper than"},
	} {
		file, err := hex.DecodeString(row.file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := imports.CoRIM(file, imports.Options{Name: "web", At: noon}); err == nil ||
			!strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", row.name, err, row.want)
		}
	}
	large := bytes.Repeat([]byte{0}, imports.MaxFile+1)
	if _, err := imports.CoRIM(large, imports.Options{Name: "web", At: noon}); err == nil ||
		!strings.Contains(err.Error(), "too large") {
		t.Errorf("got %v", err)
	}
}
