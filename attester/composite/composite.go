package composite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/internal/compositeevidence"
)

// Paths under which verifiers look for a machine's devices.
const (
	// PathCPU is the processor's: evidence of format sev-snp or tdx.
	PathCPU = "cpu"
	// PathTPM is the TPM's: evidence of format tpm or nitrotpm.
	PathTPM = "vtpm"
)

// MaxEvidence is the largest evidence that is made, in bytes: an attestd takes no more.
const MaxEvidence = 1 << 20

// Device is a device of the machine and who collects its evidence.
type Device struct {
	// Path names the device; see [PathCPU] and [PathTPM].
	Path string
	From attester.Attester
}

// Machine collects from its devices. It is safe for concurrent use where they are.
type Machine struct{ devices []Device }

// New returns a machine of the devices, which are asked in the order of their paths.
//
// Errors: a [*attestd.CallerError] of class CONFIG for fewer than two devices or more than
// [attestd.MaxDevices], for a path that is none or stands twice, and for a device whose evidence has
// no freshness field of its own.
func New(devices ...Device) (*Machine, error) {
	sorted := slices.SortedFunc(slices.Values(devices), func(a, b Device) int { return cmp.Compare(a.Path, b.Path) })
	if len(sorted) < 2 || len(sorted) > attestd.MaxDevices {
		return nil, badConfig(fmt.Errorf("%d devices, want 2 to %d", len(sorted), attestd.MaxDevices))
	}
	for i, device := range sorted {
		if device.From == nil {
			return nil, badConfig(fmt.Errorf("nobody collects the evidence of device %q", attestd.Excerpt(device.Path, 40)))
		}
		if i > 0 && device.Path == sorted[i-1].Path {
			return nil, badConfig(fmt.Errorf("device %q stands twice", attestd.Excerpt(device.Path, 40)))
		}
		if _, err := attestd.DeviceFreshness(make([]byte, attestd.MinNonce), device.Path, device.From.Format()); err != nil {
			return nil, badConfig(fmt.Errorf("device %q: %w", attestd.Excerpt(device.Path, 40), err))
		}
	}
	return &Machine{devices: sorted}, nil
}

func badConfig(err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig, Hint: "name one processor as cpu and one TPM as vtpm", Err: err,
	}
}

// Format returns [attestd.FormatComposite].
func (m *Machine) Format() attestd.Format { return attestd.FormatComposite }

// Collect implements [attester.Attester]. The freshness value is the root: 32 bytes or more. It covers a
// key for all devices; a key that is to stand in a field of its own goes to the TPM. Endorsements are
// those of all devices, and each note says whose it is.
//
// Errors: those of [attestd.DeviceFreshness], and the first device's that could not be collected; none
// is left out.
func (m *Machine) Collect(ctx context.Context, request attester.Request) (attester.Evidence, error) {
	out := attester.Evidence{Format: attestd.FormatComposite}
	if len(request.Key) > 0 && !m.has(PathTPM) {
		return attester.Evidence{}, &attestd.CallerError{
			Class: attestd.ClassConfig,
			Hint:  "bind the key through a challenge: the freshness value covers it then",
			Err:   errors.New("no device of this machine has a field for a key"),
		}
	}
	var parts compositeevidence.Evidence
	for _, device := range m.devices {
		value, err := attestd.DeviceFreshness(request.Freshness, device.Path, device.From.Format())
		if err != nil {
			return attester.Evidence{}, err
		}
		asked := attester.Request{Freshness: value}
		if device.Path == PathTPM {
			asked.Key = request.Key
		}
		collected, err := device.From.Collect(ctx, asked)
		if err != nil {
			return attester.Evidence{}, fmt.Errorf("device %s: %w", device.Path, err)
		}
		if collected.Format != device.From.Format() {
			return attester.Evidence{}, fmt.Errorf("device %s: evidence of format %q, want %s", device.Path,
				attestd.Excerpt(string(collected.Format), 40), device.From.Format())
		}
		parts.Devices = append(parts.Devices, compositeevidence.Device{
			Path: device.Path, Format: collected.Format, Evidence: collected.Bytes,
		})
		out.Endorsements = join(out.Endorsements, collected.Endorsements)
		for _, note := range collected.Notes {
			out.Notes = append(out.Notes, device.Path+": "+note)
		}
	}
	var err error
	if out.Bytes, err = parts.Marshal(); err != nil {
		return attester.Evidence{}, err
	}
	if len(out.Bytes) > MaxEvidence {
		return attester.Evidence{}, &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "leave a log out, or begin it later",
			Err: fmt.Errorf("the evidence has %d bytes, and a verifier takes %d", len(out.Bytes), MaxEvidence),
		}
	}
	return out, nil
}

func (m *Machine) has(path string) bool {
	return slices.ContainsFunc(m.devices, func(d Device) bool { return d.Path == path })
}

// join puts endorsements together. Documents are not among them: they never come from a machine.
func join(a, b attestd.Endorsements) attestd.Endorsements {
	return attestd.Endorsements{
		Certificates: slices.Concat(a.Certificates, b.Certificates), CRLs: slices.Concat(a.CRLs, b.CRLs),
	}
}
