package worker

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"
)

func TestADocumentIsKnownByWhereItLiesAndByWhatItSays(t *testing.T) {
	l := newLibrary()
	text := []byte("reference values, version 1")
	for name, document := range map[string][]byte{
		"a document": text, "the same again": text, "its beginning": text[:20], "its end": text[1:],
		"a copy": append([]byte(nil), text...), "another": []byte("reference values, version 2"), "none": nil,
	} {
		for range 2 {
			if got := l.digestOf(document); got != sha256.Sum256(document) {
				t.Errorf("%s: digest %x is not of its bytes", name, got)
			}
		}
	}
	for number := range 3 * maxDocuments {
		document := fmt.Appendf(nil, "document %d", number)
		if l.digestOf(document) != sha256.Sum256(document) {
			t.Fatalf("document %d has another's digest", number)
		}
	}
	if len(l.seen) > maxDocuments {
		t.Errorf("%d documents are held, want at most %d", len(l.seen), maxDocuments)
	}
}

// TestALongDocumentIsHashedOnce: reference values of many machines come with every job.
func TestALongDocumentIsHashedOnce(t *testing.T) {
	l, long := newLibrary(), make([]byte, 8<<20)
	start := time.Now()
	l.digestOf(long)
	first := time.Since(start)
	start = time.Now()
	for range 100 {
		l.digestOf(long)
	}
	if hundred := time.Since(start); hundred > first {
		t.Errorf("100 look-ups took %s, hashing once %s", hundred, first)
	}
}
