package eventlog

import (
	"bytes"
	"encoding/binary"

	"github.com/attestd/attestd"
)

// layout says which registers a log speaks of.
type layout uint8

const (
	layoutPCR  layout = iota // TPM: PCR 0 to 23
	layoutRTMR               // CCEL: measurement registers 1 to 4, which are RTMR 0 to 3
)

const registerCount = 24

// extendable reports whether an event may extend the register. In a CCEL index 0 is the measurement
// of the initial memory, which nothing can extend (UEFI 2.10 section 38.4.1).
func (l layout) extendable(register uint32) bool {
	if l == layoutRTMR {
		return register >= 1 && register <= 4
	}
	return register < registerCount
}

// name returns the register's name, as in "PCR4".
func (l layout) name(register uint32) string {
	if !l.extendable(register) {
		return hexName("register 0x", register, 8)
	}
	if l == layoutRTMR {
		return rtmrNames[register-1]
	}
	return pcrNames[register]
}

var (
	rtmrNames = [...]string{"RTMR0", "RTMR1", "RTMR2", "RTMR3"}
	pcrNames  = [registerCount]string{
		"PCR0", "PCR1", "PCR2", "PCR3", "PCR4", "PCR5", "PCR6", "PCR7", "PCR8", "PCR9", "PCR10", "PCR11",
		"PCR12", "PCR13", "PCR14", "PCR15", "PCR16", "PCR17", "PCR18", "PCR19", "PCR20", "PCR21", "PCR22",
		"PCR23",
	}
)

func (l layout) log() string {
	if l == layoutRTMR {
		return "ccel"
	}
	return "boot"
}

// raw is one TCG_PCR_EVENT2; its slices are parts of the log.
type raw struct {
	index    int
	register uint32
	kind     uint32
	digest   []byte // in the reader's bank; nil for events that extend nothing and in Walk
	digests  []byte // as in the log: algorithm and digest, one after the other
	data     []byte
}

// reader steps through the events of a log. It allocates only for faults.
type reader struct {
	rest   []byte
	layout layout
	bank   Bank // 0: no digest is looked for
	count  int
	// listed are the algorithms of the header in its order, of which there are few.
	listed [len(algorithms)]algorithm
	few    int
}

var specSignature = []byte("Spec ID Event03\x00")

// headerSize is that of a TCG_PCR_EVENT: register, type, a SHA-1 digest, and the size of the data.
const headerSize = 4 + 4 + 20 + 4

// open reads the first event: the Specification ID Version Event in the SHA-1 format (PFP section
// 10.4.5.1: "The first event in the event log is the Specification ID version").
func (r *reader) open(log []byte, l layout, bank Bank) *Fault {
	*r = reader{layout: l, bank: bank}
	if len(log) > limits.log {
		return tooLarge(-1, "", "a log of %d bytes where %d are allowed", len(log), limits.log)
	}
	const want = "a crypto-agile log, which starts with a Spec ID Event03"
	if len(log) < headerSize {
		return malformed(-1, want, "a log of %d bytes", len(log))
	}
	size := binary.LittleEndian.Uint32(log[28:])
	if uint64(size) > uint64(len(log)-headerSize) {
		return malformed(-1, want, "a first event of %d bytes in a log of %d", size, len(log))
	}
	data := log[headerSize : headerSize+int(size)]
	if binary.LittleEndian.Uint32(log[4:]) != evNoAction || !bytes.HasPrefix(data, specSignature) {
		return malformed(-1, want, "a log without that event, as of TPM 1.2 or with SHA-1 digests only")
	}
	if fault := r.specification(data[len(specSignature):]); fault != nil {
		return fault
	}
	r.rest = log[headerSize+int(size):]
	return nil
}

// specification reads what follows the signature in TCG_EfiSpecIdEvent: platform class, version,
// size of UINTN, the algorithms with their sizes, vendor information.
func (r *reader) specification(data []byte) *Fault {
	const fixed = 4 + 4 + 4
	if len(data) < fixed {
		return malformed(-1, "", "a Spec ID event that ends after %d bytes", len(data))
	}
	minor, major, uintn := data[4], data[5], data[7]
	if major != 2 || minor != 0 || uintn < 1 || uintn > 2 {
		return malformed(-1, "version 2.0 and a UINTN of 4 or 8 bytes",
			"a log of version %d.%d with UINTN code %d", major, minor, uintn)
	}
	count := binary.LittleEndian.Uint32(data[8:])
	data = data[fixed:]
	few := count > 0 && uint64(count) <= uint64(limits.algorithms)
	if !few || uint64(len(data)) < uint64(count)*4+1 {
		return malformed(-1, "", "a Spec ID event of %d algorithms in %d bytes", count, len(data))
	}
	for range count {
		id, size := binary.LittleEndian.Uint16(data), binary.LittleEndian.Uint16(data[2:])
		data = data[4:]
		if fault := r.list(id, size); fault != nil {
			return fault
		}
	}
	if int(data[0]) != len(data)-1 {
		return malformed(-1, "", "vendor information of %d bytes where %d follow", data[0], len(data)-1)
	}
	if r.bank != 0 && r.place(uint16(r.bank)) < 0 {
		// A quote of one bank says nothing about digests of another: whoever keeps SHA-1 digests in the
		// log only would have the rest of it believed unseen.
		return &Fault{
			Class: attestd.ClassMeasurement, Event: -1,
			Got:  "a log with digests of " + r.listNames(),
			Want: "digests of the quoted bank " + r.bank.String(),
		}
	}
	return nil
}

