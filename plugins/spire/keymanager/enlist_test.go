package keymanager_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/keysocket"
)

const keysHash = crypto.SHA256

// authority is attestd's CA of node certificates.
type authority struct {
	key *ecdsa.PrivateKey
	der []byte
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nodes"}, IsCA: true,
		BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return authority{key, der}
}

func (a authority) enlist(t *testing.T, spki []byte, name string) wire.Enlist {
	t.Helper()
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		t.Fatal(err)
	}
	parent, err := x509.ParseCertificate(a.der)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour),
	}, parent, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return wire.Enlist{
		Certificates: [][]byte{leaf}, NotAfter: time.Now().Add(time.Hour).UTC(), CA: a.der,
		Addresses: []string{"tcp:127.0.0.1:1"}, SnapshotKey: make([]byte, 32),
		AgentID: "spiffe://" + trustDomain + "/spire/agent/attestd/" + name,
	}
}

func TestMemoryOfAnEnlistmentThatIsNotRight(t *testing.T) {
	n := newNode(t, "memory", "")
	a := n.generate(slotA, p256)
	client, ca := n.socket(), newAuthority(t)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := x509.MarshalPKIXPublicKey(other.Public())
	if err != nil {
		t.Fatal(err)
	}
	good := ca.enlist(t, a.spki, "node")
	if err := client.PutEnlist(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		change func(*wire.Enlist)
		want   string
	}{
		"a key that is not held": {func(e *wire.Enlist) { *e = ca.enlist(t, foreign, "node") }, "not held here"},
		"no certificate":         {func(e *wire.Enlist) { e.Certificates = nil }, "0 certificates"},
		"many certificates": {func(e *wire.Enlist) {
			e.Certificates = [][]byte{{1}, {1}, {1}, {1}, {1}, {1}, {1}, {1}, {1}}
		}, "9 certificates"},
		"no certificate's bytes": {func(e *wire.Enlist) { e.Certificates = [][]byte{{1, 2}} }, "a certificate"},
		"no CA":                  {func(e *wire.Enlist) { e.CA = nil }, "a certificate"},
		"no address":             {func(e *wire.Enlist) { e.Addresses = nil }, "0 addresses"},
		"a short snapshot key":   {func(e *wire.Enlist) { e.SnapshotKey = make([]byte, 31) }, "31 bytes"},
		"another trust domain": {func(e *wire.Enlist) {
			e.AgentID = "spiffe://" + trustDomain + ".evil/spire/agent/attestd/n"
		}, "the agent id"},
		"no agent id": {func(e *wire.Enlist) { e.AgentID = "" }, "the agent id"},
	} {
		bad := good
		row.change(&bad)
		if err := client.PutEnlist(t.Context(), bad); !errors.Is(err, keysocket.ErrRefused) ||
			!strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want refused: %s", name, err, row.want)
		}
	}
	if kept, ok, err := client.Enlist(t.Context()); err != nil || !ok || kept.AgentID != good.AgentID {
		t.Errorf("the one before is %+v, %v, %v", kept, ok, err)
	}
}

// Who holds a certificate is told when its key is gone.
func TestMemoryOfAnEnlistmentEndsWithItsKey(t *testing.T) {
	n := newNode(t, "memory", "")
	a := n.generate(slotA, p256)
	client, ca := n.socket(), newAuthority(t)
	if err := client.PutEnlist(t.Context(), ca.enlist(t, a.spki, "node")); err != nil {
		t.Fatal(err)
	}
	_, revision, err := client.AwaitEnlist(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	n.generate(slotB, p256)
	if _, ok, err := client.Enlist(t.Context()); err != nil || !ok {
		t.Errorf("with another slot's key made: %v, %v", ok, err)
	}
	told := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, now, err := client.AwaitEnlist(ctx, revision)
		if err == nil && now != "" {
			err = errors.New("another enlistment")
		}
		told <- err
	}()
	time.Sleep(20 * time.Millisecond)
	n.generate(slotA, p256)
	if err := <-told; err != nil {
		t.Error(err)
	}
}
