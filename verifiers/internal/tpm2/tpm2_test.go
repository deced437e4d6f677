package tpm2_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"

	reference "github.com/google/go-tpm/tpm2"

	"github.com/attestd/attestd/testvectors/forge"
	"github.com/attestd/attestd/verifiers/internal/tpm2"
)

// kinds are keys of every kind that is read, made once.
var kinds = sync.OnceValues(func() (map[string]*forge.TPMKey, error) {
	out := map[string]*forge.TPMKey{}
	for name, config := range map[string]forge.TPMKeyConfig{
		"ECDSA P-256":     {},
		"ECDSA P-384":     {Curve: elliptic.P384(), Hash: reference.TPMAlgSHA384, NameAlg: reference.TPMAlgSHA384},
		"ECDSA P-521":     {Curve: elliptic.P521(), Hash: reference.TPMAlgSHA512, NameAlg: reference.TPMAlgSHA512},
		"ECDSA P-224":     {Curve: elliptic.P224()},
		"RSASSA 2048":     {Scheme: reference.TPMAlgRSASSA},
		"RSAPSS 2048":     {Scheme: reference.TPMAlgRSAPSS},
		"RSASSA 1024":     {Scheme: reference.TPMAlgRSASSA, Bits: 1024},
		"RSA EK":          {Endorsement: true, Bits: 2048},
		"ECC EK":          {Endorsement: true},
		"a key of SHA-1":  {NameAlg: reference.TPMAlgSHA1},
		"an ordinary key": {Ordinary: true},
		"a key without scheme": {Ordinary: true, Edit: func(p *reference.TPMTPublic) {
			parameters, _ := p.Parameters.ECCDetail()
			parameters.Scheme = reference.TPMTECCScheme{}
		}},
	} {
		key, err := forge.NewTPMKey(config)
		if err != nil {
			return nil, err
		}
		out[name] = key
	}
	return out, nil
})

func key(t testing.TB, name string) *forge.TPMKey {
	t.Helper()
	all, err := kinds()
	if err != nil {
		t.Fatal(err)
	}
	if all[name] == nil {
		t.Fatalf("no key %q", name)
	}
	return all[name]
}

func TestPublicAreasOfEveryKind(t *testing.T) {
	t.Parallel()
	all, err := kinds()
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range all {
		got, err := tpm2.ParsePublic(key.Public)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if name == "a key of SHA-1" {
			if got.Name() != nil {
				t.Errorf("%s has a Name", name)
			}
		} else if !bytes.Equal(got.Name(), key.Name) {
			t.Errorf("%s: Name %x, want %x", name, got.Name(), key.Name)
		}
		spki, err := got.SPKI()
		if name == "ECDSA P-224" {
			if err == nil || got.Key != nil {
				t.Errorf("%s has a key", name)
			}
			continue
		}
		want, wantErr := key.SPKI()
		if err != nil || wantErr != nil || !bytes.Equal(spki, want) {
			t.Errorf("%s: SPKI %x (%v), want %x (%v)", name, spki, err, want, wantErr)
		}
		if _, err := x509.ParsePKIXPublicKey(spki); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		compare(t, name, key.Public, got)
	}
}

// neg: 90
func TestEveryStructureEndsWhereItEnds(t *testing.T) {
	t.Parallel()
	machine := forge.NewTPM(key(t, "ECDSA P-256"), nil)
	quote, signature, err := machine.Quote([]byte("nonce"), nil)
	if err != nil {
		t.Fatal(err)
	}
	certified, err := machine.Certify(key(t, "an ordinary key"), []byte("nonce"), nil)
	if err != nil {
		t.Fatal(err)
	}
	machine.AK = key(t, "RSAPSS 2048")
	_, rsaSignature, err := machine.Quote([]byte("nonce"), nil)
	if err != nil {
		t.Fatal(err)
	}
	public := func(data []byte) error { _, err := tpm2.ParsePublic(data); return err }
	attest := func(data []byte) error { _, err := tpm2.ParseAttest(data); return err }
	sig := func(data []byte) error { _, err := tpm2.ParseSignature(data); return err }
	for _, row := range []struct {
		name string
		data []byte
		read func([]byte) error
	}{
		{"TPMT_PUBLIC of ECC", key(t, "ECDSA P-256").Public, public},
		{"TPMT_PUBLIC of RSA", key(t, "RSASSA 2048").Public, public},
		{"TPMT_PUBLIC of an EK", key(t, "RSA EK").Public, public},
		{"TPMS_ATTEST of a quote", quote, attest},
		{"TPMS_ATTEST of a certification", certified.Attest, attest},
		{"TPMT_SIGNATURE of ECDSA", signature, sig},
		{"TPMT_SIGNATURE of RSAPSS", rsaSignature, sig},
	} {
		if err := row.read(row.data); err != nil {
			t.Errorf("%s: %v", row.name, err)
		}
		if err := row.read(append(bytes.Clone(row.data), 0)); err == nil {
			t.Errorf("%s: a trailing byte was read over", row.name)
		}
		for length := range row.data {
			if err := row.read(row.data[:length]); err == nil {
				t.Errorf("%s: read when cut to %d bytes", row.name, length)
			}
		}
	}
}

