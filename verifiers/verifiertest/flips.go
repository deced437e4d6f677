package verifiertest

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/sweep"
	"github.com/attestd/attestd/verifiers"
)

const (
	// shortStride is how many changes a run with -short passes over for each that it makes: such runs
	// look for races, at a tenth of the speed.
	shortStride = 61
	// maxAllocation is how many bytes one answer may take from the heap, on average of a sweep.
	maxAllocation = 1 << 20
	// maxFaults is how many faults of a sweep are printed.
	maxFaults = 10
)

// sweepOver asks about count variants of the input on all cores and returns how many of them were not
// answered as they must be. vary changes a private copy of the input for variant n and returns how to
// change it back; nil leaves the variant out.
func sweepOver(
	t *testing.T, c Case, what string, count int, undecidedToo bool,
	vary func(input *attestd.Input, n int) (undo func()), expect func(n int) outcome,
) {
	t.Helper()
	v := c.New()
	most := budget(good(t, v, c.Input)) // a warm chain: what is measured is the refusal
	specs := specsOf(v)
	elapsed, signatures, allocated := sweep.Stopwatch(), v.SignaturesVerified(), totalAllocated()
	var next, asked, faults atomic.Int64
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			input := clone(c.Input)
			for n := int(next.Add(1)) - 1; n < count; n = int(next.Add(1)) - 1 {
				undo := vary(&input, n)
				if undo == nil {
					continue
				}
				asked.Add(1)
				err := oneVariant(v, specs, input, undecidedToo, expect(n))
				undo()
				if err != nil && faults.Add(1) <= maxFaults {
					t.Errorf("%s %d: %v", what, n, err)
				}
			}
			if !sameBytes(input, c.Input) {
				t.Error("the verifier wrote to its input")
			}
		})
	}
	group.Wait()
	if n := faults.Load(); n > maxFaults {
		t.Errorf("%s: %d faults in all", what, n)
	}
	cost := v.SignaturesVerified() - signatures
	if limit := uint64(asked.Load()) * most; cost > limit { //nolint:gosec // counts from 0
		t.Errorf("%s: %d signature verifications, want at most %d", what, cost, limit)
	}
	if each := (totalAllocated() - allocated) / max(1, uint64(asked.Load())); each > maxAllocation { //nolint:gosec // counts from 0
		t.Errorf("%s: %d bytes allocated per answer, want at most %d", what, each, maxAllocation)
	}
	took := elapsed()
	t.Logf("%s: %d asked, %d faults, %.1f s, %.0f/s, %d signatures", what, asked.Load(),
		faults.Load(), took.Seconds(), float64(asked.Load())/took.Seconds(), cost)
}

// outcome is what must become of a variant.
type outcome uint8

const (
	mustRefuse outcome = iota
	mustAccept
	mayAccept
)

// oneVariant wants a refusal, or, for bytes listed as unauthenticated, an acceptance.
func oneVariant(
	v verifiers.Verifier, specs []attestd.CheckSpec, input attestd.Input, undecidedToo bool,
	want outcome,
) error {
	if want == mustRefuse {
		return refused(v, specs, input, undecidedToo, false)
	}
	_, refusal, fault := ask(v, specs, input)
	if fault != nil {
		return fault
	}
	if refusal != nil && want == mustAccept {
		return fmt.Errorf("listed as unauthenticated, but refused: %w", refusal)
	}
	return nil
}

func refusesFlips(t *testing.T, c Case) {
	size := len(c.Input.Evidence)
	all := sweep.Whole(size)
	today := sweep.Today()
	if !all {
		t.Logf("evidence of %d bytes: slice %d of %d today", size, today+1, sweep.Slices)
	}
	flip := func(input *attestd.Input, n int) func() {
		if !all && n/8*sweep.Slices/size != today || testing.Short() && n%shortStride != 0 {
			return nil
		}
		input.Evidence[n/8] ^= 1 << (n % 8)
		return func() { input.Evidence[n/8] ^= 1 << (n % 8) }
	}
	sweepOver(t, c, "one-bit change", size*8, false, flip, func(n int) outcome {
		switch {
		case within(c.Unauthenticated, n/8):
			return mustAccept
		case within(c.Either, n/8):
			return mayAccept
		default:
			return mustRefuse
		}
	})
}

