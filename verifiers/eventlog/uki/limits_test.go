package uki_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/eventlog/uki"
)

func TestImagesOverTheLimitAreNotLookedAt(t *testing.T) {
	_, err := uki.Parse(make([]byte, uki.MaxImage+1))
	var fault *uki.Fault
	if !errors.As(err, &fault) || fault.Class != attestd.ClassTooLarge {
		t.Errorf("got %v, want TOO_LARGE", err)
	}
}

func TestAnOptionalHeaderOfOneByteHasNoKind(t *testing.T) {
	image := forge.UKI(258, parts()...)
	binary.LittleEndian.PutUint16(image[binary.LittleEndian.Uint32(image[0x3c:])+20:], 1)
	_, err := uki.Parse(image)
	var fault *uki.Fault
	if !errors.As(err, &fault) || fault.Got != "an optional header of 1 bytes" {
		t.Errorf("got %v", err)
	}
}
