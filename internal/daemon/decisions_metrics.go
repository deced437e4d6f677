package daemon

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// countDecisions makes the figures of what watches callers metrics.
func (p *parts) countDecisions() error {
	d := &p.decisions
	counter := func(name, help string, value func() float64) error {
		return p.metrics.Register(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, value))
	}
	errs := []error{
		p.metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "attestd_callers_watched", Help: "Callers whose limits and history are remembered.",
		}, func() float64 { return float64(d.watch.Counts().Subjects) })),
		counter("attestd_throttled_total", "Questions over their caller's limit.",
			func() float64 { return float64(d.watch.Counts().Throttled) }),
		counter("attestd_sightings_dropped_total", "What detectors saw and nobody could take.",
			func() float64 { return float64(d.watch.Counts().Dropped + d.watch.Counts().Failed) }),
		counter("attestd_spikes_dropped_total", "Risk spikes that found the queue full; their callers stay denied.",
			func() float64 { return float64(d.spikes.Dropped()) }),
		counter("attestd_pages_sent_total", "Pages that were taken.",
			func() float64 { return float64(d.pager.Counts().Sent) }),
		counter("attestd_pages_lost_total", "Pages that were given up or found the queue full.",
			func() float64 { return float64(d.pager.Counts().Failed + d.pager.Counts().Dropped) }),
	}
	return errors.Join(errs...)
}
