package watch

import (
	"fmt"
	"hash/maphash"
	"strings"
	"sync/atomic"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision"
	"github.com/attestd/attestd/internal/subject"
)

// Detectors, as their cooldowns are numbered.
const (
	pivot = iota
	novel
	burst
	twoPlaces
	detectors
)

var codes = [detectors]decision.Code{
	pivot: decision.CodeTenantPivot, novel: decision.CodeNovelScope,
	burst: decision.CodeDenialBurst, twoPlaces: decision.CodeTwoPlaces,
}

// signals are the codes under which the registry keeps what they saw.
var signals = [detectors]subject.Code{
	pivot: subject.CodeTenantPivot, novel: subject.CodeNovelScope,
	burst: subject.CodeDenialBurst, twoPlaces: subject.CodeTwoPlaces,
}

// Codes returns those of the detectors there are.
func Codes() []decision.Code { return codes[:] }

// calm is the risk below which a spike is over at once: what was high is limited until it is low,
// or has not been high for a while, and does not come and go with each point.
const calm = 40

// Watch implements [decision.Watch]. It is safe for concurrent use, and waits for nothing.
type Watch struct {
	config Config
	limits limiter
	seed   maphash.Seed
	shards [shards]shard
	most   int
	places places
	queue  chan subject.Sighting
	counts counts
}

type counts struct {
	throttled, dropped, failed atomic.Uint64
	fired                      [detectors]atomic.Uint64
}

// waiting is how many sightings wait to be written.
const waiting = 1024

// New returns a watch. Its [Watch.Run] takes sightings to their sink.
//
// Errors: a [*attestd.CallerError] of class CONFIG.
func New(config Config) (*Watch, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	w := &Watch{
		config: config, limits: newLimiter(config.Rate, config.Burst, config.Bounds.Pause),
		seed: maphash.MakeSeed(), most: config.Subjects / shards,
		queue:  make(chan subject.Sighting, waiting),
		places: places{most: config.Subjects, shared: config.Shared},
	}
	for i := range w.shards {
		w.shards[i].index = map[uint64]uint32{}
		w.places.shards[i].last = map[uint64]place{}
	}
	return w, nil
}

// named reports whether the question counts for its caller: it was identified, and hardware of a
// tenant stands behind it. Anything else is somebody's word about it.
func named(in *decision.Input) bool {
	return in.Who.Fault == "" && in.Who.ID != "" && in.Who.Method != "" && in.Standing.Fault == "" &&
		in.Standing.Attested
}

// Before implements [decision.Watch].
func (w *Watch) Before(in *decision.Input) decision.Findings {
	found := decision.Findings{Looked: true}
	if !named(in) {
		return found
	}
	if in.Foreign {
		w.abroad(in, &found)
		return found
	}
	elsewhere := w.twice(in)
	e, s := w.find(in)
	defer s.mu.Unlock()
	risk := in.Standing.Risk.Int()
	switch {
	case in.Standing.Tier.Verdict() == attestd.VerdictRejected:
		e.spiked = seconds(in.At)
	case risk < calm:
		e.spiked = 0
	}
	tier := in.Standing.Tier
	if within(e.spiked, seconds(in.At), w.config.Bounds.Calm) {
		tier = attestd.TierUnknown
	}
	if wait, ok := w.limits.take(e, in.At, tier); !ok {
		found.Throttled, found.RetryAfter = true, wait
		w.counts.throttled.Add(1)
	}
	if elsewhere {
		w.fire(e, in, &found, twoPlaces, "")
	}
	w.pivots(e, in, &found)
	if w.novelty(e, in, &found) {
		w.fire(e, in, &found, novel, strings.Join(found.NovelIDs, ", "))
	}
	if within(e.denied, seconds(in.At), w.config.Bounds.BurstWindow) &&
		int(e.denials) >= w.config.Bounds.BurstDenials {
		found.Raised = append(found.Raised, decision.CodeDenialBurst)
	}
	return found
}

// abroad takes up a question through an enforcement point that does not speak for the caller's tenant.
// Nothing of it counts in the caller's limit, places, scope or denials: it is another tenant's word, and
// whoever was shown a token once could speak it as often as it likes.
func (w *Watch) abroad(in *decision.Input, found *decision.Findings) {
	e, s := w.find(in)
	defer s.mu.Unlock()
	w.pivots(e, in, found)
}

