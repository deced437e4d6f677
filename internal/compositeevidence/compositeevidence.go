// Package compositeevidence is the container in which the evidence of several devices of one machine
// travels together, each byte for byte as its own verifier takes it.
//
// What comes in to [Parse]: bytes that an attacker chose. What is true where it returned no error:
// they are the one encoding of the [Evidence] that it returns (deterministic CBOR, RFC 8949 section
// 4.2.1, with nothing behind it), the devices' paths ascend, so that no path stands twice, and no part
// is over its limit. What is not shown: that a format is known, that the devices make up a machine, and
// anything about the parts themselves.
//
// The container is a map with two small numbers as keys: 0 holds the container's name, so that the
// first bytes tell it from every other, and 1 an array with one array of path, format and evidence
// for each device.
package compositeevidence

import (
	"bytes"

	"github.com/attestd/attestd"
)

// Evidence are the devices in the order of their paths. Parse gives slices of its input.
type Evidence struct{ Devices []Device }

// Device is the evidence of one device.
type Device struct {
	// Path names the device in the machine, as in "cpu" or "vtpm" (see [attestd.CheckDevicePath]).
	Path string
	// Format says whose evidence it is. The container only demands that it looks like a format's name.
	Format attestd.Format
	// Evidence is what the verifier of that format takes; never empty.
	Evidence []byte
}

// limits bound every part. A verifier of one format has limits of its own; these keep what is looked at
// before one is asked below what one piece of evidence may have.
var limits = struct{ evidence, format int }{
	evidence: 8 << 20, // the whole; TPM evidence with its logs is the largest part there is
	format:   32,
}

// Name is the container's name, the value of key 0.
const Name = "attestd/composite-evidence/v1"

// prefix are the first bytes of every container: a map of two pairs, key 0, a text of 29 bytes, key 1.
const prefix = "\xa2\x00\x78\x1d" + Name + "\x01"

// IsEvidence reports whether data begins as this container does. It is cheap and shows nothing more.
func IsEvidence(data []byte) bool { return bytes.HasPrefix(data, []byte(prefix)) }
