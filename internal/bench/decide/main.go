// Command decide measures decisions: in process, and over HTTP and gRPC beside a server that allows
// everything at once. What both are asked comes at a fixed rate, whether answers come or not, and latency
// counts from when a question was due: a server that stalls does not make the load wait for it.
//
// The server under load is made of the daemon's own parts with its settings, in a process of its own, but
// without SPIRE: entries and states are put in as they come from there.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/attestd/attestd/internal/bench/figure"
)

// What is measured, with its bar and its gate.
type Figure = figure.Figure

var atMost, atLeast = figure.AtMost, figure.AtLeast

type options struct {
	quick bool
	large size
	round time.Duration
	times int
	out   string
	gate  bool
	part  string
}

func main() {
	var o options
	serve := flag.Bool("serve", false, "be the server that is measured")
	null := flag.Bool("null", false, "be the server that allows everything")
	flag.BoolVar(&o.quick, "quick", false, "small sizes and short rounds, for gates")
	flag.BoolVar(&o.gate, "gate", false, "exit 1 where a figure is beyond its gate")
	flag.StringVar(&o.out, "out", "", "file to write the figures to, as JSON")
	flag.StringVar(&o.part, "part", "", "one part alone: process, slopes, servers or long")
	flag.IntVar(&o.large.Subjects, "subjects", 1_000_000, "callers of the long run, each on a node of its own")
	flag.IntVar(&o.large.Tenants, "tenants", 1000, "tenants that they are of")
	flag.IntVar(&o.large.Policies, "policies", 1000, "policies of each tenant's own")
	flag.IntVar(&o.large.Datasets, "datasets", 100, "datasets that a record lists")
	flag.Parse()
	o.round, o.times = 4*time.Second, 4
	if o.quick {
		o.large = size{Subjects: 10_000, Tenants: 100, Policies: 100, Datasets: 100}
		o.round, o.times = 2*time.Second, 2
	}
	var err error
	switch {
	case *serve:
		err = serveHouse(o.large)
	case *null:
		err = serveNull()
	default:
		err = run(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-decide:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	var figures []Figure
	for _, part := range []struct {
		name    string
		measure func(options) ([]Figure, error)
	}{{"process", processPart}, {"slopes", slopesPart}, {"servers", serversPart}, {"long", longPart}} {
		if o.part != "" && o.part != part.name {
			continue
		}
		started := time.Now()
		got, err := part.measure(o)
		if err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		fmt.Fprintf(os.Stderr, "bench-decide: %s took %.0f s\n", part.name, time.Since(started).Seconds())
		figures = append(figures, got...)
	}
	if len(figures) == 0 {
		return errors.New("no part is called so: process, slopes, servers or long")
	}
	return figure.Report(os.Stdout, figures, o.out, o.gate)
}

func processPart(o options) ([]Figure, error) {
	folder, err := os.MkdirTemp("", "bench-decide-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	h, err := newHouse(size{Subjects: 10_000, Tenants: 10, Policies: 10, Datasets: 10}, folder)
	if err != nil {
		return nil, err
	}
	defer h.stop()
	questions := 40_000
	if o.quick {
		questions = 10_000
	}
	return inProcess(h, questions)
}

func slopesPart(o options) ([]Figure, error) {
	questions := 20_000
	if o.quick {
		questions = 4000
	}
	return slopes(o.large, questions)
}
