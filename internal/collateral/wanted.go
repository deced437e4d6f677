package collateral

import (
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// Limits of the queue. Whoever can send evidence can name chips that do not exist: each costs AMD a
// request, and those of others a place.
const (
	maxWanted       = 256
	maxWantedSource = 16
	// wantedEvery is how often one source may name another machine, after a few at once.
	wantedEvery = time.Minute
	wantedBurst = 8
	// wantedSources bounds the sources that are remembered.
	wantedSources = 4096
	// wantedKeep is how long a machine is remembered for which AMD has nothing, so that it is not asked
	// for again at once.
	wantedKeep = 24 * time.Hour
	// wantedFull is how long a full queue is taken for full without a look: it takes the fetcher as long to
	// make one place, and verdicts wait while hundreds of files are read.
	wantedFull   = DefaultPace
	maxWantedDoc = 8 << 10
)

// Wanted is what evidence named and what is not held: the certificate of a machine, or what Intel publishes
// about a platform.
type Wanted struct {
	// Machines is one, or one for each product line that the machine may be of: tried in that order.
	Machines []Machine
	// Platforms whose TCB information is missing.
	Platforms []Platform
}

// String names it in one line.
func (w Wanted) String() string {
	var names []string
	if len(w.Machines) > 0 {
		names = append(names, w.Machines[0].String())
	}
	for _, platform := range w.Platforms {
		names = append(names, platform.String())
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

// ErrNotQueued says that a wish was not queued because there are too many.
var ErrNotQueued = errors.New("not queued: too many certificates are asked for")

// wish is a file of the queue.
type wish struct {
	Form string `json:"form"`
	// Machines, or else a Platform.
	Machines []Machine `json:"machines"`
	Platform *Platform `json:"platform,omitempty"`
	Source   string    `json:"source"`
	Asked    time.Time `json:"asked"`
	Tries    int       `json:"tries"`
	// Next is when it may be tried. Refused says that the vendor has no such thing.
	Next    time.Time `json:"next"`
	Refused bool      `json:"refused"`
	Last    string    `json:"last"`
}

const wishForm = "attestd.collateral-wanted.v1"

func (w wish) check() error {
	if w.Form != wishForm || len(w.Machines) > len(lines) || (len(w.Machines) == 0) != (w.Platform != nil) {
		return errors.New("not a wish")
	}
	if w.Platform != nil {
		return w.Platform.check()
	}
	for _, machine := range w.Machines {
		if err := machine.check(); err != nil {
			return err
		}
		if machine.Kind != VCEK {
			return errors.New("AMD gives VLEKs to cloud providers alone")
		}
	}
	return nil
}

// key names the wish by all of its machines. Evidence that names one line alone must not stand in the way
// of a machine that may be of two: AMD would have nothing for the one, and the other would wait a day.
func (w wish) key() string {
	if w.Platform != nil {
		return w.Platform.key()
	}
	if len(w.Machines) == 1 {
		return w.Machines[0].key()
	}
	var all []byte
	for _, machine := range w.Machines {
		all = append(all, machine.key()...)
	}
	digest := sha256.Sum256(all)
	return hex.EncodeToString(digest[:16])
}

// Want queues a wish for the fetcher, durably, once for each machine and platform. source is who sent the evidence, such
// as an address: no source takes the queue for itself. Want it when evidence could not be decided for want
// of it, never instead of deciding.
//
// Errors: [ErrNotQueued] where the source or the queue is over its limit; others where the disk fails.
func (s *Store) Want(source string, wanted Wanted) error {
	base := wish{
		Form: wishForm, Source: attestd.Excerpt(source, 100), Asked: s.now().UTC(), Next: s.now().UTC(),
	}
	var wishes []wish
	if len(wanted.Machines) > 0 || len(wanted.Platforms) == 0 {
		one := base
		one.Machines = slices.Clone(wanted.Machines)
		wishes = append(wishes, one)
	}
	for _, platform := range wanted.Platforms {
		one := base
		one.Machines, one.Platform = []Machine{}, &platform
		wishes = append(wishes, one)
	}
	var failed error
	for _, one := range wishes {
		if err := one.check(); err != nil {
			return invalid("only what Store.For returned can be wanted", "%w", err)
		}
		if err := s.wantOne(one); err != nil {
			failed = err
		}
	}
	return failed
}

// wantOne queues one wish.
func (s *Store) wantOne(next wish) error {
	s.asking.mu.Lock()
	defer s.asking.mu.Unlock()
	path := s.wishFile(next.key())
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	if s.now().Before(s.asking.fullUntil) || !s.asking.allow(next.Source, s.now()) {
		return ErrNotQueued
	}
	// Refused ones are remembered, and do not keep others out.
	waiting, mine, refused := 0, 0, []wish(nil)
	for _, other := range s.wishes() {
		switch {
		case other.Refused:
			refused = append(refused, other)
		case other.Source == next.Source:
			mine++
			fallthrough
		default:
			waiting++
		}
	}
	if waiting >= maxWanted {
		s.asking.fullUntil = s.now().Add(wantedFull)
	}
	if waiting >= maxWanted || mine >= maxWantedSource {
		return ErrNotQueued
	}
	for index := 0; index < len(refused)-maxWanted; index++ {
		_ = os.Remove(s.wishFile(refused[index].key()))
	}
	return s.writeWish(next)
}

func (s *Store) wishFile(key string) string {
	return filepath.Join(s.folder, wantedFolder, key+".json")
}

func (s *Store) writeWish(w wish) error {
	document, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return writeWhole(s.wishFile(w.key()), document)
}

// wishes returns the queue, the oldest first. What is none is removed: it can be asked for again.
func (s *Store) wishes() []wish {
	folder := filepath.Join(s.folder, wantedFolder)
	entries, _ := os.ReadDir(folder)
	var found []wish
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".json") {
			continue
		}
		path := filepath.Join(folder, entry.Name())
		document, err := readFile(path, maxWantedDoc)
		var one wish
		if err == nil {
			err = strict.DecodeJSON(document, strict.JSONLimits{Bytes: maxWantedDoc, Depth: 4}, &one)
		}
		if err == nil {
			err = one.check()
		}
		if err == nil && one.key()+".json" != entry.Name() {
			err = errors.New("it lies under another's name")
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil, one.Refused && s.now().Sub(one.Next) > 0:
			_ = os.Remove(path)
		default:
			found = append(found, one)
		}
	}
	slices.SortFunc(found, func(a, b wish) int {
		if order := a.Asked.Compare(b.Asked); order != 0 {
			return order
		}
		return strings.Compare(a.key(), b.key())
	})
	return found
}

// Waiting is what is wanted and not there: a certificate of a machine, or what there is about a platform.
type Waiting struct {
	Machine  Machine   `json:"machine,omitzero"`
	Platform Platform  `json:"platform,omitzero"`
	Asked    time.Time `json:"asked"`
	Tries    int       `json:"tries"`
	// Refused says that the vendor has no such thing; it is not asked for again until Next.
	Refused bool      `json:"refused"`
	Next    time.Time `json:"next"`
	Last    string    `json:"last,omitempty"`
}

// Queue lists what is wanted, the oldest first.
func (s *Store) Queue() []Waiting {
	found := []Waiting{}
	for _, w := range s.wishes() {
		one := Waiting{Asked: w.Asked, Tries: w.Tries, Refused: w.Refused, Next: w.Next, Last: w.Last}
		if w.Platform != nil {
			one.Platform = *w.Platform
		} else {
			one.Machine = w.Machines[0]
		}
		found = append(found, one)
	}
	return found
}

// asking counts what sources ask for, in this process.
type asking struct {
	mu      sync.Mutex
	buckets map[string]*list.Element
	order   *list.List
	// fullUntil is until when the queue is taken for full.
	fullUntil time.Time
}

type bucket struct {
	source string
	left   float64
	at     time.Time
}

func newAsking() *asking { return &asking{buckets: map[string]*list.Element{}, order: list.New()} }

// allow takes one from the bucket of a source. A new source in a full table takes the place of the one
// that asked least recently.
func (a *asking) allow(source string, now time.Time) bool {
	element, known := a.buckets[source]
	if !known {
		if a.order.Len() >= wantedSources {
			oldest := a.order.Back()
			delete(a.buckets, a.order.Remove(oldest).(*bucket).source)
		}
		element = a.order.PushFront(&bucket{source, wantedBurst, now})
		a.buckets[source] = element
	}
	a.order.MoveToFront(element)
	b := element.Value.(*bucket)
	if passed := now.Sub(b.at); passed > 0 {
		b.left = min(wantedBurst, b.left+passed.Seconds()/wantedEvery.Seconds())
		b.at = now
	}
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// refusedBy keeps a wish that the vendor has nothing for.
func (w wish) refusedBy(now time.Time, why string) wish {
	w.Refused, w.Last, w.Next = true, attestd.Excerpt(why, 160), now.Add(wantedKeep).UTC()
	w.Tries++
	return w
}

// later puts a wish off.
func (w wish) later(now time.Time, why error) wish {
	w.Tries++
	w.Last = attestd.Excerpt(fmt.Sprint(why), 160)
	w.Next = now.Add(min(time.Minute<<min(w.Tries, 10), 6*time.Hour)).UTC()
	return w
}
