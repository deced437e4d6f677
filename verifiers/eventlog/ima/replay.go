package ima

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // in every list; Log.Padded says where it is all there is
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"fmt"

	"github.com/attestd/attestd"
)

// Log is a list that was replayed.
type Log struct {
	// State is the point that the quote vouches for: a later replay in the same boot goes on there.
	State attestd.IMAState
	// Entries were replayed now, State.Entries since the start of the boot.
	Entries int
	// Unquoted entries follow in the list. The quote says nothing about them.
	Unquoted int
	// Violations are those among Entries.
	Violations int
	// Padded says that the bank was extended with SHA-1 template digests and zeros behind them, as
	// kernels before 5.8 do: the strength of SHA-1 is all that binds the entries.
	Padded bool
	// Aggregate says what the first entry was compared with.
	Aggregate Aggregate
	// Kexecs counts further boot aggregates: each is a kernel that was started from another, which
	// the firmware's log knows nothing of.
	Kexecs int

	bank  bank
	index int    // of the first entry of log
	log   []byte // the entries that were replayed, a private copy
}

// bank is a PCR bank.
type bank struct {
	name string
	size int
}

var banks = [...]bank{{"SHA256", 32}, {"SHA384", 48}, {"SHA512", 64}}

// Replay extends PCR 10 with the entries of a list until it holds the quoted value. The log is the
// list's part from the byte from.Offset; the zero state is the start of the boot. The bank is named
// as in "SHA256", and pcrs are the values in it that the quote vouches for, nil for others. The log
// is not written to and not kept.
//
// Kernels since 5.8 extend each bank with the template's digest in the bank's algorithm (commit
// 1ea973df6e21); those before it with the SHA-1 digest, padded. No field says which; the register
// does.
func Replay(
	log []byte, from attestd.IMAState, bankName string, pcrs *[24][]byte,
) (Log, *Fault) {
	start, fault := startAt(from, bankName)
	if fault != nil {
		return Log{}, fault
	}
	quoted := pcrs[register]
	if len(quoted) != start.bank.size {
		return Log{}, &Fault{
			Class: attestd.ClassMalformed, Event: start.index,
			Got:  fmt.Sprintf("a PCR 10 of %d bytes", len(quoted)),
			Want: fmt.Sprintf("%d bytes (%s)", start.bank.size, bankName),
		}
	}
	first, fault := newReader(log, start.index)
	if fault != nil {
		return Log{}, fault
	}
	for _, padded := range [...]bool{false, true} {
		if padded && first.size != 20 {
			break // kernels with lists for other banks are much younger than 5.8
		}
		out, found, fault := start.run(first, padded, quoted)
		if fault != nil {
			return Log{}, fault
		}
		if !found {
			continue
		}
		if fault := out.checkAggregate(pcrs); fault != nil {
			return Log{}, fault
		}
		return out, nil
	}
	return Log{}, start.noMatch(quoted)
}

// startAt returns the log before its first entry.
func startAt(from attestd.IMAState, bankName string) (Log, *Fault) {
	wrong := func(got, want string) (Log, *Fault) {
		return Log{}, &Fault{Class: attestd.ClassUnsupported, Got: got, Want: want}
	}
	const most = 1 << 40 // entries and bytes of one boot; beyond it a state is broken
	out := Log{State: from}
	for _, known := range banks {
		if known.name == bankName {
			out.bank = known
		}
	}
	switch {
	case out.bank.size == 0:
		return wrong(fmt.Sprintf("bank %q", attestd.Excerpt(bankName, 20)), "SHA256, SHA384 or SHA512")
	case from.Entries > most || from.Offset > most:
		return wrong("a state beyond any list", "a state of an earlier replay")
	case from.Entries == 0 && (from.Offset != 0 || len(from.Register) != 0):
		return wrong("a state of no entries with a register", "the zero state, or one of a replay")
	case from.Entries == 0:
		out.State = attestd.IMAState{Bank: bankName, Register: make([]byte, out.bank.size)}
	case from.Bank != bankName || len(from.Register) != out.bank.size:
		return wrong(fmt.Sprintf("a state of bank %q", attestd.Excerpt(from.Bank, 20)), bankName)
	}
	out.index = int(out.State.Entries) //nolint:gosec // at most 1<<40
	return out, nil
}

