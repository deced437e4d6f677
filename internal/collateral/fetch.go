package collateral

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/attestd/attestd"
)

// Defaults and limits of a fetcher.
const (
	// DefaultPace is the least time between two requests: AMD asks for few and answers more with 429.
	DefaultPace = 10 * time.Second
	// LeastPace is what an operator can lower it to.
	LeastPace = time.Second
	// DefaultRefresh is how often lists are asked for.
	DefaultRefresh = 12 * time.Hour
	// LeastRefresh is the least that can be configured.
	LeastRefresh = 10 * time.Minute
	// watchEvery is how often the queue is looked at.
	watchEvery = 5 * time.Second
)

// FetchConfig is how a fetcher works.
type FetchConfig struct {
	// Lines of AMD's to keep lists for; none for all whose roots are known.
	Lines []string
	// Pace between two requests and Refresh between two looks for a list; zero for the defaults.
	Pace, Refresh time.Duration
	// Proxy is the operator's HTTP proxy, nil for none. The environment is not asked. What is fetched is
	// encrypted through it, and verified as ever.
	Proxy *url.URL
	// Intel says what is asked for of Intel's.
	Intel IntelConfig
	// Report is told of each step; nil for nobody.
	Report func(Event)
}

// Event is a step of a fetcher.
type Event struct {
	// What was asked for, as in "list Milan".
	What string `json:"what"`
	// Outcome is Taken, Held, "none" (the service has no such thing), "failed" or "waiting".
	Outcome string `json:"outcome"`
	Detail  string `json:"detail,omitempty"`
}

// Outcomes of a step, beside [Taken] and [Held].
const (
	OutcomeNone    = "none"
	OutcomeFailed  = "failed"
	OutcomeWaiting = "waiting"
)

// vendor says whose service is asked. A service that fails does not keep the other from being asked.
type vendor uint8

const (
	amd vendor = iota
	intel
)

// Fetcher asks AMD's key distribution service and Intel's provisioning certification service, slowly, and
// hands what they say to the store, which verifies it. It is never part of a verification.
type Fetcher struct {
	store  *Store
	config FetchConfig
	// clients by vendor: a PCCS of the operator's own has an authority of its own.
	clients [2]*client
	state   Fetching
}

func (f *Fetcher) client(of vendor) *client { return f.clients[of] }

// host names the service for people.
func (f *Fetcher) host(of vendor) string {
	if of == amd {
		return kdsHost
	}
	return f.config.Intel.host()
}

// NewFetcher returns a fetcher for a store.
//
// Errors: a *attestd.CallerError of class CONFIG where the configuration cannot be used.
func NewFetcher(store *Store, config FetchConfig) (*Fetcher, error) {
	if config.Pace == 0 {
		config.Pace = DefaultPace
	}
	if config.Refresh == 0 {
		config.Refresh = DefaultRefresh
	}
	if config.Report == nil {
		config.Report = func(Event) {}
	}
	for _, line := range config.Lines {
		if knownLine(line) == "" {
			return nil, unfit(fmt.Errorf("no product line %q", attestd.Excerpt(line, 20)),
				fmt.Sprintf("give some of %v", lines))
		}
	}
	if len(config.Lines) == 0 {
		for _, line := range lines {
			if knows(store.known(), "ARK-"+line) {
				config.Lines = append(config.Lines, line)
			}
		}
	}
	if config.Pace < LeastPace || config.Refresh < LeastRefresh {
		return nil, unfit(fmt.Errorf("a pace of %s and a refresh of %s", config.Pace, config.Refresh),
			fmt.Sprintf("at least %s between requests and %s between lists", LeastPace, LeastRefresh))
	}
	if proxy := config.Proxy; proxy != nil && (proxy.Scheme != "http" || proxy.Host == "") {
		return nil, unfit(errors.New("the proxy is no address of the form http://HOST:PORT"),
			"what is fetched through it is encrypted all the same")
	}
	if err := config.Intel.check(store); err != nil {
		return nil, err
	}
	return &Fetcher{store: store, config: config, clients: [2]*client{
		newClient(config.Pace, config.Proxy, nil, nil),
		newClient(config.Pace, config.Proxy, config.Intel.Roots, nil),
	}}, nil
}

