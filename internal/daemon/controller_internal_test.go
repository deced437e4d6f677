package daemon

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestALineThatIsTooLongStopsNoController: one that is not read any more waits for ever to write its
// next line, and bans nobody meanwhile.
func TestALineThatIsTooLongStopsNoController(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	script := `head -c 300000 /dev/zero | tr '\0' x >&2; echo >&2; exit 7`
	err := runOnce(ctx, []string{"/bin/sh", "-c", script}, slog.New(slog.DiscardHandler))
	if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("got %v, want that it ended by itself with status 7", err)
	}
}

// TestAControllerDoesNotOutliveItsWord: one that does not listen to its end is made to.
func TestAControllerDoesNotOutliveItsWord(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- runOnce(ctx, []string{"/bin/sh", "-c", `trap '' TERM; while :; do echo on >&2; sleep 0.1; done`},
			slog.New(slog.DiscardHandler))
	}()
	time.Sleep(100 * time.Millisecond)
	cancel()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("it goes on")
	}
}
