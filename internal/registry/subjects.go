package registry

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/subject"
)

const (
	subjectColumns = `fold, id, tenant, format, instance, boot, host, ownership, state, generation,
		epoch, floor, signals, appraisal_id, evidence, key, first_seen_at, evidence_at, changed_at,
		due_at, bad, good, trail`
	selectSubject = `SELECT ` + subjectColumns + ` FROM subjects `
	insertSubject = `INSERT INTO subjects (` + subjectColumns + `, risk)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (fold) DO NOTHING`
	// The spelling of an id stays what it was first: another one is the same subject.
	updateSubject = `UPDATE subjects SET tenant = ?3, format = ?4, instance = ?5, boot = ?6, host = ?7,
		ownership = ?8, state = ?9, generation = ?10, epoch = ?11, floor = ?12, signals = ?13,
		appraisal_id = ?14, evidence = ?15, key = ?16, first_seen_at = ?17, evidence_at = ?18,
		changed_at = ?19, due_at = ?20, bad = ?21, good = ?22, trail = ?23, risk = ?24
		WHERE fold = ?1 AND generation = ?10 - 1 AND ?2 IS ?2`
	lookAtSubject = `SELECT generation, state FROM subjects WHERE fold = ?`
)

// latest is the latest time that can be stored. Later ones are stored as it: "until 9999" is for ever, and
// counting its nanoseconds would come out in the past.
var latest = time.Unix(0, math.MaxInt64)

// stamp returns a time as it is stored, 0 for none.
func stamp(at time.Time) int64 {
	switch {
	case at.IsZero():
		return 0
	case at.After(latest):
		return math.MaxInt64
	}
	return at.UnixNano()
}

// moment is the way back.
func moment(stored int64) time.Time {
	if stored == 0 {
		return time.Time{}
	}
	return time.Unix(0, stored).UTC()
}

// digestOf returns a digest as it is stored, NULL for none.
func digestOf(sum [32]byte) any {
	if sum == [32]byte{} {
		return nil
	}
	return sum[:]
}

// argumentsOf returns a subject as its columns, and its risk as of now: what a list selects by. A signal
// that ended since is in it until the next write.
func argumentsOf(one subject.Subject, now time.Time) ([]any, error) {
	risk, _ := one.RiskAt(now)
	var signals, id any
	if len(one.Signals) > 0 {
		encoded, err := json.Marshal(one.Signals)
		if err != nil {
			return nil, err
		}
		signals = string(encoded)
	}
	trail, err := json.Marshal(one.Trail)
	if err != nil {
		return nil, err
	}
	fold := one.ID.Fold()
	if fold != string(one.ID) {
		id = string(one.ID)
	}
	return []any{
		fold, id, one.Tenant, string(one.Format), one.Instance.Value, one.Boot, one.Host,
		string(one.Ownership), int64(one.State), int64(one.Generation), //nolint:gosec // counts up from 1
		int64(one.Epoch), one.Floor.Int(), signals, one.AppraisalID, //nolint:gosec // counts up from 0
		digestOf(one.Evidence), digestOf(one.Key), stamp(one.FirstSeenAt), stamp(one.EvidenceAt),
		stamp(one.ChangedAt), stamp(one.DueAt), one.Bad, one.Good, string(trail), risk.Int(),
	}, nil
}

// scanner is a row, or rows.
type scanner interface{ Scan(into ...any) error }

func scanSubject(row scanner) (subject.Subject, error) {
	var one subject.Subject
	var fold string
	var id, signals sql.NullString
	var trail string
	var floor int
	var first, at, changed, due int64
	var evidenceBytes, keyBytes []byte
	err := row.Scan(&fold, &id, &one.Tenant, &one.Format, &one.Instance.Value, &one.Boot, &one.Host,
		&one.Ownership, &one.State, &one.Generation, &one.Epoch, &floor, &signals, &one.AppraisalID,
		&evidenceBytes, &keyBytes, &first, &at, &changed, &due, &one.Bad, &one.Good, &trail)
	if err != nil {
		return subject.Subject{}, err
	}
	one.ID = subject.ID(fold)
	if id.Valid {
		one.ID = subject.ID(id.String)
	}
	if one.Instance.Value != "" {
		one.Instance.Kind = attestd.HandleInstance
	}
	one.Floor = attestd.Risk(floor)
	if err := readSignals(&one, signals); err != nil {
		return subject.Subject{}, err
	}
	if err := json.Unmarshal([]byte(trail), &one.Trail); err != nil {
		return subject.Subject{}, fmt.Errorf("trail of a subject: %w", err)
	}
	copy(one.Evidence[:], evidenceBytes)
	copy(one.Key[:], keyBytes)
	one.FirstSeenAt, one.EvidenceAt = moment(first), moment(at)
	one.ChangedAt, one.DueAt = moment(changed), moment(due)
	return one, nil
}

