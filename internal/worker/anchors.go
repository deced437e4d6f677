package worker

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/service"
)

// What a job knows from before, and credentials. Pointers cross behind one byte that says whether
// there is anything behind it.

func appendAnchors(out []byte, job service.Job) []byte {
	out = appendBool(out, job.Activation != nil)
	if a := job.Activation; a != nil {
		out = appendBytes(out, a.AKName)
		out = append(append(out, a.EK[:]...), a.Secret[:]...)
		out = appendBool(appendBytes(out, a.Answer), a.Earlier)
	}
	out = appendBool(out, job.LastSeen != nil)
	if s := job.LastSeen; s != nil {
		out = binary.BigEndian.AppendUint32(out, s.ResetCount)
		out = binary.BigEndian.AppendUint32(out, s.RestartCount)
		out = binary.BigEndian.AppendUint64(out, s.Clock)
		out = binary.BigEndian.AppendUint64(out, s.Firmware)
		out = appendBool(out, s.IMA != nil)
		if ima := s.IMA; ima != nil {
			out = binary.BigEndian.AppendUint64(out, ima.Offset)
			out = binary.BigEndian.AppendUint64(out, ima.Entries)
			out = appendBytes(appendText(out, ima.Bank), ima.Register)
		}
	}
	return out
}

func (r *fields) anchors(job *service.Job) {
	if r.bool() {
		job.Activation = &attestd.Activation{
			AKName: r.bytes(), EK: r.digest(), Secret: r.digest(), Answer: r.bytes(), Earlier: r.bool(),
		}
	}
	if !r.bool() {
		return
	}
	job.LastSeen = &attestd.TPMState{
		ResetCount: r.uint32(), RestartCount: r.uint32(), Clock: r.uint64(), Firmware: r.uint64(),
	}
	if r.bool() {
		job.LastSeen.IMA = &attestd.IMAState{
			Offset: r.uint64(), Entries: r.uint64(), Bank: r.text(), Register: r.bytes(),
		}
	}
}

func appendCredentialJob(out []byte, job service.CredentialJob) []byte {
	for _, part := range [][]byte{job.AKPublic, job.EKPublic, job.Secret, job.Entropy} {
		out = appendBytes(out, part)
	}
	return out
}

func readCredentialJob(payload []byte) (service.CredentialJob, error) {
	r := fields{rest: payload}
	job := service.CredentialJob{
		AKPublic: r.bytes(), EKPublic: r.bytes(), Secret: r.bytes(), Entropy: r.bytes(),
	}
	return job, r.end()
}

func appendCredential(out []byte, made service.CredentialReply) []byte {
	out = append(appendBytes(out, made.AKName), made.EK[:]...)
	return appendBytes(appendBytes(out, made.Blob), made.EncryptedSecret)
}

// readCredential keeps nothing of the payload.
func readCredential(payload []byte) (service.CredentialReply, error) {
	r := fields{rest: payload}
	made := service.CredentialReply{
		AKName: bytes.Clone(r.bytes()), EK: r.digest(), Blob: bytes.Clone(r.bytes()),
		EncryptedSecret: bytes.Clone(r.bytes()),
	}
	return made, r.end()
}

func appendBool(out []byte, value bool) []byte {
	if value {
		return append(out, 1)
	}
	return append(out, 0)
}

func (r *fields) bool() bool {
	value := r.take(1)[0]
	if r.err == nil && value > 1 {
		r.err = errors.New("payload has a yes or no that is neither")
	}
	return r.err == nil && value == 1
}

func (r *fields) digest() digest { return digest(r.take(sha256.Size)) }
