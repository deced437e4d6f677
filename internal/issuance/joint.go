package issuance

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
)

// Bounds of statements that many nodes share.
const (
	// many nodes are not looked at one by one under the index's locks.
	many = 64
	// maxStands are the nodes that are known to be granted something, of which one is looked at.
	maxStands = 8
	// A statement gets worse at once and better when all nodes are looked at again: after better where
	// something changed, after anyway where nothing did, and never more than a twentieth of the time.
	better, anyway, duty = time.Second, 10 * time.Second, 20
	// lag is how long after a node's evidence was judged what it showed can be missing here.
	lag = 2 * time.Second
	// maxLagging are the nodes of which it can.
	maxLagging = 32
	// maxLooks and maxTries are how often a grant begins anew where states change while it looks.
	maxLooks, maxTries = 3, 64
)

// joint is what a credential of an id on many nodes says, kept from grant to grant. Ids with the same
// nodes share it. What it says is never better than what holds at the grant: what the index says has
// changed since is taken in before anything is said, and no node's part is taken out until all of them
// are looked at again. That a node is left that is granted anything now is looked up at every grant.
type joint struct {
	looking sync.Mutex // held by whoever looks at all nodes
	mu      sync.Mutex // taken after the index's locks
	seen    *sight
}

// sight is what one look at all nodes has come to, with what changed since.
type sight struct {
	group *live.Group
	said  statement
	// left and others are as in grant.decide.
	left, others bool
	// stands are members that were granted something when they were seen last.
	stands []int
	// lagging are members whose evidence is newer than what is known of it.
	lagging []live.Touch
	// seq is the index's last change that is in it, news that of [learned].
	seq, news uint64
	changed   bool
	at        time.Time
	took      time.Duration
}

// taker takes nodes into a sight.
type taker struct {
	*sight
	office *Office
	spread *reach
	now    time.Time
}

// take adds a node as it stands. The rule is that of grant.decide.
func (t *taker) take(member int, node live.Standing) {
	switch granted := node.Grants(); {
	case granted && !t.asks(member, node):
	case granted:
		t.stand(member)
		shown := t.office.learned.of(node.ID)
		if t.lags(node, shown) && len(t.lagging) < maxLagging {
			t.lagging = append(t.lagging, live.Touch{Member: member, Standing: node})
			return
		}
		t.said.add(node, shown)
	case subject.Barred(node.State), node.Known && node.Format != "":
		t.left = true
	default:
		t.others = t.others || t.asks(member, node)
	}
}

func (t *taker) asks(member int, node live.Standing) bool {
	return member >= len(t.spread.nodes) || t.spread.lives(member, t.now) ||
		t.office.learned.recent(node.ID)
}

func (t *taker) stand(member int) {
	if len(t.stands) < maxStands && !slices.Contains(t.stands, member) {
		t.stands = append(t.stands, member)
	}
}

// lags reports whether what the node's evidence showed is on its way here.
func (t *taker) lags(node live.Standing, shown facts) bool {
	return node.EvidenceAt.Unix() > shown.at && t.now.Sub(node.EvidenceAt) < lag
}

// settle adds the nodes that do not lag any more, and returns what is to be said with those that do.
func (t *taker) settle() statement {
	kept := t.lagging[:0]
	out := &t.said
	var with statement
	for _, one := range t.lagging {
		shown := t.office.learned.of(one.Standing.ID)
		if !t.lags(one.Standing, shown) {
			t.said.add(one.Standing, shown)
			continue
		}
		kept = append(kept, one)
	}
	t.lagging = kept
	if len(kept) != 0 {
		with, out = t.said, &with
		for _, one := range kept {
			with.add(one.Standing, t.office.learned.of(one.Standing.ID))
		}
	}
	return *out
}

// stale reports whether the sight will not do: it misses an agent, or evidence that counted is overdue.
func (s *sight) stale(news uint64, now time.Time) bool {
	return s.news != news || s.said.n != 0 && !now.Before(s.said.due)
}

// dull reports whether a new one may be better.
func (s *sight) dull(now time.Time) bool {
	age := now.Sub(s.at)
	return age >= anyway || s.changed && age >= max(better, duty*s.took)
}

// among is one grant on the nodes of a joint.
type among struct {
	*grant
	joint *joint
	sight *sight
	// member is the node that is looked at; -1 for none.
	member int
	// finish says how long the grant is; it is asked when said is made.
	finish func(*live.Group) (int, error)
}

// errAgain asks for another try.
var errAgain = errors.New("issuance: another node is to be looked at")

