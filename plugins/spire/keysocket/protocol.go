package keysocket

import (
	"crypto"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/strict"
)

// SocketName is the socket in the folder.
const SocketName = "keys.sock"

// Kind is where a key lives, as the KeyManager says.
type Kind string

// Kinds of keys.
const (
	KindMemory Kind = "memory"
	KindTPM    Kind = "tpm"
)

// Key is a key of the agent's.
type Key struct {
	// SPKI is the DER SubjectPublicKeyInfo.
	SPKI []byte `json:"spki"`
	Kind Kind   `json:"kind"`
	// TPMName is the key's name in TPMState, the state folder of the TPM it lives in, as FindKey of
	// attester/tpm takes it; both empty for a key in memory.
	TPMName  string `json:"tpm_name,omitempty"`
	TPMState string `json:"tpm_state,omitempty"`
	// Generation rises with each key that is made.
	Generation uint64 `json:"generation"`
}

// Errors that callers tell apart.
var (
	// ErrNoKey: no key was generated yet, or none has this public key (any more).
	ErrNoKey = errors.New("the key manager has no such key")
	// ErrBusy: more was asked for than the limit on signatures or connections lets through.
	ErrBusy = errors.New("the key manager has too much to do")
	// ErrRefused: what was asked cannot be done with this key, or what was handed in is not right.
	ErrRefused = errors.New("the key manager refuses")
)

// Limits of the protocol.
const (
	// maxFrame holds an enlistment of 16 certificates.
	maxFrame = 128 << 10
	maxDepth = 6
	// patience is how long a request may take to arrive and an answer to be taken.
	patience = 5 * time.Second
	// watch is how long a question for a change stays open before it is asked again.
	watch = 30 * time.Second
)

// What can be asked.
const (
	opNewest = "newest"
	opSign   = "sign"
	opPut    = "put-enlist"
	opGet    = "get-enlist"
	opAwait  = "await-enlist"
)

type request struct {
	Op string `json:"op"`
	// For a signature.
	SPKI   []byte `json:"spki,omitempty"`
	Hash   string `json:"hash,omitempty"`
	Digest []byte `json:"digest,omitempty"`
	// PSS asks for RSASSA-PSS with a salt as long as the hash.
	PSS bool `json:"pss,omitempty"`
	// Enlist is put; Revision is the one that is known already.
	Enlist   *wire.Enlist `json:"enlist,omitempty"`
	Revision string       `json:"revision,omitempty"`
}

type answer struct {
	Key       *Key         `json:"key,omitempty"`
	Signature []byte       `json:"signature,omitempty"`
	Enlist    *wire.Enlist `json:"enlist,omitempty"`
	Revision  string       `json:"revision,omitempty"`
	// Problem is one of the names of problems, Detail what people read.
	Problem string `json:"problem,omitempty"`
	Detail  string `json:"detail,omitempty"`
}

var problems = []struct {
	name string
	err  error
}{{"no-key", ErrNoKey}, {"busy", ErrBusy}, {"refused", ErrRefused}}

// problem turns an error into an answer. What has no name is told as "failed" with its text: both
// sides are one user's.
func problem(err error) answer {
	for _, one := range problems {
		if errors.Is(err, one.err) {
			return answer{Problem: one.name, Detail: attestd.Excerpt(err.Error(), 300)}
		}
	}
	return answer{Problem: "failed", Detail: attestd.Excerpt(err.Error(), 300)}
}

// remote is an error that the other side told.
type remote struct {
	kind   error
	detail string
}

func (r *remote) Error() string { return r.detail }
func (r *remote) Unwrap() error { return r.kind }

func (a answer) err() error {
	if a.Problem == "" {
		return nil
	}
	for _, one := range problems {
		if a.Problem == one.name {
			return &remote{kind: one.err, detail: attestd.Excerpt(a.Detail, 300)}
		}
	}
	return fmt.Errorf("the key manager failed: %s", attestd.Excerpt(a.Detail, 300))
}

var hashes = map[string]crypto.Hash{
	"SHA-256": crypto.SHA256, "SHA-384": crypto.SHA384, "SHA-512": crypto.SHA512,
}

// write sends one frame: four bytes of length, big-endian, and JSON.
func write(to io.Writer, document any) error {
	frame, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	if len(frame) > maxFrame {
		return fmt.Errorf("%w: a document has %d bytes, want at most %d",
			ErrRefused, len(frame), maxFrame)
	}
	head := make([]byte, 4, 4+len(frame))
	binary.BigEndian.PutUint32(head, uint32(len(frame))) //nolint:gosec // see above
	_, err = to.Write(append(head, frame...))
	return err
}

// read takes one frame and decodes it strictly.
func read(from io.Reader, into any) error {
	var head [4]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxFrame {
		return fmt.Errorf("%w: a frame of %d bytes was announced, want at most %d",
			ErrRefused, size, maxFrame)
	}
	frame, err := io.ReadAll(io.LimitReader(from, int64(size))) // grows as it arrives
	if err != nil {
		return err
	}
	if len(frame) != int(size) {
		return io.ErrUnexpectedEOF
	}
	limits := strict.JSONLimits{Bytes: maxFrame, Depth: maxDepth}
	if err := strict.DecodeJSON(frame, limits, into); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}
