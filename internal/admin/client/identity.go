package client

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/attestd/attestd"
)

// Files of an identity, in its folder.
const (
	certificateName = "operator.pem"
	keyName         = "operator.key"
	authorityName   = "authority.pem"
	serverName      = "server"
)

// Identity is an operator as files have them: written by [Client.Login], read by [LoadIdentity].
type Identity struct {
	// Folder that it is in.
	Folder string
	// Server is the address that it was made at.
	Server string
	// Name and NotAfter are those of the certificate.
	Name     string
	NotAfter time.Time

	pair      tls.Certificate
	authority *x509.Certificate
}

// LoadIdentity reads the identity of a folder.
//
// Errors: [*attestd.CallerError] of class UNAUTHENTICATED: there is none, or it cannot be read.
func LoadIdentity(folder string) (Identity, error) {
	out := Identity{Folder: folder}
	chain, err := readFile("certificate", filepath.Join(folder, certificateName), maxPEM)
	if err != nil {
		return out, err
	}
	key, err := readFile("private key", filepath.Join(folder, keyName), maxPEM)
	if err != nil {
		return out, err
	}
	authority, err := readFile("authority", filepath.Join(folder, authorityName), maxPEM)
	if err != nil {
		return out, err
	}
	const hint = "log in again with a new token: attestd login --help"
	if out.pair, err = tls.X509KeyPair(chain, key); err != nil {
		return out, refuse(attestd.ClassUnauthenticated, hint, "identity %q: %w", shown(folder), err)
	}
	if out.pair.Leaf, err = x509.ParseCertificate(out.pair.Certificate[0]); err != nil {
		return out, refuse(attestd.ClassUnauthenticated, hint, "identity %q: %w", shown(folder), err)
	}
	if out.authority, err = parseAuthority(authority); err != nil {
		return out, refuse(attestd.ClassUnauthenticated, hint, "identity %q: %w", shown(folder), err)
	}
	out.Name, out.NotAfter = out.pair.Leaf.Subject.CommonName, out.pair.Leaf.NotAfter.UTC()
	out.Server = serverOf(folder)
	return out, nil
}

// ServerOf returns the address that the identity in a folder was made at; empty for none.
func ServerOf(folder string) string { return serverOf(folder) }

func serverOf(folder string) string {
	data, err := readFile("server", filepath.Join(folder, serverName), maxToken)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// use makes TLS show the certificate and trust the authority alone. A certificate that has expired is
// refused here, where it can be said plainly: a server says no more than "bad certificate".
func (i Identity) use(settings *tls.Config, now time.Time) error {
	if !now.Before(i.NotAfter) {
		return refuse(attestd.ClassUnauthenticated,
			"ask somebody with role security for a token (attestd operator add "+i.Name+"), then attestd login",
			"the certificate of %q expired at %s", shown(i.Name), i.NotAfter.Format(time.RFC3339))
	}
	settings.Certificates = []tls.Certificate{i.pair}
	settings.RootCAs = x509.NewCertPool()
	settings.RootCAs.AddCert(i.authority)
	return nil
}

func parseAuthority(doc []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(doc)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("the authority is no CERTIFICATE block in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

var errOtherAuthority = errors.New("the server has another authority than the one that was named")

// trustPin makes TLS trust the one authority that has the digest: nothing that the system trusts
// counts, and a server that does not show that authority is refused. Without it, whoever sits on the
// way would take the token and log in themselves.
func trustPin(settings *tls.Config, pin [sha256.Size]byte) {
	settings.InsecureSkipVerify = true //nolint:gosec // VerifyConnection stands in its place
	name, now := settings.ServerName, settings.Time
	settings.VerifyConnection = func(state tls.ConnectionState) error {
		options := x509.VerifyOptions{
			DNSName: name, CurrentTime: now(), Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		found := false
		for _, one := range state.PeerCertificates {
			if one.IsCA && sha256.Sum256(one.Raw) == pin {
				options.Roots.AddCert(one)
				found = true
			}
		}
		if !found {
			return errOtherAuthority
		}
		_, err := state.PeerCertificates[0].Verify(options)
		return err
	}
}

// DefaultIdentity returns the folder of the user's own identity.
//
// Errors: where neither XDG_CONFIG_HOME nor HOME is set.
func DefaultIdentity(getenv func(string) string) (string, error) {
	if base := getenv("XDG_CONFIG_HOME"); base != "" {
		return filepath.Join(base, "attestd"), nil
	}
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".config", "attestd"), nil
	}
	return "", refuse(attestd.ClassUnauthenticated, "set HOME, or name the folder with --identity",
		"there is no home folder to keep an identity in")
}

// write puts the files of an identity in place, private ones readable by their owner alone.
func writeIdentity(folder string, files map[string][]byte) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return folderTrouble(folder, err)
	}
	for _, name := range []string{keyName, authorityName, certificateName, serverName} {
		data, given := files[name]
		if !given {
			continue
		}
		if err := replaceFile(filepath.Join(folder, name), data); err != nil {
			return folderTrouble(folder, err)
		}
	}
	return nil
}

func folderTrouble(folder string, err error) error {
	var withPath *os.PathError
	if errors.As(err, &withPath) {
		err = withPath.Err
	}
	return refuse(attestd.ClassMalformed, "name a folder of your own with --identity",
		"identity %q: %w", shown(folder), err)
}

// replaceFile writes a file beside its place and moves it there: whoever reads sees old or new.
func replaceFile(path string, data []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	_, err = file.Write(data)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
