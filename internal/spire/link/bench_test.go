package link_test

import (
	"context"
	"testing"

	"github.com/attestd/attestd/internal/spire/link"
)

// asked is of the size of what the composer asks.
type asked struct {
	Kind      string   `json:"kind"`
	ID        string   `json:"id"`
	Audience  []string `json:"audience"`
	ExpiresAt int64    `json:"expires_at"`
}

var question = asked{
	Kind: "jwt-svid", ID: "spiffe://example.org/ns/prod/sa/web", Audience: []string{"db"}, ExpiresAt: 1_800_000_000,
}

// BenchmarkRoundTrip is one call over a unix socket on a quiet machine; 30 us are meant.
func BenchmarkRoundTrip(b *testing.B) {
	here, _ := pair(b, echoAsked, link.Options{})
	b.ReportAllocs()
	for b.Loop() {
		var got asked
		if err := here.Call(context.Background(), "grant", question, &got); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkManyAtOnce is how many calls go through one link.
func BenchmarkManyAtOnce(b *testing.B) {
	here, _ := pair(b, echoAsked, link.Options{})
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			var got asked
			if err := here.Call(context.Background(), "grant", question, &got); err != nil {
				b.Error(err)
			}
		}
	})
}
