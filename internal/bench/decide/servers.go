package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// within is the time in which an answer is to be there.
const within = 200 * time.Millisecond

func sizesOf(of size) []string {
	return []string{
		"-serve", "-subjects", strconv.Itoa(of.Subjects), "-tenants", strconv.Itoa(of.Tenants), "-policies",
		strconv.Itoa(of.Policies), "-datasets", strconv.Itoa(of.Datasets),
	}
}

// serversPart measures both servers in turns at 2,000 questions a second, and 5,000 over gRPC.
func serversPart(o options) ([]Figure, error) {
	ours, err := spawn(sizesOf(size{Subjects: 10_000, Tenants: 10, Policies: 100, Datasets: 10})...)
	if err != nil {
		return nil, err
	}
	defer ours.stop()
	null, err := spawn("-null")
	if err != nil {
		return nil, err
	}
	defer null.stop()
	of := makeAskers(ours.ready)
	var out []Figure
	for _, way := range []struct {
		name       string
		ours, null ask
	}{
		{"HTTP", ours.overHTTP(of), null.overHTTP(of)}, {"gRPC", ours.overGRPC(of), null.overGRPC(of)},
	} {
		var mine, theirs result
		var beyond []time.Duration
		if _, err := ours.load(way.ours, 1000, 2*time.Second); err != nil { // tokens are seen once
			return nil, err
		}
		for range o.times {
			var p99 [2]time.Duration
			for i, side := range []struct {
				of   *child
				ask  ask
				into *result
			}{{null, way.null, &theirs}, {ours, way.ours, &mine}} {
				got, err := side.of.load(side.ask, 2000, o.round)
				if err != nil {
					return nil, err
				}
				side.into.add(got)
				p99[i] = percentile(got.times, 0.99)
			}
			beyond = append(beyond, p99[1]-p99[0])
		}
		if mine.denied+mine.failed+theirs.denied+theirs.failed != 0 {
			return nil, fmt.Errorf("%s: %d denied and %d failed of ours, %d and %d of the null server's: %w", way.name,
				mine.denied, mine.failed, theirs.denied, theirs.failed, errors.Join(mine.first, theirs.first))
		}
		// Of each pair of rounds by itself: what else runs on the machine falls on one of them alone.
		p99 := micros(percentile(beyond, 0.49))
		fmt.Fprintf(os.Stderr, "bench-decide: %s at 2,000/s: p50 %.0f and %.0f us, p99 %.0f and %.0f us, CPU %s and %s\n",
			way.name, micros(percentile(mine.times, 0.5)), micros(percentile(theirs.times, 0.5)),
			micros(percentile(mine.times, 0.99)), micros(percentile(theirs.times, 0.99)), mine.cpu, theirs.cpu)
		out = append(out,
			atMost("p99 over "+way.name+" at 2,000/s beyond the null server's, median of rounds", p99, "us", 1000, 5),
			atMost("CPU over "+way.name+" at 2,000/s over the null server's", float64(mine.cpu)/float64(theirs.cpu), "x", 1.5, 5))
	}
	fast, err := ours.load(ours.overGRPC(of), 5000, o.round*2)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "bench-decide: gRPC at 5,000/s: p99 %.0f us\n", micros(percentile(fast.times, 0.99)))
	return append(out, atMost("errors and denials over gRPC at 5,000/s", float64(fast.failed+fast.denied), "", 0, 1)), nil
}

// longPart is a run over everything at its largest, in which the store goes away.
func longPart(o options) ([]Figure, error) {
	started := time.Now()
	ours, err := spawn(sizesOf(o.large)...)
	if err != nil {
		return nil, err
	}
	defer ours.stop()
	fmt.Fprintf(os.Stderr, "bench-decide: %+v stand after %.0f s, policies after %.0f s\n", o.large,
		time.Since(started).Seconds(), ours.Loaded)
	of := makeAskers(ours.ready)
	lasts := 20 * time.Second
	if o.quick {
		lasts = 4 * time.Second
	}
	down := time.AfterFunc(lasts/2, func() { _ = ours.command.Process.Signal(syscall.SIGUSR1) })
	defer down.Stop()
	got, err := ours.load(ours.overHTTP(of), 2000, lasts)
	if err != nil {
		return nil, err
	}
	late := got.failed + got.denied
	for _, one := range got.times {
		if one > within {
			late++
		}
	}
	if got.first != nil {
		fmt.Fprintf(os.Stderr, "bench-decide: the first failure: %v\n", got.first)
	}
	return []Figure{
		atLeast(fmt.Sprintf("share inside 200 ms at 2,000/s, %d subjects, %d tenants x %d policies, the store gone halfway",
			o.large.Subjects, o.large.Tenants, o.large.Policies), 1-float64(late)/float64(len(got.times)), "", 0.9999, 1.01),
	}, nil
}
