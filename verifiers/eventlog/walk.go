package eventlog

// Entry is an event as a log has it. Nothing vouches for any of it.
type Entry struct {
	Index int
	// Register as in "PCR4", Type as its specification names it.
	Register, Type string
	Digests        []Digest
	Data           []byte
}

// Digest of an entry in one bank.
type Digest struct {
	// Algorithm as in "SHA256".
	Algorithm string
	Value     []byte
}

// Walk parses a TPM's event log and gives each event to yield, which returns false to stop. The
// data and digests of an entry are parts of the log.
func Walk(log []byte, yield func(Entry) bool) *Fault { return walk(log, layoutPCR, yield) }

// WalkCCEL is Walk for the log of a confidential virtual machine.
func WalkCCEL(log []byte, yield func(Entry) bool) *Fault { return walk(log, layoutRTMR, yield) }

func walk(log []byte, l layout, yield func(Entry) bool) *Fault {
	var events reader
	if fault := events.open(log, l, 0); fault != nil {
		return fault
	}
	for e := (raw{}); ; {
		more, fault := events.next(&e)
		if fault != nil || !more {
			return fault
		}
		entry := Entry{
			Index: e.index, Register: l.name(e.register), Type: typeName(e.kind), Data: e.data,
		}
		for rest := e.digests; len(rest) > 0; {
			one, _ := algorithmByID(uint16(rest[0]) | uint16(rest[1])<<8)
			entry.Digests = append(entry.Digests, Digest{Algorithm: one.name, Value: rest[2 : 2+one.size]})
			rest = rest[2+one.size:]
		}
		if !yield(entry) {
			return nil
		}
	}
}
