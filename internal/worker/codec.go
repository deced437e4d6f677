package worker

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
)

// A frame's payload is a fixed sequence of fields: bytes and text behind their length, lists behind
// their count, times as seconds and nanoseconds. Evidence crosses as it is, without base64, which
// would cost as much as a P-256 verification. Both ends are the same executable file, so the
// sequence needs no version.

// digest names a document by the SHA-256 of its bytes.
type digest = [sha256.Size]byte

// setup is what a worker is built with.
type setup struct {
	roots   [][]byte // insecure roots, DER
	timeout time.Duration
	memory  uint64
}

func (s setup) append(out []byte) []byte {
	out = appendList(out, s.roots)
	out = binary.BigEndian.AppendUint64(out, uint64(s.timeout)) //nolint:gosec // positive
	return binary.BigEndian.AppendUint64(out, s.memory)
}

func readSetup(payload []byte) (setup, error) {
	r := fields{rest: payload}
	s := setup{roots: r.list(), timeout: time.Duration(r.uint64()), memory: r.uint64()} //nolint:gosec // as sent
	return s, r.end()
}

func appendDocument(out []byte, document service.Document) []byte {
	return appendBytes(appendText(out, document.Source), document.Bytes)
}

func readDocument(payload []byte) (service.Document, error) {
	r := fields{rest: payload}
	document := service.Document{Source: r.text(), Bytes: r.bytes()}
	return document, r.end()
}

// question is a job whose documents are named by digest; they were sent before it.
type question struct {
	job        service.Job
	policy     digest
	references []digest
	// collateral is all zero for none.
	collateral digest
}

// append writes the job's parts but for its documents, which are there as digests.
func (q question) append(out []byte) []byte {
	job := q.job
	out = appendText(out, string(job.Format))
	out = appendBytes(out, job.Evidence)
	out = appendList(out, job.Endorsements.Certificates)
	out = appendList(out, job.Endorsements.CRLs)
	out = appendList(out, job.Endorsements.Documents)
	out = appendTime(out, job.At)
	out = appendTime(out, job.ChallengeExpiresAt)
	out = appendText(out, string(job.Demand.Mode))
	out = appendBytes(out, job.Demand.Nonce)
	out = appendBytes(out, job.Demand.KeySPKI)
	out = appendBinding(out, job.Demand.Binding)
	out = appendAnchors(out, job)
	out = append(out, q.policy[:]...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(q.references))) //nolint:gosec // bounded by memory
	for _, reference := range q.references {
		out = append(out, reference[:]...)
	}
	return append(out, q.collateral[:]...)
}

func readQuestion(payload []byte) (question, error) {
	r := fields{rest: payload}
	var q question
	q.job.Format = attestd.Format(r.text())
	q.job.Evidence = r.bytes()
	q.job.Endorsements.Certificates = r.list()
	q.job.Endorsements.CRLs = r.list()
	q.job.Endorsements.Documents = r.list()
	q.job.At = r.time()
	q.job.ChallengeExpiresAt = r.time()
	q.job.Demand.Mode = service.DemandMode(r.text())
	q.job.Demand.Nonce = r.bytes()
	q.job.Demand.KeySPKI = r.bytes()
	q.job.Demand.Binding = r.binding()
	r.anchors(&q.job)
	copy(q.policy[:], r.take(sha256.Size))
	for range r.count(sha256.Size) {
		q.references = append(q.references, digest(r.take(sha256.Size)))
	}
	q.collateral = r.digest()
	return q, r.end()
}

func appendBinding(out []byte, b attestd.Binding) []byte {
	for _, text := range []string{
		b.TrustDomain, b.VerifierKeyID, b.Tenant, b.Purpose, string(b.Format), b.DevicePath, b.ChannelType,
	} {
		out = appendText(out, text)
	}
	for _, part := range [][]byte{b.Nonce, b.SPKI, b.Exporter} {
		out = appendBytes(out, part)
	}
	return out
}

func (r *fields) binding() attestd.Binding {
	return attestd.Binding{
		TrustDomain: r.text(), VerifierKeyID: r.text(), Tenant: r.text(), Purpose: r.text(),
		Format: attestd.Format(r.text()), DevicePath: r.text(), ChannelType: r.text(),
		Nonce: r.bytes(), SPKI: r.bytes(), Exporter: r.bytes(),
	}
}

// complaint is a reply that is no verdict.
type complaint struct {
	class         attestd.Class
	hint, message string
}

func (c complaint) append(out []byte) []byte {
	return appendText(appendText(appendText(out, string(c.class)), c.hint), c.message)
}

func readComplaint(payload []byte) (complaint, error) {
	r := fields{rest: payload}
	c := complaint{class: attestd.Class(r.text()), hint: r.text(), message: r.text()}
	return c, r.end()
}

func appendBytes(out, value []byte) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(value))) //nolint:gosec // frames are capped
	return append(out, value...)
}

func appendText(out []byte, value string) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(value))) //nolint:gosec // frames are capped
	return append(out, value...)
}

func appendList(out []byte, list [][]byte) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(list))) //nolint:gosec // frames are capped
	for _, value := range list {
		out = appendBytes(out, value)
	}
	return out
}

// appendTime keeps the zero time zero: Go's zero time is not the zero of Unix time.
func appendTime(out []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(out, 0)
	}
	out = append(out, 1)
	out = binary.BigEndian.AppendUint64(out, uint64(t.Unix()))        //nolint:gosec // two's complement, back the same way
	return binary.BigEndian.AppendUint32(out, uint32(t.Nanosecond())) //nolint:gosec // below 10^9
}

// fields reads what the functions above wrote. After the first fault everything reads as zero, and
// end says what it was.
type fields struct {
	rest  []byte
	whole string // the payload, where many texts are read from it; empty otherwise
	err   error
}

func (r *fields) take(size int) []byte {
	if r.err == nil && size > len(r.rest) {
		r.err = fmt.Errorf("payload has %d bytes left, want %d", len(r.rest), size)
	}
	if r.err != nil {
		return make([]byte, min(size, sha256.Size))
	}
	value := r.rest[:size:size]
	r.rest = r.rest[size:]
	return value
}

func (r *fields) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *fields) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

// count reads a count of things that take at least least bytes each, so that a wrong one cannot ask
// for more turns of a loop than there are bytes.
func (r *fields) count(least int) int {
	count := int(r.uint32())
	if r.err == nil && count > len(r.rest)/least {
		r.err = fmt.Errorf("payload counts %d things in %d bytes", count, len(r.rest))
	}
	if r.err != nil {
		return 0
	}
	return count
}

// bytes returns nil for an empty value, as an absent one was written.
func (r *fields) bytes() []byte {
	size := r.count(1)
	if size == 0 {
		return nil
	}
	return r.take(size)
}

// text reads text. Where there is much of it, it is cut out of one copy of the payload.
func (r *fields) text() string {
	value := r.bytes()
	if r.whole == "" {
		return string(value)
	}
	end := len(r.whole) - len(r.rest)
	return r.whole[end-len(value) : end]
}

func (r *fields) list() [][]byte {
	var list [][]byte
	for range r.count(4) {
		list = append(list, r.bytes())
	}
	return list
}

func (r *fields) time() time.Time {
	if present := r.take(1)[0]; present == 0 {
		return time.Time{}
	}
	seconds, nanoseconds := r.uint64(), r.uint32()
	return time.Unix(int64(seconds), int64(nanoseconds)).UTC() //nolint:gosec // as written above
}

func (r *fields) end() error {
	if r.err == nil && len(r.rest) != 0 {
		r.err = errors.New("payload has bytes left over")
	}
	return r.err
}
