package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestd/attestd"
)

// Checkpoint says what a log was: so many leaves, with that hash (C2SP tlog-checkpoint).
type Checkpoint struct {
	Origin string
	Size   int64
	Hash   Hash
}

// text returns the note's text.
func (c Checkpoint) text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Hash[:]))
}

// Sign returns the checkpoint as a signed note. The origin is the signer's name.
func (c Checkpoint) Sign(signer Signer) (string, error) {
	if c.Origin != signer.Name() {
		return "", fmt.Errorf("checkpoint of %q for a signer of %q", c.Origin, signer.Name())
	}
	signed, err := note.Sign(&note.Note{Text: c.text()}, signer)
	if err != nil {
		return "", fmt.Errorf("sign checkpoint: %w", err)
	}
	return string(signed), nil
}

// maxNote is the largest signed note that is read: a checkpoint with the signatures of many witnesses.
const maxNote = 64 << 10

// OpenCheckpoint reads a signed checkpoint and verifies its signature. Signatures by others, such as
// witnesses, may stand beside it; they are not looked at.
//
// Errors: where the signature of the key is not there or not right, where the origin is another than
// the key's name, or where the text is not in its one form.
func OpenCheckpoint(signed, public string) (Checkpoint, error) {
	if len(signed) > maxNote {
		return Checkpoint{}, fmt.Errorf("checkpoint of %d bytes, want at most %d", len(signed), maxNote)
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(public))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("public key of the log: %w", err)
	}
	opened, err := note.Open([]byte(signed), note.VerifierList(verifier))
	var unverified *note.UnverifiedNoteError
	switch {
	case errors.As(err, &unverified):
		return Checkpoint{}, fmt.Errorf("checkpoint is not signed by the key of %q",
			attestd.Excerpt(verifier.Name(), 80))
	case err != nil:
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	lines := strings.Split(strings.TrimSuffix(opened.Text, "\n"), "\n")
	if len(lines) != 3 {
		return Checkpoint{}, fmt.Errorf("checkpoint has %d lines of text, want 3", len(lines))
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 {
		return Checkpoint{}, fmt.Errorf("checkpoint has the size %q", attestd.Excerpt(lines[1], 30))
	}
	hash, err := tlog.ParseHash(lines[2])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint has the hash %q", attestd.Excerpt(lines[2], 60))
	}
	read := Checkpoint{Origin: lines[0], Size: size, Hash: hash}
	if read.text() != opened.Text {
		return Checkpoint{}, errors.New("checkpoint is not in its one form")
	}
	// A key signs for one log: what it signed for another says nothing about this one.
	if read.Origin != verifier.Name() {
		return Checkpoint{}, fmt.Errorf("checkpoint of %q signed by the key of %q",
			attestd.Excerpt(read.Origin, 80), attestd.Excerpt(verifier.Name(), 80))
	}
	return read, nil
}
