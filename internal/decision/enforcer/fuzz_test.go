package enforcer_test

import (
	"os"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/decision/enforcer"
)

// FuzzEnforcers: a document is refused, or every enforcement point of it is known in one way.
func FuzzEnforcers(f *testing.F) {
	f.Add([]byte(plain()))
	f.Add([]byte("schema: attestd.enforcers.v1\nenforcers:\n  - {token: a, sha256: b, may: [x], tenants: ['*']}\n"))
	path := f.TempDir() + "/e.yaml"
	w := &world{}
	f.Fuzz(func(t *testing.T, document []byte) {
		if err := os.WriteFile(path, document, 0o600); err != nil {
			t.Fatal(err)
		}
		config := w.config()
		config.Path = path
		if _, err := enforcer.New(config); err != nil && classOf(err) != attestd.ClassConfig {
			t.Errorf("got %v, want CONFIG", err)
		}
	})
}
