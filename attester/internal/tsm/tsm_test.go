package tsm_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester/internal/tsm"
	"github.com/attestd/attestd/attester/internal/tsm/tsmtest"
)

// echo is a driver whose report is the data itself.
func echo(t *testing.T) *tsmtest.Tree {
	return &tsmtest.Tree{
		T: t, Provider: "tdx_guest", Make: func(data []byte) ([]byte, error) { return bytes.Clone(data), nil },
	}
}

var data = [tsm.DataSize]byte(bytes.Repeat([]byte{7}, tsm.DataSize))

func TestAReportIsOverTheDataOfItsOwnEntry(t *testing.T) {
	t.Parallel()
	tree := echo(t)
	tree.Beside = []byte("beside")
	folder := tsm.At("/tsm", tree)
	for range 2 {
		made, err := folder.Report(t.Context(), tsm.TDXGuest, data)
		if err != nil || !bytes.Equal(made.Report, data[:]) || string(made.Beside) != "beside" {
			t.Errorf("%x, %q, %v", made.Report, made.Beside, err)
		}
	}
	if left := tree.Left(); left != "" {
		t.Errorf("%q was left behind", left)
	}
}

func TestWhatTheKernelRefusesIsSaid(t *testing.T) {
	t.Parallel()
	failing := func(err error) func(*tsmtest.Tree) {
		return func(f *tsmtest.Tree) { f.Make = func([]byte) ([]byte, error) { return nil, err } }
	}
	for _, row := range []struct {
		name       string
		change     func(*tsmtest.Tree)
		want, hint string
	}{
		{
			"another driver", func(f *tsmtest.Tree) { f.Provider = "sev_guest" },
			`reports here come from "sev_guest", want "tdx_guest"`, "collect evidence of the format",
		},
		{
			"somebody else's write meanwhile",
			func(f *tsmtest.Tree) { f.Meddle = func(f *tsmtest.Tree) { f.Generation++ } },
			"generation went from 0 to 2", "",
		},
		{
			"no right to make an entry", func(f *tsmtest.Tree) { f.Deny = fs.ErrPermission },
			"entry for a report", "run as root",
		},
		{
			"no driver", func(f *tsmtest.Tree) { f.Deny = syscall.ENXIO }, "entry for a report", "modprobe tdx-guest",
		},
		{"a host that does not answer", failing(syscall.ETIMEDOUT), "timed out", "look at the host"},
		{"a driver that went away", failing(syscall.ENODEV), "no such device", "modprobe tdx-guest"},
		{"another error", failing(syscall.EIO), "input/output error", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			tree := echo(t)
			row.change(tree)
			made, err := tsm.At("/tsm", tree).Report(t.Context(), tsm.TDXGuest, data)
			if err == nil || !strings.Contains(err.Error(), row.want) || made.Report != nil {
				t.Errorf("got %v, want %q", err, row.want)
			}
			var caller *attestd.CallerError
			if errors.As(err, &caller) != (row.hint != "") ||
				row.hint != "" && !strings.Contains(caller.Hint, row.hint) {
				t.Errorf("got %#v, want the hint %q", err, row.hint)
			}
			if left := tree.Left(); left != "" {
				t.Errorf("%q was left behind", left)
			}
		})
	}
}

func TestABusyHostIsAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tree, asked := echo(t), 0
		tree.Make = func(data []byte) ([]byte, error) {
			if asked++; asked < 4 {
				return nil, syscall.EBUSY
			}
			return bytes.Clone(data), nil
		}
		made, err := tsm.At("/tsm", tree).Report(t.Context(), tsm.TDXGuest, data)
		if err != nil || asked != 4 || !bytes.Equal(made.Report, data[:]) {
			t.Errorf("%d questions, %v", asked, err)
		}
		tree.Make = func([]byte) ([]byte, error) { return nil, syscall.EBUSY }
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := tsm.At("/tsm", tree).Report(ctx, tsm.TDXGuest, data); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAHostThatHangsHoldsNobodyLongerThanHisContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tree, answer := echo(t), make(chan struct{})
		tree.Make = func(data []byte) ([]byte, error) {
			<-answer
			return bytes.Clone(data), nil
		}
		folder := tsm.At("/tsm", tree)
		began := time.Now()
		for range 2 { // the second waits for the first's entry, which is still there
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := folder.Report(ctx, tsm.TDXGuest, data); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			cancel()
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("took %s", took)
		}
		close(answer)
		synctest.Wait()
		if left := tree.Left(); left != "" {
			t.Errorf("%q was left behind", left)
		}
		if made, err := folder.Report(t.Context(), tsm.TDXGuest, data); err != nil || len(made.Report) != 64 {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestAFolderThatIsNoConfigFSIsLeftAsItWas(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if _, err := tsm.At(folder, nil).Report(t.Context(), tsm.SEVGuest, data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := tsm.At(filepath.Join(folder, "none"), nil).Report(t.Context(), tsm.SEVGuest, data); !errors.Is(err,
		fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
