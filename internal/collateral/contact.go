package collateral

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// Fetching is what a folder's fetcher last came to.
type Fetching struct {
	Form string `json:"form"`
	// Contact with AMD's service, and with Intel's.
	Contact
	Intel *Contact `json:"intel,omitempty"`
	// Looked says when each list and chain was last looked for.
	Looked map[string]time.Time `json:"looked"`
	// Refused are lists and chains of which the last answer could not be used.
	Refused map[string]Refusal `json:"refused"`
}

// Contact is how it went with one vendor's service.
type Contact struct {
	// Last request, and last one that was answered. Zero for never.
	Last     time.Time `json:"last"`
	Answered time.Time `json:"answered"`
	// NotBefore is when the service may be asked again.
	NotBefore time.Time `json:"not_before"`
	// Failures since the last answer, the first of them, and the last one's error.
	Failures int       `json:"failures"`
	Since    time.Time `json:"since"`
	Error    string    `json:"error"`
}

// Refusal is an answer that could not be used.
type Refusal struct {
	// Since is when the first of them came.
	Since time.Time `json:"since"`
	Error string    `json:"error"`
}

const fetchForm = "attestd.collateral-fetch.v1"

// Fetching returns what the fetcher of this folder last came to; the zero Fetching where there was none.
func (s *Store) Fetching() Fetching {
	const limit = 64 << 10 // a line for each thing that is looked for
	document, err := readFile(filepath.Join(s.folder, fetchFile), limit)
	var read Fetching
	if err == nil {
		err = strict.DecodeJSON(document, strict.JSONLimits{Bytes: limit, Depth: 3}, &read)
	}
	if err != nil || read.Form != fetchForm || read.Looked == nil || read.Refused == nil {
		return Fetching{
			Form: fetchForm, Looked: map[string]time.Time{}, Refused: map[string]Refusal{},
		}
	}
	return read
}

// Failing returns why nothing comes from a service, or what of its answers could not be used, and since
// when; nil where all is well.
func (f Fetching) Failing() (since time.Time, err error) {
	for _, contact := range []*Contact{&f.Contact, f.Intel} {
		if contact == nil || contact.Failures == 0 {
			continue
		}
		if since.IsZero() || contact.Since.Before(since) {
			since = contact.Since
		}
		err = errors.Join(err, errors.New(attestd.Excerpt(contact.Error, 200)))
	}
	for _, what := range slices.Sorted(maps.Keys(f.Refused)) {
		refused := f.Refused[what]
		if since.IsZero() || refused.Since.Before(since) {
			since = refused.Since
		}
		err = errors.Join(err, errors.New(attestd.Excerpt(what+": "+refused.Error, 200)))
	}
	return since, err
}

// errUnanswered marks a service that gave no answer: others need not be asked for now.
var errUnanswered = errors.New("not answered")

// contact is how it went with a vendor's service.
func (f *Fetcher) contact(vendor vendor) *Contact {
	if vendor == amd {
		return &f.state.Contact
	}
	if f.state.Intel == nil {
		f.state.Intel = &Contact{}
	}
	return f.state.Intel
}

// ask asks a vendor's service for an address at the pace that the folder remembers, also over restarts.
func (f *Fetcher) ask(ctx context.Context, vendor vendor, address string, limit int64) (answer, error) {
	state := f.contact(vendor)
	if wait := state.NotBefore.Sub(f.store.now()); wait > 0 && wait <= 2*waitMost &&
		state.Failures > 0 {
		return answer{}, fmt.Errorf("%w: not to be asked before %s: %s", errUnanswered,
			state.NotBefore.Format(time.RFC3339), state.Error)
	}
	if wait := state.Last.Add(f.config.Pace).Sub(f.store.now()); wait > 0 && wait <= f.config.Pace {
		f.tell(f.host(vendor), OutcomeWaiting, "for "+wait.Round(100*time.Millisecond).String())
		if err := pause(ctx, wait); err != nil {
			return answer{}, err
		}
	}
	// Kept before the request: a process that dies at each request must not ask at each start.
	state.Last = f.store.now().UTC()
	if err := f.keep(); err != nil {
		return answer{}, err
	}
	said, err := f.client(vendor).get(ctx, address, limit)
	now := f.store.now().UTC()
	if err == nil || errors.Is(err, errNone) {
		state.Answered, state.Failures, state.Error = now, 0, ""
		state.NotBefore, state.Since = time.Time{}, time.Time{}
		return said, errors.Join(err, f.keep())
	}
	if ctx.Err() != nil {
		return answer{}, ctx.Err()
	}
	if state.Failures++; state.Failures == 1 {
		state.Since = now
	}
	state.Error = attestd.Excerpt(err.Error(), 200)
	after := min(f.config.Pace<<min(state.Failures, 16), waitMost)
	var told *waitError
	if errors.As(err, &told) {
		after = max(told.after, after)
	}
	// A fleet that lost the same service does not come back in the same second.
	after += f.store.jitterOf(now.String(), after/4)
	state.NotBefore = now.Add(after)
	return answer{}, errors.Join(fmt.Errorf("%w: %w", errUnanswered, err), f.keep())
}

func (f *Fetcher) keep() error {
	f.state.Form = fetchForm
	document, err := json.Marshal(f.state)
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(f.store.folder, fetchFile), document)
}

func pause(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
