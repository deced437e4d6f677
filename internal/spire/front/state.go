package front

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/internal/spire/wire"
)

// maxState bounds the file of the controller's state: as many bans and holds as there can be agents.
const maxState = 32 << 20

// stateFile keeps what the controller must know after a restart: which bans in SPIRE are attestd's own.
// A file that cannot be read is never taken for an empty one: the controller would take its own bans
// for a person's, and never lift them, or the other way round.
type stateFile struct {
	path string
	mu   sync.Mutex
}

func (f *stateFile) read() (state wire.ControllerState, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return wire.ControllerState{}, nil
	}
	if err != nil {
		return state, undecided("the controller's state", err)
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxState+1))
	if err == nil && len(content) > maxState {
		err = fmt.Errorf("%s is longer than %d bytes", filepath.Base(f.path), maxState)
	}
	if err == nil {
		err = link.Decode(content, &state)
	}
	if err != nil {
		return wire.ControllerState{}, undecided("the controller's state", err)
	}
	return state, nil
}

// write replaces the file, as a whole and durably or not at all.
func (f *stateFile) write(state wire.ControllerState) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	state.Bans, state.Holds = slices.Clone(state.Bans), slices.Clone(state.Holds)
	slices.Sort(state.Bans)
	slices.Sort(state.Holds)
	content, err := json.Marshal(state)
	if err != nil || len(content) > maxState {
		return malformed("a controller's state of %d bytes, want at most %d", len(content), maxState)
	}
	if err := replace(f.path, content); err != nil {
		return undecided("a durable record of the controller's state", err)
	}
	return nil
}

func replace(path string, content []byte) error {
	fresh, err := os.CreateTemp(filepath.Dir(path), ".controller-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(fresh.Name()) }()
	_, err = fresh.Write(content)
	if err = errors.Join(err, fresh.Sync(), fresh.Close()); err != nil {
		return err
	}
	if err := os.Rename(fresh.Name(), path); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
