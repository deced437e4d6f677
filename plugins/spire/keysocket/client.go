package keysocket

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/spire/wire"
	"github.com/attestd/attestd/plugins/spire/keysocket/local"
)

// Client asks the KeyManager that listens in a folder. It is safe for concurrent use. The
// KeyManager may come later, and may be started anew: each call connects by itself.
type Client struct{ folder *local.Folder }

// Dial opens the folder and checks that it is this user's alone. It does not connect yet.
//
// Errors: a [*attestd.CallerError] of class CONFIG.
func Dial(dir string) (*Client, error) {
	folder, err := local.Open(dir)
	if err != nil {
		return nil, err
	}
	return &Client{folder: folder}, nil
}

// Close gives the folder back.
func (c *Client) Close() error { return c.folder.Close() }

// Newest returns the key that was generated last: the one that SPIRE's agent asks an identity for,
// since it generates a key before each attestation.
//
// Errors: [ErrNoKey] where none was generated yet; where nobody listens, an
// [*attestd.UndecidedError].
func (c *Client) Newest(ctx context.Context) (Key, error) {
	got, err := c.ask(ctx, request{Op: opNewest}, patience)
	switch {
	case err != nil:
		return Key{}, err
	case got.Key == nil || len(got.Key.SPKI) == 0:
		return Key{}, errors.New("the key manager's answer has no key")
	}
	return *got.Key, nil
}

// Signer returns a signer by the newest key, and its DER SubjectPublicKeyInfo. Who connects to
// attestd wants [Client.Certificate]: while the agent attests anew, the newest key is not enlisted
// yet.
func (c *Client) Signer(ctx context.Context) (crypto.Signer, []byte, error) {
	key, err := c.Newest(ctx)
	if err != nil {
		return nil, nil, err
	}
	signer, err := c.SignerOf(key.SPKI)
	return signer, key.SPKI, err
}

// SignerOf returns a signer by the key with this public key. Whether the KeyManager holds it shows
// at the first signature.
func (c *Client) SignerOf(spki []byte) (crypto.Signer, error) {
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return &signer{client: c, spki: bytes.Clone(spki), public: public}, nil
}

// PutEnlist hands in what attestd enlisted the key with.
//
// Errors: [ErrRefused] where the certificate is over no key that the KeyManager holds.
func (c *Client) PutEnlist(ctx context.Context, enlist wire.Enlist) error {
	_, err := c.ask(ctx, request{Op: opPut, Enlist: &enlist}, patience)
	return err
}

// Enlist returns what was handed in last, and whether there is any whose key is still held.
func (c *Client) Enlist(ctx context.Context) (wire.Enlist, bool, error) {
	enlist, revision, err := c.enlist(ctx, request{Op: opGet}, patience)
	return enlist, revision != "", err
}

// AwaitEnlist waits until the enlistment is another than that of revision ("" for none), and
// returns it with its revision; "" again where there is none any more.
func (c *Client) AwaitEnlist(ctx context.Context, revision string) (wire.Enlist, string, error) {
	for {
		enlist, now, err := c.enlist(ctx, request{Op: opAwait, Revision: revision}, watch+patience)
		if err != nil || now != revision {
			return enlist, now, err
		}
	}
}

func (c *Client) enlist(
	ctx context.Context, r request, limit time.Duration,
) (wire.Enlist, string, error) {
	got, err := c.ask(ctx, r, limit)
	switch {
	case err != nil:
		return wire.Enlist{}, "", err
	case (got.Enlist == nil) != (got.Revision == ""):
		return wire.Enlist{}, "", errors.New("the key manager's answer has half an enlistment")
	case got.Enlist == nil:
		return wire.Enlist{}, "", nil
	}
	return *got.Enlist, got.Revision, nil
}

// Certificate returns what a TLS client of attestd needs: the chain that was enlisted, with a
// signer by exactly its key, and the enlistment itself.
//
// Errors: [ErrNoKey] where nothing is enlisted.
func (c *Client) Certificate(ctx context.Context) (*tls.Certificate, wire.Enlist, error) {
	enlist, ok, err := c.Enlist(ctx)
	if err != nil {
		return nil, wire.Enlist{}, err
	}
	if !ok || len(enlist.Certificates) == 0 {
		return nil, wire.Enlist{}, fmt.Errorf("%w: attestd has enlisted none yet", ErrNoKey)
	}
	leaf, err := x509.ParseCertificate(enlist.Certificates[0])
	if err != nil {
		return nil, wire.Enlist{}, fmt.Errorf("enlisted certificate: %w", err)
	}
	signer, err := c.SignerOf(leaf.RawSubjectPublicKeyInfo)
	if err != nil {
		return nil, wire.Enlist{}, err
	}
	return &tls.Certificate{
		Certificate: enlist.Certificates, PrivateKey: signer, Leaf: leaf,
	}, enlist, nil
}

// ask has a connection for one request and its answer.
func (c *Client) ask(ctx context.Context, r request, limit time.Duration) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conn, err := c.folder.Dial(ctx, SocketName)
	if err != nil {
		return answer{}, unreachable(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var got answer
	if err = write(conn, r); err == nil {
		err = read(conn, &got)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return answer{}, unreachable(ctx.Err())
	case err != nil:
		return answer{}, unreachable(err)
	}
	return got, got.err()
}

// unreachable: without the KeyManager nothing can be said about its keys.
func unreachable(err error) error {
	var caller *attestd.CallerError
	if errors.As(err, &caller) || errors.Is(err, ErrRefused) {
		return err
	}
	return &attestd.UndecidedError{
		Class: attestd.ClassStoreUnavailable, Check: "key-manager",
		Hint: "look whether the agent runs with attestd's key manager, and with the same runtime_dir",
		Err:  err,
	}
}

// signer is a key that the KeyManager holds.
type signer struct {
	client *Client
	spki   []byte
	public crypto.PublicKey
}

// Public implements [crypto.Signer].
func (s *signer) Public() crypto.PublicKey { return s.public }

// Sign implements [crypto.Signer]; rand is not read. What comes back is checked, so that another
// key's signature is told here and not by a peer that breaks the handshake off.
func (s *signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts == nil {
		return nil, fmt.Errorf("%w: no hash is named", ErrRefused)
	}
	r := request{Op: opSign, SPKI: s.spki, Digest: digest}
	for name, hash := range hashes {
		if opts.HashFunc() == hash {
			r.Hash = name
		}
	}
	if r.Hash == "" || len(digest) != opts.HashFunc().Size() {
		return nil, fmt.Errorf("%w: a digest of %d bytes by hash %d, want SHA-256, SHA-384 or "+
			"SHA-512", ErrRefused, len(digest), opts.HashFunc())
	}
	_, r.PSS = opts.(*rsa.PSSOptions)
	got, err := s.client.ask(context.Background(), r, 2*patience)
	if err != nil {
		return nil, err
	}
	verified := false
	switch public := s.public.(type) {
	case *ecdsa.PublicKey:
		verified = ecdsa.VerifyASN1(public, digest, got.Signature)
	case *rsa.PublicKey:
		if r.PSS {
			verified = rsa.VerifyPSS(public, opts.HashFunc(), digest, got.Signature, nil) == nil
		} else {
			verified = rsa.VerifyPKCS1v15(public, opts.HashFunc(), digest, got.Signature) == nil
		}
	}
	if !verified {
		return nil, errors.New("the key manager's signature is not by the key that was asked for")
	}
	return got.Signature, nil
}
