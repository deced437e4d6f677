package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/attestd/attestd"
)

// metrics are what the edge counts. Every label value is from a closed set: a label that a caller can
// choose lets it fill our memory and the monitoring's.
type metrics struct {
	page          http.Handler
	checks        map[attestd.CheckID]bool
	requests      *prometheus.CounterVec
	challenges    prometheus.Counter
	svids         *prometheus.CounterVec
	results       prometheus.Counter
	sessions      *prometheus.CounterVec
	verifications *prometheus.CounterVec
	failed        *prometheus.CounterVec
	seconds       *prometheus.HistogramVec
}

// otherLabel stands for a value that is in no closed set.
const otherLabel = "other"

func newMetrics(
	specs []attestd.CheckSpec, held func() float64, registry *prometheus.Registry,
) *metrics {
	m := &metrics{
		checks: make(map[attestd.CheckID]bool, len(specs)),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attestd_http_requests_total", Help: "Requests by route and status.",
		}, []string{"route", "code"}),
		challenges: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "attestd_challenges_issued_total", Help: "Challenges issued.",
		}),
		svids: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attestd_svids_issued_total", Help: "Identities issued without an agent, by kind.",
		}, []string{"kind"}),
		results: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "attestd_results_signed_total", Help: "Attestation results signed.",
		}),
		sessions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attestd_sessions_opened_total", Help: "Challenge-response sessions by who chose the nonce.",
		}, []string{"nonce"}),
		verifications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attestd_verifications_total", Help: "Verdicts by format, verdict and freshness.",
		}, []string{"format", "verdict", "freshness"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attestd_checks_failed_total", Help: "Failed checks by check.",
		}, []string{"check"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "attestd_request_seconds", Help: "Time from the request's header to its answer.",
			Buckets: []float64{.001, .002, .005, .01, .025, .05, .1, .25, 1, 5},
		}, []string{"route"}),
	}
	for _, spec := range specs {
		m.checks[spec.ID] = true
	}
	bodies := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "attestd_body_bytes", Help: "Bytes of request bodies held.",
	}, held)
	registry.MustRegister(m.requests, m.challenges, m.svids, m.results, m.sessions,
		m.verifications, m.failed, m.seconds, bodies,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.page = promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	return m
}

func (m *metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

func (m *metrics) verdict(given attestd.Appraisal) {
	format := otherLabel
	for _, known := range attestd.Formats() {
		if known == given.Format {
			format = string(known)
		}
	}
	m.verifications.WithLabelValues(format, given.Verdict.String(), given.Freshness.String()).Inc()
	for _, check := range given.Checks {
		if check.Result != attestd.ResultFail {
			continue
		}
		label := otherLabel
		if m.checks[check.ID] {
			label = string(check.ID)
		}
		m.failed.WithLabelValues(label).Inc()
	}
}
