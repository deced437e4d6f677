package keymanager_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"

	keymanagerv1 "github.com/spiffe/spire-plugin-sdk/proto/spire/plugin/agent/keymanager/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestd/attestd/plugins/spire/keysocket"
)

const (
	slotA = "agent-svid-A"
	slotB = "agent-svid-B"
	p256  = keymanagerv1.KeyType_EC_P256
)

var kinds = []string{"memory", "tpm"}

func (n *node) ids() []string {
	n.t.Helper()
	answer, err := n.GetPublicKeys(n.t.Context(), &keymanagerv1.GetPublicKeysRequest{})
	if err != nil {
		n.t.Fatal(err)
	}
	var ids []string
	for _, one := range answer.GetPublicKeys() {
		ids = append(ids, one.GetId())
		n.hold(one.GetId(), one)
	}
	return ids
}

// newest is what the node attestor would bind.
func (n *node) newest() keysocket.Key {
	n.t.Helper()
	found, err := n.socket().Newest(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	return found
}

// TestTheAgentsOrderOfCalls is that of pkg/agent/attestor/node and pkg/agent/svid: list, make a key
// in slot A, sign a CSR, attest; at half-life the same in slot B while A still signs; then A anew.
func TestTheAgentsOrderOfCalls(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			n := newNode(t, kind, "")
			if ids := n.ids(); len(ids) != 0 {
				t.Errorf("keys at first: %q", ids)
			}
			if _, err := n.socket().Newest(t.Context()); !errors.Is(err, keysocket.ErrNoKey) {
				t.Errorf("the newest at first: %v", err)
			}
			a := n.generate(slotA, p256)
			if err := a.certificate(x509.ECDSAWithSHA256); err != nil {
				t.Error(err)
			}
			found := n.newest()
			if !bytes.Equal(found.SPKI, a.spki) || string(found.Kind) != kind || found.Generation != 1 {
				t.Errorf("the newest: %+v", found)
			}
			if (found.TPMName != "") != (kind == "tpm") || (found.TPMState != "") != (kind == "tpm") {
				t.Errorf("where it is: %+v", found)
			}
			b := n.generate(slotB, p256)
			if !bytes.Equal(n.newest().SPKI, b.spki) {
				t.Error("B is not the newest")
			}
			for _, key := range []*agentKey{a, b} { // A serves until there is an SVID for B
				if err := key.certificate(x509.ECDSAWithSHA256); err != nil {
					t.Errorf("%s: %v", key.id, err)
				}
			}
			again := n.generate(slotA, p256)
			if bytes.Equal(again.spki, a.spki) || again.fingerprint == a.fingerprint {
				t.Error("slot A has its old key again")
			}
			if err := a.certificate(x509.ECDSAWithSHA256); !errors.Is(err, errFingerprint) {
				t.Errorf("the replaced key: %v", err)
			}
			if ids := n.ids(); !slices.Equal(ids, []string{slotA, slotB}) {
				t.Errorf("keys in the end: %q", ids)
			}
		})
	}
}

func TestEveryKeyTypeSignsByEveryAlgorithmOfItsOwn(t *testing.T) {
	n := newNode(t, "memory", "")
	ecdsa := []x509.SignatureAlgorithm{x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512}
	rsa := []x509.SignatureAlgorithm{
		x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
	}
	for kind, algorithms := range map[keymanagerv1.KeyType][]x509.SignatureAlgorithm{
		p256: ecdsa, keymanagerv1.KeyType_EC_P384: ecdsa, keymanagerv1.KeyType_RSA_2048: rsa,
		keymanagerv1.KeyType_RSA_4096: rsa,
	} {
		key := n.generate(kind.String(), kind)
		for _, algorithm := range algorithms {
			if err := key.certificate(algorithm); err != nil {
				t.Errorf("%s, %s: %v", kind, algorithm, err)
			}
		}
	}
	chip := newNode(t, "tpm", "")
	key := chip.generate(slotA, p256)
	for _, algorithm := range ecdsa {
		if err := key.certificate(algorithm); err != nil {
			t.Errorf("in the TPM, %s: %v", algorithm, err)
		}
	}
}

func wantCode(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %s: %s", err, code, text)
	}
}

func TestKeysThatAreNotMade(t *testing.T) {
	for _, kind := range kinds {
		n := newNode(t, kind, "")
		for name, row := range map[string]struct {
			id   string
			kind keymanagerv1.KeyType
			want string
		}{
			"no id":           {"", p256, "key id is required"},
			"an endless id":   {strings.Repeat("k", 129), p256, "129 bytes"},
			"no type":         {slotA, 0, "key type is required"},
			"an unknown type": {slotA, 99, "refuses"},
		} {
			_, err := n.GenerateKey(t.Context(), &keymanagerv1.GenerateKeyRequest{
				KeyId: row.id, KeyType: row.kind,
			})
			t.Run(kind+" "+name, func(t *testing.T) { wantCode(t, err, codes.InvalidArgument, row.want) })
		}
		if ids := n.ids(); len(ids) != 0 {
			t.Errorf("%s: keys were made: %q", kind, ids)
		}
	}
	n := newNode(t, "tpm", "")
	for _, other := range []keymanagerv1.KeyType{
		keymanagerv1.KeyType_EC_P384, keymanagerv1.KeyType_RSA_2048, keymanagerv1.KeyType_RSA_4096,
	} {
		_, err := n.GenerateKey(t.Context(), &keymanagerv1.GenerateKeyRequest{KeyId: slotA, KeyType: other})
		wantCode(t, err, codes.InvalidArgument, `set keys = "memory"`)
	}
	m := newNode(t, "memory", "")
	for _, id := range strings.Split("abcdefgh", "") {
		m.generate(id, p256)
	}
	_, err := m.GenerateKey(t.Context(), &keymanagerv1.GenerateKeyRequest{KeyId: "i", KeyType: p256})
	wantCode(t, err, codes.InvalidArgument, "is too many")
	m.generate("a", p256)
}

