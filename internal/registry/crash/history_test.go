package crash_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/registry/live"
	"github.com/attestd/attestd/internal/subject"
)

// publication is a commit as the index was told of it.
type publication struct {
	began    int64
	subjects []subject.Subject
	bars     []subject.BarWrite
}

// recorder passes publications on and keeps them: their order is that of the commits.
type recorder struct {
	*live.Index
	clock *atomic.Int64

	mu  sync.Mutex
	all []publication
}

func (r *recorder) Publish(subjects []subject.Subject, bars []subject.BarWrite) {
	r.mu.Lock()
	r.all = append(r.all, publication{
		r.clock.Add(1), slices.Clone(subjects), slices.Clone(bars),
	})
	r.mu.Unlock()
	r.Index.Publish(subjects, bars)
}

// seen is one answer of the index about a subject, between two moments.
type seen struct {
	id         subject.ID
	began, end int64
	standing   live.Standing
	// asked says that a grant was asked for, and not the state alone.
	asked, granted bool
}

// receipt is what was counted after a hold was acknowledged.
type receipt struct {
	id         subject.ID
	mark       string // of the hold, as in its text
	began, end int64  // of the count
	grants     int
}

// acknowledged is a write that was: its mark is the appraisal id of the subjects or the text of the bars
// that it left.
type acknowledged struct {
	mark string
	at   int64
}

// history is all that was seen in a run.
type history struct {
	publications []publication
	seen         []seen
	receipts     []receipt
	acknowledged []acknowledged
}

// view is what the sequential model has of a subject after a publication.
type view struct {
	began, acknowledged int64 // of the publication; acknowledged is 0 where it never was
	marks               []string
	row                 subject.Subject
	barred              bool
	state               attestd.State
}

// explains reports whether an answer agrees with the view. While a publication is carried out, a bar
// may be seen before the row that came with it, or after it: never less than the bar, and no grant.
func (v *view) explains(s seen, before *view) bool {
	grants := v.state == attestd.StateTrusted && !v.barred
	if s.standing.Generation == v.row.Generation && s.standing.State == v.state &&
		(s.standing.Barred != "") == v.barred && s.granted == (grants && s.asked) {
		return true
	}
	return !s.granted && s.standing.Barred != "" && (v.barred || before.barred) &&
		(s.standing.Generation == v.row.Generation || s.standing.Generation == before.row.Generation)
}

// model replays the publications one after another.
type model struct {
	rows  map[subject.ID]subject.Subject
	bars  map[subject.Key]subject.Bar
	views map[subject.ID][]*view
	acks  map[string]int64
}

// violations returns what of the history no order of one thing after another explains.
func (h history) violations() []string {
	m := model{
		rows: map[subject.ID]subject.Subject{}, bars: map[subject.Key]subject.Bar{},
		views: map[subject.ID][]*view{}, acks: map[string]int64{},
	}
	for _, one := range h.acknowledged {
		m.acks[one.mark] = one.at
	}
	var found []string
	marks := map[string]bool{}
	for _, one := range h.publications {
		found = append(found, m.apply(one, marks)...)
	}
	for _, one := range h.acknowledged {
		if !marks[one.mark] {
			found = append(found, "acknowledged and never published: "+one.mark)
		}
	}
	before := map[subject.ID]map[int]int{} // grants of a subject by the last view that explains them
	found = append(found, m.judge(h.seen, before)...)
	grants := map[subject.ID][]seen{}
	for _, one := range h.seen {
		if one.granted {
			grants[one.id] = append(grants[one.id], one)
		}
	}
	for _, one := range h.receipts {
		found = append(found, m.count(one, grants[one.id], before[one.id])...)
	}
	return found
}

func keysOf(one subject.Subject) []subject.Key {
	return []subject.Key{
		one.ID.Key(), {Kind: string(subject.BarInstance), Value: one.Instance.Value},
		{Kind: string(subject.BarBoot), Value: one.Boot}, {Kind: string(subject.BarHost), Value: one.Host},
	}
}

