package keys

import (
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// State of a key. The zero State is none, and neither signs nor is published.
type State string

// States, in the order in which a key has them. A key can be withdrawn in any of them.
const (
	// StateNext is published and does not sign yet.
	StateNext State = "next"
	// StateActive signs.
	StateActive State = "active"
	// StateRetiring is published until everything that it signed has ended. Its private half is gone.
	StateRetiring State = "retiring"
	// StateRetired is published no more; nothing that it signed is in force.
	StateRetired State = "retired"
	// StateWithdrawn is published no more, whatever it signed.
	StateWithdrawn State = "withdrawn"
)

// Key is one key of a ring, without its private half.
type Key struct {
	ID    string `json:"kid"`
	State State  `json:"state"`
	// X and Y are its coordinates in base64url, as a JWK has them.
	X string `json:"x"`
	Y string `json:"y"`
	// PublishedAt is when it came into the published set, ActiveAt when it began to sign, EndedAt when
	// it ceased to; zero for not yet.
	PublishedAt time.Time `json:"published_at"`
	ActiveAt    time.Time `json:"active_at,omitzero"`
	EndedAt     time.Time `json:"ended_at,omitzero"`
	// PublishedUntil is when it leaves the published set; zero for not known yet.
	PublishedUntil time.Time `json:"published_until,omitzero"`
	// Reason that it was withdrawn for, in an operator's words.
	Reason string `json:"reason,omitempty"`
}

func (k Key) public() (*ecdsa.PublicKey, error) {
	public, err := publicOf(k.X, k.Y)
	if err != nil {
		return nil, err
	}
	if id, err := KeyID(public); err != nil || id != k.ID {
		return nil, errors.New("its coordinates are another key's")
	}
	return public, nil
}

const (
	stateSchema = "attestd.keys.v1"
	stateFile   = "ring.json"
	// maxState bounds the file; maxEnded how many keys that are published no more it remembers.
	maxState = 1 << 20
	maxEnded = 32
)

// stored is the file of a ring.
type stored struct {
	Schema  string  `json:"schema"`
	Purpose Purpose `json:"purpose"`
	Keys    []Key   `json:"keys"`
}

// readState reads the file of a ring, and reports whether there is one.
//
// Errors: a [*attestd.CallerError] of class CONFIG where it is not what a ring wrote.
func readState(path string, purpose Purpose) (keys []Key, found bool, err error) {
	const hint = "put the file back from a backup"
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("ring of keys: %w", err)
	}
	if open := info.Mode().Perm() & 0o077; open != 0 || !info.Mode().IsRegular() {
		return nil, false, unfit("chmod 600 "+path, "the ring of keys has mode %s, want a file with 0600",
			info.Mode())
	}
	if info.Size() > maxState {
		return nil, false, unfit(hint, "the ring of keys has %d bytes, want at most %d", info.Size(), maxState)
	}
	document, err := os.ReadFile(path)
	if err != nil {
		return nil, false, fmt.Errorf("ring of keys: %w", err)
	}
	var read stored
	if err := strict.DecodeJSON(document, strict.JSONLimits{Bytes: maxState, Depth: 3}, &read); err != nil {
		return nil, false, unfit(hint, "ring of keys: %w", err)
	}
	if read.Schema != stateSchema || read.Purpose != purpose {
		return nil, false, unfit(hint, "ring of keys: schema %q for %q, want %s for %s",
			attestd.Excerpt(read.Schema, 40), attestd.Excerpt(string(read.Purpose), 40), stateSchema, purpose)
	}
	if err := checkKeys(read.Keys); err != nil {
		return nil, false, unfit(hint, "ring of keys: %w", err)
	}
	return read.Keys, true, nil
}

// checkKeys demands that keys are whole, each there once, and that at most one signs and one is next.
func checkKeys(keys []Key) error {
	seen := map[string]bool{}
	count := map[State]int{}
	for _, key := range keys {
		switch key.State {
		case StateNext, StateActive, StateRetiring, StateRetired, StateWithdrawn:
		default:
			return fmt.Errorf("a key has the state %q", attestd.Excerpt(string(key.State), 20))
		}
		if _, err := key.public(); err != nil {
			return fmt.Errorf("key %s: %w", attestd.Excerpt(key.ID, 50), err)
		}
		if key.State == StateRetiring && key.PublishedUntil.IsZero() {
			return fmt.Errorf("key %s is retiring, and nothing says until when", key.ID)
		}
		if seen[key.ID] {
			return fmt.Errorf("key %s is there twice", key.ID)
		}
		seen[key.ID] = true
		count[key.State]++
	}
	if count[StateActive] > 1 || count[StateNext] > 1 {
		return errors.New("more than one key signs, or is next")
	}
	return nil
}

func writeState(path string, purpose Purpose, keys []Key) error {
	document, err := json.MarshalIndent(stored{stateSchema, purpose, keys}, "", "  ")
	if err != nil {
		return fmt.Errorf("ring of keys: %w", err)
	}
	if err := writeWhole(path, append(document, '\n')); err != nil {
		return fmt.Errorf("ring of keys: %w", err)
	}
	return nil
}
