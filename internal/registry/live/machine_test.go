package live_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
)

var start = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func digest(what string, n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", what, n))
	return hex.EncodeToString(sum[:])
}

// machine is a trusted subject with everything that one can have: a TPM of its own, a boot of its
// own, and a host that it shares with seven others.
func machine(n int) subject.Subject {
	instance := attestd.Handle{Kind: attestd.HandleInstance, Value: "ek:" + digest("ek", n)}
	id, err := subject.AgentID("example.org", "tpm", instance)
	if err != nil {
		panic(err)
	}
	return subject.Subject{
		ID: id, Tenant: fmt.Sprintf("tenant-%d", n%7), Format: "tpm", Instance: instance,
		Boot: digest("boot", n), Host: digest("host", n/8) + digest("chip", n/8),
		Ownership: subject.MethodInventory, State: attestd.StateTrusted, Generation: 1, Epoch: 1,
		Floor: attestd.Risk(20), EvidenceAt: start, DueAt: start.Add(time.Hour),
	}
}

func machines(n int) iter.Seq2[subject.Subject, error] {
	return func(yield func(subject.Subject, error) bool) {
		for i := range n {
			if !yield(machine(i), nil) {
				return
			}
		}
	}
}

func bars(list ...subject.Bar) iter.Seq2[subject.Bar, error] {
	return func(yield func(subject.Bar, error) bool) {
		for _, one := range list {
			if !yield(one, nil) {
				return
			}
		}
	}
}

// fataler is a test, or a property of one.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

func loaded(tb fataler, n int, list ...subject.Bar) *live.Index {
	tb.Helper()
	index := live.New()
	if err := index.Load(start, machines(n), bars(list...)); err != nil {
		tb.Fatal(err)
	}
	return index
}