func readSignals(one *subject.Subject, signals sql.NullString) error {
	if !signals.Valid {
		return nil
	}
	if err := json.Unmarshal([]byte(signals.String), &one.Signals); err != nil {
		return fmt.Errorf("signals of a subject: %w", err)
	}
	return nil
}

// Subject returns the subject of that id in whatever case, and whether there is one.
func (s *Store) Subject(ctx context.Context, id subject.ID) (subject.Subject, bool, error) {
	one, err := scanSubject(s.reading.QueryRowContext(ctx, selectSubject+"WHERE fold = ?", id.Fold()))
	if errors.Is(err, sql.ErrNoRows) {
		return subject.Subject{}, false, nil
	}
	if err != nil {
		return subject.Subject{}, false, unavailable(ctx, err)
	}
	return one, true, nil
}

// Subjects returns the page of subjects that the filter selects, in the order of their ids without
// case, and After of the next page, empty at the end.
func (s *Store) Subjects(
	ctx context.Context, filter subject.Filter,
) (list []subject.Subject, next string, err error) {
	query, err := selectBy(filter)
	if err != nil {
		return nil, "", err
	}
	query.states("state", filter.State)
	query.tiers(filter.Tier)
	query.equal("format", string(filter.Format))
	query.equal("host", filter.Host)
	query.part([]string{"fold"}, filter.Text)
	if !filter.Overdue.IsZero() {
		query.and("due_at <> 0 AND due_at < ?", stamp(filter.Overdue))
	}
	if filter.Signalled {
		query.and("signals IS NOT NULL")
	}
	if filter.After != "" {
		query.and("fold > ?", subject.ID(filter.After).Fold())
	}
	list, err = listOf(ctx, s.reading, query, selectSubject, "fold", scanSubject)
	if err == nil && len(list) > filter.Limit {
		list = list[:filter.Limit]
		next = list[len(list)-1].ID.Fold()
	}
	return list, next, err
}

// Find returns the subjects of the tenants whose id or instance begins with prefix, at most two: one
// is found, two are not told apart. An id or instance that is exactly prefix is found alone.
func (s *Store) Find(ctx context.Context, tenants []string, prefix string) ([]subject.Subject, error) {
	query, err := selectBy(subject.Filter{Tenants: tenants, Text: prefix, Limit: 1})
	if err != nil {
		return nil, err
	}
	if prefix == "" {
		return nil, malformed("an empty prefix names nothing")
	}
	fold := subject.ID(prefix).Fold()
	exact := *query
	is, begins := "fold = ?", "fold >= ? AND fold < ?"
	isAny, beginsAny := []any{fold}, []any{fold, fold + lastRune}
	for _, instance := range spellings(prefix) {
		is += " OR instance = ? AND instance <> ''"
		begins += " OR instance >= ? AND instance < ? AND instance <> ''"
		isAny, beginsAny = append(isAny, instance), append(beginsAny, instance, instance+lastRune)
	}
	exact.and(is, isAny...)
	list, err := listOf(ctx, s.reading, &exact, selectSubject, "fold", scanSubject)
	if err != nil || len(list) > 0 {
		return list, err
	}
	query.and(begins, beginsAny...)
	return listOf(ctx, s.reading, query, selectSubject, "fold", scanSubject)
}

// spellings returns what an instance that is named by prefix can begin with: as it is, with the digits
// of an endorsement key or of a UUID in lower case, and with an endorsement key's scheme, which the name
// of its agent leaves out.
func spellings(prefix string) []string {
	list := []string{prefix}
	folded := strings.ToLower(prefix)
	for _, one := range []string{subject.FoldHardware(subject.BarInstance, prefix), "ek:" + folded} {
		if !slices.Contains(list, one) {
			list = append(list, one)
		}
	}
	return list
}

// lastRune sorts behind everything that an id or a handle can go on with.
const lastRune = "\U0010FFFF"

// CountHost returns how many subjects gave their latest accepted evidence from that host.
func (s *Store) CountHost(ctx context.Context, host string) (n int, err error) {
	if host == "" {
		return 0, nil
	}
	err = s.reading.QueryRowContext(ctx,
		"SELECT count(*) FROM subjects WHERE host = ? AND host <> ''", host).Scan(&n)
	return n, unavailable(ctx, err)
}
