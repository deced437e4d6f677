package journal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/attestd/attestd"
)

// Places hides where a page ends from who may read some tenants' records alone: a number of bytes would
// tell how much is decided about all the others. Places of another process are refused.
type Places struct{ block cipher.Block }

// NewPlaces returns one with a key of its own.
func NewPlaces() (*Places, error) {
	var key [16]byte
	_, _ = rand.Read(key[:]) // it never fails
	block, err := aes.NewCipher(key[:])
	return &Places{block: block}, err
}

var errPlace = &attestd.CallerError{
	Class: attestd.ClassMalformed, Hint: "leave it out, and begin again",
	Err: errors.New("no place to go on from, or one of before a restart"),
}

// Hide returns the place of a page for who asked. One block holds it, with salt, so that the same place
// looks different each time.
func (p *Places) Hide(next string) (string, error) {
	if next == "" {
		return "", nil
	}
	at, err := parsePlace(next)
	if err != nil {
		return "", err
	}
	if at.segment > math.MaxUint32 || at.offset > math.MaxUint32 {
		return "", fmt.Errorf("place %s is too large", next)
	}
	var plain [aes.BlockSize]byte
	_, _ = rand.Read(plain[:4])
	binary.BigEndian.PutUint32(plain[4:], uint32(at.segment)) //nolint:gosec // compared above
	binary.BigEndian.PutUint32(plain[8:], uint32(at.offset))  //nolint:gosec // compared above
	p.block.Encrypt(plain[:], plain[:])
	return base64.RawURLEncoding.EncodeToString(plain[:]), nil
}

// Show returns the place that [Places.Hide] has hidden.
//
// Errors: [attestd.CallerError] for what it has not.
func (p *Places) Show(hidden string) (string, error) {
	if hidden == "" {
		return "", nil
	}
	block, err := base64.RawURLEncoding.Strict().DecodeString(hidden)
	if err != nil || len(block) != aes.BlockSize {
		return "", errPlace
	}
	p.block.Decrypt(block, block)
	if binary.BigEndian.Uint32(block[12:]) != 0 {
		return "", errPlace
	}
	return place{
		segment: int64(binary.BigEndian.Uint32(block[4:])), offset: int64(binary.BigEndian.Uint32(block[8:])),
	}.String(), nil
}
