package measurements

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/yamldoc"
)

// State of a reference value. The zero State is proposed, which matches nothing.
type State uint8

// States of a reference value, those that match in the order in which one is named before another.
const (
	// StateProposed values wait for somebody's decision. They match nothing.
	StateProposed State = iota
	// StateActive values match.
	StateActive
	// StateCanary values match for the machines that their Canary chooses, and for no other.
	StateCanary
	// StateRetiring values still match, and every match says that they are about to go.
	StateRetiring
	// StateRetired values match nothing. They stay in the document to say what was known once.
	StateRetired
)

var stateNames = [...]string{"proposed", "active", "canary", "retiring", "retired"}

// String returns "proposed", "active", "canary", "retiring" or "retired".
func (s State) String() string {
	if int(s) >= len(stateNames) {
		return fmt.Sprintf("invalid(%d)", s)
	}
	return stateNames[s]
}

// MarshalText implements [encoding.TextMarshaler].
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// ParseState returns the state of a name.
func ParseState(name string) (State, bool) {
	at := slices.Index(stateNames[:], name)
	return State(max(at, 0)), at >= 0 //nolint:gosec // index of an array of five
}

// Matches reports whether evidence may be measured against a value in this state: always, for some
// machines, or up to a time.
func (s State) Matches() bool {
	return s == StateActive || s == StateCanary || s == StateRetiring
}

// Canary says for whom a value in StateCanary matches: for machines that are named, and for a share
// of all others. Which ones these are follows from a hash over the names of set and value and the
// machine's handle, so that everybody who appraises chooses the same, a larger share has all machines
// of a smaller one, and another value tries other machines first.
type Canary struct {
	// Percent of machines, 0 to 99.
	Percent uint8
	// Handles of machines that are chosen in any case, as verified claims have them.
	Handles []attestd.Handle
}

// maxCanaryHandles bounds the machines that one canary names.
const maxCanaryHandles = 1024

// canaryKinds are the handles that a machine is chosen by, the first that it has. A boot is not among
// them: every restart would draw again.
var canaryKinds = [...]attestd.HandleKind{
	attestd.HandleInstance, attestd.HandleDevice, attestd.HandleHost,
}

// chooses reports whether the canary of a value is for the machine with the handles. One without
// any is not chosen.
func (c *Canary) chooses(set, value string, handles iter.Seq[attestd.Handle]) bool {
	if c == nil || handles == nil {
		return false
	}
	var best attestd.Handle
	rank := len(canaryKinds)
	for handle := range handles {
		if handle.Value == "" {
			continue
		}
		if slices.Contains(c.Handles, handle) {
			return true
		}
		if at := slices.Index(canaryKinds[:], handle.Kind); at >= 0 && at < rank {
			best, rank = handle, at
		}
	}
	return rank < len(canaryKinds) && bucket(set, value, best) < uint64(c.Percent)
}

// bucket returns a number below 100 that is the same wherever it is computed.
func bucket(set, value string, handle attestd.Handle) uint64 {
	text := []byte("attestd reference canary v1")
	for _, part := range []string{set, value, string(handle.Kind), handle.Value} {
		text = binary.BigEndian.AppendUint32(text, uint32(len(part))) //nolint:gosec // names are short
		text = append(text, part...)
	}
	sum := sha256.Sum256(text)
	return binary.BigEndian.Uint64(sum[:8]) % 100
}

// asker is who evidence is about, and when.
type asker struct {
	handles iter.Seq[attestd.Handle]
	at      time.Time
}

// refuses says why the value may not match for who asks, or nothing where it may.
func (p place) refuses(who asker) string {
	value := p.value
	switch {
	case value.State == StateProposed, value.State == StateRetired, !value.State.Matches():
		return value.State.String()
	case !value.Until.IsZero() && (who.at.IsZero() || !who.at.Before(value.Until)):
		return value.State.String() + " ended " + value.Until.UTC().Format(time.RFC3339)
	case value.State == StateCanary && !value.Canary.chooses(p.set.Name, value.Name, who.handles):
		return "canary, not for this machine"
	default:
		return ""
	}
}

// conditional reports whether there may be somebody for whom a value that matches does not.
func (v *Value) conditional() bool { return v.State == StateCanary || !v.Until.IsZero() }