func TestPublicAreasThatAreRefused(t *testing.T) {
	t.Parallel()
	rsa, ecc := key(t, "RSASSA 2048").Public, key(t, "ECDSA P-256").Public
	set := func(data []byte, offset int, with ...byte) []byte {
		out := bytes.Clone(data)
		copy(out[offset:], with)
		return out
	}
	for _, row := range []struct {
		name string
		data []byte
		want string
	}{
		{"type KEYEDHASH", set(rsa, 0, 0, 8), "type KEYEDHASH"},
		{"nameAlg NULL", set(rsa, 2, 0, 0x10), "nameAlg NULL"},
		{"a reserved attribute", set(rsa, 7, rsa[7]|1), "reserved attribute bits 0x00000001"},
		{"a policy of 1 byte", append(append(set(rsa, 8, 0, 1)[:10], 7), rsa[10:]...), "authPolicy of 1 bytes"},
		{"an unknown cipher", set(rsa, 10, 0, 0x77), "symmetric algorithm 0x0077"},
		{"an ECC scheme on RSA", set(rsa, 12, 0, 0x18), "RSA scheme ECDSA"},
		{"an RSA scheme on ECC", set(ecc, 12, 0, 0x14), "ECC scheme RSASSA"},
		{"an unknown digest", set(rsa, 14, 0, 0x99), "scheme.hashAlg algorithm 0x0099"},
		{"RSA of 2047 bits", set(rsa, 16, 7, 0xff), "an RSA key of 2047 bits"},
		{"keyBits and modulus that differ", set(rsa, 16, 0x0c, 0), "no odd number of 3072 bits"},
		{"an even modulus", set(rsa, len(rsa)-1, rsa[len(rsa)-1]&^1), "no odd number of 2048 bits"},
		{"a short modulus", set(rsa, 24, rsa[24]&0x7f), "no odd number of 2048 bits"},
		{"an unknown KDF", set(ecc, 18, 0, 0x77), "KDF algorithm 0x0077"},
		{"a point off the curve", set(ecc, len(ecc)-1, ecc[len(ecc)-1]^1), "not on the curve"},
		{"coordinates of another curve", set(ecc, 16, 0, 4), "not on the curve"},
	} {
		_, err := tpm2.ParsePublic(row.data)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", row.name, err, row.want)
		}
	}
}

// neg: 56, 62
func TestAttestationsThatAreRefused(t *testing.T) {
	t.Parallel()
	machine := forge.NewTPM(key(t, "ECDSA P-256"), nil)
	for _, row := range []struct {
		name   string
		edit   func(*reference.TPMSAttest, *reference.TPMSQuoteInfo)
		raw    func([]byte) []byte
		want   string
		reason tpm2.Reason
	}{
		{name: "another magic", raw: func(b []byte) []byte { b[0] = 0xfe; return b },
			want: "magic 0xfe544347", reason: tpm2.ReasonMagic},
		{name: "the type of a creation", raw: func(b []byte) []byte { b[5] = 0x1a; return b },
			want: "type 0x801a", reason: tpm2.ReasonType},
		{name: "the type of a time", raw: func(b []byte) []byte { b[5] = 0x19; return b },
			want: "type 0x8019", reason: tpm2.ReasonType},
		{name: "an NV certification", raw: func(b []byte) []byte { b[5] = 0x14; return b },
			want: "type 0x8014", reason: tpm2.ReasonType},
		{name: "a quote's body called a certification", raw: func(b []byte) []byte {
			b[5] = 0x17
			return b
		}, want: "TPMS_ATTEST"},
		{name: "a handle for a signer", edit: func(a *reference.TPMSAttest, _ *reference.TPMSQuoteInfo) {
			a.QualifiedSigner.Buffer = []byte{0x40, 0, 0, 1}
		}, want: "qualifiedSigner of 4 bytes"},
		{name: "no signer", edit: func(a *reference.TPMSAttest, _ *reference.TPMSQuoteInfo) {
			a.QualifiedSigner.Buffer = nil
		}, want: "qualifiedSigner of 0 bytes"},
		{name: "67 bytes of extraData", edit: func(a *reference.TPMSAttest, _ *reference.TPMSQuoteInfo) {
			a.ExtraData.Buffer = make([]byte, 67)
		}, want: "extraData of 67 bytes"},
		{name: "safe is 2", raw: func(b []byte) []byte {
			b[bytes.Index(b, binary.BigEndian.AppendUint64(nil, machine.Firmware))-1] = 2
			return b
		}, want: "safe is 2"},
		{name: "a bank twice", edit: func(_ *reference.TPMSAttest, q *reference.TPMSQuoteInfo) {
			q.PCRSelect.PCRSelections = append(q.PCRSelect.PCRSelections, q.PCRSelect.PCRSelections[0])
		}, want: "PCR bank SHA256 stands twice"},
		{name: "an unknown bank", edit: func(_ *reference.TPMSAttest, q *reference.TPMSQuoteInfo) {
			q.PCRSelect.PCRSelections[0].Hash = 0x99
		}, want: "PCR bank of algorithm 0x0099", reason: tpm2.ReasonAlgorithm},
		{name: "a bitmap of 2 bytes", edit: func(_ *reference.TPMSAttest, q *reference.TPMSQuoteInfo) {
			q.PCRSelect.PCRSelections[0].PCRSelect = []byte{255, 0}
		}, want: "a PCR bitmap of 2 bytes"},
		{name: "a bitmap of 5 bytes", edit: func(_ *reference.TPMSAttest, q *reference.TPMSQuoteInfo) {
			q.PCRSelect.PCRSelections[0].PCRSelect = make([]byte, 5)
		}, want: "a PCR bitmap of 5 bytes"},
		{name: "PCR 24", edit: func(_ *reference.TPMSAttest, q *reference.TPMSQuoteInfo) {
			q.PCRSelect.PCRSelections[0].PCRSelect = []byte{255, 0, 0, 1}
		}, want: "a PCR beyond 23"},
		{name: "2^32-1 banks", raw: func(b []byte) []byte {
			at := bytes.Index(b, []byte{0, 0, 0, 1, 0, 11, 3, 255})
			copy(b[at:], []byte{255, 255, 255, 255})
			return b
		}, want: "4294967295 PCR banks"},
	} {
		data, _, err := machine.Quote([]byte("nonce"), row.edit)
		if err != nil {
			t.Fatal(err)
		}
		if row.raw != nil {
			data = row.raw(data)
		}
		_, err = tpm2.ParseAttest(data)
		var fault *tpm2.Error
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), row.want) ||
			fault.Reason != row.reason {
			t.Errorf("%s: got %v, want %q", row.name, err, row.want)
		}
	}
}

