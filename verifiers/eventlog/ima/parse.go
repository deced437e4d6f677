package ima

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/attestd/attestd"
)

// limits bound what is read. The kernel itself has none for most of these.
var limits = struct {
	// log is the largest part of a list that is read at once, in bytes: some 200,000 entries.
	log int
	// name is the longest template name: the longest format string that the kernel restores after a
	// kexec (ima_template.c, MAX_TEMPLATE_NAME_LEN).
	name int
	// data is the largest template data: appended signatures and buffers are kilobytes.
	data int
	// path is the longest name of what was measured: PATH_MAX and room for " (deleted)" and the like.
	path int
}{log: 32 << 20, name: 96, data: 1 << 20, path: 4096 + 256}

// register is the PCR that is read: CONFIG_IMA_MEASURE_PCR_IDX, 10 in every kernel that is known.
const register = 10

// Fault says why a list was refused.
type Fault struct {
	Class attestd.Class
	// Event is the index of the entry, from the start of the boot.
	Event     int
	Got, Want string
}

// Error names the entry, and what was seen and wanted.
func (f *Fault) Error() string {
	return fmt.Sprintf("entry %d of the IMA log: got %s, want %s", f.Event, f.Got, f.Want)
}

// Entry is one entry as it stands in the list: nothing in it is verified. All slices are parts of
// the input.
type Entry struct {
	// Offset of the entry in the bytes that were given, and Size, in bytes.
	Offset, Size int
	// PCR that the entry says it was measured into.
	PCR uint32
	// Digest is the template digest that the list shows.
	Digest []byte
	// Template is the template's name, as in "ima-ng". No digest covers it.
	Template string
	// Data is the template data, that the digest is of.
	Data []byte
	// Algorithm and FileDigest are the digest of what was measured; Path names it.
	Algorithm  string
	FileDigest []byte
	Path       []byte
	// Violation says that the entry shows a violation: the list shows zeros for its digest, the
	// register was extended with ones, and nothing covers the data.
	Violation bool
}

// template says what its template data hold. All begin with the digest and the name of what was
// measured.
type template struct {
	name   string
	fields int
	// versioned digests (d-ngv2) begin with the digest's type.
	versioned bool
}

// templates are the kernel's own (ima_template.c, builtin_templates), without the oldest, "ima",
// whose digest covers a name that is cut and padded.
var templates = [...]template{
	{name: "ima-ng", fields: 2},
	{name: "ima-sig", fields: 3},
	{name: "ima-buf", fields: 3},
	{name: "ima-modsig", fields: 5},
	{name: "ima-ngv2", fields: 2, versioned: true},
	{name: "ima-sigv2", fields: 3, versioned: true},
	{name: "evm-sig", fields: 9},
}

// algorithms are the names of crypto/hash_info.c with the sizes of their digests.
var algorithms = [...]struct {
	name string
	size int
}{
	{"sha256", 32}, {"sha1", 20}, {"sha512", 64}, {"sha384", 48}, {"sha224", 28}, {"md5", 16},
	{"md4", 16}, {"rmd160", 20}, {"rmd128", 16}, {"rmd256", 32}, {"rmd320", 40}, {"wp256", 32},
	{"wp384", 48}, {"wp512", 64}, {"tgr128", 16}, {"tgr160", 20}, {"tgr192", 24}, {"sm3", 32},
	{"sm3-256", 32}, {"streebog256", 32}, {"streebog512", 64}, {"sha3-256", 32}, {"sha3-384", 48},
	{"sha3-512", 64},
}

// reader is a cursor over a list. It allocates for faults only.
type reader struct {
	log   []byte
	off   int
	size  int // of the template digests in this list
	index int // of the next entry since the start of the boot
}

