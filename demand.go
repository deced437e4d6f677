package attestd

import (
	"bytes"
	"errors"
	"fmt"
)

// Lengths of a nonce in bytes.
const (
	// MinNonce is the shortest nonce that shows freshness: 256 bits, so that neither guessing nor a
	// birthday collision in the store is a way in.
	MinNonce = 32
	// MaxNonce is the longest value any format's freshness field can hold (AWS Nitro: 1024 bytes).
	MaxNonce = 1024
)

type demandMode uint8

const (
	demandNothingSet demandMode = iota // the zero Demand: met by no evidence
	demandRecorded
	demandNonce
	demandBinding
)

// Demand says what evidence must be bound to. It is made by [Recorded], [Fresh] or [Bound]; the
// zero Demand is met by no evidence, so that a forgotten demand is a refusal and not a waiver.
type Demand struct {
	mode  demandMode
	fresh []byte
	key   []byte
}

// Recorded demands authenticity as of a time and nothing more: freshness is not shown. A verdict
// reached this way must never lead to issuance. A nonce or a key that is known can still be
// demanded with [Demand.WithNonce] and [Demand.WithKey].
func Recorded() Demand { return Demand{mode: demandRecorded} }

// Fresh demands that the format's freshness field equals nonce, byte for byte and in full length.
//
// Errors: a [*CallerError] where nonce is shorter than [MinNonce] or longer than [MaxNonce] bytes, or
// all zero.
func Fresh(nonce []byte) (Demand, error) {
	if len(nonce) < MinNonce || len(nonce) > MaxNonce {
		return Demand{}, &CallerError{
			Class: ClassMalformed,
			Hint:  "use a nonce of 32 random bytes or more; with --recorded any length is compared",
			Err:   fmt.Errorf("nonce has %d bytes, want %d to %d", len(nonce), MinNonce, MaxNonce),
		}
	}
	if bytes.Count(nonce, []byte{0}) == len(nonce) {
		// Zeros are what the field holds where nobody asked: old evidence would be fresh.
		return Demand{}, &CallerError{
			Class: ClassMalformed,
			Hint:  "draw the nonce at random for each question; zeros are a buffer that nobody filled",
			Err:   errors.New("nonce is all zero"),
		}
	}
	return Demand{mode: demandNonce, fresh: bytes.Clone(nonce)}, nil
}

// Bound demands that the format's freshness field holds the digest of binding, which covers our
// nonce, the key and the channel (see [Binding]). Where binding names a key and the format has a
// key field of its own, that field must hold the same key.
//
// Errors: those of [Binding.Digest].
func Bound(binding Binding) (Demand, error) {
	digest, err := binding.Digest()
	if err != nil {
		return Demand{}, err
	}
	return Demand{mode: demandBinding, fresh: digest, key: bytes.Clone(binding.SPKI)}, nil
}

// WithNonce adds to a [Recorded] demand that the freshness field equals nonce, whatever its length.
// The verdict still does not show freshness: nobody vouches that the nonce was ours.
//
// Errors: where the demand is not a recorded one, or nonce is empty or longer than [MaxNonce].
func (d Demand) WithNonce(nonce []byte) (Demand, error) {
	if d.mode != demandRecorded {
		return Demand{}, errors.New("only a recorded demand takes a nonce later")
	}
	if len(nonce) == 0 || len(nonce) > MaxNonce {
		return Demand{}, &CallerError{
			Class: ClassMalformed,
			Hint:  "give the nonce in hex, or @FILE",
			Err:   fmt.Errorf("nonce has %d bytes, want 1 to %d", len(nonce), MaxNonce),
		}
	}
	d.fresh = bytes.Clone(nonce)
	return d, nil
}

// WithKey adds to a [Recorded] or [Fresh] demand that the evidence carries the public key spki, a
// DER SubjectPublicKeyInfo, in a field of its own. A format without such a field answers with a
// [*CallerError]; it binds keys through [Bound] alone.
//
// Errors: where the demand is zero or a binding (which covers its key already), or spki is empty.
func (d Demand) WithKey(spki []byte) (Demand, error) {
	if d.mode != demandRecorded && d.mode != demandNonce {
		return Demand{}, errors.New("a zero demand or a binding takes no key later")
	}
	if len(spki) == 0 {
		return Demand{}, errors.New("an empty key binds nothing")
	}
	d.key = bytes.Clone(spki)
	return d, nil
}

// ForDevice returns the demand on one device of composite evidence: the same kind of demand, on the
// value that [DeviceFreshness] derives for the device. A demand without a freshness value stays as it
// is. The key of a binding is covered by the root, and a key that was added by [Demand.WithKey] is
// demanded of no single device: who composes evidence says which device carries it.
//
// Errors: those of [DeviceFreshness], and a zero demand.
func (d Demand) ForDevice(path string, format Format) (Demand, error) {
	if d.IsZero() {
		return Demand{}, errors.New("a zero demand has no devices")
	}
	device := Demand{mode: d.mode}
	if len(d.fresh) == 0 {
		return device, nil
	}
	var err error
	if device.fresh, err = DeviceFreshness(d.fresh, path, format); err != nil {
		return Demand{}, err
	}
	if d.mode == demandBinding {
		device.key = bytes.Clone(d.key)
	}
	return device, nil
}

// IsZero reports whether nothing was demanded at all; a verifier must refuse such an Input.
func (d Demand) IsZero() bool { return d.mode == demandNothingSet }

// IsRecorded reports whether freshness is left unshown.
func (d Demand) IsRecorded() bool { return d.mode == demandRecorded }

// IsBinding reports whether the freshness field must hold the digest of a [Binding].
func (d Demand) IsBinding() bool { return d.mode == demandBinding }

// Freshness returns the exact value that the format's freshness field must have, and whether one is
// demanded. The slice must not be written to.
func (d Demand) Freshness() (want []byte, demanded bool) { return d.fresh, len(d.fresh) != 0 }

// Key returns the DER SubjectPublicKeyInfo that must be bound, and whether one is demanded. The
// slice must not be written to.
func (d Demand) Key() (spki []byte, demanded bool) { return d.key, len(d.key) != 0 }