// After implements [decision.Watch].
func (w *Watch) After(in *decision.Input, result *decision.Result) {
	if !named(in) || in.Foreign || !result.Allow && !blames(result) {
		return
	}
	e, s := w.find(in)
	defer s.mu.Unlock()
	if result.Allow {
		w.learn(e, in)
		return
	}
	now := seconds(in.At)
	if !within(e.denied, now, w.config.Bounds.BurstWindow) {
		e.denied, e.denials = now, 0
	}
	e.denials = min(e.denials+1, maxCount)
	if int(e.denials) >= w.config.Bounds.BurstDenials {
		w.fire(e, in, nil, burst, "")
	}
}

// blames reports whether a denial is for what the caller asked: not for what it is, nor for what
// others failed to do or to say.
func blames(result *decision.Result) bool {
	if len(result.Reasons) == 0 {
		return false
	}
	switch result.Reasons[0].Code {
	case decision.CodeNotPermitted, decision.CodeTenantMismatch, decision.CodePurposeMismatch,
		decision.CodeBlastRadius, decision.CodeRing, decision.CodeClassification,
		decision.CodeNovelScope, decision.CodeTenantPivot:
		return true
	default:
		return false
	}
}

// find returns the caller's entry; its shard is locked.
func (w *Watch) find(in *decision.Input) (*entry, *shard) {
	key := maphash.String(w.seed, in.Who.ID.Fold())
	s := &w.shards[key>>58]
	s.mu.Lock()
	return w.take(s, key, in.At), s
}

// pivots counts the other tenants that were asked for within the window, where this question is for one.
// Enough of them deny the question. A signal takes an enforcement point of the caller's own tenant that saw
// it, or two others: one alone could accuse whomever it was shown a token of.
func (w *Watch) pivots(e *entry, in *decision.Input, found *decision.Findings) {
	own, other := in.Standing.Tenant, in.Resource.Tenant
	if other == "" || own == "" || other == own {
		return
	}
	next := foreign{tenant: uint32(maphash.String(w.seed, other) >> 32), at: seconds(in.At)}
	if in.Foreign {
		next.by = max(1, uint32(maphash.String(w.seed, in.Enforcer)>>32))
	}
	place := 0
	for i, one := range e.foreign {
		if one.at != 0 && one.tenant == next.tenant {
			place = i
			if one.by == 0 && within(one.at, next.at, w.config.Bounds.PivotWindow) {
				next.by = 0 // what a point of its own tenant saw stays seen
			}
			break
		}
		if one.at < e.foreign[place].at {
			place = i
		}
	}
	e.foreign[place] = next
	n, witnessed := 0, false
	for _, one := range e.foreign {
		if one.at != 0 && within(one.at, next.at, w.config.Bounds.PivotWindow) {
			n++
			witnessed = witnessed || one.by == 0 || one.by != next.by
		}
	}
	switch {
	case n < w.config.Bounds.PivotTenants:
	case witnessed:
		w.fire(e, in, found, pivot, "")
	default:
		found.Raised = append(found.Raised, decision.CodeTenantPivot)
	}
}

// fire says that a detector fired, to the question's policies each time and to the sink once in a
// while.
func (w *Watch) fire(
	e *entry, in *decision.Input, found *decision.Findings, which int, detail string,
) {
	if found != nil {
		found.Raised = append(found.Raised, codes[which])
	}
	now := seconds(in.At)
	if within(e.cool[which], now, w.config.Bounds.Cooldown) {
		return
	}
	kept, _ := decision.Redact(detail) // it goes on to the registry, the audit log and pages
	select {
	case w.queue <- subject.Sighting{
		ID: in.Who.ID, Tenant: in.Standing.Tenant, Code: signals[which], At: in.At,
		Detail: attestd.Excerpt(w.words(which, kept), maxDetail),
	}:
		e.cool[which] = now
		w.counts.fired[which].Add(1)
	default: // it fires again at the next question
		w.counts.dropped.Add(1)
	}
}

const maxDetail = 160

func (w *Watch) words(which int, detail string) string {
	b := w.config.Bounds
	switch which {
	case pivot:
		return fmt.Sprintf("it asked for %d other tenants or more within %s",
			b.PivotTenants, b.PivotWindow)
	case novel:
		return fmt.Sprintf("it asked for %d new ids or more within %s, as %s",
			b.NovelIDs, b.NovelWindow, detail)
	case burst:
		return fmt.Sprintf("it was denied %d times or more within %s", b.BurstDenials, b.BurstWindow)
	default:
		return fmt.Sprintf("one credential was shown from two places within %s", b.PlacesWindow)
	}
}

func (w *Watch) hash(kind, id string) uint64 {
	return maphash.String(w.seed, id) ^ uint64(len(kind))*0x9e3779b97f4a7c15 ^ uint64(kind[0])<<17
}

func seconds(at time.Time) uint32 {
	unix := at.Unix()
	if unix < 1 || unix > 1<<32-1 {
		return 1
	}
	return uint32(unix)
}
