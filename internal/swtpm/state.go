package swtpm

import (
	"fmt"
	"os"
	"path/filepath"
)

// Snapshot is what a TPM's state folder held at one moment: the seeds, the persistent keys, the NV
// area and the counters.
type Snapshot struct {
	files map[string][]byte
}

// Snapshot copies the state. A TPM that is on has written all that outlives a power cut.
func (t *TPM) Snapshot() (Snapshot, error) {
	entries, err := os.ReadDir(t.state)
	if err != nil {
		return Snapshot{}, err
	}
	files := map[string][]byte{}
	for _, entry := range entries {
		if entry.Name() == ".lock" {
			continue
		}
		data, err := os.ReadFile(filepath.Join(t.state, entry.Name()))
		if err != nil {
			return Snapshot{}, err
		}
		files[entry.Name()] = data
	}
	return Snapshot{files: files}, nil
}

// Restore puts the TPM back to a snapshot, as who restores a virtual machine does. It must be off.
func (t *TPM) Restore(past Snapshot) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.process != nil {
		return fmt.Errorf("TPM %s is on: stop it first", t.name)
	}
	if err := os.RemoveAll(t.state); err != nil {
		return err
	}
	return past.write(t.state)
}

// Clone makes a second TPM with the same state: the same keys under the same certificates, which no
// hardware can do. The clone is off.
func (t *TPM) Clone(name string) (*TPM, error) {
	past, err := t.Snapshot()
	if err != nil {
		return nil, err
	}
	clone, err := t.ca.place(name)
	if err != nil {
		return nil, err
	}
	if err := clone.Restore(past); err != nil {
		return nil, fmt.Errorf("clone of %s: %w", t.name, err)
	}
	return clone, nil
}

func (s Snapshot) write(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, data := range s.files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}
