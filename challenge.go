package attestd

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"time"
)

// Challenge is what a Verifier hands to an Attester before it collects evidence. A nonce belongs to
// one tenant, one format and one purpose, is used once, and dies by the clock of the store that
// issued it.
type Challenge struct {
	// ID names the challenge in the store that issued it.
	ID string `json:"id"`
	// Nonce are 32 to 64 random bytes (base64 in JSON).
	Nonce []byte `json:"nonce"`
	// TrustDomain is the SPIFFE trust domain of the verifier; an attester refuses a foreign one.
	TrustDomain string `json:"trust_domain"`
	// VerifierKeyID names the key that signed the challenge.
	VerifierKeyID string `json:"verifier_key_id"`
	// Tenant the evidence will be judged for.
	Tenant string `json:"tenant"`
	// Purpose the evidence will be used for, such as "verify" or "node-attestation".
	Purpose string `json:"purpose"`
	// Format of the evidence asked for.
	Format Format `json:"format"`
	// IssuedAt and ExpiresAt are by the clock of the issuing store, UTC.
	IssuedAt  time.Time `json:"issued_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Binding is what evidence is bound to: who asks, for whom, what for, our nonce, the key and the
// channel. Its digest is what the attester places in the format's freshness field. An attacker who
// could choose any one of the parts freely could present evidence made for another verifier,
// tenant, key or connection.
type Binding struct {
	TrustDomain   string
	VerifierKeyID string
	Tenant        string
	Purpose       string
	Format        Format
	// Nonce of the challenge, 32 to 64 bytes.
	Nonce []byte
	// DevicePath names the device where several stand behind one nonce; empty for the only one.
	DevicePath string
	// SPKI is the DER SubjectPublicKeyInfo of the key to be certified; empty where none is bound.
	SPKI []byte
	// ChannelType and Exporter bind a connection (RFC 9266 exporter); both empty where none is bound.
	ChannelType string
	Exporter    []byte
}

// bindingLabel separates this construction from every other use of the same hash, and its version
// from later ones.
const bindingLabel = "attestd/bind/v1"

// Binding returns the binding of this challenge to the key spki, without a channel.
func (c Challenge) Binding(spki []byte) Binding {
	return Binding{
		TrustDomain: c.TrustDomain, VerifierKeyID: c.VerifierKeyID, Tenant: c.Tenant,
		Purpose: c.Purpose, Format: c.Format, Nonce: c.Nonce, SPKI: spki,
	}
}

// Digest returns the value for the freshness field of the binding's format: SHA-512 (64 bytes)
// where 64 bytes fit, SHA-256 (32 bytes) where the field is a TPM's extraData. The hash input is the
// label followed by every part behind its length as a 32-bit big-endian number, so no two bindings
// share an input. Composite evidence has no such field: its digest is the root from which
// [DeviceFreshness] derives the value of each device.
//
// Errors: a [*CallerError] where the nonce is not 32 to 64 bytes or the format is not known.
func (b Binding) Digest() ([]byte, error) {
	if len(b.Nonce) < MinNonce || len(b.Nonce) > 2*MinNonce {
		return nil, &CallerError{
			Class: ClassMalformed,
			Hint:  "use the challenge exactly as the verifier returned it",
			Err:   fmt.Errorf("challenge nonce has %d bytes, want 32 to 64", len(b.Nonce)),
		}
	}
	message := []byte(bindingLabel)
	for _, part := range [][]byte{
		[]byte(b.TrustDomain), []byte(b.VerifierKeyID), []byte(b.Tenant), []byte(b.Purpose),
		[]byte(b.Format), b.Nonce, []byte(b.DevicePath), b.SPKI, []byte(b.ChannelType), b.Exporter,
	} {
		message = binary.BigEndian.AppendUint32(message, uint32(len(part))) //nolint:gosec // bounded by memory
		message = append(message, part...)
	}
	switch b.Format {
	case FormatNitro, FormatNitroTPM, FormatSEVSNP, FormatTDX, FormatComposite:
		digest := sha512.Sum512(message)
		return digest[:], nil
	case FormatTPM, FormatAzureVTPM:
		digest := sha256.Sum256(message)
		return digest[:], nil
	default:
		_, err := ParseFormat(string(b.Format))
		if err == nil {
			err = fmt.Errorf("no binding is defined for format %q", b.Format)
		}
		return nil, err
	}
}
