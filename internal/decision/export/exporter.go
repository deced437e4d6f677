package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision/journal"
)

// Off is a target that there is not.
const Off = "off"

// Config is what [New] needs; every field is required.
type Config struct {
	// OTLP is the URL of an OTLP/HTTP receiver, below which are /v1/logs and /v1/traces; OCSF the path of a
	// file; CEF is file:PATH or udp:HOST:PORT. Each can be [Off].
	OTLP, OCSF, CEF string
	// Version is attestd's.
	Version    string
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

const (
	// laneLength is how many records wait for one receiver.
	laneLength = 8192
	laneBatch  = 256
	laneWait   = 200 * time.Millisecond
	// sendTime bounds one batch: what a receiver has not taken by then is dropped.
	sendTime = 10 * time.Second
	// endWait is how long the end waits for the last records: what writes them ends at the same time.
	endWait = 250 * time.Millisecond
	// complainEvery is how often the log says that a receiver takes nothing.
	complainEvery = time.Minute
)

// target is one receiver. It is its lane's alone.
type target interface {
	send(ctx context.Context, records []journal.Record) error
	close(ctx context.Context) error
}

// lane has the records for one receiver.
type lane struct {
	name      string
	to        target
	queue     chan journal.Record
	sent      prometheus.Counter
	dropped   prometheus.Counter
	logger    *slog.Logger
	complains time.Time
}

// Exporter gives records to receivers. It is a [journal.Sink] and safe for concurrent use;
// [Exporter.Run] has to run.
type Exporter struct{ lanes []*lane }

var _ journal.Sink = (*Exporter)(nil)

// New returns an exporter to all targets that are not off. No receiver is asked yet.
//
// Errors: [attestd.CallerError] of class CONFIG for a target that is none, one beyond this machine in
// clear text, or a file that cannot be opened.
func New(config Config) (*Exporter, error) {
	if config.Version == "" || config.Logger == nil || config.Registerer == nil {
		return nil, errors.New("exports need a version, a logger and metrics")
	}
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "attestd_decision_exports_total", Help: "Records of decisions given to other systems, or dropped.",
	}, []string{"to", "outcome"})
	if err := config.Registerer.Register(counter); err != nil {
		return nil, fmt.Errorf("metrics of exports: %w", err)
	}
	e := &Exporter{}
	for _, one := range []struct {
		name, key, value string
		open             func(string) (target, error)
	}{
		{"otlp", "otlp", config.OTLP, func(url string) (target, error) { return openOTLP(url, config.Version) }},
		{"ocsf", "ocsf", config.OCSF, openOCSF},
		{"cef", "cef", config.CEF, func(to string) (target, error) { return openCEF(to, config.Version) }},
	} {
		if one.value == Off {
			continue
		}
		to, err := one.open(one.value)
		if err != nil {
			return nil, errors.Join(&attestd.CallerError{
				Class: attestd.ClassConfig, Hint: "mend decisions.export." + one.key + ", or set it to off",
				Err: fmt.Errorf("decisions.export.%s: %w", one.key, err),
			}, e.close())
		}
		e.lanes = append(e.lanes, &lane{
			name: one.name, to: to, queue: make(chan journal.Record, laneLength), logger: config.Logger,
			sent: counter.WithLabelValues(one.name, "sent"), dropped: counter.WithLabelValues(one.name, "dropped"),
		})
	}
	return e, nil
}

func (e *Exporter) close() (err error) {
	for _, one := range e.lanes {
		err = errors.Join(err, one.to.close(context.Background()))
	}
	return err
}

// Take implements [journal.Sink]: it never waits. Where a receiver is too slow the record is dropped for
// it, and counted.
func (e *Exporter) Take(record *journal.Record) {
	for _, one := range e.lanes {
		select {
		case one.queue <- *record:
		default:
			one.dropped.Inc()
		}
	}
}

// Run sends what was taken until ctx ends, and then what waits, as far as it goes.
func (e *Exporter) Run(ctx context.Context) {
	var lanes sync.WaitGroup
	for _, one := range e.lanes {
		lanes.Go(func() { one.run(ctx) })
	}
	lanes.Wait()
}

func (l *lane) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case first := <-l.queue:
			l.send(ctx, l.batch(ctx, first))
		}
	}
	// What waits has one more chance, together with the end of the receiver.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTime)
	defer cancel()
	for late := time.After(endWait); late != nil && last.Err() == nil; {
		select {
		case first := <-l.queue:
			l.send(last, l.batch(last, first))
		case <-late:
			late = nil
		}
	}
	l.dropped.Add(float64(len(l.queue)))
	if err := l.to.close(last); err != nil {
		l.complain(err)
	}
}

// batch gathers what else waits.
func (l *lane) batch(ctx context.Context, first journal.Record) []journal.Record {
	batch := []journal.Record{first}
	timer := time.NewTimer(laneWait)
	defer timer.Stop()
	for len(batch) < laneBatch {
		select {
		case record := <-l.queue:
			batch = append(batch, record)
			continue
		default:
		}
		select {
		case record := <-l.queue:
			batch = append(batch, record)
		case <-timer.C:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

func (l *lane) send(ctx context.Context, batch []journal.Record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTime)
	defer cancel()
	if err := l.to.send(ctx, batch); err != nil {
		l.dropped.Add(float64(len(batch)))
		l.complain(err)
		return
	}
	l.sent.Add(float64(len(batch)))
}

// complain says that a receiver takes nothing, and not with every batch.
func (l *lane) complain(err error) {
	if time.Since(l.complains) < complainEvery {
		return
	}
	l.complains = time.Now()
	// The error can quote what a receiver answered.
	l.logger.Warn("records of decisions are not exported; they are still kept", "to", l.name,
		"err", attestd.Excerpt(strings.TrimSpace(err.Error()), 300))
}
