package strict_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/attestd/attestd/internal/strict"
)

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	data, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestIntegersAreReadInTheirShortestFormAlone(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		encoded string
		want    int64
		ok      bool
	}{
		{"00", 0, true}, {"17", 23, true}, {"1818", 24, true}, {"18ff", 255, true},
		{"190100", 256, true}, {"1a00010000", 65536, true}, {"1b0000000100000000", 1 << 32, true},
		{"20", -1, true}, {"3822", -35, true}, {"1b7fffffffffffffff", 1<<63 - 1, true},
		{"3b7fffffffffffffff", -1 << 63, true},
		// neg: 4
		{"1800", 0, false}, {"1817", 0, false}, {"1900ff", 0, false}, {"1a0000ffff", 0, false},
		{"1b00000000ffffffff", 0, false}, {"3817", 0, false},
		{"1b8000000000000000", 0, false}, {"3b8000000000000000", 0, false}, // beyond int64
		{"1c", 0, false}, {"1d", 0, false}, {"1e", 0, false}, {"1f", 0, false}, // reserved
		{"18", 0, false}, {"19ff", 0, false}, {"1bffffffffffffff", 0, false}, // cut off
		{"", 0, false}, {"40", 0, false}, {"c200", 0, false}, {"f6", 0, false},
		{"f90000", 0, false}, {"f4", 0, false}, // a float, false
	} {
		cursor := strict.NewCBOR(unhex(t, row.encoded))
		got, err := cursor.Int()
		if (err == nil) != row.ok || got != row.want {
			t.Errorf("%s: got %d, %v; want %d, accepted %v", row.encoded, got, err, row.want, row.ok)
		}
		if err == nil && cursor.End() != nil {
			t.Errorf("%s: bytes left", row.encoded)
		}
	}
}

func TestStringsAreParts(t *testing.T) {
	t.Parallel()
	data := unhex(t, "43010203")
	cursor := strict.NewCBOR(data)
	got, err := cursor.Bytes()
	if err != nil || !bytes.Equal(got, []byte{1, 2, 3}) {
		t.Fatalf("got %x, %v", got, err)
	}
	if &got[0] != &data[1] || cap(got) != 3 {
		t.Error("a string is no part of the input, or reaches beyond itself")
	}
	for name, encoded := range map[string]string{
		"an empty string is not nil": "40", "an empty text": "60", "a text": "63616263",
	} {
		cursor := strict.NewCBOR(unhex(t, encoded))
		read := cursor.Bytes
		if cursor.Kind() == strict.KindText {
			read = cursor.Text
		}
		if got, err := read(); err != nil || got == nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestStringsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, encoded := range map[string]string{
		"longer than the input":             "4401",
		"2^30 bytes":                        "5a4000000001", // neg: 9
		"2^64-1 bytes":                      "5bffffffffffffffff",
		"of indefinite length":              "5f4101ff", // neg: 3
		"a length not in its shortest form": "580101",   // neg: 4
		"a tag before it":                   "d8204101", // neg: 5
		"null":                              "f6",       // neg: 6
	} {
		cursor := strict.NewCBOR(unhex(t, encoded))
		if got, err := cursor.Bytes(); err == nil {
			t.Errorf("%s: got %x", name, got)
		}
	}
	cursor := strict.NewCBOR(unhex(t, "62fffe")) // neg: 12
	if got, err := cursor.Text(); err == nil {
		t.Errorf("invalid UTF-8: got %x", got)
	}
}

func TestCountsAreLimited(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, encoded string
		limit, want   int
		ok            bool
	}{
		{"an array of three", "83000000", 3, 3, true},
		{"an array of four where three are allowed", "8400000000", 3, 0, false},
		{"an array of 2^28", "9a10000000000000", 1 << 30, 0, false}, // neg: 9
		{"an array of 2^64-1", "9bffffffffffffffff", 1 << 30, 0, false},
		{"an array of indefinite length", "9f00ff", 3, 0, false},
		{"an array where none is allowed", "8100", -1, 0, false},
		{"a map", "a0", 3, 0, false},
	} {
		cursor := strict.NewCBOR(unhex(t, row.encoded))
		got, err := cursor.Array(row.limit)
		if (err == nil) != row.ok || got != row.want {
			t.Errorf("%s: got %d, %v", row.name, got, err)
		}
	}
}

