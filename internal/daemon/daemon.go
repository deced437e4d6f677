package daemon

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/appraisal"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/internal/registry"
	"github.com/attestd/attestd/internal/service"
	"github.com/attestd/attestd/internal/worker"
	"github.com/attestd/attestd/measurements"
)

// Options says how a daemon runs. Config and Logger are required.
type Options struct {
	Config config.Config
	Logger *slog.Logger
	// Ready is called once, when requests are answered; it may be nil.
	Ready func(Bound)
	// WorkerCommand starts a worker process; empty for this executable with the argument "worker".
	WorkerCommand []string
	// Clock is the time of the store; nil for the machine's.
	Clock *registry.Clock
}

// Bound says where a daemon listens.
type Bound struct {
	// URL of the HTTP listener, with the port that was bound; empty where it is off.
	URL string
	// Socket is the path of the unix socket; empty where it is off.
	Socket string
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
	service *service.Service
	keys    []byte
	specs   []attestd.CheckSpec
	closers []io.Closer
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
	p := &parts{}
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
	clock := options.Clock
	if clock == nil {
		clock = registry.SystemClock()
	}
	store, err := registry.Open(ctx, registry.Config{
		Path: filepath.Join(settings.StateDir, "attestd.db"), Clock: clock,
		Limits: registry.Limits{
			Outstanding: settings.Challenges.Outstanding, PerTenant: settings.Challenges.PerTenant,
			PerSource: settings.Challenges.PerSource, Appraisals: settings.Appraisals.Most,
			KeepAppraisals: settings.Appraisals.Keep,
		},
	})
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, store)
	issuer, err := challenge.NewIssuer(challenge.Config{
		Store: store, Signer: signer, TrustDomain: settings.TrustDomain,
		Lifetime: settings.Challenges.Lifetime, NonceBytes: settings.Challenges.NonceBytes,
	})
	if err != nil {
		return nil, err
	}
	return p, p.addService(ctx, options, store, issuer)
}

func openSigner(settings config.Config) (*challenge.Signer, error) {
	if settings.Challenges.EphemeralKey {
		return challenge.NewEphemeralSigner()
	}
	return challenge.OpenSigner(filepath.Join(settings.StateDir, "challenge.key"))
}

func (p *parts) addService(
	ctx context.Context, options Options, store *registry.Store, issuer *challenge.Issuer,
) error {
	settings := options.Config
	documents, err := readDocuments(settings.Verify)
	if err != nil {
		return err
	}
	inProcess, err := judge.New(judge.Config{InsecureRoots: documents.roots})
	if err != nil {
		return unfit(err, "look at verify.insecure_roots")
	}
	p.specs = inProcess.Specs()
	warnOfSwitches(options.Logger, settings.Verify)
	local := service.NewLocal(inProcess)
	judging, workers, err := p.isolate(options, local, documents.roots)
	if err != nil {
		return err
	}
	subjects, err := subjectsOf(options, store, p.specs)
	if err != nil {
		return err
	}
	p.service, err = service.New(service.Config{
		Subjects: subjects, TenantPolicies: documents.tenants,
		Store: store, Issuer: issuer, Judge: judging, Refuse: local,
		Policy: documents.policy, RecordedPolicy: documents.recorded, References: documents.references,
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
	return nil
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

// maxFile is the largest policy, reference or root file that is read.
const maxFile = 8 << 20

type documents struct {
	policy, recorded service.Document
	tenants          map[string]service.Document
	references       []service.Document
	roots            []*x509.Certificate
}

// readDocuments reads what the configuration names, and reports every file that will not do.
func readDocuments(verify config.Verify) (documents, error) {
	var read documents
	var errs []error
	recorded, err := appraisal.Builtin(appraisal.Recorded)
	if err != nil {
		return documents{}, err
	}
	read.recorded = service.Document{Source: appraisal.Recorded, Bytes: recorded.Document()}
	read.policy, err = readPolicy(verify.Policy)
	errs = append(errs, err)
	var unread []error
	read.tenants, unread = tenantPolicies(verify)
	errs = append(errs, unread...)
	for _, path := range verify.References {
		document, err := readFile(path)
		if err == nil {
			_, err = measurements.Parse(path, document.Bytes)
		}
		errs = append(errs, err)
		read.references = append(read.references, document)
	}
	for _, path := range verify.InsecureRoots {
		roots, err := readCertificates(path)
		errs = append(errs, err)
		read.roots = append(read.roots, roots...)
	}
	if err := errors.Join(errs...); err != nil {
		return documents{}, unfit(err, "mend the files that the configuration names under \"verify\"")
	}
	return read, nil
}

func readFile(path string) (service.Document, error) {
	file, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return service.Document{}, err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return service.Document{}, err
	}
	if len(content) == 0 || len(content) > maxFile {
		return service.Document{}, fmt.Errorf("%s has %d bytes, want 1 to %d", path, len(content), maxFile)
	}
	return service.Document{Source: path, Bytes: content}, nil
}

func readCertificates(path string) ([]*x509.Certificate, error) {
	document, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var certificates []*x509.Certificate
	for rest := document.Bytes; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		certificates = append(certificates, certificate)
	}
	if len(certificates) == 0 {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return certificates, nil
}
