package export_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	collogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/attestd/attestd/internal/decision/export"
	"github.com/attestd/attestd/internal/decision/journal"
)

// received is what a receiver of OTLP was sent.
type received struct {
	attributes      map[string]string
	logTrace        string
	spanTrace       string
	spanParent      string
	spans, logCount int
}

// receiver is one of OTLP over HTTP.
func receiver(t *testing.T, status int) (*httptest.Server, func() received) {
	t.Helper()
	var mu sync.Mutex
	got := received{attributes: map[string]string{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if status != http.StatusOK {
			w.Header().Set("Location", "http://192.0.2.1/")
			w.WriteHeader(status)
			return
		}
		var source io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			var err error
			if source, err = gzip.NewReader(r.Body); err != nil {
				t.Error(err)
				return
			}
		}
		body, err := io.ReadAll(source)
		if err != nil {
			t.Error(err)
		}
		switch r.URL.Path {
		case "/otlp/v1/logs":
			got.logs(t, body)
		case "/otlp/v1/traces":
			got.traces(t, body)
		default:
			t.Errorf("asked for %s", r.URL.Path)
		}
	}))
	t.Cleanup(server.Close)
	return server, func() received { mu.Lock(); defer mu.Unlock(); return got }
}

func (r *received) logs(t *testing.T, body []byte) {
	var request collogs.ExportLogsServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		t.Error(err)
	}
	for _, resource := range request.ResourceLogs {
		for _, scope := range resource.ScopeLogs {
			for _, one := range scope.LogRecords {
				r.logCount++
				r.logTrace = hexOf(one.TraceId)
				for _, attribute := range one.Attributes {
					r.attributes[attribute.Key] = attribute.Value.GetStringValue()
				}
			}
		}
	}
}

func (r *received) traces(t *testing.T, body []byte) {
	var request coltrace.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &request); err != nil {
		t.Error(err)
	}
	for _, resource := range request.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, one := range scope.Spans {
				r.spans++
				r.spanTrace, r.spanParent = hexOf(one.TraceId), hexOf(one.ParentSpanId)
			}
		}
	}
}

func hexOf(id []byte) string {
	const digits = "0123456789abcdef"
	var out strings.Builder
	for _, one := range id {
		out.WriteByte(digits[one>>4])
		out.WriteByte(digits[one&15])
	}
	return out.String()
}

func sendOTLP(t *testing.T, records ...*journal.Record) received {
	t.Helper()
	server, got := receiver(t, http.StatusOK)
	settings, _ := config(func(c *export.Config) { c.OTLP = server.URL + "/otlp" })
	through(t, settings, records...)
	return got()
}

func TestLogsAndTracesJoinTheTraceOfTheQuestion(t *testing.T) {
	got := sendOTLP(t, full())
	if got.logTrace != traceID || got.spanTrace != traceID || got.spanParent != spanID || got.spans != 1 ||
		got.attributes["gen_ai.tool.name"] != "search" {
		t.Errorf("%+v", got)
	}
	// A caller that asked for no trace gets none; the log record is there all the same.
	quiet := change(func(r *journal.Record) { r.Input.Context.Trace = "00-" + traceID + "-" + spanID + "-00" })
	if got := sendOTLP(t, quiet); got.spans != 0 || got.logCount != 1 || got.logTrace != traceID {
		t.Errorf("%+v", got)
	}
	for _, bad := range []string{
		"", "01-" + traceID + "-" + spanID + "-01", "00-" + strings.Repeat("0", 32) + "-" + spanID + "-01",
		"00-" + strings.ToUpper(traceID) + "-" + spanID + "-01", "00-" + traceID + "-" + spanID + "-0x",
		"00-" + traceID + "-" + spanID + "-01-x",
	} {
		one := change(func(r *journal.Record) { r.Input.Context.Trace = bad })
		if got := sendOTLP(t, one); got.logTrace == traceID || got.logCount != 1 || got.attributes["attestd.trace_id"] != "" {
			t.Errorf("%q: %+v", bad, got)
		}
	}
	if got := sendOTLP(t, folded()); got.spans != 0 || got.attributes["attestd.count"] != "4471" {
		t.Errorf("a count: %+v", got)
	}
}

func TestWhatAReceiverDoesNotTakeIsCountedAndHoldsUpNobody(t *testing.T) {
	for name, status := range map[string]int{"fails": http.StatusInternalServerError, "redirects": http.StatusFound} {
		server, _ := receiver(t, status)
		settings, registry := config(func(c *export.Config) { c.OTLP = server.URL })
		var log bytes.Buffer
		settings.Logger = slog.New(slog.NewTextHandler(&log, nil))
		through(t, settings, full(), allowed())
		if dropped, sent := counted(t, registry, "otlp", "dropped"), counted(t, registry, "otlp", "sent"); dropped != 2 || sent != 0 {
			t.Errorf("%s: %v dropped and %v sent", name, dropped, sent)
		}
		if !strings.Contains(log.String(), "not exported") {
			t.Errorf("%s: the log says nothing: %s", name, &log)
		}
	}
	server, _ := receiver(t, http.StatusOK)
	settings, _ := config(func(c *export.Config) { c.OTLP = server.URL })
	exporter, err := export.New(settings)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 50_000 { // nobody runs it
		exporter.Take(folded())
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("taking 50,000 records takes %s", took)
	}
}

// counted is how many records a receiver was sent, or was not.
func counted(t *testing.T, registry *prometheus.Registry, to, outcome string) (sum float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.Metric {
			labels := map[string]string{}
			for _, label := range metric.Label {
				labels[label.GetName()] = label.GetValue()
			}
			if labels["to"] == to && labels["outcome"] == outcome {
				sum += metric.GetCounter().GetValue()
			}
		}
	}
	return sum
}
