package ima_test

import (
	"crypto"
	"fmt"
	"testing"
)

func BenchmarkReplay(b *testing.B) {
	for _, count := range []int{1_000, 10_000, 100_000} {
		k := newKernel(b, crypto.SHA256).boot(10)
		for i := range count {
			k.file(fmt.Sprintf("/usr/lib/x86_64-linux-gnu/library-%d.so", i))
		}
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				k.demand()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*count), "ns/entry")
		})
	}
}
