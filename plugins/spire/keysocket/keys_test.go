package keysocket_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/keysocket"
	"github.com/attestd/attestd/plugins/spire/keysocket/local"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(askVariable); path != "" {
		fmt.Print(askNewest(path))
		return
	}
	goleak.VerifyTestMain(m)
}

// memory is a KeyManager as small as it can be.
type memory struct {
	mutex    sync.Mutex
	held     []crypto.Signer // the newest last
	swapped  bool            // signs with another key than was asked for
	fault    func()          // called before each answer
	enlist   *wire.Enlist
	revision int
	changed  chan struct{}
}

func (m *memory) generate(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.held = append(m.held, key)
	return spkiOf(t, key)
}

func spkiOf(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return spki
}

func (m *memory) begin() func() {
	if m.fault != nil {
		m.fault()
	}
	m.mutex.Lock()
	return m.mutex.Unlock
}

func (m *memory) Newest(context.Context) (keysocket.Key, error) {
	defer m.begin()()
	if len(m.held) == 0 {
		return keysocket.Key{}, fmt.Errorf("%w: none yet", keysocket.ErrNoKey)
	}
	spki, err := x509.MarshalPKIXPublicKey(m.held[len(m.held)-1].Public())
	return keysocket.Key{SPKI: spki, Kind: keysocket.KindMemory, Generation: uint64(len(m.held))}, err
}

func (m *memory) Sign(_ context.Context, spki, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	defer m.begin()()
	for _, key := range m.held {
		own, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			return nil, err
		}
		if bytes.Equal(own, spki) != m.swapped {
			return key.Sign(rand.Reader, digest, opts)
		}
	}
	return nil, fmt.Errorf("%w: not held", keysocket.ErrNoKey)
}

func (m *memory) PutEnlist(_ context.Context, enlist wire.Enlist) error {
	defer m.begin()()
	m.enlist = &enlist
	m.revision++
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
	return nil
}

func (m *memory) Enlist(context.Context) (wire.Enlist, string, <-chan struct{}, error) {
	defer m.begin()()
	if m.changed == nil {
		m.changed = make(chan struct{})
	}
	if m.enlist == nil {
		return wire.Enlist{}, "", m.changed, nil
	}
	return *m.enlist, fmt.Sprint(m.revision), m.changed, nil
}

// listen serves the keys in a new folder, or in the one that is named.
func listen(t *testing.T, keys keysocket.Keys, path string) (*keysocket.Server, string) {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "run")
	}
	folder, err := local.Make(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = folder.Close() })
	server, err := keysocket.Listen(t.Context(), folder, keys, func(message string, args ...any) {
		t.Log(append([]any{message}, args...)...)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return server, path
}

func dial(t *testing.T, path string) *keysocket.Client {
	t.Helper()
	client, err := keysocket.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// plain connects as whoever keeps to no protocol.
func plain(t *testing.T, path string) *local.Conn {
	t.Helper()
	folder, err := local.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	conn, err := folder.Dial(t.Context(), keysocket.SocketName)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// authority is attestd's CA of node certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nodes"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	return authority{key, signed(t, template, template, key.Public(), key)}
}

func signed(
	t *testing.T, template, parent *x509.Certificate, public crypto.PublicKey, by crypto.Signer,
) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// enlist certifies a key.
func (a authority) enlist(t *testing.T, spki []byte, name string) wire.Enlist {
	t.Helper()
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		t.Fatal(err)
	}
	leaf := signed(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.cert, public, a.key)
	return wire.Enlist{
		Certificates: [][]byte{leaf.Raw}, NotAfter: leaf.NotAfter.UTC(), CA: a.cert.Raw,
		Addresses: []string{"tcp:127.0.0.1:1"}, SnapshotKey: make([]byte, 32),
		AgentID: "spiffe://attestd.test/spire/agent/attestd/" + name,
	}
}