// Pull looks once for everything: lists, missing CAs, and the queue.
//
// Errors: a *attestd.CallerError of class COLLATERAL_UNAVAILABLE where the service could not be asked or
// what it said could not be used; what was taken before stays. CONFLICT where another fetcher runs.
func (f *Fetcher) Pull(ctx context.Context) error {
	unlock, err := f.begin()
	if err != nil {
		return err
	}
	defer unlock()
	return f.round(ctx, true)
}

// Watch pulls until ctx ends: lists when they are due, and machines when they are wanted. Errors are
// reported, kept for [Store.Fetching], and tried again later.
//
// Errors: CONFLICT where another fetcher runs; ctx's own otherwise.
func (f *Fetcher) Watch(ctx context.Context) error {
	unlock, err := f.begin()
	if err != nil {
		return err
	}
	defer unlock()
	for {
		if _, err := f.store.Changed(); err != nil {
			f.tell("folder", OutcomeFailed, err.Error())
		} else {
			_ = f.round(ctx, false) // it is reported and kept
		}
		if err := pause(ctx, watchEvery); err != nil {
			return err
		}
	}
}

// begin makes this the folder's only fetcher: two would double the pace.
func (f *Fetcher) begin() (unlock func(), err error) {
	unlock, err = tryLock(filepath.Join(f.store.folder, fetchLockFile))
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, &attestd.CallerError{
			Class: attestd.ClassConflict, Hint: "attestd fetches by itself where collateral.fetch is set",
			Err: errors.New("another process fetches for this folder"),
		}
	}
	f.state = f.store.Fetching()
	return unlock, err
}

// round does what is due. A service that cannot be reached is not asked on; an answer of no use does not
// end it.
func (f *Fetcher) round(ctx context.Context, all bool) error {
	var failed error
	var silent [2]bool
	host := kdsHost
	for _, one := range f.jobs(all) {
		if silent[one.vendor] || !all && f.store.now().Before(f.contact(one.vendor).NotBefore) {
			continue
		}
		err := f.do(ctx, one)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", one.what, err))
		}
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, errUnanswered) {
			silent[one.vendor], host = true, f.host(one.vendor)
		}
	}
	if failed == nil {
		return nil
	}
	return &attestd.CallerError{
		Class: attestd.ClassCollateralUnavailable,
		Hint: "is " + host + " to be reached on port 443? A site without a way out imports a bundle " +
			"(attestd collateral export)",
		Err: failed,
	}
}

// job is one thing to ask for.
type job struct {
	vendor vendor
	what   string
	// every is how often it is asked for, zero for a wish, which says itself when.
	every time.Duration
	run   func(ctx context.Context) (outcome string, err error)
}

// jobs lists what is due; all says that everything is, whenever it was looked for.
func (f *Fetcher) jobs(all bool) []job {
	var found []job
	for _, line := range f.config.Lines {
		every := f.config.Refresh + f.store.jitterOf("refresh "+line, f.config.Refresh/8)
		for _, kind := range []Kind{VCEK, VLEK} {
			if !f.store.issues(kind, line) {
				run := func(ctx context.Context) (string, error) { return f.chain(ctx, kind, line) }
				found = append(found, job{amd, "chain " + string(kind) + " " + line, every, run})
			}
		}
		run := func(ctx context.Context) (string, error) { return f.list(ctx, line) }
		found = append(found, job{amd, "list " + line, every, run})
	}
	found = append(found, f.intelJobs()...)
	now := f.store.now()
	found = slices.DeleteFunc(found, func(one job) bool {
		last := f.state.Looked[one.what]
		return !all && now.Sub(last) < one.every && !now.Before(last)
	})
	for _, w := range f.store.wishes() {
		if !w.Refused && w.Platform == nil && (all || !now.Before(w.Next)) {
			run := func(ctx context.Context) (string, error) { return f.machine(ctx, w) }
			found = append(found, job{amd, "machine " + w.Machines[0].String(), 0, run})
		}
	}
	return append(found, f.intelWishes(all)...)
}

func (s *Store) jitterOf(what string, most time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jitter(what, most)
}

