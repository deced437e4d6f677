package nodeca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/attestd/attestd"
)

// maxFile bounds what is read from a file of the CA.
const maxFile = 16 << 10

func keyOfANode(public any) bool {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		return sameCurve(key.Curve)
	case *rsa.PublicKey:
		bits := key.N.BitLen()
		return bits >= 2048 && bits <= 4096 && key.E >= 65537 && key.E%2 == 1
	default:
		return false
	}
}

func makeFolder(folder string) error {
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make folder of the PKI: %w", err)
	}
	info, err := os.Stat(folder)
	if err != nil {
		return fmt.Errorf("look at folder of the PKI: %w", err)
	}
	if !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
		return &attestd.CallerError{
			Class: attestd.ClassConfig, Hint: "chmod 700 it, and let it belong to attestd's user",
			Err: fmt.Errorf("pki has mode %04o, want a folder that nobody else can write to", info.Mode().Perm()),
		}
	}
	return nil
}

func openKey(path string) (*ecdsa.PrivateKey, error) {
	fresh, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key of the node CA: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(fresh)
	if err != nil {
		return nil, fmt.Errorf("make key of the node CA: %w", err)
	}
	parsed, err := makeOnce(path, "PRIVATE KEY", der, x509.ParsePKCS8PrivateKey)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, unfit(KeyFile, errors.New("not a P-256 key"))
	}
	return key, nil
}

func openCertificate(path string, key *ecdsa.PrivateKey, now time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "attestd nodes"},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
		// Beside its own name, this keeps it from being taken for a server's anywhere.
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make certificate of the node CA: %w", err)
	}
	cert, err := makeOnce(path, "CERTIFICATE", der, x509.ParseCertificate)
	switch {
	case err != nil:
		return nil, err
	case !key.PublicKey.Equal(cert.PublicKey) || !cert.IsCA || cert.Subject.CommonName != "attestd nodes":
		return nil, unfit(CertFile, errors.New("it is not a CA certificate of "+KeyFile))
	case !now.Before(cert.NotAfter) || now.Before(cert.NotBefore):
		return nil, unfit(CertFile, fmt.Errorf("it is in force from %s to %s",
			cert.NotBefore.Format(time.RFC3339), cert.NotAfter.Format(time.RFC3339)))
	}
	return cert, nil
}

func unfit(file string, err error) error {
	return &attestd.CallerError{
		Class: attestd.ClassConfig,
		Hint: "restore the folder pki from a backup; or move the files node-ca.* away and restart: " +
			"every node attests anew",
		Err: fmt.Errorf("pki/%s: %w", file, err),
	}
}

// makeOnce writes a PEM block where there is no file, and reads the one that is there then.
func makeOnce[T any](path, kind string, der []byte, parse func([]byte) (T, error)) (parsed T, err error) {
	name := filepath.Base(path)
	if err := create(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})); err != nil {
		return parsed, fmt.Errorf("make pki/%s: %w", name, err)
	}
	content, err := read(path)
	if err != nil {
		return parsed, unfit(name, err)
	}
	block, rest := pem.Decode(content)
	if block == nil || block.Type != kind || len(bytes.TrimSpace(rest)) != 0 {
		return parsed, unfit(name, fmt.Errorf("not one PEM block of type %q", kind))
	}
	parsed, err = parse(block.Bytes)
	if err != nil {
		return parsed, unfit(name, errors.New("it cannot be read"))
	}
	return parsed, nil
}

// create links a file of mode 0600 into place: of two processes that start at once both go on with the
// same one, and a crash leaves no half of it. A file that is there stays.
func create(path string, content []byte) error {
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	fresh, err := os.CreateTemp(filepath.Dir(path), ".node-ca-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(fresh.Name()) }()
	_, err = fresh.Write(content)
	if err = errors.Join(err, fresh.Sync(), fresh.Close()); err != nil {
		return err
	}
	if err := os.Link(fresh.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// read returns a file that is this user's alone.
func read(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, errors.New("it cannot be opened, or is a link")
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat() // of what was opened, not of what has the name by now
	if err != nil {
		return nil, err
	}
	status, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 || int(status.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("it has mode %04o, want a regular file of mode 0600 that is attestd's own",
			info.Mode().Perm())
	}
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = fmt.Errorf("it is longer than %d bytes", maxFile)
	}
	return content, err
}