// newReader finds out how long the template digests of a list are: the kernel writes one list with
// SHA-1 digests, and beside it one for each bank, none of which says which it is. The first entry
// reads as one of them alone: behind its digest must stand the length and the name of a template.
func newReader(log []byte, index int) (reader, *Fault) {
	r := reader{log: log, size: 20, index: index}
	if len(log) > limits.log {
		return r, r.fault(attestd.ClassTooLarge, fmt.Sprintf("%d bytes", len(log)),
			fmt.Sprintf("%d bytes at most", limits.log))
	}
	for _, size := range [...]int{20, 32, 48, 64} {
		probe := reader{log: log, size: size, index: index}
		if _, ok := probe.templateAt(); ok {
			return probe, nil
		}
	}
	return r, nil // its first entry says what is wrong
}

// templateAt returns the template of the entry at the cursor, and whether one that is known stands
// there.
func (r *reader) templateAt() (template, bool) {
	rest := r.log[r.off:]
	head := 4 + r.size + 4
	if len(rest) < head {
		return template{}, false
	}
	length := binary.LittleEndian.Uint32(rest[4+r.size:])
	if uint64(length) > uint64(min(limits.name, len(rest)-head)) {
		return template{}, false
	}
	name := rest[head : head+int(length)]
	for i := range templates {
		if string(name) == templates[i].name {
			return templates[i], true
		}
	}
	return template{}, false
}

func (r *reader) more() bool { return r.off < len(r.log) }

// next reads an entry.
func (r *reader) next() (Entry, *Fault) {
	rest := r.log[r.off:]
	kind, known := r.templateAt()
	if !known {
		return Entry{}, r.unknownTemplate(rest)
	}
	head := 4 + r.size + 4 + len(kind.name)
	if len(rest) < head+4 {
		return Entry{}, r.malformed("an entry cut off before its template data", "whole entries")
	}
	length := binary.LittleEndian.Uint32(rest[head:])
	if length > uint32(limits.data) { //nolint:gosec // a small constant
		return Entry{}, r.fault(attestd.ClassTooLarge, fmt.Sprintf("template data of %d bytes", length),
			fmt.Sprintf("%d bytes at most", limits.data))
	}
	end := head + 4 + int(length)
	if end > len(rest) {
		return Entry{}, r.malformed("an entry cut off in its template data", "whole entries")
	}
	entry := Entry{
		Offset: r.off, Size: end, PCR: binary.LittleEndian.Uint32(rest),
		Digest:   rest[4 : 4+r.size : 4+r.size],
		Template: kind.name, Data: rest[head+4 : end : end],
	}
	// A rule of the kernel's policy may say pcr=N. Such an entry is covered by another register, and
	// where it stands in the order of this one nothing shows.
	if entry.PCR != register {
		return Entry{}, r.fault(attestd.ClassUnsupported, fmt.Sprintf("an entry of PCR %d", entry.PCR),
			"entries of PCR 10 alone")
	}
	entry.Violation = allZero(entry.Digest)
	if fault := r.fields(&entry, kind); fault != nil {
		return Entry{}, fault
	}
	r.off += end
	r.index++
	return entry, nil
}

// unknownTemplate says what is wrong with an entry whose template is not one of those known.
func (r *reader) unknownTemplate(rest []byte) *Fault {
	head := 4 + r.size + 4
	if len(rest) < head {
		return r.malformed("an entry cut off in its head", "whole entries")
	}
	length := binary.LittleEndian.Uint32(rest[4+r.size:])
	switch {
	case length > uint32(limits.name): //nolint:gosec // a small constant
		return r.malformed(fmt.Sprintf("a template name of %d bytes", length),
			fmt.Sprintf("%d bytes at most", limits.name))
	case int(length) > len(rest)-head:
		return r.malformed("an entry cut off in its template name", "whole entries")
	}
	name := attestd.Excerpt(string(rest[head:head+int(length)]), 40)
	return r.fault(attestd.ClassUnsupported, fmt.Sprintf("template %q", name),
		"ima-ng, ima-sig, ima-buf, ima-modsig, ima-ngv2, ima-sigv2 or evm-sig")
}