func TestOpenMaps(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, encoded string
		pairs         int
		open, ok      bool
	}{
		{"a map of two", "a201020304", 2, false, true},
		{"an open map of two", "bf01020304ff", 2, true, true},
		{"an open map of none", "bfff", 0, true, true},
		{"an open map without its end", "bf0102", 1, true, false},
		{"an open map of more pairs than allowed", "bf010203040506ff", 2, true, false},
		{"an open map that ends between key and value", "bf01ff", 0, true, false},
		{"a map of more pairs than allowed", "a3010203040506", 0, false, false},
	} {
		cursor := strict.NewCBOR(unhex(t, row.encoded))
		pairs, err := cursor.OpenMap(2)
		count := 0
		for more := true; err == nil; {
			if more, err = pairs.More(); err != nil || !more {
				break
			}
			if _, err = cursor.Uint(); err == nil {
				_, err = cursor.Uint()
			}
			if err == nil {
				count++
			}
		}
		if err == nil {
			err = cursor.End()
		}
		if (err == nil) != row.ok || count != row.pairs || pairs.Indefinite() != row.open {
			t.Errorf("%s: %d pairs, open %v, %v", row.name, count, pairs.Indefinite(), err)
		}
	}
}

func TestErrorsSayWhere(t *testing.T) {
	t.Parallel()
	cursor := strict.NewCBOR(unhex(t, "001817"))
	if _, err := cursor.Uint(); err != nil {
		t.Fatal(err)
	}
	_, err := cursor.Uint()
	var syntax *strict.SyntaxError
	if !errors.As(err, &syntax) || syntax.Offset != 1 {
		t.Errorf("got %v, want an error at byte 1", err)
	}
}

func TestReadingAllocatesNothing(t *testing.T) {
	data := unhex(t, "a2616101616243010203")
	allocations := testing.AllocsPerRun(100, func() {
		cursor := strict.NewCBOR(data)
		count, err := cursor.Map(4)
		for range count {
			if _, err = cursor.Text(); err != nil {
				break
			}
			if cursor.Kind() == strict.KindUint {
				_, err = cursor.Uint()
			} else {
				_, err = cursor.Bytes()
			}
		}
		if err != nil || cursor.End() != nil {
			t.Fatal("not read")
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations for a document", allocations)
	}
}

// read reads any item as deep as depth, and reports whether it could.
func read(cursor *strict.CBOR, depth int) bool {
	if depth == 0 {
		return false
	}
	var count int
	var err error
	switch cursor.Kind() {
	case strict.KindUint:
		_, err = cursor.Uint()
	case strict.KindNegative:
		_, err = cursor.Int()
	case strict.KindBytes:
		_, err = cursor.Bytes()
	case strict.KindText:
		_, err = cursor.Text()
	case strict.KindNull:
		return cursor.Null()
	case strict.KindArray:
		count, err = cursor.Array(1 << 16)
	case strict.KindMap:
		count, err = cursor.Map(1 << 16)
		count *= 2
	default:
		return false
	}
	for range count {
		if err != nil || !read(cursor, depth-1) {
			return false
		}
	}
	return err == nil
}

// FuzzCBOR compares the reader with fxamacker/cbor in its strictest mode: what the reader takes, the
// other must take, and for that it must find one spelling only.
func FuzzCBOR(f *testing.F) {
	for _, seed := range []string{
		"8444a1013822a0430102034101", "a201020304", "bf01020304ff", "1817", "5f4101ff", "c11a514b67b0",
		"d9d9f7a0", "9bffffffffffffffff", "62fffe", "f6", "3b7fffffffffffffff", "a2616101616102",
	} {
		data, err := hex.DecodeString(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	mode, err := cbor.DecOptions{
		IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden, UTF8: cbor.UTF8RejectInvalid,
		MaxNestedLevels: 16, MaxArrayElements: 1 << 20, MaxMapPairs: 1 << 20,
	}.DecMode()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		cursor := strict.NewCBOR(data)
		ours := read(&cursor, 8) && cursor.End() == nil
		if !bytes.Equal(before, data) {
			t.Fatal("the input was written to")
		}
		if cursor.Offset() > len(data) {
			t.Fatal("read beyond the end")
		}
		if ours {
			if err := mode.Wellformed(data); err != nil {
				t.Fatalf("we take %x, fxamacker says %v", data, err)
			}
		}
	})
}
