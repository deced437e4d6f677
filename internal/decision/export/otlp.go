package export

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/journal"
)

// otlp sends a log record for each decision, and a span where its question came from a trace that is
// sampled, or from none.
type otlp struct {
	logs   *sdklog.LoggerProvider
	traces *sdktrace.TracerProvider
	logger log.Logger
	tracer trace.Tracer
	failed *failures
}

// failures remembers what exporters met with: they report to a global handler otherwise.
type failures struct {
	mu  sync.Mutex
	err error
}

func (f *failures) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = errors.Join(f.err, err)
}

func (f *failures) take() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.err
	f.err = nil
	return err
}

// logExporter and spanExporter note what goes wrong and say that all is well.
type logExporter struct {
	sdklog.Exporter
	failed *failures
}

func (l logExporter) Export(ctx context.Context, records []sdklog.Record) error {
	l.failed.note(l.Exporter.Export(ctx, records))
	return nil
}

type spanExporter struct {
	sdktrace.SpanExporter
	failed *failures
}

func (s spanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	s.failed.note(s.SpanExporter.ExportSpans(ctx, spans))
	return nil
}

// instrument names what makes the telemetry.
const instrument = "github.com/attestd/attestd/decision"

func openOTLP(base, version string) (target, error) {
	if err := demandReceiver(base); err != nil {
		return nil, err
	}
	// A redirect would send records to where nobody has configured.
	asking := &http.Client{
		Timeout: sendTime,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the receiver redirects, which is not followed")
		},
	}
	logsAt, err := url.JoinPath(base, "v1", "logs")
	if err != nil {
		return nil, err
	}
	tracesAt, err := url.JoinPath(base, "v1", "traces")
	if err != nil {
		return nil, err
	}
	ctx := context.Background() // neither asks the receiver
	logs, err := otlploghttp.New(ctx, otlploghttp.WithEndpointURL(logsAt), otlploghttp.WithHTTPClient(asking),
		otlploghttp.WithTimeout(sendTime), otlploghttp.WithRetry(otlploghttp.RetryConfig{}))
	if err != nil {
		return nil, err
	}
	spans, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(tracesAt), otlptracehttp.WithHTTPClient(asking),
		otlptracehttp.WithTimeout(sendTime), otlptracehttp.WithRetry(otlptracehttp.RetryConfig{}))
	if err != nil {
		return nil, err
	}
	about := resource.NewSchemaless(attribute.String("service.name", "attestd"),
		attribute.String("service.version", version))
	failed := &failures{}
	// The lane in front holds one batch at most in there, and flushes each: nothing is dropped inside.
	o := &otlp{
		failed: failed,
		logs: sdklog.NewLoggerProvider(sdklog.WithResource(about), sdklog.WithProcessor(
			sdklog.NewBatchProcessor(logExporter{logs, failed}, sdklog.WithMaxQueueSize(4*laneBatch),
				sdklog.WithExportMaxBatchSize(laneBatch), sdklog.WithExportInterval(time.Hour)))),
		traces: sdktrace.NewTracerProvider(sdktrace.WithResource(about),
			sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())),
			sdktrace.WithBatcher(spanExporter{spans, failed}, sdktrace.WithMaxQueueSize(4*laneBatch),
				sdktrace.WithMaxExportBatchSize(laneBatch), sdktrace.WithBatchTimeout(time.Hour))),
	}
	o.logger, o.tracer = o.logs.Logger(instrument), o.traces.Tracer(instrument)
	return o, nil
}

// demandReceiver refuses a URL that is none, or in clear text beyond this machine.
func demandReceiver(base string) error {
	parsed, err := url.Parse(base)
	switch {
	case err != nil, parsed.Host == "", parsed.User != nil, parsed.RawQuery != "", parsed.Fragment != "":
		return errors.New("want a URL as https://HOST:PORT, without user and query")
	case parsed.Scheme == "https":
		return nil
	case parsed.Scheme != "http":
		return errors.New("want https://, or http:// on this machine")
	}
	host := parsed.Hostname()
	if address, err := netip.ParseAddr(host); err != nil || !address.IsLoopback() {
		return errors.New("http:// is in clear text: want https://, or http:// and a loopback address as " +
			net.JoinHostPort("127.0.0.1", "4318"))
	}
	return nil
}

func (o *otlp) send(ctx context.Context, records []journal.Record) error {
	for index := range records {
		o.emit(&records[index])
	}
	err := errors.Join(o.logs.ForceFlush(ctx), o.traces.ForceFlush(ctx))
	return errors.Join(err, o.failed.take())
}

func (o *otlp) close(ctx context.Context) error {
	err := errors.Join(o.logs.Shutdown(ctx), o.traces.Shutdown(ctx))
	return errors.Join(err, o.failed.take())
}

// emit makes the log record of a decision and its span, which the log record is joined to.
func (o *otlp) emit(record *journal.Record) {
	fields := Fields(record)
	ctx := context.Background()
	if record.Input != nil {
		ctx = remote(ctx, record.Input.Context.Trace)
	}
	if !record.Folded() {
		ctx = o.span(ctx, record, fields)
	}
	var out log.Record
	out.SetTimestamp(record.At)
	out.SetObservedTimestamp(record.At)
	out.SetEventName("attestd.decision")
	out.SetBody(attribute.StringValue(summary(record)))
	out.SetSeverity(log.SeverityInfo)
	if record.Decision != journal.Allow {
		out.SetSeverity(log.SeverityWarn)
	}
	out.SetSeverityText(out.Severity().String())
	for _, field := range fields {
		out.AddAttributes(attribute.String(attributeName(field.Name), field.Value))
	}
	if record.Action == decision.ActionToolCall {
		out.AddAttributes(attribute.String("gen_ai.tool.name", record.Resource.ID))
	}
	o.logger.Emit(ctx, out)
}

func (o *otlp) span(ctx context.Context, record *journal.Record, fields []Field) context.Context {
	ctx, span := o.tracer.Start(ctx, "attestd.decision", trace.WithTimestamp(record.At),
		trace.WithSpanKind(trace.SpanKindServer))
	if span.IsRecording() {
		attributes := make([]attribute.KeyValue, 0, len(fields))
		for _, field := range fields {
			attributes = append(attributes, attribute.String(attributeName(field.Name), field.Value))
		}
		span.SetAttributes(attributes...)
		// A denial is an answer: an error is what attestd could not decide.
		if decision.SpecOf(record.Reason).Status >= http.StatusInternalServerError && record.Decision != journal.Allow {
			span.SetStatus(codes.Error, string(record.Reason))
		}
	}
	span.End(trace.WithTimestamp(record.At.Add(time.Duration(record.Took) * time.Microsecond)))
	return ctx
}

// attributeName is the name of a field among attributes.
func attributeName(name string) string { return "attestd." + name }

// remote returns a context within the span that a question came from, where it names one.
func remote(ctx context.Context, traceparent string) context.Context {
	from, ok := parseTrace(traceparent)
	if !ok {
		return ctx
	}
	id, errTrace := trace.TraceIDFromHex(from.trace)
	span, errSpan := trace.SpanIDFromHex(from.span)
	if errTrace != nil || errSpan != nil {
		return ctx
	}
	var flags trace.TraceFlags
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: id, SpanID: span, TraceFlags: flags.WithSampled(from.sampled), Remote: true,
	}))
}
