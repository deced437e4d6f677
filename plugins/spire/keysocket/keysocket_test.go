package keysocket_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/keysocket"
	"github.com/attestd/attestd/plugins/spire/keysocket/local"
)

func TestTheNewestKeyIsToldAndSigns(t *testing.T) {
	keys := &memory{}
	_, path := listen(t, keys, "")
	client := dial(t, path)
	if _, err := client.Newest(t.Context()); !errors.Is(err, keysocket.ErrNoKey) {
		t.Errorf("before there was any: %v", err)
	}
	first, second := keys.generate(t), keys.generate(t)
	got, err := client.Newest(t.Context())
	if err != nil || !slices.Equal(got.SPKI, second) || got.Kind != keysocket.KindMemory {
		t.Errorf("newest: %+v, %v", got, err)
	}
	digest := sha256.Sum256([]byte("data"))
	for _, spki := range [][]byte{first, second} {
		signer, err := client.SignerOf(spki)
		if err != nil {
			t.Fatal(err)
		}
		signature, err := signer.Sign(nil, digest[:], crypto.SHA256)
		if err != nil || !ecdsa.VerifyASN1(signer.Public().(*ecdsa.PublicKey), digest[:], signature) {
			t.Errorf("signature: %v", err)
		}
		if _, err := signer.Sign(nil, digest[:20], crypto.SHA1); !errors.Is(err, keysocket.ErrRefused) {
			t.Errorf("SHA-1: %v", err)
		}
		if _, err := signer.Sign(nil, digest[:], nil); !errors.Is(err, keysocket.ErrRefused) {
			t.Errorf("no hash: %v", err)
		}
	}
	other := &memory{}
	signer, err := client.SignerOf(other.generate(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signer.Sign(nil, digest[:], crypto.SHA256); !errors.Is(err, keysocket.ErrNoKey) {
		t.Errorf("a key that is not held: %v", err)
	}
}

func TestASignatureByAnotherKeyIsNotPassedOn(t *testing.T) {
	keys := &memory{swapped: true}
	_, path := listen(t, keys, "")
	keys.generate(t)
	keys.generate(t)
	signer, _, err := dial(t, path).Signer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(nil)
	if signature, err := signer.Sign(nil, digest[:], crypto.SHA256); err == nil ||
		!strings.Contains(err.Error(), "not by the key") {
		t.Errorf("got %x, %v", signature, err)
	}
}

// While the agent attests anew, the newest key has no certificate, and the one before goes on.
func TestAConnectionGoesByTheKeyThatIsEnlisted(t *testing.T) {
	keys := &memory{}
	_, path := listen(t, keys, "")
	client := dial(t, path)
	if _, _, err := client.Certificate(t.Context()); !errors.Is(err, keysocket.ErrNoKey) {
		t.Errorf("before there was any: %v", err)
	}
	ca := newAuthority(t)
	if err := client.PutEnlist(t.Context(), ca.enlist(t, keys.generate(t), "node")); err != nil {
		t.Fatal(err)
	}
	keys.generate(t)
	certificate, enlist, err := client.Certificate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if enlist.AgentID != "spiffe://attestd.test/spire/agent/attestd/node" {
		t.Errorf("enlisted: %+v", enlist)
	}

	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	server := tls.Server(far, &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
		Certificates: []tls.Certificate{{Certificate: [][]byte{ca.cert.Raw}, PrivateKey: ca.key}},
	})
	shaken := make(chan error, 1)
	go func() { shaken <- server.HandshakeContext(t.Context()) }()
	plugin := tls.Client(near, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*certificate},
		InsecureSkipVerify: true, //nolint:gosec // whom the client trusts is not what is shown here
	})
	if err := errors.Join(plugin.HandshakeContext(t.Context()), <-shaken); err != nil {
		t.Fatal(err)
	}
	if name := server.ConnectionState().PeerCertificates[0].Subject.CommonName; name != "node" {
		t.Errorf("the server sees %q", name)
	}
}