func (r *reader) list(id, size uint16) *Fault {
	one, known := algorithmByID(id)
	if !known {
		return malformed(-1, "algorithms of the TCG Algorithm Registry",
			"algorithm 0x%04x with %d bytes", id, size)
	}
	if one.size != int(size) || r.place(id) >= 0 {
		return malformed(-1, "each algorithm once with its digest size",
			"%s with %d bytes", one.name, size)
	}
	r.listed[r.few] = one
	r.few++
	return nil
}

// place returns where the header lists the algorithm, -1 for nowhere.
func (r *reader) place(id uint16) int {
	for place := range r.few {
		if r.listed[place].id == id {
			return place
		}
	}
	return -1
}

func (r *reader) listNames() string {
	names := ""
	for place := range r.few {
		if place > 0 {
			names += ", "
		}
		names += r.listed[place].name
	}
	return names
}

// next reads an event into e and reports whether there was one.
func (r *reader) next(e *raw) (bool, *Fault) {
	if len(r.rest) == 0 {
		return false, nil
	}
	if r.layout == layoutRTMR && r.padding() {
		r.rest = nil
		return false, nil
	}
	if r.count == limits.events {
		return false, tooLarge(r.count, "", "a log of more than %d events", limits.events)
	}
	if len(r.rest) < 12 {
		return false, r.cut("its head")
	}
	*e = raw{
		index: r.count, register: binary.LittleEndian.Uint32(r.rest),
		kind: binary.LittleEndian.Uint32(r.rest[4:]),
	}
	count := binary.LittleEndian.Uint32(r.rest[8:])
	r.rest = r.rest[12:]
	if fault := r.readDigests(e, count); fault != nil {
		return false, fault
	}
	if len(r.rest) < 4 {
		return false, r.cut("its size")
	}
	size := binary.LittleEndian.Uint32(r.rest)
	r.rest = r.rest[4:]
	if uint64(size) > uint64(len(r.rest)) {
		return false, malformed(r.count, "", "event %d with %d bytes of data where %d are left",
			r.count, size, len(r.rest))
	}
	if int(size) > limits.data {
		return false, tooLarge(r.count, "", "event %d with %d bytes of data where %d are allowed",
			r.count, size, limits.data)
	}
	e.data = r.rest[:size:size]
	r.rest = r.rest[size:]
	r.count++
	if e.kind == evNoAction {
		return true, noAction(e)
	}
	if !r.layout.extendable(e.register) {
		return false, malformed(e.index, "a register that can be extended", "event %d (%s) of %s",
			e.index, typeName(e.kind), r.layout.name(e.register))
	}
	if r.bank != 0 && e.digest == nil {
		return false, malformed(e.index, "a digest of every listed algorithm",
			"event %d (%s %s) without %s", e.index, r.layout.name(e.register), typeName(e.kind), r.bank)
	}
	return true, nil
}

// readDigests reads TPML_DIGEST_VALUES: only algorithms that the header lists, each at most once.
func (r *reader) readDigests(e *raw, count uint32) *Fault {
	if count == 0 || uint64(count) > uint64(limits.algorithms) {
		return malformed(r.count, "", "event %d with %d digests", r.count, count)
	}
	rest, seen := r.rest, 0
	for index := range int(count) {
		if len(rest) < 2 {
			return r.cut("a digest")
		}
		id, place := binary.LittleEndian.Uint16(rest), index
		if r.listed[place].id != id || place >= r.few { // another order than the header's
			place = r.place(id)
		}
		if place < 0 || seen&(1<<place) != 0 {
			return malformed(r.count, "each algorithm of the header once",
				"event %d with a digest of algorithm 0x%04x", r.count, id)
		}
		seen |= 1 << place
		size := r.listed[place].size
		if len(rest)-2 < size {
			return r.cut("a digest")
		}
		if id == uint16(r.bank) {
			e.digest = rest[2 : 2+size : 2+size]
		}
		rest = rest[2+size:]
	}
	e.digests = r.rest[:len(r.rest)-len(rest)]
	r.rest = rest
	return nil
}

func (r *reader) cut(where string) *Fault {
	return malformed(r.count, "", "a log that is cut off in event %d, in %s", r.count, where)
}

// padding reports whether nothing but 0xff follows: a CCEL is a memory area of fixed size, filled
// so behind its last event.
func (r *reader) padding() bool {
	if len(r.rest) < 4 || binary.LittleEndian.Uint32(r.rest) != 0xffffffff {
		return false
	}
	for _, one := range r.rest {
		if one != 0xff {
			return false
		}
	}
	return true
}

// noAction looks at an event that extends nothing. A second header would make the algorithms
// ambiguous.
func noAction(e *raw) *Fault {
	if bytes.HasPrefix(e.data, specSignature[:len(specSignature)-3]) { // whatever its version
		return malformed(e.index, "one Spec ID event, the first",
			"event %d is another Spec ID event", e.index)
	}
	return nil
}