// badLifecycle says what is wrong with state, canary and end together, or nothing.
func (v *Value) badLifecycle() string {
	switch {
	case int(v.State) >= len(stateNames):
		return "has no state that is known"
	case v.State == StateCanary && v.Canary == nil:
		return "is a canary for nobody: want canary with percent, instances or both"
	case v.State != StateCanary && v.Canary != nil:
		return "has canary, which only the state canary has"
	case !v.Until.IsZero() && v.State != StateCanary && v.State != StateRetiring:
		return "has until, which only the states canary and retiring have"
	case v.Canary == nil:
		return ""
	case v.Canary.Percent > 99:
		return "is a canary for all: want percent from 1 to 99, or the state active"
	case v.Canary.Percent == 0 && len(v.Canary.Handles) == 0:
		return "is a canary for nobody: want percent, instances or both"
	case len(v.Canary.Handles) > maxCanaryHandles:
		return fmt.Sprintf("names %d instances, want at most %d", len(v.Canary.Handles), maxCanaryHandles)
	}
	for i, handle := range v.Canary.Handles {
		if _, err := ParseHandle(HandleText(handle)); err != nil {
			return err.Error()
		}
		if slices.Contains(v.Canary.Handles[:i], handle) {
			return fmt.Sprintf("names %q twice", attestd.Excerpt(HandleText(handle), 80))
		}
	}
	return ""
}

// HandleText writes a handle as documents name it, as in "instance:i-0123".
func HandleText(handle attestd.Handle) string { return string(handle.Kind) + ":" + handle.Value }

// ParseHandle reads what HandleText wrote. Handles of one boot name no machine.
func ParseHandle(text string) (attestd.Handle, error) {
	kind, value, _ := strings.Cut(text, ":")
	handle := attestd.Handle{Kind: attestd.HandleKind(kind), Value: value}
	if !slices.Contains(canaryKinds[:], handle.Kind) || value == "" || len(value) > 256 ||
		!readable(value) || strings.ContainsAny(value, " \"\\") {
		return attestd.Handle{}, fmt.Errorf(
			"%q is no machine: want instance:, device: or host: and what `attestd inspect` shows as it",
			attestd.Excerpt(text, 60))
	}
	return handle, nil
}

// readLifecycle reads state, canary and until of a value.
func (v *Value) readLifecycle(node *yamldoc.Node, fields yamldoc.Fields) bool {
	name, ok := fields.Get("state").Text()
	if !ok {
		return false
	}
	if v.State, ok = ParseState(name); !ok {
		fields.Get("state").Problem("got %q, want one of: %s",
			attestd.Excerpt(name, 20), strings.Join(stateNames[:], ", "))
		return false
	}
	if at := fields.Get("until"); at != nil {
		text, given := at.Text()
		if !given {
			return false
		}
		until, err := time.Parse(time.RFC3339, text)
		if err != nil || until.Unix() <= 0 {
			at.Problem("got %q, want a time as in \"2026-12-31T18:00:00Z\"", attestd.Excerpt(text, 40))
			return false
		}
		v.Until = until.UTC()
	}
	if at := fields.Get("canary"); at != nil && !v.readCanary(at) {
		return false
	}
	if problem := v.badLifecycle(); problem != "" {
		node.Problem("%s", problem)
		return false
	}
	return true
}

func (v *Value) readCanary(node *yamldoc.Node) bool {
	fields, ok := node.Fields(nil, []string{"percent", "instances"})
	if !ok {
		return false
	}
	v.Canary = &Canary{}
	if at := fields.Get("percent"); at != nil {
		percent, given := at.Uint()
		if !given {
			return false
		}
		if percent < 1 || percent > 99 {
			at.Problem("got %d, want 1 to 99; for all machines, set `state: active`", percent)
			return false
		}
		v.Canary.Percent = uint8(percent)
	}
	at := fields.Get("instances")
	if at == nil {
		return true
	}
	items, ok := at.Items()
	for _, item := range items {
		text, given := item.Text()
		if !given {
			return false
		}
		handle, err := ParseHandle(text)
		if err != nil {
			item.Problem("%s", err)
			return false
		}
		v.Canary.Handles = append(v.Canary.Handles, handle)
	}
	return ok
}

// appendLifecycle writes state, canary and until as they stand in a value, behind the indent.
func (v *Value) appendLifecycle(out []byte, indent string) []byte {
	out = fmt.Appendf(out, "%sstate: %s\n", indent, v.State)
	if v.Canary != nil {
		out = fmt.Appendf(out, "%scanary:\n", indent)
		if v.Canary.Percent > 0 {
			out = fmt.Appendf(out, "%s  percent: %d\n", indent, v.Canary.Percent)
		}
		if len(v.Canary.Handles) > 0 {
			out = fmt.Appendf(out, "%s  instances:\n", indent)
		}
		for _, handle := range v.Canary.Handles {
			out = fmt.Appendf(out, "%s    - %q\n", indent, HandleText(handle))
		}
	}
	if !v.Until.IsZero() {
		out = fmt.Appendf(out, "%suntil: %q\n", indent, v.Until.UTC().Format(time.RFC3339))
	}
	return out
}