// run replays the list in one of two ways. It says whether the quoted value was reached.
func (l Log) run(r reader, padded bool, quoted []byte) (Log, bool, *Fault) {
	var value [64]byte
	size, begun := l.bank.size, l.State.Entries > 0
	copy(value[:], l.State.Register)
	// Nothing may have been measured since the state. Before the first entry that is no answer: the
	// register is zero where the kernel never extended it, and the list would be anybody's.
	found := begun && subtle.ConstantTimeCompare(value[:size], quoted) == 1
	end := 0
	for r.more() {
		entry, fault := r.next()
		if fault != nil {
			return Log{}, false, fault
		}
		if found {
			l.Unquoted++
			continue
		}
		if !begun && r.index == 1 && string(entry.Path) != aggregateName {
			return Log{}, false, &Fault{
				Class: attestd.ClassMeasurement,
				Got:   fmt.Sprintf("%q", attestd.Excerpt(string(entry.Path), 60)),
				Want:  "boot_aggregate, which the kernel measures before all else",
			}
		}
		digest, fault := l.bank.extension(&entry, padded, r.index-1)
		if fault != nil {
			return Log{}, false, fault
		}
		l.bank.extend(&value, &digest)
		l.count(&entry)
		end = r.off
		found = subtle.ConstantTimeCompare(value[:size], quoted) == 1
	}
	if !found {
		return Log{}, false, nil
	}
	l.Padded = padded
	l.log = bytes.Clone(r.log[:end])
	l.State = attestd.IMAState{
		Offset:  l.State.Offset + uint64(end),        //nolint:gosec // a length
		Entries: l.State.Entries + uint64(l.Entries), //nolint:gosec // a count
		Bank:    l.bank.name, Register: bytes.Clone(value[:size]),
	}
	return l, true, nil
}

func (l *Log) count(entry *Entry) {
	if entry.Violation {
		l.Violations++
	} else if l.index+l.Entries > 0 && string(entry.Path) == aggregateName {
		l.Kexecs++
	}
	l.Entries++
}

// extension returns what the register was extended with: the digest of the template data, or ones
// for a violation (ima_queue.c, ima_add_template_entry: "invalidate pcr").
func (b bank) extension(entry *Entry, padded bool, index int) ([64]byte, *Fault) {
	var out, sha [64]byte
	if entry.Violation {
		width := b.size
		if padded {
			width = sha1.Size
		}
		for i := range out[:width] {
			out[i] = 0xff
		}
		return out, nil
	}
	sum(&sha, len(entry.Digest), entry.Data)
	// Without this line a list could show one digest to people and extend the register with another.
	if !bytes.Equal(sha[:len(entry.Digest)], entry.Digest) {
		return out, &Fault{
			Class: attestd.ClassMeasurement, Event: index,
			Got:  "template digest " + hex.EncodeToString(entry.Digest),
			Want: hex.EncodeToString(sha[:len(entry.Digest)]) + ", that of the template data",
		}
	}
	if padded || len(entry.Digest) == b.size {
		return sha, nil // what stands behind a SHA-1 digest in it is zero
	}
	sum(&out, b.size, entry.Data)
	return out, nil
}

// extend is TPM2_PCR_Extend: the bank's digest of the old value and the new digest.
func (b bank) extend(value, digest *[64]byte) {
	var buffer [128]byte
	copy(buffer[:], value[:b.size])
	copy(buffer[b.size:], digest[:b.size])
	sum(value, b.size, buffer[:2*b.size])
}

// sum writes the digest of a size, which says the algorithm, to out.
func sum(out *[64]byte, size int, data []byte) {
	switch size {
	case sha1.Size:
		digest := sha1.Sum(data) //nolint:gosec // see the import
		copy(out[:], digest[:])
	case sha256.Size:
		digest := sha256.Sum256(data)
		copy(out[:], digest[:])
	case sha512.Size384:
		digest := sha512.Sum384(data)
		copy(out[:], digest[:])
	case sha512.Size:
		*out = sha512.Sum512(data)
	}
}

// noMatch is the fault of a list that never led to the quoted value.
func (l Log) noMatch(quoted []byte) *Fault {
	want := fmt.Sprintf("the quoted PCR 10, %x (%s), after some entry", quoted, l.bank.name)
	if l.State.Entries > 0 {
		return &Fault{
			Class: attestd.ClassMeasurement, Event: l.index, Want: want,
			Got: fmt.Sprintf("another value after every entry since entry %d", l.State.Entries),
		}
	}
	return &Fault{
		Class: attestd.ClassMeasurement, Want: want,
		Got: "another value after every entry, with digests of the bank and with padded SHA-1 digests",
	}
}
