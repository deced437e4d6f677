package crl_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/verifiers/internal/crl"
)

func TestCache(t *testing.T) {
	i, other := newIssuer(t, x509.KeyUsageCRLSign), newIssuer(t, x509.KeyUsageCRLSign)
	raws := make([][]byte, 4)
	lists := make([]*crl.List, 4)
	for n := range raws {
		raws[n] = i.list(t, func(l *x509.RevocationList) { l.Number = big.NewInt(int64(n + 1)) })
		lists[n] = open(t, i, raws[n])
	}
	name := crl.NewIssuer(i.certificate)
	cache := crl.NewCache(2, 1<<20)
	state := func() string {
		var out strings.Builder
		for n, raw := range raws {
			switch cache.Get(name, raw) {
			case nil:
				out.WriteByte('-')
			case lists[n]:
				out.WriteByte('+')
			default:
				out.WriteByte('!')
			}
		}
		return out.String()
	}
	for step, want := range []string{"+---", "++--", "-++-", "--++"} {
		cache.Add(name, lists[step])
		cache.Add(name, lists[step])
		if got := state(); got != want {
			t.Errorf("after %d: %s, want %s", step+1, got, want)
		}
	}
	if cache.Get(crl.NewIssuer(other.certificate), raws[3]) != nil {
		t.Error("a list counts for another issuer")
	}
	changed := bytes.Clone(raws[3])
	changed[30] ^= 1
	if cache.Get(name, changed) != nil || cache.Get(name, nil) != nil {
		t.Error("a list with the same length and signature counts as this one")
	}
	small := crl.NewCache(8, 2*len(raws[0])+8)
	for _, list := range lists[:3] {
		small.Add(name, list)
	}
	cache = small
	if got := state(); got != "-++-" {
		t.Errorf("a cache with room for the bytes of two keeps %s", got)
	}
	cache = crl.NewCache(8, 10)
	cache.Add(name, lists[0])
	if got := state(); got != "----" {
		t.Errorf("a cache with room for nothing keeps %s", got)
	}
}

// many writes a list of n entries with serial numbers of 16 bytes.
func (i issuer) many(t testing.TB, n int) ([]byte, []*big.Int) {
	t.Helper()
	serials := make([]*big.Int, n)
	var body bytes.Buffer
	for index := range serials {
		serial := make([]byte, 16)
		_, _ = rand.Read(serial)
		serial[0] = 0x40 | serial[0]&0x3f
		serials[index] = new(big.Int).SetBytes(serial)
		body.Write(element(0x30, append(element(2, serial), from...)))
	}
	return i.built(t, from, until, element(0x30, body.Bytes())), serials
}

// TestALongListIsReadOnce: a question costs the same in a long list as in a short one, and neither
// allocates.
func TestALongListIsReadOnce(t *testing.T) {
	i := newIssuer(t, x509.KeyUsageCRLSign)
	raw, serials := i.many(t, 100_000)
	start := time.Now()
	list := open(t, i, raw)
	t.Logf("%d bytes, %d entries, read and verified in %s",
		len(raw), list.Entries(), time.Since(start))
	for _, serial := range serials[:1000] {
		if !list.Revokes(serial) {
			t.Fatalf("%x is not revoked", serial)
		}
	}
	one := open(t, i, i.list(t, revoking(9)))
	for _, of := range []*crl.List{one, list} {
		allocs := testing.AllocsPerRun(100, func() { of.Revokes(serials[50_000]) })
		if allocs != 0 {
			t.Errorf("a question to a list of %d entries allocates %v times", of.Entries(), allocs)
		}
	}
	cache, name := crl.NewCache(4, crl.MaxBytes), crl.NewIssuer(i.certificate)
	cache.Add(name, list)
	if allocs := testing.AllocsPerRun(10, func() { cache.Get(name, raw) }); allocs != 0 {
		t.Errorf("finding a list again allocates %v times", allocs)
	}
}

func BenchmarkRevokes(b *testing.B) {
	i := newIssuer(b, x509.KeyUsageCRLSign)
	for _, n := range []int{1_000, 100_000} {
		raw, serials := i.many(b, n)
		list := open(b, i, raw)
		b.Run(big.NewInt(int64(n)).String(), func(b *testing.B) {
			for k := range b.N {
				list.Revokes(serials[k%n])
			}
		})
	}
}
