package api_test

import (
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/attestd/attestd/testvectors/forge"
)

// neg: 163
func TestNoAddressThatEvidenceNamesIsEverFetched(t *testing.T) {
	var fetched atomic.Int64
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fetched.Add(1) }))
	defer trap.Close()
	authority, err := forge.NewAWS(forge.AWSOptions{Alter: func(_ string, c *x509.Certificate) {
		c.CRLDistributionPoints = []string{trap.URL + "/crl", "http://169.254.169.254/latest", "file:///etc/passwd"}
		c.IssuingCertificateURL = []string{trap.URL + "/issuer"}
		c.OCSPServer = []string{trap.URL + "/ocsp"}
	}})
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := authority.Document(forge.Document{})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, options{})
	w.verdict(w.post("/v1/verify-recorded", object{
		"format": "nitro", "evidence": evidence, "at": authority.At(),
		"endorsements": object{"certificates": authority.Bundle()},
	}))
	if got := fetched.Load(); got != 0 {
		t.Errorf("%d addresses were fetched, want 0", got)
	}
	// And nothing on the way could: no package below the judge speaks HTTP.
	listed, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports", "../judge").Output()
	if err != nil {
		t.Fatal(err)
	}
	for decoder := json.NewDecoder(strings.NewReader(string(listed))); decoder.More(); {
		var found struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&found); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(found.ImportPath, "github.com/attestd/attestd") {
			continue
		}
		for _, imported := range found.Imports {
			if imported == "net/http" || imported == "net" {
				t.Errorf("%s imports %s", found.ImportPath, imported)
			}
		}
	}
}
