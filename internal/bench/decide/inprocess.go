package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/subject"
)

func percentile(times []time.Duration, share float64) time.Duration {
	slices.Sort(times)
	return times[min(len(times)-1, int(share*float64(len(times))))]
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// warm asks with credentials that were verified before, and returns how long each question took.
func (h *house) warm(callers, questions int) ([]time.Duration, error) {
	asks := make([]decision.Ask, callers)
	for i := range asks {
		caller := i * (h.size.Subjects / callers)
		token, err := h.token(caller, 0)
		if err != nil {
			return nil, err
		}
		asks[i] = h.question(caller, token)
		if got := h.engine.Decide(context.Background(), asks[i]); !got.Allow {
			return nil, fmt.Errorf("caller %d was denied: %+v", caller, got.Reasons)
		}
	}
	out, late := make([]time.Duration, 0, questions), 0
	for i := range questions {
		one := asks[i%callers]
		started := time.Now()
		got := h.engine.Decide(context.Background(), one)
		out = append(out, time.Since(started))
		if got.Input.Late {
			// Another process had the processors for 200 ms: an answer that is denied for that is as it must be.
			if late++; late > questions/1000 {
				return nil, fmt.Errorf("%d of %d questions were late", late, i)
			}
			continue
		}
		if !got.Allow || !got.Input.Who.Cached {
			return nil, fmt.Errorf("question %d: allow %v, cached %v, %+v", i, got.Allow, got.Input.Who.Cached, got.Reasons)
		}
		if i%2000 == 1999 {
			time.Sleep(20 * time.Millisecond) // the writer of records keeps up, as it does below its queue
		}
	}
	return out, nil
}

// inProcess measures one house: what a warm decision costs, and a cold token over a signature of P-256.
func inProcess(h *house, questions int) ([]Figure, error) {
	times, err := h.warm(min(1000, h.size.Subjects), questions)
	if err != nil {
		return nil, err
	}
	token, err := h.token(0, 0)
	if err != nil {
		return nil, err
	}
	one := h.question(0, token)
	runtime.GC()
	allocations := testing.AllocsPerRun(500, func() { h.engine.Decide(context.Background(), one) })
	cold, verify, err := h.coldTokens(400)
	if err != nil {
		return nil, err
	}
	return []Figure{
		atMost("warm decision in process, p50", micros(percentile(times, 0.5)), "us", 10, 5),
		atMost("warm decision in process, p99", micros(percentile(times, 0.99)), "us", 100, 5),
		atMost("warm decision in process, allocations with its record", allocations, "", 60, 1),
		atMost("cold token over one P-256 verification", cold/verify, "x", 3, 5),
	}, nil
}

// coldTokens identifies tokens that were never seen, between verifications of P-256 alone.
func (h *house) coldTokens(rounds int) (cold, verify float64, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return 0, 0, err
	}
	sum := sha256.Sum256([]byte("x"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		return 0, 0, err
	}
	tokens := make([]string, rounds)
	for i := range tokens {
		if tokens[i], err = h.token(i%h.size.Subjects, i+1); err != nil {
			return 0, 0, err
		}
	}
	medians, err := alternate(rounds, func(round int) error {
		now := time.Now()
		who := h.cold.Identify(context.Background(), decision.Credential{Token: tokens[round]}, now,
			func(id subject.ID) uint64 { return h.office.Stands(id, now).Epoch })
		if who.Fault != "" || who.Cached {
			return fmt.Errorf("a cold token: %+v", who)
		}
		return nil
	}, func(int) error {
		if !ecdsa.VerifyASN1(&key.PublicKey, sum[:], signature) {
			return fmt.Errorf("a signature is bad")
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	return medians[0], medians[1], nil
}

// alternate calls each side once a round and returns each side's median in microseconds.
func alternate(rounds int, sides ...func(round int) error) ([]float64, error) {
	times := make([][]time.Duration, len(sides))
	for round := range rounds {
		for side, call := range sides {
			started := time.Now()
			if err := call(round); err != nil {
				return nil, err
			}
			times[side] = append(times[side], time.Since(started))
		}
	}
	out := make([]float64, len(sides))
	for side := range times {
		out[side] = micros(percentile(times[side], 0.5))
	}
	return out, nil
}

// slopes measure houses that differ in one thing alone, and fit cost = size^slope.
func slopes(largest size, questions int) ([]Figure, error) {
	var out []Figure
	for _, one := range []struct {
		name  string
		sizes []size
	}{
		{"subjects", steps(largest.Subjects, func(n int) size { return size{Subjects: n, Tenants: 10, Datasets: 10} })},
		{"tenants", steps(largest.Tenants, func(n int) size {
			return size{Subjects: 10_000, Tenants: n, Policies: min(largest.Policies, 100), Datasets: 10}
		})},
		{"datasets", steps(largest.Datasets, func(n int) size { return size{Subjects: 1000, Tenants: 10, Datasets: n} })},
	} {
		var xs, ys []float64
		for _, of := range one.sizes {
			p50, err := median(of, questions)
			if err != nil {
				return nil, fmt.Errorf("%s %+v: %w", one.name, of, err)
			}
			fmt.Fprintf(os.Stderr, "bench-decide: %s %+v: %.2f us\n", one.name, of, p50)
			xs = append(xs, math.Log(map[string]float64{
				"subjects": float64(of.Subjects), "tenants": float64(of.Tenants), "datasets": float64(of.Datasets),
			}[one.name]))
			ys = append(ys, math.Log(p50))
		}
		if len(xs) < 2 {
			return nil, fmt.Errorf("%s: a slope wants two sizes or more", one.name)
		}
		out = append(out, atMost("slope of a warm decision over "+one.name, slope(xs, ys), "", 0.1, 5))
	}
	return out, nil
}

func steps(largest int, make func(int) size) (out []size) {
	for n := 10; n <= largest; n *= 10 {
		if n >= largest/1000 {
			out = append(out, make(n))
		}
	}
	return out
}

func median(of size, questions int) (float64, error) {
	folder, err := os.MkdirTemp("", "bench-decide-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	h, err := newHouse(of, folder)
	if err != nil {
		return 0, err
	}
	defer h.stop()
	runtime.GC()
	// The callers are as many whatever there is, so that what grows is what there is and not what is asked.
	times, err := h.warm(min(10, of.Subjects), questions)
	if err != nil {
		return 0, err
	}
	return micros(percentile(times, 0.5)), nil
}

func slope(xs, ys []float64) float64 {
	var sx, sy, sxx, sxy float64
	for i := range xs {
		sx, sy, sxx, sxy = sx+xs[i], sy+ys[i], sxx+xs[i]*xs[i], sxy+xs[i]*ys[i]
	}
	n := float64(len(xs))
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}
