package enrol_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/enrol"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

// memory keeps ownerships and tokens as a registry does, without a disk.
type memory struct {
	mu     sync.Mutex
	rows   map[subject.Key]subject.Ownership
	tokens map[string]subject.Token
	log    []audit.Record
	writes int
	// before runs once ahead of the next write, outside the lock; err fails every call.
	before func()
	err    error
}

func newMemory(rows ...subject.Ownership) *memory {
	made := &memory{rows: map[subject.Key]subject.Ownership{}, tokens: map[string]subject.Token{}}
	for _, row := range rows {
		row.Generation = max(row.Generation, 1)
		made.rows[row.Key] = row
	}
	return made
}

func (m *memory) Known(_ context.Context, ask subject.Ask) (known subject.Known, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range ask.Owners {
		if row, ok := m.rows[key]; ok {
			known.Owners = append(known.Owners, row)
		}
	}
	return known, m.err
}

func (m *memory) Ownerships(
	_ context.Context, filter subject.Filter,
) (page []subject.Ownership, next string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, row := range m.rows {
		sees := slices.Contains(filter.Tenants, operator.AllTenants) || slices.Contains(filter.Tenants, row.Tenant)
		if sees && (filter.Status == "" || filter.Status == row.Status) && key.String() > filter.After &&
			(strings.Contains(key.Value, filter.Text) || strings.Contains(row.Label, filter.Text)) {
			page = append(page, row)
		}
	}
	slices.SortFunc(page, func(a, b subject.Ownership) int {
		return strings.Compare(a.Key.String(), b.Key.String())
	})
	if len(page) > filter.Limit {
		page = page[:filter.Limit]
		next = page[filter.Limit-1].Key.String()
	}
	return page, next, m.err
}

func (m *memory) Token(_ context.Context, id string) (subject.Token, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	token, found := m.tokens[id]
	return token, found, m.err
}

func (m *memory) Write(_ context.Context, write subject.Write) error {
	m.mu.Lock()
	if before := m.before; before != nil {
		m.before = nil
		m.mu.Unlock()
		before()
		m.mu.Lock()
	}
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	for _, expect := range write.Owned {
		if m.rows[expect.Key].Generation != expect.Expect {
			return &subject.MovedError{What: expect.Key.String()}
		}
	}
	for _, owner := range write.Owners {
		if m.rows[owner.Key].Generation != owner.Expect {
			return &subject.MovedError{What: owner.Key.String()}
		}
	}
	if use := write.Token; use != nil {
		token, found := m.tokens[use.ID]
		if !found || token.Secret != use.Secret || !token.UsedAt.IsZero() {
			return &subject.MovedError{What: "token"}
		}
		token.UsedAt, token.UsedBy = clock, use.By.String()
		m.tokens[use.ID] = token
	}
	for _, owner := range write.Owners {
		if owner.Next == nil {
			delete(m.rows, owner.Key)
			continue
		}
		row := *owner.Next
		row.Generation = owner.Expect + 1
		m.rows[owner.Key] = row
	}
	if write.NewToken != nil {
		m.tokens[write.NewToken.ID] = *write.NewToken
	}
	if len(write.Audit) == 0 {
		return errors.New("a write without a record")
	}
	m.log = append(m.log, write.Audit...)
	m.writes++
	return nil
}

func (m *memory) row(key subject.Key) subject.Ownership {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rows[key]
}

func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.rows)
}

var clock = time.Date(2026, time.November, 23, 12, 0, 0, 0, time.UTC)

// bench is a desk with its store and a clock that a test moves.
type bench struct {
	*enrol.Desk
	store *memory
	now   time.Time
}

func newBench(t testing.TB, edit func(*enrol.Config), rows ...subject.Ownership) *bench {
	t.Helper()
	made := &bench{store: newMemory(rows...), now: clock}
	config := enrol.Config{
		Store: made.store, Now: func() time.Time { return made.now },
		Tenants: []string{"default", "blue"}, Rand: rand.New(rand.NewSource(1)), //nolint:gosec // a test
		Limits: enrol.Limits{PendingPerTenant: 5, PendingPerSource: 3, PendingKeep: time.Hour},
	}
	if edit != nil {
		edit(&config)
	}
	var err error
	if made.Desk, err = enrol.New(config); err != nil {
		t.Fatal(err)
	}
	return made
}

// root may do everything for every tenant; blue, for its own.
var (
	root = operator.Principal{
		Name: "root", Roles: []operator.Role{operator.Operator}, Tenants: []string{"*"}, Via: operator.ViaToken,
	}
	blue = operator.Principal{
		Name: "bea", Roles: []operator.Role{operator.Operator}, Tenants: []string{"blue"},
		Via: operator.ViaCertificate,
	}
	watcher = operator.Principal{
		Name: "vic", Roles: []operator.Role{operator.Viewer}, Tenants: []string{"*"}, Via: operator.ViaToken,
	}
)

// ek is the key of the machine with a number.
func ek(number int) subject.Key {
	return subject.Key{Kind: "instance", Value: fmt.Sprintf("ek:%064x", number+1)}
}

// approved is a row of a machine that is a tenant's.
func approved(key subject.Key, tenant string) subject.Ownership {
	return subject.Ownership{
		Key: key, Tenant: tenant, Method: subject.MethodInventory, Status: subject.StatusApproved,
		CreatedAt: clock, Generation: 3,
	}
}

// classOf returns the class of a refusal; "" for none.
func classOf(err error) attestd.Class {
	var caller *attestd.CallerError
	if errors.As(err, &caller) {
		if caller.Hint == "" {
			return "NO HINT"
		}
		return caller.Class
	}
	if err != nil {
		return "OTHER"
	}
	return ""
}
