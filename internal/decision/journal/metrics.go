package journal

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what a journal counts. No label names a tenant or a caller.
type metrics struct {
	kept, folded, refused, failures prometheus.Counter
	bytes, waiting                  prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	records := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "attestd_decision_records_total",
		Help: "Records of decisions: kept whole, folded into a count, or refused, so that nothing was allowed.",
	}, []string{"outcome"})
	m := &metrics{
		kept: records.WithLabelValues("kept"), folded: records.WithLabelValues("folded"),
		refused: records.WithLabelValues("refused"),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "attestd_decision_record_failures_total", Help: "Writes of records of decisions that failed.",
		}),
		bytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "attestd_decision_record_bytes", Help: "Bytes of records of decisions on disk.",
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "attestd_decision_records_waiting", Help: "Records of decisions that wait to be written.",
		}),
	}
	err := errors.Join(registerer.Register(records), registerer.Register(m.failures),
		registerer.Register(m.bytes), registerer.Register(m.waiting))
	if err != nil {
		return nil, fmt.Errorf("metrics of the journal of decisions: %w", err)
	}
	return m, nil
}
