package client

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/admin/wire"
)

// Login makes a key, has the server certify it against the one-time token that the client was made
// with, and puts the identity into folder. The key never leaves this machine. The folder is written to
// before the token is spent: a full disk must not cost it.
func (c *Client) Login(ctx context.Context, folder string) (wire.LoggedIn, error) {
	var none wire.LoggedIn
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return none, refuse(attestd.ClassInternal, "", "make a key: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return none, refuse(attestd.ClassInternal, "", "encode a key: %w", err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, new(x509.CertificateRequest), key)
	if err != nil {
		return none, refuse(attestd.ClassInternal, "", "make a request: %w", err)
	}
	if err := probeFolder(folder); err != nil {
		return none, err
	}
	done, err := post[wire.LoggedIn](ctx, c, "login", wire.Login{CSR: request}, "attestd.login.v1")
	if err != nil {
		return none, err
	}
	if err := ours(done, key); err != nil {
		return none, err
	}
	var chain bytes.Buffer
	for _, der := range done.Certificates {
		_ = pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a Buffer takes everything
	}
	return done, writeIdentity(folder, map[string][]byte{
		keyName:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		authorityName:   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: done.CA}),
		certificateName: chain.Bytes(),
		serverName:      []byte(c.named + "\n"),
	})
}

// ours demands a certificate for our key, under the authority that comes with it.
func ours(done wire.LoggedIn, key *ecdsa.PrivateKey) error {
	const hint = "ask for a new token and log in again; if it stays so, report it with attestd version"
	if len(done.Certificates) == 0 {
		return refuse(attestd.ClassMalformed, hint, "the server gave no certificate")
	}
	leaf, err := x509.ParseCertificate(done.Certificates[0])
	if err != nil {
		return refuse(attestd.ClassMalformed, hint, "the certificate cannot be read: %w", err)
	}
	authority, err := x509.ParseCertificate(done.CA)
	if err != nil {
		return refuse(attestd.ClassMalformed, hint, "the authority cannot be read: %w", err)
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return refuse(attestd.ClassMalformed, hint, "the certificate is for another key")
	}
	if err := leaf.CheckSignatureFrom(authority); err != nil {
		return refuse(attestd.ClassMalformed, hint, "the certificate is not of the server's authority: %w", err)
	}
	return nil
}

// probeFolder writes a file where the identity will be, and removes it.
func probeFolder(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return folderTrouble(folder, err)
	}
	probe := filepath.Join(folder, "probe")
	err := replaceFile(probe, make([]byte, 16<<10))
	if removed := os.Remove(probe); err == nil {
		err = removed
	}
	if err != nil {
		return folderTrouble(folder, err)
	}
	return nil
}
