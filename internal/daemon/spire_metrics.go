package daemon

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd/internal/spire/front"
)

// spireMetrics are the figures of SPIRE and of the plugins in it, read when they are asked for.
type spireMetrics struct {
	status func() front.Status
	nodes, entries, agents, controller, refused,
	canaryOK, canarySeconds, starts, counts *prometheus.Desc
}

func newSPIREMetrics(status func() front.Status) *spireMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("attestd_spire_"+name, help, labels, nil)
	}
	return &spireMetrics{
		status:        status,
		nodes:         desc("nodes_watching", "Nodes that are told how they stand."),
		entries:       desc("entries", "Registration entries that SPIRE had at the last poll."),
		agents:        desc("agents", "Agents that SPIRE had at the last poll."),
		controller:    desc("controller_connected", "1 where the controller is there."),
		refused:       desc("refused_total", "Calls that were refused because of who asked."),
		canaryOK:      desc("canary_ok", "1 where the last canary of the kind went well.", "canary"),
		canarySeconds: desc("canary_seconds", "How long the last canary of the kind took.", "canary"),
		starts:        desc("plugin_starts", "How often the plugin's supervisor has started it.", "plugin"),
		counts:        desc("plugin_events_total", "What plugins have counted since they started.", "plugin", "event"),
	}
}

// Describe implements [prometheus.Collector].
func (m *spireMetrics) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, to) }

// Collect implements [prometheus.Collector].
func (m *spireMetrics) Collect(to chan<- prometheus.Metric) {
	status := m.status()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	gauge(m.nodes, float64(status.Watchers))
	gauge(m.entries, float64(status.Entries))
	gauge(m.agents, float64(status.Agents))
	gauge(m.controller, truth(status.Controller))
	to <- prometheus.MustNewConstMetric(m.refused, prometheus.CounterValue, float64(status.Refused))
	for _, canary := range status.Canaries {
		gauge(m.canaryOK, truth(canary.Result.OK), canary.Result.Name)
		gauge(m.canarySeconds, float64(canary.Result.Took)/1e6, canary.Result.Name)
	}
	// Several servers can have a plugin of one name: they are one series.
	starts, counts := map[string]int{}, map[[2]string]uint64{}
	for _, plugin := range status.Plugins {
		name := plugin.Report.Plugin
		starts[name] = max(starts[name], plugin.Report.Starts)
		for event, n := range plugin.Report.Counts {
			counts[[2]string{name, event}] += n
		}
	}
	for name, n := range starts {
		gauge(m.starts, float64(n), name)
	}
	for key, n := range counts {
		to <- prometheus.MustNewConstMetric(m.counts, prometheus.CounterValue, float64(n), key[0], key[1])
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
