package journal

import (
	"context"
	"errors"
	"io/fs"
	"sync"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
)

// mostSets is how many policy sets a replayer holds at once: a page of records rarely names more.
const mostSets = 4

// Replayer decides again about what a reader reads, each record by the policies that it names. It is safe
// for concurrent use.
type Replayer struct {
	*Reader
	load  func(files fs.FS) (decision.PolicySet, error)
	judge Judge

	mu   sync.Mutex
	sets map[string]decision.PolicySet
}

// NewReplayer returns a replayer. load reads the files of a policy set.
//
// Errors: where a part is missing.
func NewReplayer(
	reader *Reader, load func(files fs.FS) (decision.PolicySet, error), judge Judge,
) (*Replayer, error) {
	if reader == nil || load == nil || judge == nil {
		return nil, errors.New("a replay needs records, their policies and somebody to judge")
	}
	return &Replayer{Reader: reader, load: load, judge: judge, sets: map[string]decision.PolicySet{}}, nil
}

// Replay decides again about one record.
//
// Errors: [attestd.UndecidedError] where the record has no input, or its policies are not kept or not
// those that it names.
func (r *Replayer) Replay(record *Record) (Replayed, error) {
	set, err := r.set(record.Policy)
	if err != nil {
		return Replayed{}, err
	}
	return Replay(record, set, r.judge)
}

// set returns the policies of a digest; nil for none, which is what there was then.
func (r *Replayer) set(digest string) (decision.PolicySet, error) {
	if digest == "" {
		return nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if set, ok := r.sets[digest]; ok {
		return set, nil
	}
	refuse := func(got string, err error) (decision.PolicySet, error) {
		return nil, &attestd.UndecidedError{
			Class: attestd.ClassPolicyUnavailable, Got: got, Want: "the policies " + digest, Err: err,
			Hint: "attestd decision verify",
		}
	}
	files, err := r.Policies(digest)
	if err != nil {
		return refuse("none of that digest", err)
	}
	set, err := r.load(files)
	if err != nil {
		return refuse("policies that cannot be read", err)
	}
	if set.Digest() != digest {
		return refuse("policies of "+set.Digest(), nil)
	}
	if len(r.sets) >= mostSets {
		clear(r.sets)
	}
	r.sets[digest] = set
	return set, nil
}

// Run is what came of deciding again about a page of records.
type Run struct {
	// Same and Different count decisions; Skipped those that have no input, as counts have not.
	Same      int `json:"same"`
	Different int `json:"different"`
	Skipped   int `json:"skipped"`
	// Undecided could not be decided again, as their policies cannot be read; Problem is why, of the first.
	Undecided int    `json:"undecided"`
	Problem   string `json:"problem,omitempty"`
	// Changed are those that differ, the first 100.
	Changed []Replayed `json:"changed"`
	// Next is where the next page begins; empty at the end.
	Next string `json:"next,omitempty"`
}

// mostChanged is how many of those that differ a run names.
const mostChanged = 100

// Add counts another run to this one.
func (r *Run) Add(more Run) {
	r.Same += more.Same
	r.Different += more.Different
	r.Skipped += more.Skipped
	if r.Undecided += more.Undecided; r.Problem == "" {
		r.Problem = more.Problem
	}
	r.Changed = append(r.Changed, more.Changed[:min(len(more.Changed), mostChanged-len(r.Changed))]...)
	r.Next = more.Next
}

// ReplayPage decides again about a page of records.
//
// Errors: those of [Reader.List]; what could not be decided again is counted as that.
func (r *Replayer) ReplayPage(ctx context.Context, query Query) (Run, error) {
	run := Run{Changed: []Replayed{}}
	page, err := r.List(ctx, query)
	if err != nil {
		return run, err
	}
	run.Next = page.Next
	for index := range page.Records {
		record := &page.Records[index]
		if record.Input == nil || record.Result == nil {
			run.Skipped++
			continue
		}
		replayed, err := r.Replay(record)
		switch {
		case err != nil:
			// One whose policies are gone does not keep the others from being looked at, and is no match.
			if run.Undecided++; run.Problem == "" {
				run.Problem = attestd.Excerpt(err.Error(), 300)
			}
		case replayed.Same:
			run.Same++
		default:
			run.Different++
			if len(run.Changed) < mostChanged {
				run.Changed = append(run.Changed, replayed)
			}
		}
		if err := ctx.Err(); err != nil {
			return run, err
		}
	}
	return run, nil
}
