package journal_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/decision/journal"
)

func BenchmarkEncode(b *testing.B) {
	one := answer(1, begin, "")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := journal.Encode(journal.RecordOf(one, "attestd 1.2.3")); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLine compares the making of a line with what json.Marshal takes for it.
func BenchmarkLine(b *testing.B) {
	record := journal.RecordOf(answer(1, begin, ""), "attestd 1.2.3")
	var line []byte
	b.Run("journal", func(b *testing.B) {
		for b.Loop() {
			var err error
			if line, err = journal.AppendRecord(line[:0], &record); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("json", func(b *testing.B) {
		for b.Loop() {
			if _, err := json.Marshal(&record); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// million writes a folder of a million records as a journal names and divides them.
func million(t testing.TB, folder string) (ids []string) {
	line, err := journal.Encode(journal.RecordOf(answer(0, begin, ""), "x"))
	if err != nil {
		t.Fatal(err)
	}
	placeholder := []byte(idAt(begin, 0).String())
	const segments, records = 125, 8000
	if err := os.MkdirAll(filepath.Join(folder, "segments"), 0o700); err != nil {
		t.Fatal(err)
	}
	var content bytes.Buffer
	for number := range segments {
		content.Reset()
		first := begin.Add(time.Duration(number) * records * time.Millisecond)
		for record := range records {
			id := idAt(first.Add(time.Duration(record)*time.Millisecond), uint64(record)).String() //nolint:gosec // small
			content.Write(bytes.Replace(line, placeholder, []byte(id), 1))
			if number%25 == 12 && record == records/2 {
				ids = append(ids, id)
			}
		}
		name := fmt.Sprintf("%08d-%s.jsonl", number+1, first.Format("20060102T150405.000Z"))
		if err := os.WriteFile(filepath.Join(folder, "segments", name), content.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return ids
}

// BenchmarkFind: one record among a million, of 2 GB. The slack of a record's time takes in 15 segments
// on either side at a thousand a second, which is the worst case of a bench.
func BenchmarkFind(b *testing.B) {
	folder := b.TempDir()
	ids := million(b, folder)
	reader, err := journal.OpenReader(folder)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for number := 0; b.Loop(); number++ {
		if _, err := reader.Find(b.Context(), ids[number%len(ids)], []string{"*"}); err != nil {
			b.Fatal(err)
		}
	}
}
