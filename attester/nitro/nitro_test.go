package nitro_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/fxamacker/cbor/v2"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/attester"
	"github.com/attestd/attestd/attester/nitro"
	"github.com/attestd/attestd/testvectors/forge"
	verifier "github.com/attestd/attestd/verifiers/nitro"
)

var _ attester.Attester = (*nitro.Enclave)(nil)

// module is a Nitro Secure Module under a test authority. It reads the request by address, as the
// driver does.
func module(t *testing.T, answer func(request map[string]map[string][]byte) []byte) *nitro.Enclave {
	t.Helper()
	return nitro.Over(func(command uint, argument unsafe.Pointer) error {
		if command != 0xc0200a00 {
			t.Errorf("command 0x%x", command)
		}
		message := unsafe.Slice((*byte)(argument), 32)
		at := func(i int) []byte {
			address := binary.NativeEndian.Uint64(message[16*i:])
			length := binary.NativeEndian.Uint64(message[16*i+8:])
			return unsafe.Slice(*(**byte)(unsafe.Pointer(&address)), int(length))
		}
		var request map[string]map[string][]byte
		if err := cbor.Unmarshal(at(0), &request); err != nil {
			t.Errorf("the request is not what the module reads: %v", err)
		}
		if len(request) != 1 || len(request["Attestation"]) != 3 {
			t.Errorf("the request is %v, want Attestation with three fields", request)
		}
		n := copy(at(1), answer(request))
		binary.NativeEndian.PutUint64(message[24:], uint64(n))
		return nil
	})
}

func encode(t *testing.T, value any) []byte {
	t.Helper()
	out, err := cbor.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestADocumentIsWhatTheVerifierAccepts(t *testing.T) {
	authority, err := forge.NewAWS(forge.AWSOptions{})
	if err != nil {
		t.Fatal(err)
	}
	enclave := module(t, func(request map[string]map[string][]byte) []byte {
		asked := request["Attestation"]
		if asked["user_data"] != nil {
			t.Errorf("user data is %x", asked["user_data"])
		}
		document, err := authority.Document(forge.Document{Nonce: asked["nonce"], PublicKey: asked["public_key"]})
		if err != nil {
			t.Error(err)
		}
		return encode(t, map[string]any{"Attestation": map[string]any{"document": document}})
	})
	judge, err := verifier.New(verifier.Config{InsecureRoots: []*x509.Certificate{authority.Root()}})
	if err != nil {
		t.Fatal(err)
	}
	nonce, key := bytes.Repeat([]byte{5}, 32), []byte("a key")
	for _, bound := range [][]byte{nil, key} {
		evidence, err := enclave.Collect(t.Context(), attester.Request{Freshness: nonce, Key: bound})
		if err != nil {
			t.Fatal(err)
		}
		demand, err := attestd.Fresh(nonce)
		if err == nil && bound != nil {
			demand, err = demand.WithKey(bound)
		}
		if err != nil {
			t.Fatal(err)
		}
		if evidence.Format != attestd.FormatNitro {
			t.Errorf("format %q", evidence.Format)
		}
		if _, err := judge.Verify(attestd.Input{
			Evidence: evidence.Bytes, At: authority.At(), Demand: demand,
		}); err != nil {
			t.Errorf("key %q: %v", bound, err)
		}
	}
}

func TestWhatTheModuleDoesNotGiveIsAnError(t *testing.T) {
	good := attester.Request{Freshness: make([]byte, 32)}
	for _, row := range []struct {
		name   string
		answer []byte
		want   string
	}{
		{"a refusal", encode(t, map[string]any{"Error": "InvalidArgument"}), "refused: InvalidArgument"},
		{"another answer", encode(t, map[string]any{"DescribeNSM": map[string]any{}}), "no document"},
		{"an empty document", encode(t, map[string]any{"Attestation": map[string]any{"document": []byte{}}}), "no document"},
		{"no CBOR", []byte{0xff}, "the module's answer"},
		{"nothing", nil, "0 bytes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			enclave := module(t, func(map[string]map[string][]byte) []byte { return row.answer })
			evidence, err := enclave.Collect(t.Context(), good)
			if err == nil || !strings.Contains(err.Error(), row.want) || evidence.Bytes != nil {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	failing := nitro.Over(func(uint, unsafe.Pointer) error { return syscall.EMSGSIZE })
	if _, err := failing.Collect(t.Context(), good); !errors.Is(err, syscall.EMSGSIZE) {
		t.Errorf("got %v", err)
	}
	never := nitro.Over(func(uint, unsafe.Pointer) error {
		t.Error("the module was asked")
		return nil
	})
	for _, ask := range []attester.Request{
		{}, {Freshness: make([]byte, 31)}, {Freshness: make([]byte, 513)},
		{Freshness: make([]byte, 32), Key: make([]byte, 1025)},
	} {
		if _, err := never.Collect(t.Context(), ask); err == nil {
			t.Errorf("%d bytes of freshness and %d of key were taken", len(ask.Freshness), len(ask.Key))
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := never.Collect(over, good); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
	var caller *attestd.CallerError
	if _, err := nitro.Open("/nowhere"); !errors.As(err, &caller) || caller.Hint == "" {
		t.Errorf("got %v", err)
	}
}
