package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/collateral"
	"github.com/attestd/attestd/internal/collateral/set"
	"github.com/attestd/attestd/internal/condition"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/service"
)

// collateralEvery is how often it is looked whether another process wrote into the folder.
const collateralEvery = 2 * time.Second

// fetchable are the checks that are undecided where what a vendor publishes about a machine is missing:
// a chip's certificate, or what Intel states about a platform.
var fetchable = []attestd.CheckID{"sev-snp/vcek-present", "tdx/collateral"}

// kept collateral, as the daemon has it: it reads the folder, and never writes more into it than which
// machine's certificate it missed.
type keptCollateral struct {
	store  *collateral.Store // nil where none is kept
	logger *slog.Logger

	mu   sync.Mutex
	read error // of the last look into the folder
}

func openCollateral(
	options Options, now func() time.Time, roots []*x509.Certificate,
) (*keptCollateral, error) {
	kept := &keptCollateral{logger: options.Logger}
	folder := options.Config.CollateralPath()
	if folder == config.Off {
		return kept, nil
	}
	var err error
	if kept.store, err = collateral.Open(folder, now, roots...); err != nil {
		return kept, err
	}
	if err := kept.store.Follow(collateral.Channel(options.Config.Collateral.IntelUpdate)); err != nil {
		return kept, err
	}
	return kept, kept.store.Witness(filepath.Join(options.Config.StateDir, floorsFile))
}

// floorsFile remembers, outside of the folder of collateral, how far its lists had come.
const floorsFile = "collateral.floors"

// machines returns what the service asks for the certificates of single machines.
func (k *keptCollateral) machines() service.Machines {
	if k.store == nil {
		return nil
	}
	return k
}

// Of implements [service.Machines].
func (k *keptCollateral) Of(format attestd.Format, evidence []byte) [][]byte {
	certificates, _ := k.store.For(format, evidence)
	return certificates
}

// Missed implements [service.Machines].
func (k *keptCollateral) Missed(source string, given attestd.Appraisal, evidence []byte) {
	missing := slices.ContainsFunc(given.Reasons, func(r attestd.Reason) bool {
		return slices.Contains(fetchable, r.Check) && r.Effect == attestd.EffectUndecided
	})
	if !missing {
		return
	}
	if _, wanted := k.store.For(given.Format, evidence); wanted != nil {
		if err := k.store.Want(source, *wanted); err != nil {
			level := slog.LevelWarn
			if errors.Is(err, collateral.ErrNotQueued) {
				level = slog.LevelDebug // whoever sends evidence decides how often that is
			}
			k.logger.Log(context.Background(), level, "the certificate of a machine is missing, and is not asked for",
				"machine", wanted.String(), "err", attestd.Excerpt(err.Error(), 200))
		}
	}
}

// documents returns the sets of the store as the service takes them.
func (k *keptCollateral) documents() (map[attestd.Format]service.Document, error) {
	if k.store == nil {
		return nil, nil
	}
	return documentsOf(k.store.Sets())
}

func documentsOf(sets map[attestd.Format]set.Set) (map[attestd.Format]service.Document, error) {
	made := make(map[attestd.Format]service.Document, len(sets))
	for format, one := range sets {
		bytes, err := one.Marshal()
		if err != nil {
			return nil, err
		}
		made[format] = service.Document{Source: "collateral of " + string(format), Bytes: bytes}
	}
	return made, nil
}

// followCollateral puts collateral in force that another process has stored, until ctx ends. What it
// touches is judged again.
func (p *parts) followCollateral(ctx context.Context) {
	kept := p.collateral
	if kept.store == nil {
		return
	}
	ticker := time.NewTicker(collateralEvery)
	defer ticker.Stop()
	pending := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		change, err := kept.store.Changed()
		pending = pending || change.Any()
		if err == nil && pending {
			if err = p.replace(ctx, p.withCollateral); err == nil {
				pending = false
				kept.logger.InfoContext(ctx, "collateral was read", "formats", change.Formats)
				p.engine.Trigger()
			}
		}
		kept.mu.Lock()
		before := kept.read
		kept.read = err
		kept.mu.Unlock()
		if err != nil && before == nil && ctx.Err() == nil {
			kept.logger.ErrorContext(ctx, "collateral was not read; what was read before stays in force",
				"err", attestd.Excerpt(err.Error(), 400))
		}
	}
}

func (p *parts) withCollateral(documents *service.Documents) (err error) {
	documents.Collateral, err = p.collateral.documents()
	return err
}

// replace changes the documents in force, one change at a time: of two that are made at once, none may
// undo the other.
func (p *parts) replace(ctx context.Context, change func(*service.Documents) error) error {
	p.replacing.Lock()
	defer p.replacing.Unlock()
	documents := p.service.InForce().Documents()
	if err := change(&documents); err != nil {
		return err
	}
	return p.service.Replace(ctx, documents)
}

// findings says how the collateral is.
func (k *keptCollateral) findings(settings config.Collateral, now time.Time) []condition.Finding {
	if k.store == nil {
		return condition.CollateralFigures{Off: true}.Findings()
	}
	k.mu.Lock()
	figures := condition.CollateralFigures{Read: k.read, Fetch: settings.Fetch}
	k.mu.Unlock()
	figures.Failing, figures.Current = collateral.Judge(k.store.Health(now))
	if settings.Fetch {
		var since time.Time
		if since, figures.FetchError = k.store.Fetching().Failing(); figures.FetchError != nil {
			figures.FetchFailing = now.Sub(since)
		}
	}
	return figures.Findings()
}

// fetcherVerb are the words with which attestd starts the fetcher of collateral: a process of its own,
// since what talks to the vendors' hosts must hold no keys and see no evidence.
var fetcherVerb = []string{"collateral", "pull", "--watch"}

// runFetcher keeps a fetcher running until ctx ends.
func runFetcher(ctx context.Context, options Options) {
	settings := options.Config
	if !settings.Collateral.Fetch {
		return
	}
	words := options.FetcherCommand
	if len(words) == 0 {
		self, err := os.Executable()
		if err != nil {
			options.Logger.ErrorContext(ctx, "the fetcher of collateral was not started", "err", err)
			return
		}
		words = append([]string{self}, fetcherVerb...)
	}
	words = append(words[:len(words):len(words)], "--folder", settings.CollateralPath(),
		"--every", settings.Collateral.Refresh.String(), "--log-level", settings.LogLevel)
	words = append(words, "--intel-update", settings.Collateral.IntelUpdate)
	if settings.Collateral.IntelPCCS != "" {
		words = append(words, "--intel-pccs", settings.Collateral.IntelPCCS, "--intel-ca", settings.Collateral.IntelCA)
	}
	keepRunning(ctx, "the fetcher of collateral", words, options.Logger)
}
