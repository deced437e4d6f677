package daemon_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	adminwire "github.com/attestd/attestd/internal/admin/wire"
	"github.com/attestd/attestd/internal/config"
	"github.com/attestd/attestd/internal/daemon"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/subject"
)

// TestWithStrictNoComposerIsHandedAnything: it is what there is where nothing is configured, and
// leaves no trace.
func TestWithStrictNoComposerIsHandedAnything(t *testing.T) {
	for degraded, off := range map[string]bool{
		"": true, config.DegradedStrict: true, config.DegradedSnapshot: false,
	} {
		settings := withSPIRE(t)
		if degraded != "" {
			settings.SPIRE.Degraded = degraded
		}
		r := start(t, settings)
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		var answer wire.HoldoverAnswer
		err := plugin(t, settings).Call(ctx, wire.MethodHoldover, wire.HoldoverRequest{}, &answer)
		stop()
		if err != nil || answer.Off != off || (len(answer.Signed.Payload) == 0) != off ||
			(len(answer.Key) == 0) != off {
			t.Errorf("%q: got %+v, %v", degraded, answer, err)
		}
		r.end()
		_, err = os.Stat(filepath.Join(settings.StateDir, "composers-until"))
		if os.IsNotExist(err) != off {
			t.Errorf("%q: until when composers can go on: %v", degraded, err)
		}
	}
}

// TestWhatComposersWereHandedIsKnownAfterARestart, and never for longer than it can be in force.
func TestWhatComposersWereHandedIsKnownAfterARestart(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	folder := t.TempDir()
	if got := daemon.HandedUntil(folder, now); !got.IsZero() {
		t.Errorf("nothing was handed out, and it goes on until %s", got)
	}
	if err := daemon.NoteHanded(folder, now.Add(42*time.Second)); err != nil {
		t.Fatal(err)
	}
	if got := daemon.HandedUntil(folder, now); !got.Equal(now.Add(42 * time.Second)) {
		t.Errorf("until %s", got)
	}
	// The clock was set back since, or the file is not what was written: as long as can be.
	most := now.Add(-time.Hour).Add(time.Minute)
	if got := daemon.HandedUntil(folder, now.Add(-time.Hour)); !got.Equal(most) {
		t.Errorf("until %s, want %s", got, most)
	}
	path := filepath.Join(folder, "composers-until")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info, err)
	}
	if err := os.WriteFile(path, []byte("?"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := daemon.HandedUntil(folder, now); !got.Equal(now.Add(time.Minute)) {
		t.Errorf("until %s", got)
	}
	if err := daemon.NoteHanded(filepath.Join(folder, "gone"), now); err == nil ||
		!strings.Contains(err.Error(), "composers") {
		t.Errorf("what cannot be written: %v", err)
	}
}

// TestAReceiptSaysUntilWhenComposersCanGoOn: of what it holds, and while they can.
func TestAReceiptSaysUntilWhenComposersCanGoOn(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	const one, two = subject.ID("spiffe://example.org/a"), subject.ID("spiffe://example.org/b")
	ends := map[subject.ID]time.Time{one: now.Add(20 * time.Second), two: now.Add(40 * time.Second)}
	by := func(action string, ids ...subject.ID) adminwire.Receipt {
		receipt := adminwire.Receipt{Action: action}
		for _, id := range ids {
			receipt.Subjects = append(receipt.Subjects,
				adminwire.Changed{ID: id, To: attestd.StateQuarantined})
		}
		return receipt
	}
	barred := by("quarantine")
	barred.Bars = []string{"boot:x", "subject:" + string(one)}
	for name, row := range map[string]struct {
		receipt adminwire.Receipt
		at      time.Time
		want    string
	}{
		"one":           {by("quarantine", one), now, "2026-05-04T03:02:21Z"},
		"the later":     {by("revoke", one, two), now, "2026-05-04T03:02:41Z"},
		"a bar alone":   {barred, now, "2026-05-04T03:02:21Z"},
		"after its end": {by("quarantine", one), now.Add(20 * time.Second), ""},
		"somebody else": {by("quarantine", "spiffe://example.org/c"), now, ""},
		"a release":     {by("release", one), now, ""},
	} {
		got := daemon.Composers(row.receipt, row.at, ends)
		switch {
		case row.want == "":
			if len(got) != 0 {
				t.Errorf("%s: got %+v", name, got)
			}
		case len(got) != 1 || got[0].Name != "spire-composers" || got[0].State != "pending" ||
			!strings.HasSuffix(got[0].Detail, row.want):
			t.Errorf("%s: got %+v, want %s", name, got, row.want)
		}
	}
}