func TestSignaturesThatAreNotMade(t *testing.T) {
	hash := func(algorithm keymanagerv1.HashAlgorithm) *keymanagerv1.SignDataRequest_HashAlgorithm {
		return &keymanagerv1.SignDataRequest_HashAlgorithm{HashAlgorithm: algorithm}
	}
	pss := func(salt int32, algorithm keymanagerv1.HashAlgorithm) *keymanagerv1.SignDataRequest_PssOptions {
		return &keymanagerv1.SignDataRequest_PssOptions{PssOptions: &keymanagerv1.SignDataRequest_PSSOptions{
			SaltLength: salt, HashAlgorithm: algorithm,
		}}
	}
	const sha256 = keymanagerv1.HashAlgorithm_SHA256
	full := make([]byte, 32)
	memory, chip := newNode(t, "memory", ""), newNode(t, "tpm", "")
	memory.generate("ec", p256)
	memory.generate("rsa", keymanagerv1.KeyType_RSA_2048)
	chip.generate("ec", p256)
	for name, row := range map[string]struct {
		request *keymanagerv1.SignDataRequest
		code    codes.Code
		want    string
	}{
		"no id": {&keymanagerv1.SignDataRequest{Data: full, SignerOpts: hash(sha256)},
			codes.InvalidArgument, "key id is required"},
		"a key that is not there": {&keymanagerv1.SignDataRequest{
			KeyId: "nope", Data: full, SignerOpts: hash(sha256)}, codes.NotFound, `"nope"`},
		"no options": {&keymanagerv1.SignDataRequest{KeyId: "ec", Data: full},
			codes.InvalidArgument, "signer opts is required"},
		"no hash": {&keymanagerv1.SignDataRequest{KeyId: "ec", Data: full, SignerOpts: hash(0)},
			codes.InvalidArgument, "hash algorithm is required"},
		"SHA-224": {&keymanagerv1.SignDataRequest{
			KeyId: "ec", Data: make([]byte, 28), SignerOpts: hash(keymanagerv1.HashAlgorithm_SHA224)},
			codes.InvalidArgument, "want SHA256"},
		"SHA3": {&keymanagerv1.SignDataRequest{
			KeyId: "ec", Data: full, SignerOpts: hash(keymanagerv1.HashAlgorithm_SHA3_256)},
			codes.InvalidArgument, "want SHA256"},
		"a hash nobody knows": {&keymanagerv1.SignDataRequest{KeyId: "ec", Data: full, SignerOpts: hash(3)},
			codes.InvalidArgument, "want SHA256"},
		"a short digest": {&keymanagerv1.SignDataRequest{KeyId: "ec", Data: full[:31], SignerOpts: hash(sha256)},
			codes.InvalidArgument, "31 bytes"},
		"the data itself": {&keymanagerv1.SignDataRequest{
			KeyId: "ec", Data: make([]byte, 1<<20), SignerOpts: hash(sha256)},
			codes.InvalidArgument, "1048576 bytes"},
		"PSS by an EC key": {&keymanagerv1.SignDataRequest{KeyId: "ec", Data: full, SignerOpts: pss(32, sha256)},
			codes.InvalidArgument, "PSS options are for RSA keys"},
		"PSS without options": {&keymanagerv1.SignDataRequest{
			KeyId: "ec", Data: full, SignerOpts: &keymanagerv1.SignDataRequest_PssOptions{}},
			codes.InvalidArgument, "hash algorithm is required"},
	} {
		for place, n := range map[string]*node{"memory": memory, "tpm": chip} {
			t.Run(name+" "+place, func(t *testing.T) {
				_, err := n.SignData(t.Context(), row.request)
				wantCode(t, err, row.code, row.want)
			})
		}
	}
	for _, salt := range []int32{-2, 1, 20, 1 << 20} {
		_, err := memory.SignData(t.Context(), &keymanagerv1.SignDataRequest{
			KeyId: "rsa", Data: full, SignerOpts: pss(salt, sha256),
		})
		wantCode(t, err, codes.InvalidArgument, "a PSS salt of")
	}
	_, err := memory.GetPublicKey(t.Context(), &keymanagerv1.GetPublicKeyRequest{KeyId: "nope"})
	wantCode(t, err, codes.NotFound, `"nope"`)
	_, err = memory.GetPublicKey(t.Context(), &keymanagerv1.GetPublicKeyRequest{})
	wantCode(t, err, codes.InvalidArgument, "key id is required")
	if got, err := memory.GetPublicKey(t.Context(), &keymanagerv1.GetPublicKeyRequest{KeyId: "ec"}); err != nil {
		t.Error(err)
	} else {
		memory.hold("ec", got.GetPublicKey())
	}
}

func TestBeforeItIsConfiguredNothingIsAnswered(t *testing.T) {
	n := newNode(t, "memory", "")
	n.Die()
	n.make()
	_, err := n.GenerateKey(t.Context(), &keymanagerv1.GenerateKeyRequest{KeyId: slotA, KeyType: p256})
	wantCode(t, err, codes.FailedPrecondition, "not configured")
	_, err = n.GetPublicKeys(t.Context(), nil)
	wantCode(t, err, codes.FailedPrecondition, "not configured")
	_, err = n.GetPublicKey(t.Context(), nil)
	wantCode(t, err, codes.FailedPrecondition, "not configured")
	_, err = n.SignData(t.Context(), nil)
	wantCode(t, err, codes.FailedPrecondition, "not configured")
}
