package registry_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/audit"
	"github.com/attestd/attestd/internal/challenge"
	"github.com/attestd/attestd/internal/operator"
	"github.com/attestd/attestd/internal/subject"
)

// neg: 179
func TestAReadWhoseDatabaseFailsAnywhereIsNoAnswer(t *testing.T) {
	b := newBench(t)
	ctx := context.Background()
	b.run = 1
	b.write(b.everyKind())
	b.need(b.store.Keep(ctx, accepted(2, 2, 0, b.store.Now())))
	b.need(b.store.Audit(ctx, append(make([]audit.Record, 0, 300), repeat(record(b.store)[0], 300)...)))
	seen := shows("default", challenge.Credential{AKName: keyName(1), EK: ekOf(1)}, stateAt(1, 1), nil)
	b.need(b.store.InsertAppraisal(ctx, seen))
	b.need(b.store.PutOperator(ctx, operator.Change{
		Next: operator.Record{Name: "ines"}, At: b.store.Now(), Actor: "attestd", Action: "operator.add",
	}))
	b.need(b.store.Pulse(ctx))
	id, all := agentOf(10001), everything()
	laid := subject.Key{Kind: "laid", Value: "laid1"}
	taken := subject.Key{Kind: "relied", Value: "relied1"}
	for name, read := range map[string]func() (shown any, there bool, err error){
		"subject": func() (any, bool, error) { one, found, err := b.store.Subject(ctx, id); return one, found, err },
		"subjects": func() (any, bool, error) {
			list, _, err := b.store.Subjects(ctx, all)
			return list, len(list) > 0, err
		},
		"find": func() (any, bool, error) {
			list, err := b.store.Find(ctx, []string{"default"}, string(id)[:len(id)-2])
			return list, len(list) > 0, err
		},
		"host": func() (any, bool, error) { n, err := b.store.CountHost(ctx, "h"); return n, err == nil, err },
		"history": func() (any, bool, error) {
			list, err := b.store.History(ctx, id, 0, 10)
			return list, len(list) > 0, err
		},
		"bars": func() (any, bool, error) { list, _, err := b.store.Bars(ctx, all); return list, len(list) > 0, err },
		"ownerships": func() (any, bool, error) {
			list, _, err := b.store.Ownerships(ctx, all)
			return list, len(list) > 0, err
		},
		"token": func() (any, bool, error) { one, found, err := b.store.Token(ctx, "new1"); return one, found, err },
		"stored": func() (any, bool, error) {
			list, _, err := b.store.Stored(ctx, []string{"default"}, "", 10)
			return list, len(list) > 0, err
		},
		"leaves": func() (any, bool, error) {
			list, err := b.store.AuditLeaves(ctx, 0, 3)
			return list, len(list) > 0, err
		},
		"tile": func() (any, bool, error) {
			hashes, err := b.store.AuditTile(ctx, 0, 0)
			return hashes, len(hashes) > 0, err
		},
		"entries": func() (any, bool, error) {
			list, _, err := b.store.AuditEntries(ctx, 0, 3)
			return list, len(list) > 0, err
		},
		"operator": func() (any, bool, error) { one, found, err := b.store.Operator(ctx, "ines"); return one, found, err },
		"operators": func() (any, bool, error) {
			list, err := b.store.Operators(ctx)
			return list, len(list) > 0, err
		},
		"known by its name": func() (any, bool, error) {
			known, err := b.store.Known(ctx, subject.Ask{
				ID: id, Bars: []subject.Key{laid}, Owners: []subject.Key{taken},
			})
			return known, known.Subject != nil && len(known.Bars)*len(known.Owners) == 1, err
		},
		"known by its machine": func() (any, bool, error) {
			known, err := b.store.Known(ctx, subject.Ask{
				ID:       "spiffe://example.org/agent/other",
				Instance: attestd.Handle{Kind: attestd.HandleInstance, Value: fmt.Sprintf("%064x", 10001)},
			})
			return known, known.Subject != nil, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			inner := *b
			inner.T = t
			inner.fails(false, func() func() error {
				return func() error {
					shown, there, err := read()
					if (err == nil) != there {
						return fmt.Errorf("got %v with %v", shown, err)
					}
					return unknown(err)
				}
			})
		})
	}
	for name, read := range map[string]func() (bool, error){
		"appraisal": func() (bool, error) { _, found, err := b.store.Appraisal(ctx, seen.ID); return found, err },
		"key":       func() (bool, error) { return b.store.KnowsKey(ctx, "default", keyName(1), ekOf(1)) },
	} {
		b.fails(false, func() func() error {
			return func() error {
				found, err := read()
				if (err == nil) != found {
					return fmt.Errorf("%s: got %t with %v", name, found, err)
				}
				return err
			}
		})
	}
}

func repeat[T any](one T, times int) (list []T) {
	for range times {
		list = append(list, one)
	}
	return list
}
