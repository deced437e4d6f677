package tpmevidence

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
		return Evidence{}, errors.New("the input does not begin as TPM evidence does")
	}
	r := &reader{cbor: strict.NewCBOR(data)}
	evidence, err := r.evidence()
	if err == nil {
		err = r.cbor.End()
	}
	if err == nil {
		err = evidence.complete()
	}
	if err != nil {
		return Evidence{}, err
	}
	return evidence, nil
}

// complete refuses evidence without the parts that no quote can do without.
func (e Evidence) complete() error {
	for _, part := range []struct {
		name string
		data []byte
	}{
		{"AK public area", e.AKPublic}, {"quote", e.Quote}, {"quote signature", e.QuoteSignature},
	} {
		if len(part.data) == 0 {
			return fmt.Errorf("no %s", part.name)
		}
	}
	return nil
}

func tooLarge(name string, size, limit int) error {
	return fmt.Errorf("%s of %d bytes, want at most %d: %w", name, size, limit, ErrTooLarge)
}

type reader struct{ cbor strict.CBOR }

func (r *reader) evidence() (Evidence, error) {
	var e Evidence
	pairs, err := r.cbor.Map(int(keyCount))
	if err != nil {
		return e, err
	}
	next := uint64(0)
	for range pairs {
		key, err := r.cbor.Uint()
		if err != nil {
			return e, err
		}
		// RFC 8949, section 4.2.1: keys are sorted. What is not above the last key is a repetition or
		// out of order, and two orders would be two encodings of one statement.
		if key < next || key >= keyCount {
			return e, fmt.Errorf("key %d, want %d to %d in this place", key, next, keyCount-1)
		}
		next = key + 1
		if err := r.part(key, &e); err != nil {
			return e, err
		}
	}
	return e, nil
}

// part reads the value of one key.
func (r *reader) part(key uint64, e *Evidence) (err error) {
	switch key {
	case keyName:
		_, err = r.cbor.Text() // IsEvidence compared it
	case keyAKPublic:
		e.AKPublic, err = r.bytes("AK public area", limits.structure)
	case keyAKParents:
		e.AKParents, err = r.list("AK parent", limits.parents, limits.digest)
	case keyEKPublic:
		e.EKPublic, err = r.bytes("EK public area", limits.structure)
	case keyEKCertificate:
		e.EKCertificate, err = r.bytes("EK certificate", limits.certificate)
	case keyAKCertificate:
		e.AKCertificate, err = r.bytes("AK certificate", limits.certificate)
	case keyIntermediates:
		e.Intermediates, err = r.list("intermediate", limits.intermediates, limits.certificate)
	case keyQuote:
		e.Quote, err = r.bytes("quote", limits.structure)
	case keyQuoteSignature:
		e.QuoteSignature, err = r.bytes("quote signature", limits.structure)
	case keyPCRs:
		e.PCRs, err = r.banks()
	case keyKey:
		e.Key, err = r.key()
	case keyEventLog:
		e.EventLog, err = r.bytes("event log", limits.eventLog)
	case keyIMA:
		e.IMA, err = r.ima()
	}
	return err
}

// bytes reads a byte string that is neither empty nor over its limit.
func (r *reader) bytes(name string, limit int) ([]byte, error) {
	data, err := r.cbor.Bytes()
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

func (r *reader) list(name string, count, limit int) ([][]byte, error) {
	size, err := r.cbor.Array(count)
	if err != nil {
		return nil, fmt.Errorf("%ss: %w", name, err)
	}
	if size == 0 {
		return nil, fmt.Errorf("%ss are an empty list, want it left out", name)
	}
	out := make([][]byte, size)
	for i := range out {
		if out[i], err = r.bytes(name, limit); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// banks reads an array of pairs: algorithm, and a map from PCR to value.
func (r *reader) banks() ([]Bank, error) {
	size, err := r.cbor.Array(limits.banks)
	if err != nil {
		return nil, fmt.Errorf("PCR banks: %w", err)
	}
	if size == 0 {
		return nil, errors.New("PCR banks are an empty list, want it left out")
	}
	out := make([]Bank, size)
	last := -1
	for i := range out {
		if err := r.tuple("PCR bank", 2); err != nil {
			return nil, err
		}
		algorithm, err := r.cbor.Uint()
		if err != nil {
			return nil, fmt.Errorf("PCR bank: %w", err)
		}
		if algorithm > 0xffff || int(algorithm) <= last {
			return nil, fmt.Errorf("PCR bank of algorithm 0x%04x behind 0x%04x", algorithm, last)
		}
		last = int(algorithm)
		out[i].Algorithm = uint16(algorithm)
		if out[i].PCRs, err = r.pcrs(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (r *reader) pcrs() ([]PCR, error) {
	size, err := r.cbor.Map(limits.pcrs)
	if err != nil {
		return nil, fmt.Errorf("PCRs: %w", err)
	}
	if size == 0 {
		return nil, errors.New("a PCR bank without PCRs, want it left out")
	}
	out := make([]PCR, size)
	last := -1
	for i := range out {
		index, err := r.cbor.Uint()
		if err != nil {
			return nil, fmt.Errorf("PCRs: %w", err)
		}
		if index >= uint64(limits.pcrs) || int(index) <= last { //nolint:gosec // below the limit
			return nil, fmt.Errorf("PCR %d behind PCR %d, want them to ascend below %d", index, last,
				limits.pcrs)
		}
		last = int(index)           //nolint:gosec // below the limit
		out[i].Index = uint8(index) //nolint:gosec // below the limit
		if out[i].Value, err = r.bytes("PCR value", limits.digest); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (r *reader) key() (*Key, error) {
	if err := r.tuple("key", 3); err != nil {
		return nil, err
	}
	key := &Key{}
	for _, part := range []struct {
		name string
		into *[]byte
	}{
		{"key's public area", &key.Public}, {"key's attestation", &key.Attest},
		{"key's signature", &key.Signature},
	} {
		var err error
		if *part.into, err = r.bytes(part.name, limits.structure); err != nil {
			return nil, err
		}
	}
	return key, nil
}

func (r *reader) ima() (*IMALog, error) {
	if err := r.tuple("IMA log", 2); err != nil {
		return nil, err
	}
	offset, err := r.cbor.Uint()
	if err != nil {
		return nil, fmt.Errorf("IMA log: %w", err)
	}
	// Empty where nothing was measured since the offset.
	log, err := r.cbor.Bytes()
	if err != nil {
		return nil, fmt.Errorf("IMA log: %w", err)
	}
	if len(log) > limits.ima {
		return nil, tooLarge("IMA log", len(log), limits.ima)
	}
	return &IMALog{Offset: offset, Log: log}, nil
}

func (r *reader) tuple(name string, want int) error {
	size, err := r.cbor.Array(want)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if size != want {
		return fmt.Errorf("%s: an array of %d, want %d", name, size, want)
	}
	return nil
}
