package azure

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/attester/internal/tdquote"
	"github.com/attestd/attestd/attester/internal/tsm"
	"github.com/attestd/attestd/attester/tpm"
	"github.com/attestd/attestd/internal/azureevidence"
)

// Where Azure's paravisor puts things ("Guest attestation for confidential VMs", Microsoft Learn).
const (
	// DefaultAKHandle is its attestation key, RSA 2048, which the report names HCLAkPub.
	DefaultAKHandle = 0x81000003
	// reportIndex is the NV index of its report.
	reportIndex = 0x01400001
)

// Layout of the report in bytes: a header, the CPU's report, and what the paravisor says of itself.
const (
	reportHead   = 32
	cpuReport    = 1184
	kindAt       = reportHead + cpuReport + 8
	kindSNP      = 2
	kindTDX      = 4
	tdReportSize = 1024
	// tdReportData is where REPORTDATA is in REPORTMACSTRUCT (Intel TDX Module Base Specification,
	// section "REPORTMACSTRUCT").
	tdReportData = 128
)

// MaxEvidence is the largest evidence that is made, in bytes: an attestd takes no more.
const MaxEvidence = 1 << 20

// Options say how a VM is asked. The zero Options are what every confidential VM of Azure wants.
type Options struct {
	// Metadata is the base URL of the host's services; empty for [DefaultMetadata]. Only tests and
	// machines with a forwarder of their own name another.
	Metadata string
	// AKHandle is the attestation key's; 0 for [DefaultAKHandle].
	AKHandle uint32
	// PCRs to quote; none for those of [tpm.DefaultPCRs]. Bank is the bank they are of; 0 for SHA-256.
	PCRs []uint8
	Bank tpm.Bank
}

// VM is the confidential VM that this program runs in. It is safe for concurrent use.
type VM struct {
	device   *tpm.Device
	services services
	options  Options
}

// Open returns the VM whose virtual TPM is device. Nothing is asked yet.
//
// Errors: a [*attestd.CallerError] of class CONFIG.
func Open(device *tpm.Device, options Options) (*VM, error) {
	if options.AKHandle == 0 {
		options.AKHandle = DefaultAKHandle
	}
	at, err := newServices(options.Metadata)
	if err != nil {
		return nil, err
	}
	return &VM{device: device, services: at, options: options}, nil
}

// Format returns [attestd.FormatAzureVTPM].
func (v *VM) Format() attestd.Format { return attestd.FormatAzureVTPM }

// Collect implements [attester.Attester]. The freshness value of 32 to 64 bytes goes into the TPM's
// quote; the CPU's report was made when the VM started.
func (v *VM) Collect(ctx context.Context, request attester.Request) (attester.Evidence, error) {
	if len(request.Key) > 0 {
		return attester.Evidence{}, refuse("bind the key through a challenge: the freshness value covers it then",
			errors.New("the quote of an Azure VM has no field for a key"))
	}
	quoted, err := v.device.QuotePlatform(ctx, tpm.PlatformRequest{
		AKHandle: v.options.AKHandle, NV: []uint32{reportIndex}, Freshness: request.Freshness,
		PCRs: v.options.PCRs, Bank: v.options.Bank,
	})
	if err != nil {
		return attester.Evidence{}, fmt.Errorf("virtual TPM: %w", err)
	}
	out := attester.Evidence{Format: attestd.FormatAzureVTPM, Notes: quoted.Notes}
	parts := azureevidence.Evidence{TPM: quoted.Evidence}
	if parts.HCLReport, err = azureevidence.CutReport(quoted.NV[0]); err != nil {
		return attester.Evidence{}, refuse("run this in a confidential VM of Azure", fmt.Errorf(
			"NV index 0x%08x: %w", reportIndex, err))
	}
	kind, err := kindOf(parts.HCLReport)
	if err != nil {
		return attester.Evidence{}, err
	}
	if kind == kindTDX {
		if parts.TDQuote, err = v.quote(ctx, parts.HCLReport[reportHead:][:tdReportSize]); err != nil {
			return attester.Evidence{}, err
		}
	} else if parts.Certificates, err = v.services.certificates(ctx); err != nil {
		if ctx.Err() != nil {
			return attester.Evidence{}, err
		}
		parts.Certificates = nil
		out.Notes = append(out.Notes, "the host gave no certificates of the chip ("+attestd.Excerpt(err.Error(), 200)+
			"): the verifier needs them from AMD's key distribution service")
	}
	if out.Bytes, err = parts.Marshal(); err == nil && len(out.Bytes) > MaxEvidence {
		err = fmt.Errorf("the evidence has %d bytes, and a verifier takes %d", len(out.Bytes), MaxEvidence)
	}
	if err != nil {
		return attester.Evidence{}, refuse("leave the boot log out: --event-log off", err)
	}
	return out, nil
}

// kindOf returns the kind of CPU that a report says it is of.
func kindOf(report []byte) (uint32, error) {
	if len(report) < kindAt+4 {
		return 0, fmt.Errorf("the paravisor's report has %d bytes, want more than %d", len(report), kindAt+4)
	}
	kind := binary.LittleEndian.Uint32(report[kindAt:])
	if kind != kindSNP && kind != kindTDX {
		return 0, &attestd.CallerError{
			Class: attestd.ClassUnsupported, Hint: "evidence of confidential VMs with SEV-SNP and TDX is collected",
			Err: fmt.Errorf("the paravisor's report is of kind %d, want %d for SEV-SNP or %d for TDX",
				kind, kindSNP, kindTDX),
		}
	}
	return kind, nil
}

// quote has the host quote a TDREPORT, and refuses one over another report's data: the verifier would,
// and could not say that the service was at fault.
func (v *VM) quote(ctx context.Context, report []byte) ([]byte, error) {
	blob, err := v.services.quote(ctx, report)
	if err != nil {
		return nil, err
	}
	quote, err := tdquote.Cut(blob)
	if err == nil && !bytes.Equal(quote.ReportData, report[tdReportData:][:tsm.DataSize]) {
		err = errors.New("it is over another report than the paravisor's")
	}
	if err != nil {
		return nil, fmt.Errorf("quote of the host's service: %w", err)
	}
	return quote.Bytes, nil
}

func refuse(hint string, err error) error {
	return &attestd.CallerError{Class: attestd.ClassConfig, Hint: hint, Err: err}
}
