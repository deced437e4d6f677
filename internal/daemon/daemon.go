package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/collateral"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/keys"
	"github.com/attestd/attestd/internal/reappraisal"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/subject"
	"github.com/attestd/attestd/internal/worker"
)

// Options says how a daemon runs. Config and Logger are required.
type Options struct {
	Config config.Config
	Logger *slog.Logger
	// Ready is called once, when requests are answered; it may be nil.
	Ready func(Bound)
	// WorkerCommand starts a worker process; empty for this executable with the argument "worker".
	WorkerCommand []string
	// ControllerCommand starts the controller of SPIRE; empty for this executable with the argument
	// "controller".
	ControllerCommand []string
	// FetcherCommand starts the fetcher of collateral; empty for this executable with the arguments
	// "collateral pull --watch".
	FetcherCommand []string
	// ResultVault holds the keys of results; nil for files below state_dir.
	ResultVault keys.Vault
	// Clock is the time of the store; nil for the machine's.
	Clock *registry.Clock
	// Version of this build, for the status.
	Version string
	// Level is the log's, which operators can change for a while; nil where nobody can.
	Level *slog.LevelVar
	// Reload asks to read policies and reference values anew; nil for never.
	Reload <-chan os.Signal
}

// Bound says where a daemon listens.
type Bound struct {
	// URL of the HTTP listener, with the port that was bound; empty where it is off.
	URL string
	// Socket is the path of the unix socket; empty where it is off.
	Socket string
	// Admin is the URL of the operators' listener; empty where it is off.
	Admin string
	// Decisions is the URL of the listener for questions, Envoy the address of that for Envoy; empty where
	// they are off.
	Decisions, Envoy string
}

// Run serves until ctx ends, lets running requests finish, and returns nil.
//
// Errors: where it cannot start, with a [*attestd.CallerError] of class CONFIG where the operator can
// mend it; or where a listener fails.
func Run(ctx context.Context, options Options) (err error) {
	if options.Logger == nil {
		return errors.New("a daemon needs a logger")
	}
	settings := options.Config
	if err := settings.Check(); err != nil {
		return unfit(err, "mend the keys above; docs/config.md has them all")
	}
	if err := demandSoundClock(time.Now()); err != nil {
		return err
	}
	lock, err := lockState(settings.StateDir)
	if err != nil {
		return err
	}
	defer closing(&err, lock)
	if options.Level == nil {
		options.Level = &slog.LevelVar{} // nothing listens to it
	}
	parts, err := assemble(ctx, options)
	if err != nil {
		return err
	}
	defer closing(&err, parts)
	return parts.serve(ctx, options)
}

func closing(err *error, closer io.Closer) { *err = errors.Join(*err, closer.Close()) }

func unfit(err error, hint string) error {
	return &attestd.CallerError{Class: attestd.ClassConfig, Hint: hint, Err: err}
}

// oldest is a time that has passed: a clock before it is wrong.
var oldest = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)

// demandSoundClock refuses a clock that says a time before this program was built: certificates long
// expired and CRLs long replaced would be in force again.
func demandSoundClock(now time.Time) error {
	built := oldest
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key != "vcs.time" {
				continue
			}
			if at, err := time.Parse(time.RFC3339, setting.Value); err == nil && at.After(built) {
				built = at
			}
		}
	}
	// A clock zone or a slow virtual machine is no attack; a day is more than both.
	if now.Before(built.Add(-24 * time.Hour)) {
		return unfit(fmt.Errorf("the clock says %s, before this program was built on %s",
			now.UTC().Format(time.RFC3339), built.Format(time.RFC3339)), "set the machine's clock")
	}
	return nil
}

// parts are what a running daemon is made of.
type parts struct {
	kept
	service *service.Service
	engine  *reappraisal.Engine
	// replacing is held while the documents in force change.
	replacing  sync.Mutex
	collateral *keptCollateral
	ring       *keys.Ring
	results    *service.Results
	health     *health
	metrics    *prometheus.Registry
	admin      admin
	spire      spire
	decisions  decisions
	keys       []byte
	specs      []attestd.CheckSpec
	closers    []io.Closer
}

// Close takes the parts down, the last one first.
func (p *parts) Close() error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i].Close())
	}
	return errors.Join(errs...)
}

func assemble(ctx context.Context, options Options) (_ *parts, err error) {
	settings := options.Config
	p := &parts{metrics: prometheus.NewRegistry()}
	defer func() {
		if err != nil {
			_ = p.Close()
		}
	}()
	signer, err := openSigner(settings)
	if err != nil {
		return nil, err
	}
	if p.keys, err = signer.KeySet(); err != nil {
		return nil, err
	}
	if p.kept, err = p.openKept(ctx, options); err != nil {
		return nil, err
	}
	issuer, err := challenge.NewIssuer(challenge.Config{
		Store: p.store, Signer: signer, TrustDomain: settings.TrustDomain,
		Lifetime: settings.Challenges.Lifetime, NonceBytes: settings.Challenges.NonceBytes,
	})
	if err != nil {
		return nil, err
	}
	if err := p.addService(ctx, options, issuer); err != nil {
		return nil, err
	}
	if err := p.addResults(ctx, options); err != nil {
		return nil, err
	}
	if err := p.openOperators(options); err != nil {
		return nil, err
	}
	if err := p.addSPIRE(options); err != nil {
		return nil, err
	}
	if err := p.addDecisions(ctx, options); err != nil {
		return nil, err
	}
	return p, p.addAdmin(ctx, options)
}

