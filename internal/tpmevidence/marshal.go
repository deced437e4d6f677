package tpmevidence

import (
	"encoding/binary"
	"fmt"
)

// Marshal returns the one encoding of the evidence.
//
// Errors: where [Parse] would refuse it: a mandatory part is missing, banks or PCRs do not ascend, a
// part is over its limit.
func (e Evidence) Marshal() ([]byte, error) {
	w := &writer{}
	w.pair(keyName)
	w.head(3, uint64(len(Name)))
	w.out = append(w.out, Name...)
	w.part(keyAKPublic, e.AKPublic)
	w.parts(keyAKParents, e.AKParents)
	w.part(keyEKPublic, e.EKPublic)
	w.part(keyEKCertificate, e.EKCertificate)
	w.part(keyAKCertificate, e.AKCertificate)
	w.parts(keyIntermediates, e.Intermediates)
	w.part(keyQuote, e.Quote)
	w.part(keyQuoteSignature, e.QuoteSignature)
	w.banks(e.PCRs)
	if e.Key != nil {
		w.pair(keyKey)
		w.head(4, 3)
		w.bytes(e.Key.Public)
		w.bytes(e.Key.Attest)
		w.bytes(e.Key.Signature)
	}
	w.part(keyEventLog, e.EventLog)
	if e.IMA != nil {
		w.pair(keyIMA)
		w.head(4, 2)
		w.head(0, e.IMA.Offset)
		w.bytes(e.IMA.Log)
	}
	out := append([]byte{0xa0 | w.pairs}, w.out...)
	if _, err := Parse(out); err != nil {
		return nil, fmt.Errorf("evidence that cannot be read back: %w", err)
	}
	return out, nil
}

// writer writes the pairs of the map, in the order in which they are given.
type writer struct {
	out   []byte
	pairs byte
}

func (w *writer) pair(key uint64) {
	w.pairs++
	w.head(0, key)
}

func (w *writer) part(key uint64, data []byte) {
	if len(data) != 0 {
		w.pair(key)
		w.bytes(data)
	}
}

func (w *writer) parts(key uint64, list [][]byte) {
	if len(list) == 0 {
		return
	}
	w.pair(key)
	w.head(4, uint64(len(list)))
	for _, data := range list {
		w.bytes(data)
	}
}

func (w *writer) banks(banks []Bank) {
	if len(banks) == 0 {
		return
	}
	w.pair(keyPCRs)
	w.head(4, uint64(len(banks)))
	for _, bank := range banks {
		w.head(4, 2)
		w.head(0, uint64(bank.Algorithm))
		w.head(5, uint64(len(bank.PCRs)))
		for _, pcr := range bank.PCRs {
			w.head(0, uint64(pcr.Index))
			w.bytes(pcr.Value)
		}
	}
}

func (w *writer) bytes(data []byte) {
	w.head(2, uint64(len(data)))
	w.out = append(w.out, data...)
}

// head writes the head of an item with its argument in the shortest form (RFC 8949, section 4.2.1).
func (w *writer) head(major byte, argument uint64) {
	major <<= 5
	switch {
	case argument < 24:
		w.out = append(w.out, major|byte(argument))
	case argument < 1<<8:
		w.out = append(w.out, major|24, byte(argument))
	case argument < 1<<16:
		w.out = binary.BigEndian.AppendUint16(append(w.out, major|25), uint16(argument))
	case argument < 1<<32:
		w.out = binary.BigEndian.AppendUint32(append(w.out, major|26), uint32(argument))
	default:
		w.out = binary.BigEndian.AppendUint64(append(w.out, major|27), argument)
	}
}
