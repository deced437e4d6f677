package keymanager

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/internal/strict"
	"github.com/attestd/attestd/plugins/spire/keysocket/local"
)

// document is what a successor of this process goes on with.
type document struct {
	Schema     string       `json:"schema"`
	BootID     string       `json:"boot_id"`
	Generation uint64       `json:"generation"`
	Keys       []kept       `json:"keys"`
	Enlist     *wire.Enlist `json:"enlist,omitempty"`
}

// kept is one key of it.
type kept struct {
	ID         string `json:"id"`
	Type       int32  `json:"type"`
	Generation uint64 `json:"generation"`
	SPKI       []byte `json:"spki"`
	// TPMName is for a key in a TPM, Private (PKCS #8) for one in memory: it is never in a file.
	TPMName string `json:"tpm_name,omitempty"`
	Private []byte `json:"private,omitempty"`
}

const (
	schema = "attestd.agent-keys.v1"
	// maxDocument holds maxKeys RSA keys and an enlistment of the greatest size.
	maxDocument = 256 << 10
	fileName    = "agent-keys.json"
)

func encode(d document) ([]byte, error) {
	d.Schema = schema
	content, err := json.Marshal(d)
	if err == nil && len(content) > maxDocument {
		err = fmt.Errorf("keys and enlistment have %d bytes, want at most %d",
			len(content), maxDocument)
	}
	return content, err
}

// decode reads a document; no content is one without keys.
func decode(content []byte) (document, error) {
	if content == nil {
		return document{}, nil
	}
	var d document
	err := strict.DecodeJSON(content, strict.JSONLimits{Bytes: maxDocument, Depth: 6}, &d)
	if err == nil && d.Schema != schema {
		err = fmt.Errorf("want schema %s", schema)
	}
	if err != nil {
		return document{}, fmt.Errorf("the agent's keys as they were kept (%s): %w", fileName, err)
	}
	return d, nil
}

// keeper has the document for a successor. What it loads is whole, or nil for none.
type keeper interface {
	load() ([]byte, error)
	save(content []byte) error
}

// folderKeeper has it in a file. It goes with a maker whose keys are of no use outside of their
// TPM.
type folderKeeper struct{ folder *local.Folder }

func (k folderKeeper) load() ([]byte, error)     { return k.folder.ReadFile(fileName, maxDocument) }
func (k folderKeeper) save(content []byte) error { return k.folder.WriteFile(fileName, content) }

// memoryKeeper has it in memory that the supervisor holds. There are two places, written by turns,
// so that a process killed while it writes leaves the document before: each begins with its number,
// its length and a digest.
type memoryKeeper struct {
	at     *os.File // at places: all children share one position in it
	number uint64
}

const (
	slotHead = 8 + 8 + sha256.Size
	slotSize = slotHead + maxDocument
)

func (k *memoryKeeper) load() ([]byte, error) {
	var newest []byte
	for slot := range int64(2) {
		number, content, err := k.read(slot * slotSize)
		if err != nil {
			return nil, err
		}
		if content != nil && number > k.number {
			k.number, newest = number, content
		}
	}
	return newest, nil
}

// read returns nil for a place in which nothing whole is.
func (k *memoryKeeper) read(offset int64) (uint64, []byte, error) {
	head := make([]byte, slotHead)
	if n, err := k.at.ReadAt(head, offset); errors.Is(err, io.EOF) && n < len(head) {
		return 0, nil, nil
	} else if err != nil && !errors.Is(err, io.EOF) {
		return 0, nil, fmt.Errorf("keys that were kept: %w", err)
	}
	size := binary.BigEndian.Uint64(head[8:])
	if size == 0 || size > maxDocument {
		return 0, nil, nil
	}
	content := make([]byte, size)
	if n, err := k.at.ReadAt(content, offset+slotHead); n < len(content) {
		if errors.Is(err, io.EOF) {
			return 0, nil, nil
		}
		return 0, nil, fmt.Errorf("keys that were kept: %w", err)
	}
	if digest := slotDigest(head[:16], content); !bytes.Equal(digest[:], head[16:]) {
		return 0, nil, nil
	}
	return binary.BigEndian.Uint64(head), content, nil
}

func (k *memoryKeeper) save(content []byte) error {
	next := k.number + 1
	head := binary.BigEndian.AppendUint64(make([]byte, 0, slotHead+len(content)), next)
	head = binary.BigEndian.AppendUint64(head, uint64(len(content)))
	digest := slotDigest(head, content)
	offset := int64(next%2) * slotSize //nolint:gosec // 0 or 1
	if _, err := k.at.WriteAt(append(append(head, digest[:]...), content...), offset); err != nil {
		return fmt.Errorf("keep the keys: %w", err)
	}
	k.number = next
	return nil
}

func slotDigest(head, content []byte) [sha256.Size]byte {
	return sha256.Sum256(append(bytes.Clone(head), content...))
}

// noKeeper forgets: where nobody holds memory for a successor, there are no keys after a restart.
type noKeeper struct{}

func (noKeeper) load() ([]byte, error) { return nil, nil }
func (noKeeper) save([]byte) error     { return nil }
