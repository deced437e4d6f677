// Command bench measures attestd against its peers and its own bars, in one run on one machine, and
// writes what it measured as JSON. Only ratios of things measured side by side mean anything on a
// shared machine, so peers alternate with attestd call by call and medians are compared.
//
// With -gate it exits 1 where a figure is worse than its gate. Counts are gated exactly. Times are
// gated at five times their bar, so that a busy machine does not fail a build and a mistake does.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/attestd/attestd/internal/bench/figure"
)

// What is measured, with its bar and its gate.
type Figure = figure.Figure

var atMost, atLeast = figure.AtMost, figure.AtLeast

type options struct {
	binary string
	only   string
	rounds int
}

func main() {
	var opts options
	flag.StringVar(&opts.binary, "binary", "bin/attestd", "the attestd binary to start")
	flag.IntVar(&opts.rounds, "rounds", 120, "calls of each side in a comparison")
	flag.StringVar(&opts.only, "only", "", "the one section to measure, by its name; all of them without")
	out := flag.String("out", "", "file to write the figures to, as JSON")
	gate := flag.Bool("gate", false, "exit 1 where a figure is beyond its gate")
	flag.Parse()
	if err := run(opts, *out, *gate); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(opts options, out string, gate bool) error {
	var figures []Figure
	for _, section := range []struct {
		name    string
		measure func(options) ([]Figure, error)
	}{
		{"AWS Nitro", nitroFigures},
		{"AMD SEV-SNP", snpFigures},
		{"Intel TDX", tdxFigures},
		{"TPM 2.0", tpmFigures},
		{"event logs", eventlogFigures},
		{"process", processFigures},
	} {
		if opts.only != "" && opts.only != section.name {
			continue
		}
		start := time.Now()
		got, err := section.measure(opts)
		if err != nil {
			return fmt.Errorf("%s: %w", section.name, err)
		}
		fmt.Fprintf(os.Stderr, "bench: %s took %.1f s\n", section.name, time.Since(start).Seconds())
		figures = append(figures, got...)
	}
	if len(figures) == 0 {
		return fmt.Errorf("no section is called %q", opts.only)
	}
	return figure.Report(os.Stdout, figures, out, gate)
}

// alternate calls each side once a round and returns each side's median duration in microseconds.
// Sides alternate inside a round, so that what disturbs the machine disturbs all of them.
func alternate(rounds int, sides ...func(round int) error) ([]float64, error) {
	times := make([][]float64, len(sides))
	for round := range rounds {
		for side, call := range sides {
			start := time.Now()
			if err := call(round); err != nil {
				return nil, err
			}
			times[side] = append(times[side], float64(time.Since(start).Nanoseconds())/1000)
		}
	}
	medians := make([]float64, len(sides))
	for side := range times {
		slices.Sort(times[side])
		medians[side] = times[side][len(times[side])/2]
	}
	return medians, nil
}

// alternateCPU is alternate in processor time of the whole process, in microseconds a call: blocks of
// calls, so that a side pays for the garbage that it makes. On a machine with a spare core a collector
// takes no time of whoever made the garbage, and the medians of alternate do not show it.
func alternateCPU(rounds, calls int, sides ...func(round int) error) ([]float64, error) {
	times := make([][]float64, len(sides))
	for round := range rounds {
		for side, call := range sides {
			runtime.GC() // of the side before
			start, err := processorTime()
			if err != nil {
				return nil, err
			}
			for range calls {
				if err := call(round); err != nil {
					return nil, err
				}
			}
			end, err := processorTime()
			if err != nil {
				return nil, err
			}
			times[side] = append(times[side], float64((end-start).Nanoseconds())/1000/float64(calls))
		}
	}
	medians := make([]float64, len(sides))
	for side := range times {
		slices.Sort(times[side])
		medians[side] = times[side][len(times[side])/2]
	}
	return medians, nil
}

// processorTime is what the process has used of all processors so far.
func processorTime() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, err
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}
