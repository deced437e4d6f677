package azureevidence

import (
	"errors"
	"fmt"

	"github.com/attestd/attestd/internal/strict"
)

// ErrTooLarge is in the chain of an error about a part that is over its limit.
var ErrTooLarge = errors.New("too large")

// Parse reads evidence. The parts are slices of data.
func Parse(data []byte) (Evidence, error) {
	if len(data) > limits.evidence {
		return Evidence{}, tooLarge("evidence", len(data), limits.evidence)
	}
	if !IsEvidence(data) {
		return Evidence{}, errors.New("the input does not begin as Azure evidence does")
	}
	cbor := strict.NewCBOR(data)
	evidence, err := read(&cbor)
	if err == nil {
		err = cbor.End()
	}
	if err == nil {
		err = evidence.complete()
	}
	if err != nil {
		return Evidence{}, err
	}
	return evidence, nil
}

// complete refuses evidence without the parts that say anything.
func (e Evidence) complete() error {
	if e.HCLReport == nil {
		return errors.New("no HCL report")
	}
	if e.TPM == nil {
		return errors.New("no TPM evidence")
	}
	return nil
}

func read(cbor *strict.CBOR) (Evidence, error) {
	var e Evidence
	pairs, err := cbor.Map(int(keyCount))
	if err != nil {
		return e, err
	}
	next := uint64(0)
	for range pairs {
		key, err := cbor.Uint()
		if err != nil {
			return e, err
		}
		// RFC 8949, section 4.2.1: keys are sorted. What is not above the last key is a repetition or
		// out of order, and two orders would be two encodings of one statement.
		if key < next || key >= keyCount {
			return e, fmt.Errorf("key %d, want %d to %d in this place", key, next, keyCount-1)
		}
		next = key + 1
		if err := e.part(cbor, key); err != nil {
			return e, err
		}
	}
	return e, nil
}

// part reads the value of one key.
func (e *Evidence) part(cbor *strict.CBOR, key uint64) (err error) {
	switch key {
	case keyName:
		_, err = cbor.Text() // IsEvidence compared it
	case keyHCLReport:
		e.HCLReport, err = bytes(cbor, "HCL report", limits.report)
	case keyTPM:
		e.TPM, err = bytes(cbor, "TPM evidence", limits.tpm)
	case keyTDQuote:
		e.TDQuote, err = bytes(cbor, "TD quote", limits.quote)
	case keyCertificates:
		e.Certificates, err = certificates(cbor)
	}
	return err
}

func certificates(cbor *strict.CBOR) ([][]byte, error) {
	size, err := cbor.Array(limits.certificates)
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	if size == 0 {
		return nil, errors.New("certificates are an empty list, want it left out")
	}
	out := make([][]byte, size)
	for i := range out {
		if out[i], err = bytes(cbor, "certificate", limits.certificate); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// bytes reads a byte string that is neither empty nor over its limit.
func bytes(cbor *strict.CBOR, name string, limit int) ([]byte, error) {
	data, err := cbor.Bytes()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	case len(data) == 0:
		return nil, fmt.Errorf("%s is empty, want it left out", name)
	case len(data) > limit:
		return nil, tooLarge(name, len(data), limit)
	}
	return data, nil
}

func tooLarge(name string, size, limit int) error {
	return fmt.Errorf("%s of %d bytes, want at most %d: %w", name, size, limit, ErrTooLarge)
}
