package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// A ring that is put back to an older copy has keys as good ones that were withdrawn since, and would
// publish them again. So their ids stand in a record outside of its folder, one a line, for good.

// restored is the reason that such a key has in the ring.
const restored = "it was withdrawn before; an older ring was put back"

// readWithdrawn reads the record. There is none before the first withdrawal.
//
// Errors: a [*attestd.CallerError] of class CONFIG where it is not what a ring wrote.
func readWithdrawn(path string) (ids []string, err error) {
	if path == "" {
		return nil, nil
	}
	const hint = "put the file back from a backup; without it a restored ring publishes keys that were withdrawn"
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unfit(hint, "record of withdrawn keys: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxState {
		return nil, unfit(hint, "the record of withdrawn keys is no file of at most %d bytes", maxState)
	}
	document, err := os.ReadFile(path) //nolint:gosec // a place that the configuration names
	if err != nil {
		return nil, unfit(hint, "record of withdrawn keys: %w", err)
	}
	for line := range strings.Lines(string(document)) {
		id, whole := strings.CutSuffix(line, "\n")
		if !whole || !isKeyID(id) {
			return nil, unfit(hint, "the record of withdrawn keys has a line that is no id of a key")
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// withdrawRecorded withdraws the keys of a ring that the record has.
func (r *Ring) withdrawRecorded(keys []Key, ids []string) {
	now := r.now()
	for i := range keys {
		if keys[i].State != StateWithdrawn && slices.Contains(ids, keys[i].ID) {
			keys[i].State, keys[i].EndedAt, keys[i].PublishedUntil = StateWithdrawn, now, now
			keys[i].Reason = restored
		}
	}
}

// recordWithdrawn adds the withdrawn keys of the ring that are not in the record yet.
func (r *Ring) recordWithdrawn() error {
	path := r.config.Withdrawn
	if path == "" {
		return nil
	}
	ids, err := readWithdrawn(path)
	if err != nil {
		return err
	}
	known := len(ids)
	for _, key := range r.List() {
		if key.State == StateWithdrawn && !slices.Contains(ids, key.ID) {
			ids = append(ids, key.ID)
		}
	}
	if len(ids) == known {
		return nil
	}
	if err := writeWhole(path, []byte(strings.Join(ids, "\n")+"\n")); err != nil {
		return fmt.Errorf("record of withdrawn keys: %w", err)
	}
	return nil
}
