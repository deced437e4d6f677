package tdx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/attester/internal/tdquote"
	"github.com/attestd/attestd/attester/internal/tsm"
)

// DefaultConfigFS is where the kernel offers quotes, when configfs is mounted.
const DefaultConfigFS = tsm.DefaultPath

// Options say how a guest is asked. The zero Options are what nearly every guest wants.
type Options struct {
	// ConfigFS is configfs-tsm's folder; empty for [DefaultConfigFS].
	ConfigFS string
	// EventLog is the file with the firmware's log; empty for [DefaultEventLog] where it is there, Off
	// for none.
	EventLog string
}

// Guest is the TDX guest that this program runs in. It is safe for concurrent use.
type Guest struct {
	from *tsm.Folder
	log  string
	// required says that a log that cannot be read is an error.
	required bool
}

// Open returns the guest. Nothing is asked of the kernel yet.
//
// Errors: a [*attestd.CallerError] of class CONFIG where configfs-tsm is not there.
func Open(options Options) (*Guest, error) {
	path := options.ConfigFS
	if path == "" {
		path = DefaultConfigFS
	}
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%q is not a folder", attestd.Excerpt(path, 200))
	}
	if err != nil {
		return nil, refuse("run this inside a TDX guest of Linux 6.7 or later; modprobe tdx-guest, and mount "+
			"configfs where it is not", fmt.Errorf("no way to a quote: %w", err))
	}
	return open(tsm.At(path, nil), options.EventLog), nil
}

func open(from *tsm.Folder, log string) *Guest {
	guest := &Guest{from: from, log: log, required: log != ""}
	switch log {
	case "":
		guest.log = DefaultEventLog
	case Off:
		guest.log = ""
	}
	return guest
}

// Format returns [attestd.FormatTDX].
func (g *Guest) Format() attestd.Format { return attestd.FormatTDX }

// Collect implements [attester.Attester]. The freshness value must have 64 bytes: the report data has
// no length of its own, and a shorter value would have to be filled up by a rule that nobody signed.
func (g *Guest) Collect(ctx context.Context, request attester.Request) (attester.Evidence, error) {
	if len(request.Key) > 0 {
		return attester.Evidence{}, refuse("bind the key through a challenge: the freshness value covers it then",
			errors.New("a TDX quote has no field for a key"))
	}
	if len(request.Freshness) != tsm.DataSize {
		return attester.Evidence{}, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "take a nonce of 64 bytes, or a challenge",
			Err: fmt.Errorf("the freshness value has %d bytes, want %d", len(request.Freshness), tsm.DataSize),
		}
	}
	made, err := g.from.Report(ctx, tsm.TDXGuest, [tsm.DataSize]byte(request.Freshness))
	if err != nil {
		return attester.Evidence{}, err
	}
	quote, err := tdquote.Cut(made.Report)
	if err != nil {
		return attester.Evidence{}, err
	}
	if !bytes.Equal(quote.ReportData, request.Freshness) {
		return attester.Evidence{}, errors.New("the quote is over other data than was asked for")
	}
	// The log was complete when the quote was asked for: firmware and boot loader alone add to it.
	log, note, err := g.readLog()
	if err != nil {
		return attester.Evidence{}, err
	}
	out := attester.Evidence{Format: attestd.FormatTDX}
	if note != "" {
		out.Notes = append(out.Notes, note)
	}
	if out.Bytes, err = container(quote.Bytes, log); err != nil {
		return attester.Evidence{}, refuse("leave the firmware's log out", err)
	}
	return out, nil
}

func refuse(hint string, err error) error {
	return &attestd.CallerError{Class: attestd.ClassConfig, Hint: hint, Err: err}
}
