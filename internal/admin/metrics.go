package admin

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what this edge counts. Every label value is from a closed set, and none names a tenant,
// an operator or a source: whoever reads metrics would learn of tenants that are not theirs.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attestd_admin_requests_total", Help: "Requests of operators by action and status.",
		}, []string{"action", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "attestd_admin_request_seconds", Help: "Time from an operator's request to its answer.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2, 10},
		}, []string{"action"}),
	}
	if err := errors.Join(registerer.Register(m.requests), registerer.Register(m.seconds)); err != nil {
		return nil, fmt.Errorf("metrics of the admin API: %w", err)
	}
	return m, nil
}

func (m *metrics) request(action string, status int, took time.Duration) {
	m.requests.WithLabelValues(action, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(action).Observe(took.Seconds())
}
