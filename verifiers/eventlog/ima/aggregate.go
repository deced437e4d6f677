package ima

import (
	"bytes"
	"encoding/hex"
	"strings"

	"github.com/attestd/attestd"
)

// aggregateName names the entry that the kernel makes of the firmware's PCRs when it starts.
const aggregateName = "boot_aggregate"

// Aggregate says how far the boot aggregate ties the list to the boot.
type Aggregate string

// What became of the boot aggregate.
const (
	// AggregatePCR0To9 is the digest of the quoted PCRs 0 to 9: Linux 5.8 and later, for all banks but
	// SHA-1 (commit 20c59ce010f8, also in the stable series).
	AggregatePCR0To9 Aggregate = "PCR 0-9"
	// AggregatePCR0To7 is the digest of the quoted PCRs 0 to 7.
	AggregatePCR0To7 Aggregate = "PCR 0-7"
	// AggregateEarlier was compared when the state was made that the replay went on from.
	AggregateEarlier Aggregate = "earlier"
	// AggregateZero is all zero: IMA started before the kernel found the TPM.
	AggregateZero Aggregate = "zero"
	// AggregateUnchecked is one of a bank, or over PCRs, that the quote does not vouch for.
	AggregateUnchecked Aggregate = "unchecked"
)

// checkAggregate compares the first entry with the firmware's PCRs (ima_crypto.c,
// ima_calc_boot_aggregate_tfm). PCR 10 alone would do for a list of another boot of this machine in
// which the firmware had measured something else.
func (l *Log) checkAggregate(pcrs *[24][]byte) *Fault {
	if l.index > 0 {
		l.Aggregate = AggregateEarlier
		return nil
	}
	l.Aggregate = AggregateUnchecked
	r, fault := newReader(l.log, 0)
	if fault != nil {
		return fault
	}
	entry, fault := r.next()
	if fault != nil {
		return fault
	}
	switch {
	case entry.Violation:
		return r.fault(attestd.ClassMeasurement, "a violation for the boot aggregate", "a digest of PCRs")
	case allZero(entry.FileDigest):
		l.Aggregate = AggregateZero
		return nil
	case !strings.EqualFold(entry.Algorithm, l.bank.name):
		return nil
	}
	short, ok := l.bank.over(pcrs[:8])
	if !ok {
		return nil
	}
	if bytes.Equal(short, entry.FileDigest) {
		l.Aggregate = AggregatePCR0To7
		return nil
	}
	long, ok := l.bank.over(pcrs[:10])
	if !ok {
		return nil // it may be one over PCRs 8 and 9 as well
	}
	if bytes.Equal(long, entry.FileDigest) {
		l.Aggregate = AggregatePCR0To9
		return nil
	}
	return &Fault{
		Class: attestd.ClassMeasurement, Got: "boot aggregate " + hex.EncodeToString(entry.FileDigest),
		Want: "the digest of the quoted PCRs 0 to 9, " + hex.EncodeToString(long) + ", or 0 to 7, " +
			hex.EncodeToString(short),
	}
}

// over returns the digest over PCRs, and whether all are there.
func (b bank) over(pcrs [][]byte) ([]byte, bool) {
	all := make([]byte, 0, 10*b.size)
	for _, value := range pcrs {
		if len(value) != b.size {
			return nil, false
		}
		all = append(all, value...)
	}
	var out [64]byte
	sum(&out, b.size, all)
	return out[:b.size], true
}