// onMany grants an id that runs on many nodes.
//
// Errors: those of [live.Index.GrantOn]; errMany where it must be asked.
func (a *among) onMany() error {
	o := a.office
	for tries, looks := 0, 0; tries < maxTries && looks <= maxLooks; tries++ {
		a.pick()
		if a.sight == nil {
			looks++
			if !a.look() {
				return errMany
			}
			continue
		}
		err := o.config.Index.GrantAmong(a.who.id, a.sight.group, a.member, a.since, a.now, a.decide)
		switch {
		case errors.Is(err, errAgain):
		case errors.Is(err, live.ErrLook), errors.Is(err, live.ErrGone):
			a.drop()
		default:
			a.sharpen()
			return err
		}
	}
	return errMany
}

// errMany says that nothing was decided and that every node is to be looked at.
var errMany = errors.New("issuance: look at every node")

// pick takes the sight that there is, if it will do, and a node of it.
func (a *among) pick() {
	j := a.joint
	j.mu.Lock()
	defer j.mu.Unlock()
	a.sight, a.member = j.seen, -1
	if a.sight == nil || a.sight.stale(a.office.learned.news.Load(), a.now) {
		a.sight = nil
		return
	}
	if len(a.sight.stands) != 0 {
		a.member = a.sight.stands[0]
	}
}

func (a *among) drop() {
	a.joint.mu.Lock()
	defer a.joint.mu.Unlock()
	if a.joint.seen == a.sight {
		a.joint.seen = nil
	}
}

func (a *among) since() uint64 {
	a.joint.mu.Lock()
	defer a.joint.mu.Unlock()
	return a.sight.seq
}

// decide is grant.decide for many nodes. It runs under the index's locks.
func (a *among) decide(
	own, one live.Standing, changed []live.Touch, seq uint64,
) (int, error) {
	if subject.Barred(own.State) {
		return 0, refusal(own)
	}
	a.joint.mu.Lock()
	defer a.joint.mu.Unlock()
	s := a.sight
	t := taker{s, a.office, a.spread, a.now}
	for _, touch := range changed {
		t.take(touch.Member, touch.Standing)
		s.changed = true
	}
	s.seq = seq
	said := t.settle()
	switch {
	case a.joint.seen != s: // others have looked again
		return 0, errAgain
	case a.member < 0 && len(changed) != 0:
		// None was granted anything. Whether one is by now, or whether there is none that may not,
		// is for a look.
		a.joint.seen = nil
		return 0, errAgain
	}
	if a.member >= 0 && (!one.Grants() || !t.asks(a.member, one)) {
		s.stands = slices.DeleteFunc(s.stands, func(member int) bool { return member == a.member })
		if len(s.stands) == 0 {
			a.joint.seen = nil // none of those that are known: look for others
		}
		return 0, errAgain
	}
	if a.member < 0 {
		said.n = 0
	}
	a.said = said
	if err := a.rests(s.left, s.others); err != nil {
		return 0, err
	}
	return a.finish(s.group)
}

// look looks at all nodes, once for all who want to know, and reports whether it could.
func (a *among) look() bool {
	j := a.joint
	j.looking.Lock()
	defer j.looking.Unlock()
	if a.pick(); a.sight != nil {
		return true // somebody did
	}
	return a.see()
}

// see looks at all nodes. The lock for that is held, none of the index's.
func (a *among) see() bool {
	o, began := a.office, time.Now()
	news := o.learned.news.Load()
	nodes := o.learned.nodes(a.spread)
	group := o.config.Index.Group(nodes, a.now)
	if group == nil {
		return false
	}
	s := &sight{
		group: group, left: len(a.spread.banned) != 0, news: news, at: a.now,
	}
	t := taker{s, o, a.spread, a.now}
	var err error
	if s.seq, err = o.config.Index.Look(group, a.now, t.take); err != nil {
		return errors.Is(err, live.ErrGone)
	}
	s.took = time.Since(began)
	a.joint.mu.Lock()
	defer a.joint.mu.Unlock()
	a.joint.seen = s
	return true
}

// sharpen has all nodes looked at anew where that may say something better, while grants go on by what
// there is.
func (a *among) sharpen() {
	j := a.joint
	j.mu.Lock()
	dull := j.seen != nil && j.seen.dull(a.now)
	j.mu.Unlock()
	if !dull || !j.looking.TryLock() {
		return
	}
	next := &among{joint: j}
	next.grant = &grant{office: a.office, who: a.who, now: a.now, spread: a.spread}
	go func() {
		defer j.looking.Unlock()
		defer func() {
			if broken := recover(); broken != nil {
				next.office.config.Logger.Error("nodes are not looked at",
					"subject", attestd.Excerpt(string(next.who.id), 200), "err", broken)
			}
		}()
		next.see()
	}()
}
