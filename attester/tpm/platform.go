package tpm

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd/internal/tpmevidence"
)

// PlatformRequest says what is asked of a TPM that its platform has put keys and statements into, as
// clouds do with virtual TPMs. Nothing is made or kept in the TPM for it.
type PlatformRequest struct {
	// AKHandle is where the platform's attestation key persists.
	AKHandle uint32
	// NV are indices of what the platform wrote, each to be read whole.
	NV []uint32
	// Freshness goes into the quote's extraData: 32 to 64 bytes.
	Freshness []byte
	// PCRs to quote; none for [DefaultPCRs]. Bank is the bank they are of; 0 for SHA-256.
	PCRs []uint8
	Bank Bank
}

// PlatformQuote is what such a TPM gave.
type PlatformQuote struct {
	// NV is what the indices held, in the order in which they were asked for.
	NV [][]byte
	// Evidence has the attestation key, the quote, the values it covers and the boot log, in the form
	// of evidence of format tpm. It names no endorsement key.
	Evidence []byte
	// Notes say, for people, what is not there and why.
	Notes []string
}

// QuotePlatform returns a quote by the platform's key, and what the platform wrote into NV. What NV
// holds is read first, in the same turn, so that no other program of attestd's comes between the two.
//
// Errors: a [*attestd.CallerError] of class CONFIG where the platform left no key or nothing at an
// index.
func (d *Device) QuotePlatform(ctx context.Context, ask PlatformRequest) (PlatformQuote, error) {
	request := Request{Freshness: ask.Freshness, PCRs: ask.PCRs, Bank: ask.Bank}
	selection, err := d.check(&request)
	if err != nil {
		return PlatformQuote{}, err
	}
	var out PlatformQuote
	var parts tpmevidence.Evidence
	err = d.with(ctx, func(c *connection) error {
		for _, index := range ask.NV {
			area, err := c.readNV(index, d.options.OwnerAuth)
			if errors.Is(err, tpm2.TPMRCHandle) {
				return refuse(notThere, fmt.Errorf("the TPM has no NV index 0x%08x: %w", index, err))
			}
			if err != nil {
				return err
			}
			out.NV = append(out.NV, area)
		}
		ak, _, err := c.read(tpm2.TPMHandle(ask.AKHandle))
		if errors.Is(err, errNoObject) {
			return refuse(notThere, fmt.Errorf("the platform left no attestation key at 0x%08x: %w", ask.AKHandle, err))
		}
		if err != nil {
			return err
		}
		parts.AKPublic = ak.raw
		return c.quote(&parts, ak, request, selection)
	})
	if err != nil {
		return PlatformQuote{}, err
	}
	// The boot log was complete before the quote.
	log, note, err := d.bootLog.read(0, maxBootLog)
	if err != nil {
		return PlatformQuote{}, err
	}
	if parts.EventLog = log; note != "" {
		out.Notes = append(out.Notes, note)
	}
	if out.Evidence, err = parts.Marshal(); err != nil {
		return PlatformQuote{}, refuse(lessLog, err)
	}
	return out, nil
}

const notThere = "run this on the platform whose TPM has it"