// issues says whether a CA for a kind of keys of a line is known.
func (s *Store) issues(kind Kind, line string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.issuers, func(known *issuer) bool {
		return known.kind == kind && known.line == line
	})
}

func (f *Fetcher) do(ctx context.Context, one job) error {
	outcome, err := one.run(ctx)
	detail := ""
	if err != nil {
		outcome, detail = OutcomeFailed, err.Error()
	}
	f.tell(one.what, outcome, detail)
	if one.every == 0 || ctx.Err() != nil || errors.Is(err, errUnanswered) {
		return err
	}
	return errors.Join(err, f.looked(one, err))
}

// looked keeps when a list or chain was looked for. After an answer that could not be used it is due again
// within the hour.
func (f *Fetcher) looked(one job, err error) error {
	now := f.store.now().UTC()
	if err == nil {
		f.state.Looked[one.what] = now
		delete(f.state.Refused, one.what)
		return f.keep()
	}
	f.state.Looked[one.what] = now.Add(-one.every + min(one.every, time.Hour))
	refused := f.state.Refused[one.what]
	if refused.Since.IsZero() {
		refused.Since = now
	}
	refused.Error = attestd.Excerpt(err.Error(), 200)
	f.state.Refused[one.what] = refused
	return f.keep()
}

func (f *Fetcher) tell(what, outcome, detail string) {
	f.config.Report(Event{what, outcome, attestd.Excerpt(detail, 200)})
}

// list looks for the revocation list of a line.
func (f *Fetcher) list(ctx context.Context, line string) (string, error) {
	path, err := listPath(line)
	if err != nil {
		return "", err
	}
	said, err := f.ask(ctx, amd, kdsAddress+path, maxList)
	if err != nil {
		return "", err
	}
	found, err := authenticList(f.store.known(), said.body, f.store.now())
	if err != nil {
		return "", err
	}
	if found.row.IssuerName != "ARK-"+line {
		return "", fmt.Errorf("the answer is the list of %s", found.row.IssuerName)
	}
	return f.take(ctx, amd, [][]byte{said.body})
}

// chain looks for the CA of a kind of keys. The root that comes with it is compared with the known one.
func (f *Fetcher) chain(ctx context.Context, kind Kind, line string) (string, error) {
	path, err := chainPath(kind, line)
	if err != nil {
		return "", err
	}
	said, err := f.ask(ctx, amd, kdsAddress+path, maxChain)
	if err != nil {
		return "", err
	}
	objects, err := Decode(said.body)
	if err != nil {
		return "", err
	}
	outcome, err := f.take(ctx, amd, objects)
	if err == nil && !f.store.issues(kind, line) {
		err = fmt.Errorf("the answer has no CA for a %s of %s", kind, line)
	}
	return outcome, err
}

// machine looks for a wanted certificate, under each line that it may be of.
func (f *Fetcher) machine(ctx context.Context, w wish) (string, error) {
	for _, machine := range w.Machines {
		path, err := machinePath(machine)
		if err != nil {
			return "", err
		}
		said, err := f.ask(ctx, amd, kdsAddress+path, maxCertificate)
		if errors.Is(err, errNone) {
			continue
		}
		if err == nil {
			var found *endorsed
			found, err = authenticMachine(f.store.known(), said.body, f.store.now())
			if err == nil && found.machine != machine {
				err = fmt.Errorf("the answer is for %s", found.machine)
			}
		}
		if err == nil {
			var outcome string
			if outcome, err = f.take(ctx, amd, [][]byte{said.body}); err == nil {
				return outcome, nil
			}
		}
		if ctx.Err() == nil {
			err = errors.Join(err, f.store.writeWish(w.later(f.store.now(), err)))
		}
		return "", err
	}
	return OutcomeNone, f.store.writeWish(w.refusedBy(f.store.now(), errNone.Error()))
}

func (s *Store) known() []*issuer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issuers
}

// take hands objects to the store, which verifies them.
func (f *Fetcher) take(ctx context.Context, from vendor, objects [][]byte) (string, error) {
	items, err := f.store.Import(ctx, objects, f.host(from))
	for _, item := range items {
		if item.Outcome == Taken {
			return Taken, err
		}
	}
	return Held, err
}