func openSigner(settings config.Config) (*challenge.Signer, error) {
	if settings.Challenges.EphemeralKey {
		return challenge.NewEphemeralSigner()
	}
	return challenge.OpenSigner(filepath.Join(settings.StateDir, "challenge.key"))
}

func (p *parts) addService(ctx context.Context, options Options, issuer *challenge.Issuer) error {
	settings := options.Config
	documents, err := readDocuments(settings.Verify)
	if err != nil {
		return err
	}
	inProcess, err := judge.New(judge.Config{InsecureRoots: documents.roots})
	if err != nil {
		return unfit(err, "look at verify.insecure_roots")
	}
	if p.collateral, err = openCollateral(options, p.store.Now, documents.roots); err != nil {
		return err
	}
	held, err := p.collateral.documents()
	if err != nil {
		return err
	}
	p.specs = inProcess.Specs()
	warnOfSwitches(options.Logger, settings.Verify)
	local := service.NewLocal(inProcess)
	judging, workers, err := p.isolate(options, local, documents.roots)
	if err != nil {
		return err
	}
	grounds := p.quarantining(options.Logger)
	p.service, err = service.New(service.Config{
		Subjects: service.Subjects{
			TrustDomain: settings.TrustDomain, Desk: p.desk, Rules: subjectRules(settings),
			Specs: p.specs, Notes: p.keeper, Grounds: grounds, Held: p.index.Held,
		},
		Store: p.store, Issuer: issuer, Judge: judging, Refuse: local,
		Policy: documents.policy, RecordedPolicy: documents.recorded,
		TenantPolicies: documents.tenants, References: documents.references,
		Collateral: held, Machines: p.collateral.machines(),
		Formats: inProcess.Formats(), Tenants: settings.Tenants,
		// A worker has its own, shorter time-out, which also replaces it.
		Timeout:     settings.Verify.Timeout + time.Second,
		Concurrency: workers * placesPerWorker, Waiting: settings.Verify.Waiting,
		AllowRecorded: settings.Verify.AllowRecorded,
	})
	if err != nil {
		return err
	}
	if err := p.service.Ready(ctx); err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	p.engine, err = reappraisal.New(reappraisal.Config{
		Store: p.store, Judge: judging, Desk: p.desk, Rules: subjectRules(settings),
		InForce: p.service.InForce, Tenants: settings.Tenants, Grounds: grounds,
		// Half the places: those who wait for a verdict come first.
		Concurrency: max(1, workers*placesPerWorker/2), Timeout: settings.Verify.Timeout + time.Second,
		DocumentFloor: collateral.FloorOf,
		Logger:        options.Logger,
	})
	return err
}

// quarantining returns what is told of grounds for a quarantine. What it cannot carry out is logged:
// the subject is suspect by then and has no grants.
func (p *parts) quarantining(logger *slog.Logger) func(context.Context, []subject.Grounds) {
	return func(ctx context.Context, grounds []subject.Grounds) {
		if err := p.authority.Automatic(ctx, grounds); err != nil {
			logger.ErrorContext(ctx, "an automatic quarantine was not laid",
				"err", attestd.Excerpt(err.Error(), 400))
		}
	}
}

// placesPerWorker is how many verifications are under way for each worker. Nearly all of their time
// they wait for the two commits that make them durable; with one place a worker, those commits would
// follow each other in place of being shared (measured: half the verifications a second).
const placesPerWorker = 8

// warnOfSwitches names every switch that is on and makes less certain what a verdict says.
func warnOfSwitches(logger *slog.Logger, verify config.Verify) {
	if len(verify.InsecureRoots) != 0 {
		logger.Warn("roots that are not compiled in are trusted", "key", "verify.insecure_roots",
			"count", len(verify.InsecureRoots))
	}
	if verify.Policy == appraisal.Laboratory {
		logger.Warn("evidence is judged under a policy for laboratories", "key", "verify.policy")
	}
	if verify.AllowRecorded {
		logger.Warn("evidence is judged without freshness on request", "key", "verify.allow_recorded")
	}
	if verify.Isolation == config.IsolateNone {
		logger.Warn("evidence is parsed in the process that holds the keys", "key", "verify.isolation")
	}
}

// isolate returns the judge that sees hostile bytes, and how many workers it has.
func (p *parts) isolate(
	options Options, local *service.Local, roots []*x509.Certificate,
) (service.Judge, int, error) {
	verify := options.Config.Verify
	workers := verify.Workers
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	if verify.Isolation == config.IsolateNone {
		return local, workers, nil
	}
	pool, err := worker.NewPool(worker.Config{
		Command: options.WorkerCommand, Size: workers, Timeout: verify.Timeout, InsecureRoots: roots,
		Logger: options.Logger,
	})
	if err != nil {
		return nil, 0, err
	}
	p.closers = append(p.closers, pool)
	return pool, workers, nil
}
