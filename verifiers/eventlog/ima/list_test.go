package ima_test

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/verifiers/eventlog/ima"
)

// kernel is what a kernel does with its measurement list and PCR 10 in one bank.
type kernel struct {
	t       testing.TB
	hash    crypto.Hash
	listed  crypto.Hash // of the template digests in the list
	padded  bool        // before 5.8
	list    []byte
	pcrs    [24][]byte
	history [][]byte // PCR 10 after each entry
	ends    []int    // of each entry in the list
}

func newKernel(t testing.TB, hash crypto.Hash) *kernel {
	k := &kernel{t: t, hash: hash, listed: crypto.SHA1}
	for i := range 10 {
		k.pcrs[i] = k.sum(hash, []byte{byte(i)})
	}
	k.pcrs[10] = make([]byte, hash.Size())
	return k
}

func bankName(hash crypto.Hash) string { return strings.ReplaceAll(hash.String(), "-", "") }

func algorithm(hash crypto.Hash) string { return strings.ToLower(bankName(hash)) }

func (k *kernel) sum(hash crypto.Hash, parts ...[]byte) []byte {
	h := hash.New()
	for _, part := range parts {
		h.Write(part)
	}
	return h.Sum(nil)
}

func lengthed(parts ...[]byte) []byte {
	var out []byte
	for _, part := range parts {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(part)))
		out = append(out, part...)
	}
	return out
}

func digestField(algorithm string, digest []byte) []byte {
	return append([]byte(algorithm+":\x00"), digest...)
}

func nameField(name string) []byte { return append([]byte(name), 0) }

// entry writes an entry as it would stand in the list.
func entry(pcr uint32, digest []byte, template string, data []byte) []byte {
	out := binary.LittleEndian.AppendUint32(nil, pcr)
	out = append(out, digest...)
	return append(out, lengthed([]byte(template), data)...)
}

// add measures template data.
func (k *kernel) add(template string, data []byte) {
	listed := k.sum(k.listed, data)
	extended := k.sum(k.hash, data)
	if k.padded {
		extended = make([]byte, k.hash.Size())
		copy(extended, k.sum(crypto.SHA1, data))
	}
	k.extend(entry(10, listed, template, data), extended)
}

func (k *kernel) extend(entry, digest []byte) {
	k.list = append(k.list, entry...)
	k.pcrs[10] = k.sum(k.hash, k.pcrs[10], digest)
	k.history = append(k.history, k.pcrs[10])
	k.ends = append(k.ends, len(k.list))
}

// violation records that a file changed while it was measured.
func (k *kernel) violation(path string) {
	digest := make([]byte, k.hash.Size())
	width := len(digest)
	if k.padded {
		width = sha1.Size
	}
	for i := range width {
		digest[i] = 0xff
	}
	data := lengthed(digestField("sha256", make([]byte, 20)), nameField(path))
	k.extend(entry(10, make([]byte, k.listed.Size()), "ima-ng", data), digest)
}

// boot measures the boot aggregate over the first PCRs.
func (k *kernel) boot(count int) *kernel {
	aggregate := k.sum(k.hash, k.pcrs[:count]...)
	k.add("ima-ng", lengthed(digestField(algorithm(k.hash), aggregate), nameField("boot_aggregate")))
	return k
}

func (k *kernel) file(path string) *kernel {
	digest := k.sum(crypto.SHA256, []byte(path))
	k.add("ima-ng", lengthed(digestField("sha256", digest), nameField(path)))
	return k
}

// replay replays the list from its start to PCR 10 as it is now.
func (k *kernel) replay() (ima.Log, *ima.Fault) {
	return ima.Replay(k.list, attestd.IMAState{}, bankName(k.hash), &k.pcrs)
}

func (k *kernel) demand() ima.Log {
	k.t.Helper()
	list := bytes.Clone(k.list)
	out, fault := k.replay()
	if fault != nil {
		k.t.Fatal(fault)
	}
	if !bytes.Equal(list, k.list) {
		k.t.Fatal("the input was written to")
	}
	return out
}
