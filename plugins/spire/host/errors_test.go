package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/link"
	"github.com/attestd/attestd/plugins/spire/host"
)

// TestWhatSPIREIsToldOfAnError: at PermissionDenied an agent gives up its SVID, so what was not decided
// must never read as that; and a refusal says no more than where to ask.
func TestWhatSPIREIsToldOfAnError(t *testing.T) {
	t.Parallel()
	linked := func(class attestd.Class, appraisal string) error {
		return fmt.Errorf("asking: %w", &link.Error{Class: class, Message: "the detail", AppraisalID: appraisal})
	}
	for _, row := range []struct {
		name string
		err  error
		code codes.Code
		says string
	}{
		{"quarantined", linked(attestd.ClassQuarantined, ""), codes.PermissionDenied, "attestd: refused; the SPIRE server's log has the reason"},
		{"rejected evidence", linked(attestd.ClassBinding, "a-1"), codes.PermissionDenied, "(appraisal a-1); ask: attestd why a-1"},
		{"malformed evidence", linked(attestd.ClassMalformed, "a-2"), codes.PermissionDenied, "(appraisal a-2)"},
		{"a malformed question", linked(attestd.ClassMalformed, ""), codes.InvalidArgument, "the detail"},
		{"forbidden", linked(attestd.ClassForbidden, ""), codes.PermissionDenied, "log has"},
		{"a conflict", linked(attestd.ClassConflict, ""), codes.PermissionDenied, "log has"},
		{"a store that is down", linked(attestd.ClassStoreUnavailable, "a-3"), codes.Unavailable, "(appraisal a-3)"},
		{"too many", linked(attestd.ClassRateLimited, ""), codes.Unavailable, "nothing was decided"},
		{"a plugin that attestd does not know", linked(attestd.ClassUnauthenticated, ""), codes.Unavailable, ""},
		{"a wrong configuration", linked(attestd.ClassConfig, ""), codes.Unavailable, ""},
		{"a class of tomorrow", linked("SOMETHING_ELSE", ""), codes.Unavailable, ""},
		{"no class", linked("", ""), codes.Unavailable, ""},
		{"a bug", linked(attestd.ClassInternal, ""), codes.Internal, "internal error"},
		{"undecided", &attestd.UndecidedError{Class: attestd.ClassCollateralStale, Got: "the detail"}, codes.Unavailable, ""},
		{"evidence", &attestd.EvidenceError{Class: attestd.ClassDebug, Got: "the detail"}, codes.PermissionDenied, "log has"},
		{"the caller", &attestd.CallerError{Class: attestd.ClassTooLarge, Err: errors.New("x")}, codes.InvalidArgument, ""},
		{"out of time", context.DeadlineExceeded, codes.Unavailable, ""},
		{"anything", errors.New("the detail"), codes.Unavailable, "nothing was decided"},
		{"a status", status.Error(codes.FailedPrecondition, "canary: ok"), codes.FailedPrecondition, "canary: ok"},
		{"Unimplemented, which SPIRE goes on at", status.Error(codes.Unimplemented, "no"), codes.Unavailable, ""},
	} {
		got := host.ErrorOf(row.err)
		if status.Code(got) != row.code || !strings.Contains(got.Error(), row.says) {
			t.Errorf("%s: got %v, want %s and %q", row.name, got, row.code, row.says)
		}
		if row.code != codes.InvalidArgument && strings.Contains(got.Error(), "the detail") {
			t.Errorf("%s: %v tells what only the log may", row.name, got)
		}
	}
	if host.ErrorOf(nil) != nil {
		t.Error("no error became one")
	}
}

func TestTheLogOfALibraryReachesSPIREs(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := host.Slog(hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: &out, JSONFormat: true}))
	logger.Debug("not shown")
	logger.With("a", 1).WithGroup("g").Warn("shown", "b", "two")
	for _, want := range []string{`"@level":"warn"`, `"@message":"shown"`, `"a":1`, `"g.b":"two"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s does not have %s", &out, want)
		}
	}
	if strings.Contains(out.String(), "not shown") || logger.Enabled(t.Context(), slog.LevelDebug) {
		t.Error("a level that is off is written")
	}
}

func TestCountsRise(t *testing.T) {
	t.Parallel()
	var counts host.Counts
	counts.Add("one")
	counts.Add("two")
	counts.Add("two")
	if all := counts.All(); len(all) != 2 || all["one"] != 1 || all["two"] != 2 {
		t.Errorf("got %v", all)
	}
}
