// Package tdxevidence is the container in which a TD quote and the event log of its guest travel
// together, each byte for byte as the quoting service and the firmware gave it.
//
// What comes in to [Parse]: bytes that an attacker chose. What is true where it returned no error:
// they are the one encoding of the [Evidence] that it returns (deterministic CBOR, RFC 8949 section
// 4.2.1: a map with ascending keys, shortest lengths, nothing behind it), and no part is over its
// limit. What is not shown: anything about the parts themselves.
//
// The map's keys are small numbers; 0 is first and holds the format's name, so that the first bytes
// tell this format from every other. A log that is absent has no key: nothing is null or empty.
package tdxevidence

// Evidence are the parts. Parse gives slices of its input.
type Evidence struct {
	// Quote is the TD quote, without the zeros with which quoting services fill their buffers.
	Quote []byte
	// EventLog is the CCEL (UEFI 2.10, section 38.4) as the firmware kept it; nil for none.
	EventLog []byte
}

// limits bound every part. They are several times what hardware gives, so that an honest machine
// never meets one.
var limits = struct{ evidence, quote, eventLog int }{
	evidence: 2<<20 + 64<<10,
	quote:    32 << 10, // quotes have 5 KiB
	eventLog: 2 << 20,  // the area has 64 to 512 KiB
}

// Name is the format's name, the value of key 0.
const Name = "attestd/tdx-evidence/v1"

// Keys of the map, in their order.
const (
	keyName uint64 = iota
	keyQuote
	keyEventLog
	keyCount
)

// prefix are the bytes behind the map's head: key 0 and the name.
const prefix = "\x00\x77" + Name

// IsEvidence reports whether data begins as this format does. It is cheap and shows nothing more.
func IsEvidence(data []byte) bool {
	return len(data) > len(prefix) && data[0] > 0xa0 && data[0] <= 0xa0|byte(keyCount) &&
		string(data[1:1+len(prefix)]) == prefix
}