func TestAChangeOfTheEnlistmentIsToldAtOnce(t *testing.T) {
	keys := &memory{}
	_, path := listen(t, keys, "")
	client := dial(t, path)
	if _, ok, err := client.Enlist(t.Context()); ok || err != nil {
		t.Errorf("before there was any: %v, %v", ok, err)
	}
	ca := newAuthority(t)
	spki := keys.generate(t)
	type told struct {
		enlist   wire.Enlist
		revision string
		err      error
		at       time.Time
	}
	await := func(revision string) <-chan told {
		heard := make(chan told, 1)
		go func() {
			enlist, next, err := client.AwaitEnlist(t.Context(), revision)
			heard <- told{enlist, next, err, time.Now()}
		}()
		return heard
	}
	revision := ""
	for _, name := range []string{"one", "two"} {
		heard := await(revision)
		select {
		case early := <-heard:
			t.Fatalf("told before there was anything new: %+v", early)
		case <-time.After(50 * time.Millisecond):
		}
		put := time.Now()
		if err := client.PutEnlist(t.Context(), ca.enlist(t, spki, name)); err != nil {
			t.Fatal(err)
		}
		got := <-heard
		if got.err != nil || !strings.HasSuffix(got.enlist.AgentID, "/"+name) || got.revision == revision {
			t.Fatalf("told %+v", got)
		}
		if after := got.at.Sub(put); after > 2*time.Second {
			t.Errorf("told after %s", after)
		}
		revision = got.revision
	}
	if got := <-await("another"); got.err != nil || got.revision != revision {
		t.Errorf("who knows another revision: %+v", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, _, err := client.AwaitEnlist(ctx, revision); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who stops waiting: %v", err)
	}
}

func TestWithoutAKeyManagerNothingIsDecided(t *testing.T) {
	folder, err := local.Make(filepath.Join(t.TempDir(), "run"))
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	client := dial(t, folder.Path())
	var undecided *attestd.UndecidedError
	if _, err := client.Newest(t.Context()); !errors.As(err, &undecided) || undecided.Hint == "" ||
		!undecided.Class.Undecided() {
		t.Errorf("nobody listens: %v", err)
	}
	// It comes later, dies, and another one comes.
	keys := &memory{}
	spki := keys.generate(t)
	for range 2 {
		server, _ := listen(t, keys, folder.Path())
		if got, err := client.Newest(t.Context()); err != nil || !slices.Equal(got.SPKI, spki) {
			t.Errorf("it is there: %+v, %v", got, err)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if _, err := client.Newest(t.Context()); !errors.As(err, &undecided) {
			t.Errorf("it is gone: %v", err)
		}
	}
	if _, err := keysocket.Dial("run"); err == nil {
		t.Error("a relative folder was taken")
	}
}

func TestErrorsKeepTheirKind(t *testing.T) {
	_, path := listen(t, refusing{}, "")
	client := dial(t, path)
	for _, want := range []error{keysocket.ErrNoKey, keysocket.ErrBusy, keysocket.ErrRefused} {
		err := client.PutEnlist(t.Context(), wire.Enlist{AgentID: want.Error()})
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	err := client.PutEnlist(t.Context(), wire.Enlist{AgentID: "something \x1b[31melse"})
	if err == nil || !strings.Contains(err.Error(), "something ?[31melse") {
		t.Errorf("an error without a kind: %v", err)
	}
}

// refusing has each kind of error.
type refusing struct{}

func (refusing) Newest(context.Context) (keysocket.Key, error) { return keysocket.Key{}, nil }

func (refusing) Sign(context.Context, []byte, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, nil
}

func (refusing) PutEnlist(_ context.Context, enlist wire.Enlist) error {
	for _, kind := range []error{keysocket.ErrNoKey, keysocket.ErrBusy, keysocket.ErrRefused} {
		if enlist.AgentID == kind.Error() {
			return kind
		}
	}
	return errors.New(enlist.AgentID)
}

func (refusing) Enlist(context.Context) (wire.Enlist, string, <-chan struct{}, error) {
	return wire.Enlist{}, "", nil, nil
}

func TestAnEmptyAnswerIsNoKey(t *testing.T) {
	_, path := listen(t, refusing{}, "")
	if got, err := dial(t, path).Newest(t.Context()); err == nil {
		t.Errorf("got %+v", got)
	}
}
