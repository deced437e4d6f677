package measurements

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/attestd/attestd"
)

// ValueChange says what became of one value between two documents.
type ValueChange struct {
	// Name of the value.
	Name string
	// Before and After are nil for a value that was added, or removed.
	Before, After *Value
	// Registers that changed, were added or are gone, in the order of their names.
	Registers []RegisterChange
	// Rules and Events say that these differ; Lifecycle that state, canary or end do.
	Rules, Events, Lifecycle bool
}

// RegisterChange is one register of a value; a digest is nil where it was not named.
type RegisterChange struct {
	Name          string
	Before, After []byte
}

// KeyChange is a key that was added or removed. A key under another name is both.
type KeyChange struct {
	// Kind is "attestation" or "endorsement".
	Kind  string
	Key   Key
	Added bool
}

// Comparison is what differs between two documents.
type Comparison struct {
	// Head names what differs of name, version, format and bank, as in "version 2025.5 -> 2025.6".
	Head   []string
	Values []ValueChange
	Keys   []KeyChange
}

// Same reports whether nothing differs.
func (c Comparison) Same() bool { return len(c.Head)+len(c.Values)+len(c.Keys) == 0 }

// Widens reports whether something may match after that did not before: a value that matches was
// added or demands something else, state, share or end of one that matches changed and it was not
// active, or a key was added.
func (c Comparison) Widens() bool {
	for _, change := range c.Values {
		if after := change.After; after != nil && after.State.Matches() &&
			(change.Before == nil || len(change.Registers) > 0 || change.Rules ||
				change.Lifecycle && change.Before.State != StateActive) {
			return true
		}
	}
	return slices.ContainsFunc(c.Keys, func(k KeyChange) bool { return k.Added })
}

// Compare says what differs between two documents, values by their names: those of the second in
// their order, then those that are gone.
func Compare(before, after *Set) Comparison {
	var c Comparison
	for _, row := range []struct{ what, before, after string }{
		{"name", before.Name, after.Name}, {"version", before.Version, after.Version},
		{"format", string(before.Format), string(after.Format)}, {"bank", before.Bank, after.Bank},
	} {
		if row.before != row.after {
			c.Head = append(c.Head, fmt.Sprintf("%s %s -> %s", row.what, orNone(row.before), orNone(row.after)))
		}
	}
	for i := range after.Values {
		now := &after.Values[i]
		if change, differs := compareValues(valueOf(before, now.Name), now); differs {
			c.Values = append(c.Values, change)
		}
	}
	for i := range before.Values {
		if old := &before.Values[i]; valueOf(after, old.Name) == nil {
			change, _ := compareValues(old, nil)
			c.Values = append(c.Values, change)
		}
	}
	c.keys("attestation", before.AttestationKeys, after.AttestationKeys)
	c.keys("endorsement", before.EndorsementKeys, after.EndorsementKeys)
	return c
}

func orNone(text string) string {
	if text == "" {
		return "(none)"
	}
	return text
}

func valueOf(set *Set, name string) *Value {
	at := slices.IndexFunc(set.Values, func(v Value) bool { return v.Name == name })
	if at < 0 {
		return nil
	}
	return &set.Values[at]
}

func (c *Comparison) keys(kind string, before, after []Key) {
	for _, key := range after {
		if !slices.Contains(before, key) {
			c.Keys = append(c.Keys, KeyChange{Kind: kind, Key: key, Added: true})
		}
	}
	for _, key := range before {
		if !slices.Contains(after, key) {
			c.Keys = append(c.Keys, KeyChange{Kind: kind, Key: key})
		}
	}
}

// compareValues compares two values of one name; nil for one that is not there.
func compareValues(before, after *Value) (change ValueChange, differs bool) {
	change = ValueChange{Before: before, After: after}
	old, now := before, after
	if old == nil {
		old = &Value{}
	}
	if now == nil {
		now = &Value{}
	}
	if change.Name = now.Name; after == nil {
		change.Name = old.Name
	}
	for _, register := range now.Registers {
		was := digestOf(old.Registers, register.Name)
		if !bytes.Equal(was, register.Digest) {
			change.Registers = append(change.Registers, RegisterChange{register.Name, was, register.Digest})
		}
	}
	for _, register := range old.Registers {
		if digestOf(now.Registers, register.Name) == nil {
			change.Registers = append(change.Registers, RegisterChange{register.Name, register.Digest, nil})
		}
	}
	change.Rules = !bytes.Equal(appendRules(nil, old.Rules), appendRules(nil, now.Rules))
	change.Events = !slices.EqualFunc(old.Events, now.Events, func(a, b attestd.Event) bool {
		return a.Register == b.Register && a.Role == b.Role && bytes.Equal(a.Digest, b.Digest)
	})
	change.Lifecycle = !bytes.Equal(old.appendLifecycle(nil, ""), now.appendLifecycle(nil, ""))
	return change, before == nil || after == nil || len(change.Registers) > 0 || change.Rules ||
		change.Events || change.Lifecycle
}

func digestOf(registers []attestd.Register, name string) []byte {
	for _, register := range registers {
		if register.Name == name {
			return register.Digest
		}
	}
	return nil
}

// Lifecycle writes state, share and end of a value in one line, as in "canary 10% until
// 2026-12-31T18:00:00Z".
func (v *Value) Lifecycle() string {
	if v == nil {
		return "(none)"
	}
	text := v.State.String()
	if v.Canary != nil && v.Canary.Percent > 0 {
		text += fmt.Sprintf(" %d%%", v.Canary.Percent)
	}
	if v.Canary != nil && len(v.Canary.Handles) > 0 {
		text += fmt.Sprintf(" %d instance(s)", len(v.Canary.Handles))
	}
	if !v.Until.IsZero() {
		text += " until " + v.Until.UTC().Format(time.RFC3339)
	}
	return text
}
