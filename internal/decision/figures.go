package decision

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// figures are the metrics of decisions.
type figures struct {
	seconds    *prometheus.HistogramVec
	allowed    prometheus.Observer
	denied     prometheus.Observer
	denials    map[Code]prometheus.Counter
	cached     prometheus.Counter
	verified   prometheus.Counter
	unrecorded prometheus.Counter
}

// secondsBuckets have an edge at 0.2: what is over it came too late for whoever asked.
var secondsBuckets = []float64{
	0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1,
}

func newFigures(registerer prometheus.Registerer) (*figures, error) {
	f := &figures{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "attestd_decision_seconds", Help: "Time from a question to its answer.", Buckets: secondsBuckets,
		}, []string{"decision"}),
		denials: map[Code]prometheus.Counter{},
		unrecorded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "attestd_decisions_unrecorded_total",
			Help: "Decisions whose record found no room; those that would have allowed denied.",
		}),
	}
	denials := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "attestd_denials_total", Help: "Denials by their first reason.",
	}, []string{"reason", "atlas"})
	credentials := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "attestd_credentials_total", Help: "Callers' credentials, by how they were known.",
	}, []string{"known"})
	var errs []error
	for _, one := range []prometheus.Collector{f.seconds, f.unrecorded, denials, credentials} {
		errs = append(errs, registerer.Register(one))
	}
	for _, one := range Specs() {
		atlas := ""
		if len(one.ATLAS) != 0 {
			atlas = one.ATLAS[0]
		}
		f.denials[one.Code] = denials.WithLabelValues(string(one.Code), atlas)
	}
	f.allowed, f.denied = f.seconds.WithLabelValues("allow"), f.seconds.WithLabelValues("deny")
	f.cached = credentials.WithLabelValues("cached")
	f.verified = credentials.WithLabelValues("verified")
	return f, errors.Join(errs...)
}

func (f *figures) see(answer *Answer) {
	seconds := answer.Took.Seconds()
	if who := &answer.Input.Who; who.Fault == "" && who.ID != "" {
		if who.Cached {
			f.cached.Inc()
		} else {
			f.verified.Inc()
		}
	}
	if answer.Allow {
		f.allowed.Observe(seconds)
		return
	}
	f.denied.Observe(seconds)
	code := CodeInternal
	if len(answer.Reasons) != 0 {
		code = answer.Reasons[0].Code
	}
	counter, known := f.denials[code]
	if !known {
		counter = f.denials[CodeInternal]
	}
	counter.Inc()
}
