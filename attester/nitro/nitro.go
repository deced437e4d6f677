// Package nitro collects evidence inside an AWS Nitro enclave: an attestation document of the Nitro
// Secure Module.
//
// What comes in: a value for the document's nonce and a public key to be carried along. What is true
// where a call returns no error: the module behind /dev/nsm returned a document for them. What is not
// shown: that the document is genuine. Only a verifier shows that.
package nitro

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"unsafe"

	"github.com/fxamacker/cbor/v2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/attester/internal/ioctl"
)

// DefaultDevice is the device file of the Nitro Secure Module.
const DefaultDevice = "/dev/nsm"

// The driver's interface (include/uapi/linux/nsm.h): one command, whose argument are two iovecs, for
// the request and for the response.
const (
	rawCommand  = 0xc0200a00 // _IOWR(0x0A, 0x0, struct nsm_raw)
	maxRequest  = 0x1000     // NSM_REQUEST_MAX_SIZE
	maxResponse = 0x3000     // NSM_RESPONSE_MAX_SIZE
	messageSize = 32
)

// Longest fields of a request in bytes (AWS Nitro Enclaves, NSM section 3.2.2).
const (
	maxNonce = 512
	maxKey   = 1024
)

// Enclave is the enclave that this program runs in. It is safe for concurrent use.
type Enclave struct {
	path string
	// fake stands for the device in tests.
	fake func(command uint, argument unsafe.Pointer) error
}

// Open returns the enclave whose module is at path; empty for [DefaultDevice].
//
// Errors: a [*attestd.CallerError] of class CONFIG where there is none.
func Open(path string) (*Enclave, error) {
	if path == "" {
		path = DefaultDevice
	}
	if _, err := os.Stat(path); err != nil {
		return nil, refuse("run this inside a Nitro enclave",
			fmt.Errorf("no Nitro Secure Module: %w", err))
	}
	return &Enclave{path: path}, nil
}

// Format returns [attestd.FormatNitro].
func (e *Enclave) Format() attestd.Format { return attestd.FormatNitro }

// request and response are externally tagged, as the module's CBOR has them.
type request struct {
	Attestation attestation `cbor:"Attestation"`
}

type attestation struct {
	UserData  []byte `cbor:"user_data"`
	Nonce     []byte `cbor:"nonce"`
	PublicKey []byte `cbor:"public_key"`
}

type response struct {
	Attestation *struct {
		Document []byte `cbor:"document"`
	} `cbor:"Attestation"`
	Error string `cbor:"Error"`
}

// Collect implements [attester.Attester]: the freshness value becomes the document's nonce, the key its
// public_key. The module answers in milliseconds and cannot be stopped; ctx is looked at before.
func (e *Enclave) Collect(ctx context.Context, ask attester.Request) (attester.Evidence, error) {
	switch {
	case len(ask.Freshness) < attestd.MinNonce || len(ask.Freshness) > maxNonce:
		return attester.Evidence{}, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "use a nonce of 32 random bytes, or a challenge",
			Err: fmt.Errorf("the freshness value has %d bytes, want %d to %d", len(ask.Freshness),
				attestd.MinNonce, maxNonce),
		}
	case len(ask.Key) > maxKey:
		return attester.Evidence{}, &attestd.CallerError{
			Class: attestd.ClassMalformed, Hint: "use an ECDSA or Ed25519 key",
			Err: fmt.Errorf("the key has %d bytes, want at most %d", len(ask.Key), maxKey),
		}
	case ctx.Err() != nil:
		return attester.Evidence{}, fmt.Errorf("stopped before a document was asked for: %w", ctx.Err())
	}
	fields := attestation{Nonce: ask.Freshness}
	if len(ask.Key) > 0 { // an empty byte string is no null, and nobody's key
		fields.PublicKey = ask.Key
	}
	doc, err := cbor.Marshal(request{Attestation: fields})
	if err != nil {
		return attester.Evidence{}, fmt.Errorf("ask for a document: %w", err)
	}
	reply, err := e.exchange(doc)
	if err != nil {
		return attester.Evidence{}, err
	}
	var answer response
	if err := cbor.Unmarshal(reply, &answer); err != nil {
		return attester.Evidence{}, fmt.Errorf("the module's answer: %w", err)
	}
	switch {
	case answer.Error != "":
		return attester.Evidence{}, fmt.Errorf("the module refused: %s", attestd.Excerpt(answer.Error, 100))
	case answer.Attestation == nil || len(answer.Attestation.Document) == 0:
		return attester.Evidence{}, errors.New("the module's answer holds no document")
	}
	return attester.Evidence{Format: attestd.FormatNitro, Bytes: answer.Attestation.Document}, nil
}

// exchange sends one message to the module and returns its answer.
func (e *Enclave) exchange(message []byte) ([]byte, error) {
	if len(message) > maxRequest {
		return nil, fmt.Errorf("the request has %d bytes, want at most %d", len(message), maxRequest)
	}
	call, done, err := e.device()
	if err != nil {
		return nil, err
	}
	defer done()
	// The driver reads and writes these by address, so they must not move until it is done.
	var pinner runtime.Pinner
	defer pinner.Unpin()
	answer := make([]byte, maxResponse)
	argument := make([]byte, 0, messageSize)
	for _, buffer := range [][]byte{message, answer} {
		pinner.Pin(&buffer[0])
		argument = binary.NativeEndian.AppendUint64(argument, uint64(uintptr(unsafe.Pointer(&buffer[0]))))
		argument = binary.NativeEndian.AppendUint64(argument, uint64(len(buffer)))
	}
	pinner.Pin(&argument[0])
	if err := call(rawCommand, unsafe.Pointer(&argument[0])); err != nil {
		return nil, fmt.Errorf("ask the module: %w", err)
	}
	length := binary.NativeEndian.Uint64(argument[24:])
	if length == 0 || length > maxResponse {
		return nil, fmt.Errorf("the module's answer has %d bytes, want 1 to %d", length, maxResponse)
	}
	return answer[:length], nil
}

func (e *Enclave) device() (ioctl.Control, func(), error) {
	if e.fake != nil {
		return e.fake, func() {}, nil
	}
	call, done, err := ioctl.Open(e.path)
	if err != nil {
		hint := "run this inside a Nitro enclave"
		if errors.Is(err, fs.ErrPermission) {
			hint = "run as root, or give this user rights on the device file"
		}
		return nil, nil, refuse(hint, fmt.Errorf("Nitro Secure Module: %w", err)) //nolint:staticcheck // a name
	}
	return call, done, nil
}

func refuse(hint string, err error) error {
	return &attestd.CallerError{Class: attestd.ClassConfig, Hint: hint, Err: err}
}
