package forge

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// KeysVariable names a folder in which AMD-sized keys are kept between processes: a run that starts
// the tests a thousand times would spend its time on keys.
const KeysVariable = "ATTESTD_FORGE_KEYS"

// amdKeys are RSA keys of AMD's size. Making one takes seconds, so that a process has three, the
// last one only where VLEKs are issued, and an impostor is made by swapping the first two.
var amdKeys = [3]func() (*rsa.PrivateKey, error){
	sync.OnceValues(func() (*rsa.PrivateKey, error) { return amdKey(0) }),
	sync.OnceValues(func() (*rsa.PrivateKey, error) { return amdKey(1) }),
	sync.OnceValues(func() (*rsa.PrivateKey, error) { return amdKey(2) }),
}

// amdKey makes a key, or takes the one that an earlier process left.
func amdKey(number int) (*rsa.PrivateKey, error) {
	folder := os.Getenv(KeysVariable)
	path := filepath.Join(folder, fmt.Sprintf("amd-%d.der", number))
	if folder != "" {
		if der, err := os.ReadFile(path); err == nil { //nolint:gosec // a folder of the test run's own
			return x509.ParsePKCS1PrivateKey(der)
		}
	}
	key, err := rsa.GenerateKey(rand.Reader, 4096)
	if err != nil || folder == "" {
		return key, err
	}
	// Another process can be making the same: the last one whole counts, and either will do.
	temporary := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(temporary, x509.MarshalPKCS1PrivateKey(key), 0o600); err != nil {
		return nil, err
	}
	return key, os.Rename(temporary, path)
}
