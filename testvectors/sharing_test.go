package testvectors_test

import (
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/attestd/attestd"
	"github.com/attestd/attestd/internal/judge"
	"github.com/attestd/attestd/testvectors"
	"github.com/attestd/attestd/testvectors/forge"
)

// TestNothingLeaksBetweenRequests asks one judge about every vector, from several goroutines in
// different orders, and wants the answers of judges that were asked nothing else: what one request
// set (a product, a root, a nonce) must not reach another.
//
// neg: 115
func TestNothingLeaksBetweenRequests(t *testing.T) {
	lab := newLaboratory(t)
	vectors := append(corpus(t).Vectors, selfMade(t)...)
	for _, product := range []string{"Genoa", "Bergamo"} {
		vectors = append(vectors, lab.report(lab.genoa, product, 3, nil))
	}
	config := judge.Config{InsecureRoots: lab.roots()}
	want, requests := make([]string, len(vectors)), make([]judge.Request, len(vectors))
	for i, vector := range vectors {
		want[i] = asText(t, newLibrary(t, config).ask(t, vector, vector.At))
	}
	shared := newLibrary(t, config)
	for i, vector := range vectors {
		requests[i] = shared.request(t, vector, vector.At)
	}
	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for round := range 3 * len(vectors) {
				i := (round*(2*worker+1) + worker) % len(vectors)
				verdict, err := shared.judge.Judge(requests[i])
				if err != nil {
					t.Errorf("%s: %v", vectors[i].Name, err)
					return
				}
				if text, err := json.Marshal(verdict); err != nil || string(text) != want[i] {
					t.Errorf("%s: the shared judge says\n%s\nalone it says\n%s", vectors[i].Name, text, want[i])
					return
				}
			}
		})
	}
	group.Wait()
}

func asText(t *testing.T, verdict attestd.Appraisal) string {
	t.Helper()
	text, err := json.Marshal(verdict)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestNothingIsFetched puts the address of a listening server wherever a certificate can name one,
// and wants no request: a verifier that follows an address in evidence is a way into the network
// behind it.
//
// neg: 163
func TestNothingIsFetched(t *testing.T) {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		requests.Add(1)
	}))
	defer server.Close()
	name := func(template *x509.Certificate) {
		template.CRLDistributionPoints = []string{server.URL + "/crl"}
		template.IssuingCertificateURL = []string{server.URL + "/issuer"}
		template.OCSPServer = []string{server.URL + "/ocsp"}
	}
	enclaves, err := forge.NewAWS(forge.AWSOptions{
		Alter: func(_ string, template *x509.Certificate) { name(template) },
	})
	if err != nil {
		t.Fatal(err)
	}
	lab := newLaboratory(t)
	fields := forge.NewSNPReport("Milan", 3)
	issue := fields.VCEKConfig("Milan")
	issue.Edit = name
	key, err := lab.milan.IssueVCEK(issue)
	if err != nil {
		t.Fatal(err)
	}
	report, err := forge.SignSNP(fields.Bytes(), key.Key)
	if err != nil {
		t.Fatal(err)
	}
	entry := newLibrary(t, judge.Config{InsecureRoots: append(lab.roots(), enclaves.Root())})
	for _, vector := range []testvectors.Vector{
		lab.document(enclaves, attestd.FormatNitro, forge.Document{UserData: []byte(server.URL)}),
		{
			Format: attestd.FormatSEVSNP, Evidence: report, At: forge.AMDTime,
			Endorsements: attestd.Endorsements{Certificates: [][]byte{key.DER, lab.milan.ASK.Raw}},
		},
		lab.quote(forge.EKCertificateConfig{Edit: name}),
	} {
		verdict := entry.ask(t, vector, vector.At)
		chain := slices.IndexFunc(verdict.Checks, func(c attestd.Check) bool {
			return strings.HasPrefix(string(c.ID), string(vector.Format)+"/") &&
				strings.HasSuffix(string(c.ID), "chain")
		})
		if chain < 0 {
			t.Errorf("%s: the chain was not looked at: %+v", vector.Format, verdict.Reasons)
		}
	}
	if got := requests.Load(); got != 0 {
		t.Errorf("%d requests to addresses that evidence named, want none", got)
	}
}
