package tdxevidence

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
		return Evidence{}, errors.New("the input does not begin as TDX evidence does")
	}
	cbor := strict.NewCBOR(data)
	evidence, err := read(&cbor)
	if err == nil {
		err = cbor.End()
	}
	if err == nil && evidence.Quote == nil {
		err = errors.New("no quote")
	}
	if err != nil {
		return Evidence{}, err
	}
	return evidence, nil
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
		switch key {
		case keyName:
			_, err = cbor.Text() // IsEvidence compared it
		case keyQuote:
			e.Quote, err = part(cbor, "quote", limits.quote)
		case keyEventLog:
			e.EventLog, err = part(cbor, "event log", limits.eventLog)
		}
		if err != nil {
			return e, err
		}
	}
	return e, nil
}

// part reads a byte string that is neither empty nor over its limit.
func part(cbor *strict.CBOR, name string, limit int) ([]byte, error) {
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
