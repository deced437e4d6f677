package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/attestd/attestd"
)

const trustDomain = "e2e.example"

// tenants of every server: a test takes one of its own, so that what one test enrols is not known to
// another.
const tenants = 32

// server is `attestd serve`, asked over its unix socket.
type server struct{ client *http.Client }

// serve starts a server and stops it when the test ends.
func serve(t *testing.T, config serverConfig) server {
	t.Helper()
	d := configure(t, config)
	d.start(t)
	return d.server
}

func tenant(number int) string { return fmt.Sprintf("tenant-%d", number) }

// post sends JSON and returns status and body.
func (s server) post(t *testing.T, path string, body any) (int, []byte) {
	t.Helper()
	document, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.client.Post("http://attestd"+path, "application/json", bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, answer
}

// verdict sends a body to /v1/verify and wants a verdict, which an undecided one is inside a problem.
func (s server) verdict(t *testing.T, body map[string]any) attestd.Appraisal {
	t.Helper()
	status, answer := s.post(t, "/v1/verify", body)
	var verdict attestd.Appraisal
	var into any = &verdict
	if status == http.StatusServiceUnavailable {
		into = &struct {
			Appraisal *attestd.Appraisal `json:"appraisal"`
		}{&verdict}
	}
	if err := json.Unmarshal(answer, into); err != nil || verdict.Schema == "" {
		t.Fatalf("status %d: %v in %s", status, err, answer)
	}
	return verdict
}

// keySet is what GET /v1/keys answers, fetched before any challenge.
func (s server) keySet(t *testing.T) []byte {
	t.Helper()
	response, err := s.client.Get("http://attestd/v1/keys")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	document, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return document
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
