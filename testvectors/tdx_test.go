package testvectors_test

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/attestd/attestd/internal/tdxevidence"
	"github.com/attestd/attestd/testvectors"
)

// tdQuote is a quote cut at its joints ("Intel TDX DCAP: Quote Generation Library and Quote Verification
// Library", appendix A.3 and A.4): header and body, signature, attestation key, what the quoting enclave
// says of the key, and the certificates.
type tdQuote struct{ signed, signature, key, enclave, chain []byte }

func cutTDQuote(evidence []byte) tdQuote {
	if parts, err := tdxevidence.Parse(evidence); err == nil {
		evidence = parts.Quote
	}
	const header, descriptor, body10, signature, key = 48, 6, 584, 64, 64
	const report = 6 + 384 + 64 // behind the type and size of what follows
	little := binary.LittleEndian
	body := header + body10
	if little.Uint16(evidence) == 5 {
		body = header + descriptor + int(little.Uint32(evidence[header+2:]))
	}
	end := body + 4 + int(little.Uint32(evidence[body:]))
	rest := evidence[body+4 : end]
	out := tdQuote{signed: evidence[:body], signature: rest[:signature]}
	out.key, rest = rest[signature:signature+key], rest[signature+key:]
	auth := int(little.Uint16(rest[report:]))
	out.enclave, out.chain = rest[6:report+2+auth], rest[report+2+auth+6:]
	return out
}

// bytes lays the quote out with lengths that fit.
func (q tdQuote) bytes() []byte {
	little := binary.LittleEndian
	sized := func(kind uint16, data []byte) []byte {
		out := little.AppendUint16(nil, kind)
		return append(little.AppendUint32(out, uint32(len(data))), data...) //nolint:gosec // a few KiB
	}
	const qeReport, pemChain = 6, 5
	data := slices.Concat(q.signature, q.key,
		sized(qeReport, slices.Concat(q.enclave, sized(pemChain, q.chain))))
	out := little.AppendUint32(slices.Clone(q.signed), uint32(len(data))) //nolint:gosec // a few KiB
	return append(out, data...)
}

// tdxSplices returns body with parts of donor. Quotes of one machine share what does not change with a
// quote, so that a part that is the same makes no splice.
func tdxSplices(body, donor testvectors.Vector) map[string][]byte {
	own, other := cutTDQuote(body.Evidence), cutTDQuote(donor.Evidence)
	out := map[string][]byte{}
	splice := func(what string, edit func(*tdQuote)) {
		changed := own
		edit(&changed)
		made := changed.bytes()
		if !bytes.Equal(made, own.bytes()) && !bytes.Equal(made, other.bytes()) {
			out[what] = made
		}
	}
	splice("header and body", func(q *tdQuote) { q.signed = other.signed })
	splice("signature", func(q *tdQuote) { q.signature = other.signature })
	splice("attestation key", func(q *tdQuote) { q.key = other.key })
	splice("attestation key and signature", func(q *tdQuote) {
		q.key, q.signature = other.key, other.signature
	})
	splice("enclave", func(q *tdQuote) { q.enclave = other.enclave })
	splice("key and enclave", func(q *tdQuote) { q.key, q.enclave = other.key, other.enclave })
	splice("certificates", func(q *tdQuote) { q.chain = other.chain })
	return out
}