// fields reads the template data: each field behind its length (ima_template_lib.c, ima_parse_buf).
func (r *reader) fields(entry *Entry, kind template) *Fault {
	rest := entry.Data
	for i := range kind.fields {
		if len(rest) < 4 {
			return r.malformed("template data cut off before a field",
				fmt.Sprintf("%d fields", kind.fields))
		}
		length := binary.LittleEndian.Uint32(rest)
		rest = rest[4:]
		if uint64(length) > uint64(len(rest)) {
			return r.malformed("a field longer than its template data", "a length within the data")
		}
		field := rest[:length:length]
		rest = rest[length:]
		var fault *Fault
		switch i {
		case 0:
			fault = r.digestField(entry, field, kind.versioned)
		case 1:
			fault = r.nameField(entry, field)
		}
		if fault != nil {
			return fault
		}
	}
	if len(rest) != 0 {
		return r.malformed(fmt.Sprintf("%d bytes behind the last field", len(rest)),
			fmt.Sprintf("%d fields and no more", kind.fields))
	}
	return nil
}

// digestField reads "d-ng": an algorithm's name, a colon, a NUL, and the digest; "d-ngv2" has the
// digest's type and a colon before it (ima_eventdigest_init_common).
func (r *reader) digestField(entry *Entry, field []byte, versioned bool) *Fault {
	const want = "algorithm:NUL and a digest"
	if versioned {
		var ok bool
		if field, ok = cutType(field); !ok {
			return r.malformed("a digest without its type", "ima: or verity: before the algorithm")
		}
	}
	colon := bytes.IndexByte(field[:min(len(field), 16)], ':')
	if colon < 0 || colon+1 >= len(field) || field[colon+1] != 0 {
		return r.malformed("a digest without an algorithm", want)
	}
	entry.FileDigest = field[colon+2:]
	for _, known := range algorithms {
		if string(field[:colon]) != known.name {
			continue
		}
		entry.Algorithm = known.name
		// In a violation nothing was digested; older kernels write 20 zeros for any algorithm.
		if entry.Violation && allZero(entry.FileDigest) && len(entry.FileDigest) <= 64 {
			return nil
		}
		if len(entry.FileDigest) != known.size {
			return r.malformed(fmt.Sprintf("%d bytes for %s", len(entry.FileDigest), known.name),
				fmt.Sprintf("%d bytes", known.size))
		}
		return nil
	}
	return r.fault(attestd.ClassUnsupported,
		fmt.Sprintf("algorithm %q", attestd.Excerpt(string(field[:colon]), 20)),
		"an algorithm that the kernel names")
}

// cutType cuts the type of a digest off: what IMA digested itself, or an fs-verity digest.
func cutType(field []byte) ([]byte, bool) {
	if rest, ok := bytes.CutPrefix(field, []byte("ima:")); ok {
		return rest, true
	}
	return bytes.CutPrefix(field, []byte("verity:"))
}

// nameField reads "n-ng": a name and its NUL. With a NUL inside it, one name would read as two.
func (r *reader) nameField(entry *Entry, field []byte) *Fault {
	if len(field) > limits.path+1 {
		return r.fault(attestd.ClassTooLarge, fmt.Sprintf("a name of %d bytes", len(field)-1),
			fmt.Sprintf("%d bytes at most", limits.path))
	}
	if len(field) == 0 || bytes.IndexByte(field, 0) != len(field)-1 {
		return r.malformed("a name that does not end in its one NUL", "a name and a NUL")
	}
	entry.Path = field[: len(field)-1 : len(field)-1]
	return nil
}

func (r *reader) malformed(got, want string) *Fault {
	return r.fault(attestd.ClassMalformed, got, want)
}

func (r *reader) fault(class attestd.Class, got, want string) *Fault {
	return &Fault{Class: class, Event: r.index, Got: got, Want: want}
}

func allZero(data []byte) bool {
	for _, b := range data {
		if b != 0 {
			return false
		}
	}
	return true
}

// Walk reads a list from its start without any quote, for people who look into one. Nothing that it
// yields is verified.
func Walk(log []byte, yield func(Entry) bool) *Fault {
	r, fault := newReader(log, 0)
	for fault == nil && r.more() {
		var entry Entry
		if entry, fault = r.next(); fault == nil && !yield(entry) {
			return nil
		}
	}
	return fault
}
