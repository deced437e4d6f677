package snp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/attester/internal/tsm"
)

// Where the kernel offers reports.
const (
	DefaultConfigFS = tsm.DefaultPath
	DefaultDevice   = "/dev/sev-guest"
)

// Sizes in bytes (AMD 56860, revision 1.58, section 7.3, table "ATTESTATION_REPORT").
const (
	reportSize       = 0x4a0
	reportDataSize   = 64
	reportDataOffset = 0x50
)

// source is one of the kernel's ways to a report.
type source interface {
	// report returns a report over data and the host's certificate table, which may be empty.
	report(ctx context.Context, data [reportDataSize]byte) (report, table []byte, err error)
}

// Guest is the SEV-SNP guest that this program runs in. It is safe for concurrent use.
type Guest struct{ from source }

// Open returns the guest by the way that is named: the folder of configfs-tsm or a device file. An
// empty path takes [DefaultConfigFS], and [DefaultDevice] where that is not there.
//
// Errors: a [*attestd.CallerError] of class CONFIG where there is neither.
func Open(path string) (*Guest, error) {
	paths := []string{path}
	if path == "" {
		paths = []string{DefaultConfigFS, DefaultDevice}
	}
	var seen []error
	for _, candidate := range paths {
		info, err := os.Stat(candidate)
		switch {
		case err != nil:
			seen = append(seen, err)
		case info.IsDir():
			return &Guest{configFS{tsm.At(candidate, nil)}}, nil
		default:
			return &Guest{&device{path: candidate}}, nil
		}
	}
	return nil, refuse("run this inside an SEV-SNP guest; modprobe sev-guest, and mount configfs where it is not",
		fmt.Errorf("no way to an attestation report: %w", errors.Join(seen...)))
}

// Format returns [attestd.FormatSEVSNP].
func (g *Guest) Format() attestd.Format { return attestd.FormatSEVSNP }

// Collect implements [attester.Attester]. The freshness value must have 64 bytes: the report data has
// no length of its own, and a shorter value would have to be filled up by a rule that nobody signed.
func (g *Guest) Collect(ctx context.Context, request attester.Request) (attester.Evidence, error) {
	if len(request.Key) > 0 {
		return attester.Evidence{}, refuse("bind the key through a challenge: the freshness value covers it then",
			errors.New("an SEV-SNP report has no field for a key"))
	}
	if len(request.Freshness) != reportDataSize {
		return attester.Evidence{}, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "take a nonce of 64 bytes, or a challenge",
			Err: fmt.Errorf("the freshness value has %d bytes, want %d", len(request.Freshness), reportDataSize),
		}
	}
	report, table, err := g.from.report(ctx, [reportDataSize]byte(request.Freshness))
	if err != nil {
		return attester.Evidence{}, err
	}
	if len(report) != reportSize {
		return attester.Evidence{}, fmt.Errorf("the report has %d bytes, want %d", len(report), reportSize)
	}
	if got := report[reportDataOffset:][:reportDataSize]; !bytes.Equal(got, request.Freshness) {
		return attester.Evidence{}, errors.New("the report is over other data than was asked for")
	}
	out := attester.Evidence{Format: attestd.FormatSEVSNP, Bytes: bytes.Clone(report)}
	table, err = trim(table)
	switch {
	case err != nil:
		out.Notes = append(out.Notes, "the host's certificate table was left out: "+err.Error())
	case len(table) == 0:
		out.Notes = append(out.Notes, "the host gave no certificates: the verifier needs the chip's from "+
			"AMD's key distribution service")
	}
	out.Bytes = append(out.Bytes, table...)
	return out, nil
}

// tableEntry is the size of an entry of the certificate table: GUID, offset, length (AMD 56421,
// revision 2.03, section 4.1.8.1, "SNP Extended Guest Request").
const tableEntry = 24

// trim cuts the table behind its last certificate: the kernel hands out whole pages.
func trim(table []byte) ([]byte, error) {
	end := 0
	for at := 0; ; at += tableEntry {
		if len(table)-at < tableEntry {
			if end == 0 && len(bytes.Trim(table, "\x00")) == 0 {
				return nil, nil
			}
			return nil, errors.New("no entry of zeros ends it")
		}
		entry := table[at : at+tableEntry]
		if len(bytes.Trim(entry, "\x00")) == 0 {
			if end == 0 {
				return nil, nil
			}
			return table[:max(end, at+tableEntry)], nil
		}
		offset, length := binary.LittleEndian.Uint32(entry[16:]), binary.LittleEndian.Uint32(entry[20:])
		until := uint64(offset) + uint64(length)
		if until > uint64(len(table)) {
			return nil, fmt.Errorf("a certificate ends at byte %d of %d", until, len(table))
		}
		end = max(end, int(until)) //nolint:gosec // at most len(table)
	}
}

func refuse(hint string, err error) error {
	return &attestd.CallerError{Class: attestd.ClassConfig, Hint: hint, Err: err}
}
