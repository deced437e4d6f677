package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/decision/cedarset"
	"github.com/attestd/attestd/internal/decision/export"
	"github.com/attestd/attestd/internal/decision/journal"
)

// openRecords opens the records of decisions below state_dir.
func (p *parts) openRecords(_ context.Context, options Options) (err error) {
	d, settings := &p.decisions, options.Config
	out := settings.Decisions.Export
	d.export, err = export.New(export.Config{
		OTLP: out.OTLP, OCSF: out.OCSF, CEF: out.CEF, Version: orUnknown(options.Version), Logger: options.Logger,
		Registerer: p.metrics,
	})
	if err != nil {
		return err
	}
	d.journal, err = journal.New(journal.Config{
		Folder: filepath.Join(settings.StateDir, "decisions"), Age: settings.Decisions.Records.Keep,
		Bytes: int64(settings.Decisions.Records.Bytes), Reserve: recordsReserve, Allows: 1,
		Engine: "attestd " + orUnknown(options.Version), Now: p.store.Now, Logger: options.Logger,
		Registerer: p.metrics, Sinks: []journal.Sink{d.export},
		Sealed: func(seal journal.Seal) { p.keeper.Note(seal.Entry(p.store.Now())) },
	})
	if err != nil {
		return err
	}
	d.replayer, err = journal.NewReplayer(d.journal.Reader(), func(files fs.FS) (decision.PolicySet, error) {
		return cedarset.Load(files)
	}, decision.Judge)
	return err
}

// policies are those in force, and where they are read anew.
type policies struct {
	cedarset.Holder
	source  string
	journal *journal.Journal
	reading sync.Mutex
}

func openPolicies(source string, records *journal.Journal) (*policies, error) {
	p := &policies{source: source, journal: records}
	return p, p.reload()
}

// reload puts the policies of the files in force, or leaves those that are. A set is kept with the
// records before anything is decided by it.
func (p *policies) reload() error {
	p.reading.Lock()
	defer p.reading.Unlock()
	files := cedarset.Standard()
	if p.source != config.PoliciesStandard {
		if info, err := os.Stat(p.source); err != nil || !info.IsDir() {
			return &attestd.CallerError{
				Class: attestd.ClassConfig, Hint: "decisions.policies: standard, or the path of a folder",
				Err: errors.Join(errors.New("no folder of policies"), err),
			}
		}
		files = os.DirFS(p.source)
	}
	set, err := cedarset.Load(files)
	if err != nil {
		return err
	}
	if err := p.journal.KeepPolicies(set.Digest(), set.Files()); err != nil {
		return err
	}
	p.Replace(set)
	return nil
}
