package tsm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/attestd/attestd"
)

// DefaultPath is where the kernel has its reports when configfs is mounted.
const DefaultPath = "/sys/kernel/config/tsm/report"

// DataSize is the length of the report data in bytes, for every driver that there is.
const DataSize = 64

// Limits in bytes on what a driver hands out. The kernel itself takes 32 KiB of a driver's report and
// 64 KiB of what comes beside it (TSM_REPORT_OUTBLOB_MAX of include/linux/tsm.h, and page-wise reads).
const (
	maxReport = 64 << 10
	maxBeside = 64 << 10
	maxText   = 4 << 10
)

// Driver is one of the kernel's drivers behind configfs-tsm.
type Driver struct {
	// Provider is what it calls itself.
	Provider string
	// Module is the kernel module, for hints.
	Module string
}

// Drivers that attestd knows.
var (
	SEVGuest = Driver{Provider: "sev_guest", Module: "sev-guest"}
	TDXGuest = Driver{Provider: "tdx_guest", Module: "tdx-guest"}
)

// Report is what a driver made.
type Report struct {
	// Report is the driver's outblob, and Beside its auxblob: nil where the driver has none.
	Report, Beside []byte
}

// Folder is configfs-tsm's folder. It is safe for concurrent use.
type Folder struct {
	root  string
	files Files
	// turn has one token. A report that is given up on goes on in the kernel, and the next waits for it.
	turn chan struct{}
}

// At returns the folder at a path, through files: nil for the kernel's. Nothing is looked at yet.
func At(root string, files Files) *Folder {
	if files == nil {
		files = kernelFiles{}
	}
	f := &Folder{root: root, files: files, turn: make(chan struct{}, 1)}
	f.turn <- struct{}{}
	return f
}

// Report asks the driver for a report over data. It returns when ctx is over, also where the kernel
// still waits for the host.
//
// Errors: a [*attestd.CallerError] of class CONFIG where the operator can mend it.
func (f *Folder) Report(ctx context.Context, by Driver, data [DataSize]byte) (Report, error) {
	type outcome struct {
		report Report
		err    error
	}
	select {
	case <-f.turn:
	case <-ctx.Done():
		return Report{}, fmt.Errorf("stopped while another report was being made: %w", ctx.Err())
	}
	done := make(chan outcome, 1)
	go func() {
		defer func() { f.turn <- struct{}{} }()
		report, err := f.report(ctx, by, data)
		done <- outcome{report, err}
	}()
	select {
	case made := <-done:
		return made.report, made.err
	case <-ctx.Done():
	}
	// The entry's last steps need no host: where they are all that is left, nothing stays behind.
	select {
	case made := <-done:
		return made.report, made.err
	case <-time.After(grace):
		return Report{}, fmt.Errorf("stopped while the kernel waited for a report of %s: %w", by.Provider, ctx.Err())
	}
}

// grace is how long a report may go on after its context is over before it is given up on.
const grace = 100 * time.Millisecond

func (f *Folder) report(ctx context.Context, by Driver, data [DataSize]byte) (out Report, err error) {
	// A folder of its own: whoever else writes into a shared one changes the report under our hands.
	entry := filepath.Join(f.root, "attestd-"+strings.ToLower(rand.Text()))
	if err := f.files.Mkdir(entry); err != nil {
		hint := "mount configfs and load the driver: modprobe " + by.Module
		if errors.Is(err, fs.ErrPermission) {
			hint = "run as root, or give this user rights on the folder"
		}
		return Report{}, refuse(hint, fmt.Errorf("entry for a report: %w", err))
	}
	defer func() {
		if gone := f.files.Rmdir(entry); gone != nil && err == nil {
			out, err = Report{}, fmt.Errorf("remove the entry of a report: %w", gone)
		}
	}()
	name, err := f.files.Read(filepath.Join(entry, "provider"), maxText)
	if err != nil {
		return Report{}, fmt.Errorf("name of the report's provider: %w", err)
	}
	if name := strings.TrimSpace(string(name)); name != by.Provider {
		return Report{}, refuse("collect evidence of the format that this machine gives",
			fmt.Errorf("reports here come from %q, want %q", attestd.Excerpt(name, 40), by.Provider))
	}
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		if err := ctx.Err(); err != nil {
			return Report{}, fmt.Errorf("stopped before a report was asked for: %w", err)
		}
		out, err = f.ask(entry, data)
		// A request of somebody's that timed out keeps the host's buffer until the host is done with it.
		if !errors.Is(err, syscall.EBUSY) && !errors.Is(err, syscall.EAGAIN) {
			return out, explain(by, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (f *Folder) ask(entry string, data [DataSize]byte) (out Report, err error) {
	before, err := f.generation(entry)
	if err != nil {
		return Report{}, err
	}
	if err := f.files.Write(filepath.Join(entry, "inblob"), data[:]); err != nil {
		return Report{}, fmt.Errorf("ask for a report: %w", err)
	}
	if out.Report, err = f.files.Read(filepath.Join(entry, "outblob"), maxReport); err != nil {
		return Report{}, fmt.Errorf("read a report: %w", err)
	}
	if out.Beside, err = f.files.Read(filepath.Join(entry, "auxblob"), maxBeside); err != nil {
		out.Beside = nil // a host without certificates, or a driver without the file
	}
	after, err := f.generation(entry)
	if err != nil {
		return Report{}, err
	}
	// One write moves the generation by one. More means that somebody else wrote too, and that report
	// and certificates may not belong together.
	if after != before+1 {
		return Report{}, fmt.Errorf("the report's generation went from %d to %d while it was read, want %d: "+
			"something else uses its entry", before, after, before+1)
	}
	return out, nil
}

func (f *Folder) generation(entry string) (uint64, error) {
	text, err := f.files.Read(filepath.Join(entry, "generation"), maxText)
	if err != nil {
		return 0, fmt.Errorf("generation of a report: %w", err)
	}
	number, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 63)
	if err != nil {
		return 0, fmt.Errorf("generation of a report: %w", err)
	}
	return number, nil
}

// explain adds what to do about errors of the drivers.
func explain(by Driver, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ETIMEDOUT):
		return refuse("look at the host: what makes quotes there (Intel's quote generation service) does not answer", err)
	case errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.ENODEV):
		return refuse("load the driver: modprobe "+by.Module, err)
	}
	return err
}

func refuse(hint string, err error) error {
	return &attestd.CallerError{Class: attestd.ClassConfig, Hint: hint, Err: err}
}
