package eventlog

import "encoding/binary"

// WalkLegacy is Walk for a log whose digests are SHA-1 alone (TCG PC Client Implementation
// Specification for Conventional BIOS 1.21 section 11.3.1, and TCG EFI Protocol 1.2): what firmware of
// TPM 1.2 times wrote, and what some clouds still give to guests that ask for that form. It is for
// people who read logs. Nothing is replayed from such a log, because whoever can find two texts of one
// SHA-1 digest chooses which of them was measured: ReplayBoot refuses it.
func WalkLegacy(log []byte, yield func(Entry) bool) *Fault {
	if len(log) > limits.log {
		return tooLarge(-1, "", "a log of %d bytes where %d are allowed", len(log), limits.log)
	}
	if len(log) == 0 {
		return malformed(-1, "a log with an event", "an empty log")
	}
	for index := 0; len(log) > 0; index++ {
		if index == limits.events {
			return tooLarge(index, "", "a log of more than %d events", limits.events)
		}
		entry, rest, fault := legacyEvent(index, log)
		if fault != nil {
			return fault
		}
		if !yield(entry) {
			return nil
		}
		log = rest
	}
	return nil
}

// legacyEvent reads one TCG_PCR_EVENT.
func legacyEvent(index int, log []byte) (entry Entry, rest []byte, fault *Fault) {
	if len(log) < headerSize {
		return Entry{}, nil, malformed(index, "", "event %d of %d bytes", index, len(log))
	}
	register, kind := binary.LittleEndian.Uint32(log), binary.LittleEndian.Uint32(log[4:])
	size, data := binary.LittleEndian.Uint32(log[headerSize-4:]), log[headerSize:]
	switch {
	case uint64(size) > uint64(len(data)):
		return Entry{}, nil, malformed(index, "", "event %d with %d bytes of data where %d are left",
			index, size, len(data))
	case int(size) > limits.data:
		return Entry{}, nil, tooLarge(index, "", "event %d with %d bytes of data where %d are allowed",
			index, size, limits.data)
	case kind != evNoAction && !layoutPCR.extendable(register):
		return Entry{}, nil, malformed(index, "a register that can be extended", "event %d (%s) of %s",
			index, typeName(kind), layoutPCR.name(register))
	}
	return Entry{
		Index: index, Register: layoutPCR.name(register), Type: typeName(kind), Data: data[:size:size],
		Digests: []Digest{{Algorithm: "SHA1", Value: log[8:28:28]}},
	}, data[size:], nil
}