// apply takes up a publication and notes a view of each subject that it touches.
func (m *model) apply(p publication, marks map[string]bool) (found []string) {
	touched := map[subject.ID][]string{}
	barred := map[subject.ID]bool{}
	for _, bar := range p.bars {
		mark := ""
		if bar.Next == nil {
			delete(m.bars, bar.Key)
		} else {
			mark = bar.Next.Text
			m.bars[bar.Key] = *bar.Next
		}
		marks[mark] = true
		for id, row := range m.rows {
			if slices.Contains(keysOf(row), bar.Key) {
				touched[id], barred[id] = append(touched[id], mark), true
			}
		}
	}
	for _, row := range p.subjects {
		old := m.rows[row.ID]
		if row.Generation != old.Generation+1 {
			found = append(found, fmt.Sprintf("%s: generation %d after %d", row.ID, row.Generation, old.Generation))
		}
		if old.State == attestd.StateRevoked && row.State != attestd.StateRevoked {
			found = append(found, fmt.Sprintf("%s: %s after revoked", row.ID, row.State))
		}
		m.rows[row.ID] = row
		touched[row.ID] = append(touched[row.ID], row.AppraisalID)
		marks[row.AppraisalID] = true
	}
	for id, its := range touched {
		row := m.rows[id]
		one := &view{began: p.began, marks: its, row: row, state: row.State}
		for _, mark := range its {
			if at := m.acks[mark]; at != 0 && (one.acknowledged == 0 || at < one.acknowledged) {
				one.acknowledged = at
			}
		}
		for _, key := range keysOf(row) {
			if bar, held := m.bars[key]; held {
				one.state, one.barred = max(one.state, bar.State), true
			}
		}
		if row.State == attestd.StateTrusted && one.barred && !barred[id] {
			found = append(found, fmt.Sprintf("%s: trusted by a verdict while it is barred", id))
		}
		m.views[id] = append(m.views[id], one)
	}
	return found
}

// judge demands for each answer a view that explains it: one not older than what had been acknowledged
// when the question was asked, nor than what an earlier answer had seen, and none that began after the
// answer.
func (m *model) judge(all []seen, before map[subject.ID]map[int]int) (found []string) {
	slices.SortFunc(all, func(a, b seen) int { return int(a.began - b.began) })
	type ended struct {
		at   int64
		view int
	}
	floors := map[subject.ID]int{}
	waiting := map[subject.ID][]ended{}
	for _, one := range all {
		views := m.views[one.id]
		left := waiting[one.id][:0]
		for _, earlier := range waiting[one.id] {
			if earlier.at < one.began {
				floors[one.id] = max(floors[one.id], earlier.view)
			} else {
				left = append(left, earlier)
			}
		}
		from := floors[one.id]
		for i := len(views) - 1; i > from; i-- {
			if at := views[i].acknowledged; at != 0 && at < one.began {
				from = i
			}
		}
		first, last := -1, -1
		for i := from; i < len(views) && views[i].began < one.end; i++ {
			if views[i].explains(one, views[max(0, i-1)]) {
				if first < 0 {
					first = i
				}
				last = i
			}
		}
		if first < 0 {
			waiting[one.id] = left
			found = append(found, fmt.Sprintf("%s: asked at %d it was %s (generation %d), granted %t; "+
				"%s (generation %d) had been acknowledged", one.id, one.began, one.standing.State,
				one.standing.Generation, one.granted, views[from].state, views[from].row.Generation))
			continue
		}
		waiting[one.id] = append(left, ended{one.end, first})
		if one.granted {
			if before[one.id] == nil {
				before[one.id] = map[int]int{}
			}
			before[one.id][last]++
		}
	}
	return found
}

// count demands that a receipt has every grant that can only have been given before the hold, and none
// that was never given.
func (m *model) count(one receipt, grants []seen, before map[int]int) (found []string) {
	hold := slices.IndexFunc(m.views[one.id], func(v *view) bool { return slices.Contains(v.marks, one.mark) })
	least, most := 0, 0
	for last, n := range before {
		if last < hold {
			least += n
		}
	}
	for _, grant := range grants {
		if grant.began < one.end {
			most++
		}
	}
	if one.grants < least || one.grants > most {
		found = append(found, fmt.Sprintf("%s: the receipt of %s counts %d grants, want %d to %d",
			one.id, one.mark, one.grants, least, most))
	}
	return found
}
