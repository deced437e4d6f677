package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/issuance"
	"github.com/attestd/attestd/internal/subject"
)

// handed is the file that says until when composers can issue by what this attestd, or one before
// it, handed out to them: a hold that is acknowledged before then says so, also after a restart.
type handed struct{ path string }

func handedIn(stateDir string) handed { return handed{filepath.Join(stateDir, "composers-until")} }

// until is what the file says, at now: zero where nothing was handed out, and never beyond the life
// of what could have been. A file that cannot be read says that much.
func (h handed) until(now time.Time) time.Time {
	most := now.Add(issuance.HoldoverLife)
	content, err := os.ReadFile(h.path)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}
	}
	end, parseErr := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(content)))
	if err != nil || parseErr != nil || end.After(most) {
		return most
	}
	return end
}

// note replaces the file, durably.
func (h handed) note(until time.Time) error {
	fresh, err := os.CreateTemp(filepath.Dir(h.path), ".composers-*") // mode 0600
	if err != nil {
		return fmt.Errorf("composers: %w", err)
	}
	defer func() { _ = os.Remove(fresh.Name()) }()
	_, err = fresh.WriteString(until.UTC().Format(time.RFC3339Nano) + "\n")
	if err = errors.Join(err, fresh.Sync(), fresh.Close()); err != nil {
		return fmt.Errorf("composers: %w", err)
	}
	if err := os.Rename(fresh.Name(), h.path); err != nil {
		return fmt.Errorf("composers: %w", err)
	}
	folder, err := os.Open(filepath.Dir(h.path))
	if err != nil {
		return fmt.Errorf("composers: %w", err)
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// degraded says how composers go on without attestd: not at all, unless the configuration says so.
func degraded(settings config.Config) *issuance.Degraded {
	if settings.SPIRE.Degraded != config.DegradedSnapshot {
		return nil
	}
	return &issuance.Degraded{Handed: handedIn(settings.StateDir).note}
}

// heldOver says until when a composer that does not reach attestd can issue to the id, or to what
// runs on it; a time that has passed, or none, where it cannot.
func (s *spire) heldOver(id subject.ID) time.Time {
	return latest(s.handedBefore, s.office.HeldOver(id))
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