// answersAlikeColdAndWarm compares the whole answer to some hundred changed inputs, and to other
// times, of a verifier that knows the chain with that of one that knows nothing: the same input gives
// the same answer for ever, whatever was asked before.
func answersAlikeColdAndWarm(t *testing.T, c Case) {
	samples := 257
	if testing.Short() {
		samples = 17
	}
	warm := c.New()
	good(t, warm, c.Input)
	compare := func(what string, input attestd.Input) {
		_, wantErr, wantFault := ask(c.New(), specsOf(warm), input)
		_, gotErr, gotFault := ask(warm, specsOf(warm), input)
		if got, want := fmt.Sprint(gotErr, gotFault), fmt.Sprint(wantErr, wantFault); got != want {
			t.Errorf("%s: with a known chain\n%s\nwithout\n%s", what, got, want)
		}
	}
	bits := len(c.Input.Evidence) * 8
	for bit := 0; bit < bits; bit += max(1, bits/samples) {
		input := clone(c.Input)
		input.Evidence = flipped(input.Evidence, bit)
		compare(fmt.Sprintf("one-bit change %d", bit), input)
	}
	for _, at := range append(c.OtherTimes, time.Time{}) {
		input := clone(c.Input)
		input.At = at
		compare("at "+at.Format(time.RFC3339), input)
	}
}

// refusesTruncations allows "could not decide": evidence that is cut exactly behind its signed part
// has lost the certificates it brought, and nothing else is wrong with it.
func refusesTruncations(t *testing.T, c Case) {
	cut := func(input *attestd.Input, n int) func() {
		whole := input.Evidence
		input.Evidence = whole[:n:n]
		return func() { input.Evidence = whole }
	}
	sweepOver(t, c, "truncation to length", len(c.Input.Evidence), true, cut, c.refuseAll)
}

func refusesTrailingBytes(t *testing.T, c Case) {
	const longest = 64
	extend := func(input *attestd.Input, n int) func() {
		whole, filler := input.Evidence, byte(0)
		if n >= longest {
			filler = 0xff
		}
		longer := append(make([]byte, 0, len(whole)+longest), whole...)
		for range n%longest + 1 {
			longer = append(longer, filler)
		}
		input.Evidence = longer
		return func() { input.Evidence = whole }
	}
	sweepOver(t, c, "trailing bytes", 2*longest, false, extend, c.refuseAll)
}

// refusesEndorsementFlips also drops each endorsement. A changed certificate may make the evidence
// undecidable (the right one is missing) but never accepted.
func refusesEndorsementFlips(t *testing.T, c Case) {
	if c.UnusedEndorsements {
		return
	}
	for index, certificate := range c.Input.Endorsements.Certificates {
		flip := func(input *attestd.Input, n int) func() {
			all := input.Endorsements.Certificates
			if testing.Short() && n%shortStride != 0 {
				return nil
			}
			if n == len(certificate)*8 {
				input.Endorsements.Certificates = slices.Delete(slices.Clone(all), index, index+1)
				return func() { input.Endorsements.Certificates = all }
			}
			der := all[index]
			der[n/8] ^= 1 << (n % 8)
			return func() { der[n/8] ^= 1 << (n % 8) }
		}
		what := fmt.Sprintf("endorsement %d, one-bit change", index)
		sweepOver(t, c, what, len(certificate)*8+1, true, flip, c.refuseAll)
	}
}

func (c Case) refuseAll(int) outcome { return mustRefuse }

func within(areas []ByteRange, offset int) bool {
	for _, area := range areas {
		if offset >= area.From && offset < area.To {
			return true
		}
	}
	return false
}

func totalAllocated() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}
