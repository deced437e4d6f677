package compositeevidence

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/strict"
)

// ErrTooLarge is in the chain of an error about a part that is over its limit.
var ErrTooLarge = errors.New("too large")

// formatName is the shape of the names of formats.
var formatName = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// Parse reads a container. The devices' evidence are slices of data.
func Parse(data []byte) (Evidence, error) {
	if len(data) > limits.evidence {
		return Evidence{}, fmt.Errorf("evidence of %d bytes, want at most %d: %w", len(data), limits.evidence,
			ErrTooLarge)
	}
	if !IsEvidence(data) {
		return Evidence{}, errors.New("the input does not begin as composite evidence does")
	}
	r := &reader{cbor: strict.NewCBOR(data[len(prefix):])}
	devices, err := r.devices()
	if err == nil {
		err = r.cbor.End()
	}
	if err != nil {
		return Evidence{}, err
	}
	return Evidence{Devices: devices}, nil
}

// reader reads what stands behind the prefix.
type reader struct{ cbor strict.CBOR }

func (r *reader) devices() ([]Device, error) {
	count, err := r.cbor.Array(attestd.MaxDevices)
	if err != nil {
		return nil, fmt.Errorf("devices: %w", err)
	}
	if count == 0 {
		return nil, errors.New("no device")
	}
	out := make([]Device, count)
	for i := range out {
		if out[i], err = r.device(); err != nil {
			return nil, fmt.Errorf("device %d: %w", i, err)
		}
		// What is not behind the last path is a repetition or out of order. Two orders would be two
		// encodings of one statement, and of two devices of one path two readers could take another.
		if i > 0 && out[i].Path <= out[i-1].Path {
			return nil, fmt.Errorf("path %q behind %q, want paths to ascend", out[i].Path, out[i-1].Path)
		}
	}
	return out, nil
}

func (r *reader) device() (Device, error) {
	const parts = 3
	if size, err := r.cbor.Array(parts); err != nil {
		return Device{}, err
	} else if size != parts {
		return Device{}, fmt.Errorf("an array of %d, want path, format and evidence", size)
	}
	path, err := r.cbor.Text()
	if err != nil {
		return Device{}, fmt.Errorf("path: %w", err)
	}
	if err := attestd.CheckDevicePath(string(path)); err != nil {
		return Device{}, err
	}
	format, err := r.cbor.Text()
	if err != nil {
		return Device{}, fmt.Errorf("format: %w", err)
	}
	if len(format) > limits.format || !formatName.Match(format) {
		return Device{}, fmt.Errorf("format %q, want lower-case letters, digits and hyphens, at most %d",
			attestd.Excerpt(string(format), 40), limits.format)
	}
	evidence, err := r.cbor.Bytes()
	if err != nil {
		return Device{}, fmt.Errorf("evidence: %w", err)
	}
	if len(evidence) == 0 {
		return Device{}, errors.New("no evidence")
	}
	return Device{
		Path: string(path), Format: attestd.Format(format), Evidence: evidence[:len(evidence):len(evidence)],
	}, nil
}
