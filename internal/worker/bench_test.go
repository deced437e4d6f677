package worker_test

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/worker"
)

// BenchmarkStart is the time from nothing to a locked worker that has answered, and its memory.
func BenchmarkStart(b *testing.B) {
	var kilobytes float64
	for b.Loop() {
		pool, log := newPool(b, "real-worker", nil)
		b.StopTimer()
		kilobytes = resident(b, log)
		pool.Close()
		b.StartTimer()
	}
	b.ReportMetric(kilobytes, "KB-dirty")
}

var rollup = regexp.MustCompile(`(?m)^Private_Dirty: +(\d+) kB`)

// resident is the memory that a worker has written to and shares with nobody; its code it shares with
// attestd.
func resident(b *testing.B, log *lockedBuffer) float64 {
	b.Helper()
	match := pidInLog.FindStringSubmatch(log.String())
	if match == nil {
		b.Fatalf("no worker in the log:\n%s", log)
	}
	smaps, err := os.ReadFile("/proc/" + match[1] + "/smaps_rollup")
	if err != nil {
		b.Fatal(err)
	}
	total := 0.0
	for _, line := range rollup.FindAllStringSubmatch(string(smaps), -1) {
		kilobytes, err := strconv.ParseFloat(line[1], 64)
		if err != nil {
			b.Fatal(err)
		}
		total += kilobytes
	}
	return total
}

// BenchmarkEmpty is the journey alone: the worker answers without judging.
func BenchmarkEmpty(b *testing.B) {
	pool, _ := newPool(b, "test-worker", func(c *worker.Config) { c.Recycle = 1 << 30 })
	job := jobFor(b, "x")
	var spent []time.Duration
	for b.Loop() {
		begun := time.Now()
		if _, err := pool.Judge(context.Background(), job); err != nil {
			b.Fatal(err)
		}
		spent = append(spent, time.Since(begun))
	}
	slices.Sort(spent)
	b.ReportMetric(float64(spent[len(spent)/2])/1000, "µs-median")
	b.ReportMetric(float64(spent[0])/1000, "µs-least")
}

// BenchmarkOverhead asks the same job in process and of a worker by turns, and reports what the
// journey adds. Rounds back to back would compare the machine's moods.
func BenchmarkOverhead(b *testing.B) {
	all := newCases(b)
	for _, name := range []string{"nitro, recorded", "sev-snp, recorded"} {
		b.Run(name, func(b *testing.B) {
			inner, err := judge.New(judge.Config{InsecureRoots: all.roots})
			if err != nil {
				b.Fatal(err)
			}
			local := service.NewLocal(inner)
			pool, _ := newPool(b, "real-worker", func(c *worker.Config) {
				c.InsecureRoots, c.Recycle = all.roots, 1<<30
			})
			var spent [2][]time.Duration
			for b.Loop() {
				for i, asked := range []service.Judge{local, pool} {
					begun := time.Now()
					if _, err := asked.Judge(context.Background(), all.jobs[name]); err != nil {
						b.Fatal(err)
					}
					spent[i] = append(spent[i], time.Since(begun))
				}
			}
			slices.Sort(spent[0])
			slices.Sort(spent[1])
			half := len(spent[0]) / 2
			b.ReportMetric(float64(spent[1][half]-spent[0][half])/1000, "µs-added-median")
			b.ReportMetric(float64(spent[1][0]-spent[0][0])/1000, "µs-added-least")
			b.ReportMetric(float64(spent[0][half])/1000, "µs-in-process-median")
			b.ReportMetric(float64(spent[1][half])/float64(spent[0][half]), "ratio-median")
		})
	}
}