func TestAttestationsAreReadInFull(t *testing.T) {
	t.Parallel()
	machine := forge.NewTPM(key(t, "ECDSA P-384"), nil)
	machine.PCRs = append([]forge.TPMBank{{Algorithm: reference.TPMAlgSHA384,
		Values: map[uint8][]byte{23: make([]byte, 48)}}}, machine.PCRs...)
	data, _, err := machine.Quote([]byte("nonce"), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tpm2.ParseAttest(data)
	if err != nil {
		t.Fatal(err)
	}
	if want := machine.AK.QualifiedName(); !bytes.Equal(got.QualifiedSigner, want) ||
		!bytes.Equal(got.QualifiedSigner, tpm2.QualifiedName(tpm2.HierarchyEndorsement, machine.AK.Name)) {
		t.Errorf("qualified signer %x, want %x", got.QualifiedSigner, want)
	}
	if got.Clock != machine.Clock || got.ResetCount != 3 || got.RestartCount != 1 || !got.Safe ||
		got.Firmware != machine.Firmware || string(got.ExtraData) != "nonce" {
		t.Errorf("got %+v", got)
	}
	want := []tpm2.Selection{{Bank: tpm2.AlgSHA384, PCRs: 1 << 23}, {Bank: tpm2.AlgSHA256, PCRs: 255}}
	if banks := got.PCRs.Banks(); len(banks) != 2 || banks[0] != want[0] || banks[1] != want[1] ||
		got.PCRs.Count() != 9 {
		t.Errorf("selected %v, want %v", banks, want)
	}
	compareAttest(t, data, got)
	child := forge.TPMKeyConfig{Hierarchy: reference.TPMRHOwner,
		Parents: [][]byte{key(t, "RSA EK").Name, key(t, "ECDSA P-384").Name}}
	below, err := forge.NewTPMKey(child)
	if err != nil {
		t.Fatal(err)
	}
	if got := tpm2.QualifiedName(tpm2.HierarchyOwner, append(child.Parents, below.Name)...); !bytes.Equal(
		got, below.QualifiedName()) {
		t.Errorf("Qualified Name along parents %x, want %x", got, below.QualifiedName())
	}
	for _, names := range [][][]byte{nil, {nil}, {{0, 11}}, {make([]byte, 34)}, {key(t, "a key of SHA-1").Name}} {
		if got := tpm2.QualifiedName(tpm2.HierarchyOwner, names...); got != nil {
			t.Errorf("Qualified Name of %x is %x", names, got)
		}
	}
}

func TestReadingAKnownStructureAllocatesLittle(t *testing.T) {
	machine := forge.NewTPM(key(t, "ECDSA P-256"), nil)
	quote, signature, err := machine.Quote([]byte("nonce"), nil)
	if err != nil {
		t.Fatal(err)
	}
	allocations := testing.AllocsPerRun(100, func() {
		if _, err := tpm2.ParseAttest(quote); err != nil {
			t.Fatal(err)
		}
		if _, err := tpm2.ParseSignature(signature); err != nil {
			t.Fatal(err)
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}
