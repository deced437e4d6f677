package api_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/tpmevidence"
	"github.com/attestd/attestd/testvectors/forge"
)

// kernel measures files as Linux does with the template ima-ng, into PCR 10 of its TPM.
type kernel struct {
	machine *forge.TPM
	log     []byte
}

// boot starts a kernel, which measures the firmware's PCRs first.
func boot(machine *forge.TPM) *kernel {
	machine.PCRs[0].Values[10] = make([]byte, sha256.Size)
	k := &kernel{machine: machine}
	aggregate := sha256.New()
	for index := range uint8(8) {
		aggregate.Write(machine.PCRs[0].Values[index])
	}
	k.add(aggregate.Sum(nil), "boot_aggregate")
	return k
}

// files measures as many files.
func (k *kernel) files(names string, count int) {
	for i := range count {
		name := fmt.Sprintf("/usr/bin/%s-%d", names, i)
		digest := sha256.Sum256([]byte(name))
		k.add(digest[:], name)
	}
}

func (k *kernel) add(digest []byte, name string) {
	field := func(out, data []byte) []byte {
		return append(binary.LittleEndian.AppendUint32(out, uint32(len(data))), data...) //nolint:gosec // short
	}
	data := field(nil, append([]byte("sha256:\x00"), digest...))
	data = field(data, append([]byte(name), 0))
	listed := sha1.Sum(data) //nolint:gosec // what kernels list
	k.log = binary.LittleEndian.AppendUint32(k.log, 10)
	k.log = field(append(k.log, listed[:]...), []byte("ima-ng"))
	k.log = field(k.log, data)
	extend := sha256.Sum256(data)
	next := sha256.Sum256(append(bytes.Clone(k.machine.PCRs[0].Values[10]), extend[:]...))
	k.machine.PCRs[0].Values[10] = next[:]
}

// since is evidence with the log from that byte on.
func (w *world) since(k *kernel, issued attestd.Challenge, offset int) []byte {
	w.Helper()
	k.machine.Clock++
	return w.encoded(k.machine, issued, func(e *tpmevidence.Evidence) {
		e.IMA = &tpmevidence.IMALog{Offset: uint64(offset), Log: k.log[offset:]} //nolint:gosec // a length
	})
}

// neg: 77
func TestALogGoesOnWhereItWasWithinABootAndBeginsAnewAfterIt(t *testing.T) {
	w, machines := tpmWorld(t, options{}, 1)
	machine := machines[0]
	running := boot(machine)
	running.files("first", 20)
	reply := w.credential(machine)
	given := w.verdict(w.post("/v1/verify",
		answering(reply.Challenge, w.since(running, reply.Challenge, 0), w.opened(machine, reply))))
	if given.Verdict != attestd.VerdictAccepted || !bytes.Contains(given.Claims, []byte(`"ima":"replayed"`)) {
		t.Fatalf("got %s by %q", given.Verdict, failed(given))
	}
	accepts := func(offset int) {
		t.Helper()
		reply := w.credential(machine)
		given := w.verdict(w.post("/v1/verify", answering(reply.Challenge, w.since(running, reply.Challenge, offset), nil)))
		if given.Verdict != attestd.VerdictAccepted {
			t.Fatalf("from byte %d: got %s by %q: %+v", offset, given.Verdict, failed(given), given.Reasons)
		}
	}
	refuses := func(offset int) {
		t.Helper()
		reply := w.credential(machine)
		w.rejectedBy(w.post("/v1/verify", answering(reply.Challenge, w.since(running, reply.Challenge, offset), nil)),
			"tpm/ima-log")
	}
	known := len(running.log)
	running.files("second", 20)
	accepts(known)
	refuses(known) // it went on from there already
	known = len(running.log)
	accepts(known) // nothing new
	w.enrol(machine)
	running.files("third", 5) // behind an exchange without a log, the position still holds
	accepts(known)
	accepts(0) // all of it is always good

	known = len(running.log)
	machine.ResetCount++
	running = boot(machine)
	running.files("another boot", 60) // longer than the old log was
	refuses(known)
	accepts(0)
	running.files("more", 1)
	refuses(known)

	// An older position does not come back with the log of another machine, nor of another key.
	stranger := *machine
	stranger.AK = newAK(t)
	reply = w.credential(&stranger)
	evidence := w.since(&kernel{&stranger, running.log}, reply.Challenge, len(running.log))
	w.rejectedBy(w.post("/v1/verify", answering(reply.Challenge, evidence, w.opened(&stranger, reply))), "tpm/ima-log")
}

func TestEvidenceOfTheLargestSizeCrosses(t *testing.T) {
	w, machines := tpmWorld(t, options{limits: largeLimits}, 1)
	running := boot(machines[0])
	running.files("many", 9800) // all but a megabyte
	reply := w.credential(machines[0])
	evidence := w.since(running, reply.Challenge, 0)
	if len(evidence) < 900<<10 || len(evidence) > 1<<20 {
		t.Fatalf("evidence has %d bytes", len(evidence))
	}
	given := w.verdict(w.post("/v1/verify", answering(reply.Challenge, evidence, w.opened(machines[0], reply))))
	if given.Verdict != attestd.VerdictAccepted {
		t.Fatalf("got %s by %q: %+v", given.Verdict, failed(given), given.Reasons)
	}
	reply = w.credential(machines[0])
	path := "/v1/verify?format=tpm&challenge_id=" + reply.Challenge.ID
	given = w.verdict(w.do("POST", path, rawType, w.since(running, reply.Challenge, len(running.log))))
	if given.Verdict != attestd.VerdictAccepted {
		t.Errorf("raw: got %s by %q", given.Verdict, failed(given))
	}
}
