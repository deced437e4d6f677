package nitrotpm_test

import (
	"crypto/x509"
	"testing"

	"github.com/attestd/attestd/verifiers/nitrotpm"
)

func TestARootThatIsNoneMakesNoVerifier(t *testing.T) {
	t.Parallel()
	made, err := nitrotpm.New(nitrotpm.Config{InsecureRoots: []*x509.Certificate{{}}})
	if made != nil || err == nil {
		t.Errorf("got %v, %v", made, err)
	}
}
